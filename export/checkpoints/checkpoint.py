"""LatentLoop's own checkpoint: one safetensors file whose metadata holds the configuration as JSON.

Weights are named like the modules in ``latentloop.export.models``. They are float32; a file can store them as float16.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from latentloop.errors import CheckpointError, ConfigurationError, listed
from latentloop.export.configuration import AnyConfig, ClassifierConfig, PriorConfig, VqvaeConfig, from_json, to_json
from latentloop.io.files import write_file
from latentloop.kernels.element_types import FLOAT16, FLOAT32

FORMAT = "latentloop-checkpoint-1"
Weights = dict[str, NDArray[np.float32]]
Kind = Literal["vqvae", "prior", "classifier"]
STORED = {
    each.short: each.name for each in (FLOAT32, FLOAT16)
}  # types of a file's tensors, by their names in safetensors

KIND_NAMES: dict[Kind, str] = {"vqvae": "a VQ-VAE", "prior": "a prior", "classifier": "a classifier"}  # for messages
_KINDS: dict[Kind, type[AnyConfig]] = {"vqvae": VqvaeConfig, "prior": PriorConfig, "classifier": ClassifierConfig}


@dataclass(frozen=True)
class Checkpoint:
    """A network's configuration, its weights, and their origin as free-form JSON."""

    config: AnyConfig
    weights: Weights
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """The kind of the network, from the type of its configuration."""
        return next(kind for kind, config in _KINDS.items() if isinstance(self.config, config))


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, dtype: str = "float32", force: bool = False) -> None:
    """Writes the checkpoint under a temporary name, then renames it. Raises OutputError.

    ``dtype``: float32, or float16 for weights that ``rounding.round_weights`` has rounded.
    """
    metadata = {
        "format": FORMAT,
        "kind": checkpoint.kind,
        "config": json.dumps(to_json(checkpoint.config)),
        "provenance": json.dumps(checkpoint.provenance),
    }
    stored = {name: np.ascontiguousarray(value, dtype) for name, value in checkpoint.weights.items()}
    if dtype == "float16":
        for name, value in stored.items():
            assert np.array_equal(value, checkpoint.weights[name], equal_nan=True), f"{name} is not rounded"
    write_file(Path(path), lambda temporary: write_tensors(temporary, stored, metadata), force=force)


def wrong_kind_error(source: Path | str, held: Kind, expected: Kind) -> CheckpointError:
    """Returns the error for a file, ``source``, that holds another kind of model than expected."""
    return CheckpointError(
        f"{source} holds {KIND_NAMES[held]}, expected {KIND_NAMES[expected]}; are the files exchanged?"
    )


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file with the default permissions of new files. Raises OSError.

    ``save_file`` alone would make it readable by its owner only.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # a full disk, for example
        raise OSError(str(error)) from error
    path.chmod(mode)


def is_own(path: Path) -> bool:
    """Returns whether a file is a checkpoint of LatentLoop, of this version or another; its name does not matter."""
    try:
        if not path.is_file():  # opening a pipe would block
            return False
        with safe_open(path, framework="numpy") as opened:
            return str((opened.metadata() or {}).get("format", "")).startswith(FORMAT.rstrip("0123456789"))
    except Exception:  # not a safetensors file, or a damaged one
        return False


def file_digest(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def load_checkpoint(path: Path, *, weights: bool = True) -> Checkpoint:
    """Reads a checkpoint of this format; without ``weights`` only its header, which has all the rest.

    Raises CheckpointError that names the file and the field.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = list(opened.keys())
            dtypes = {name: opened.get_slice(name).get_dtype() for name in names}
            readable = [name for name in names if dtypes[name] in STORED]
            wanted = readable if weights else []
            tensors: Weights = {name: opened.get_tensor(name).astype(np.float32, copy=False) for name in wanted}
    except Exception as error:  # a hostile or damaged file can raise many types of exception
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {metadata.get('format')!r}, expected {FORMAT!r}")
    if others := [f"{name} is {dtype}" for name, dtype in dtypes.items() if dtype not in STORED]:
        raise CheckpointError(f"{path}: {listed(others)}; expected {' or '.join(STORED.values())}")
    kind = next((kind for kind in _KINDS if kind == metadata.get("kind")), None)
    if kind is None:
        raise CheckpointError(f"{path}: kind is {metadata.get('kind')!r}, expected one of {', '.join(_KINDS)}")
    try:
        values = json.loads(metadata.get("config", ""))
        provenance = json.loads(metadata.get("provenance", "{}"))
        if not isinstance(values, dict) or not isinstance(provenance, dict):
            raise CheckpointError(f"{path}: config and provenance must be JSON objects")
        config = from_json(_KINDS[kind], values, f"{path}: config")
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: config or provenance is not readable as JSON: {error}") from error
    return Checkpoint(config, tensors, provenance)
