"""The inputs of a training run: the data set, the trained VQ-VAE, and the data set's codes."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace

from latentloop.cli.messages import note
from latentloop.errors import InputError, listed, plural
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.data.codes import Levels, encode
from latentloop.export.data.codes_cache import cache_key, cache_path, read_or_encode
from latentloop.export.data.datasets import Data, batches_of, load_data
from latentloop.export.inplace.check import check_reconstruction
from latentloop.export.inplace.variant import with_inplace_option
from latentloop.export.layouts.reading import read_vqvae
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train import distributed

FEW_IMAGES, FEW_HELD_OUT = 200, 10  # fewer lead to a warning


def load_dataset(arguments: argparse.Namespace, size: int, image_channels: int | None) -> Data:
    """Reads the data set of ``--data`` and prints its description and warnings on stderr. Raises InputError."""
    data = load_data(
        arguments.data,
        size,
        image_channels=image_channels,
        held_out=arguments.held_out,
        split_seed=arguments.split_seed,
    )
    if distributed.is_leader():
        classes = f"{len(data.classes)} classes: {listed(data.classes)}" if data.classes else "no classes"
        print(f"{data.description}; {classes}", file=sys.stderr)
        for text in data_warnings(data):
            note(f"warning: {text}")
    return data


def data_warnings(data: Data) -> list[str]:
    """Returns warnings about a data set from which little can be learned or measured."""
    images, n, held_out = data.training.images, len(data.training), len(data.held_out)
    plain = sum(
        int((each == each[:, :1, :1]).all((1, 2, 3)).sum()) for each in map(images.__getitem__, batches_of(n, 1000))
    )
    found = []
    if plain:
        found.append(f"{plain} of {n} training images {'has' if plain == 1 else 'have'} a single colour")
    if n < FEW_IMAGES:
        found.append(f"{n} training images are few: the networks will learn them by heart")
    if held_out < FEW_HELD_OUT:
        found.append(f"figures on {held_out} held-out {plural(held_out, 'image')} are rough; --held-out holds out more")
    return found


def rename_classes(data: Data, text: str | None) -> Data:
    """Returns the same data with the class names of ``--class-names``, if it is given.

    Raises InputError if a name is empty or occurs twice.
    """
    if text is None:
        return data
    names = [name.strip() for name in text.split(",")]
    if len(names) != len(data.classes):
        raise InputError(f"--class-names has {len(names)} names, expected {len(data.classes)}, one per label")
    for label, name in enumerate(names):
        if not name or name in names[:label]:
            raise InputError(f"--class-names: label {label} is {name!r}, expected a name that no other label has")
    return replace(data, classes=tuple(names))


@dataclass(frozen=True)
class EncodedData:
    """A trained VQ-VAE and a data set of images of ``size`` x ``size``, which it encodes.

    ``codes_digest`` is a digest of the weights and configuration that determine the VQ-VAE's codes.
    """

    checkpoint: Checkpoint
    vqvae: Vqvae
    size: int
    data: Data
    codes_digest: str

    def codes(self, arguments: argparse.Namespace, *, progress: bool) -> dict[str, Levels]:
        """Returns the codes of the parts ``training`` and ``held_out``, from the cache file if it exists.

        With ``--flip`` the codes of the mirrored images follow those of the training part.
        """
        device, flip = str(next(self.vqvae.parameters()).device), bool(arguments.flip)
        parts = {"training": (self.data.training, flip), "held_out": (self.data.held_out, False)}
        counts = {name: len(part) * (1 + mirrored) for name, (part, mirrored) in parts.items()}
        key = cache_key(self.codes_digest, self.data.digest, flip=flip)

        def encode_part(name: str) -> Levels:
            part, mirrored = parts[name]
            return encode(self.vqvae, part, flip=mirrored, device=device, progress=progress)

        with distributed.leader_first():
            path = cache_path(arguments.vqvae, key)
            return read_or_encode(path, key, self.vqvae.config, self.size, counts, encode_part)


def load_encoded_data(arguments: argparse.Namespace, device: str) -> EncodedData:
    """Reads the VQ-VAE of ``--vqvae`` and the data set. Raises InputError or CheckpointError.

    Also raises InputError if the VQ-VAE clearly reconstructs the data better with the other variant of its residual
    blocks (``export/inplace/``) and the user did not name the variant.
    """
    checkpoint = with_inplace_option(arguments.vqvae, read_vqvae(arguments.vqvae), arguments.vqvae_inplace)
    vqvae = build_vqvae(checkpoint, arguments.vqvae).to(device)
    size = arguments.size or checkpoint.provenance.get("size")
    if not isinstance(size, int):
        raise InputError(f"{arguments.vqvae}: does not state the size of its images; pass --size")
    data = load_dataset(arguments, size, vqvae.config.image_channels)
    if arguments.vqvae_inplace is None:
        check_reconstruction(checkpoint, data)
    return EncodedData(checkpoint, vqvae, size, data, codes_digest(vqvae.config, checkpoint.weights))
