"""Any checkpoint that the project can export: its own safetensors files, and the common PyTorch layout."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from latentloop.errors import CheckpointError
from latentloop.export import rosinality
from latentloop.export.checkpoints.checkpoint import Checkpoint, file_digest, is_own, load_checkpoint
from latentloop.export.checkpoints.state_choice import StateChoice
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig
from latentloop.export.models.build import check_weights

_KINDS = {"vqvae": "a VQ-VAE", "prior": "a prior", "classifier": "a classifier"}


def read_vqvae(path: Path, choice: StateChoice | None = None) -> Checkpoint:
    """A VQ-VAE from either format. ``choice`` names the state wanted of a file that holds several.

    Raises CheckpointError that names the file and what is wrong in it.
    """
    checkpoint = _read_own(path, choice) or rosinality.read_vqvae(path, choice)
    if not isinstance(checkpoint.config, VqvaeConfig):
        raise CheckpointError(f"{path} holds {_KINDS[checkpoint.kind]}, expected the VQ-VAE; are the files exchanged?")
    return checkpoint


def read_prior(
    path: Path, *, heads: int | None = None, grid: tuple[int, int] | None = None, choice: StateChoice | None = None
) -> Checkpoint:
    """A prior from either format. ``heads`` (8 where it is None) and ``grid`` serve files of the common layout that
    cannot tell them; ``choice`` names the state wanted of a file that holds several.

    Raises CheckpointError that names the file and what is wrong in it.
    """
    checkpoint = _read_own(path, choice) or rosinality.read_prior(path, heads=heads or 8, grid=grid, choice=choice)
    config = checkpoint.config
    if not isinstance(config, PriorConfig):
        raise CheckpointError(f"{path} holds {_KINDS[checkpoint.kind]}, expected a prior; are the files exchanged?")
    if heads is not None and config.attention and config.heads != heads:
        raise CheckpointError(
            f"{path} says that it has {config.heads} attention heads, given are {heads}: leave it out"
        )
    return checkpoint


def read_classifier(path: Path) -> Checkpoint:
    """A classifier, which only LatentLoop's own format holds. Raises CheckpointError that names the file."""
    checkpoint = _read_own(path)
    if checkpoint is None:
        raise CheckpointError(f"{path}: a classifier is a .safetensors file that `latentloop train classifier` wrote")
    if not isinstance(checkpoint.config, ClassifierConfig):
        raise CheckpointError(
            f"{path} holds {_KINDS[checkpoint.kind]}, expected a classifier; are the files exchanged?"
        )
    return checkpoint


def _read_own(path: Path, choice: StateChoice | None = None) -> Checkpoint | None:
    """A checkpoint of LatentLoop's own format, told by its content; None for any other file."""
    path = Path(path)
    if not is_own(path):
        return None
    if choice is not None:
        choice.pick(path, [])
    checkpoint = load_checkpoint(path)
    check_weights(checkpoint, path)
    # A converted checkpoint keeps the file that it was made from, so that it exports to the same bundle.
    origin = {"file": path.name, "sha256": file_digest(path)}
    return replace(checkpoint, provenance=origin | checkpoint.provenance)
