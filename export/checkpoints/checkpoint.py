"""LatentLoop's own checkpoint: one safetensors file whose metadata holds the configuration as JSON.

Weights are named like the modules in ``latentloop.export.models``. They are float32; a file can store them as float16.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from latentloop.errors import CheckpointError, ConfigurationError, listed
from latentloop.export.checkpoints.file_version import FileVersion
from latentloop.export.checkpoints.lazy_arrays import LazyArray, Shape, Weights, arrays_of, weights_of
from latentloop.export.checkpoints.tensor_file import write_tensors
from latentloop.export.configuration import AnyConfig, ClassifierConfig, PriorConfig, VqvaeConfig, from_json, to_json
from latentloop.io.files import write_file
from latentloop.kernels.element_types import FLOAT16, FLOAT32

FORMAT = "latentloop-checkpoint-1"
Kind = Literal["vqvae", "prior", "classifier"]
STORED = {
    each.short: each.name for each in (FLOAT32, FLOAT16)
}  # types of a file's tensors, by their names in safetensors

KIND_NAMES: dict[Kind, str] = {"vqvae": "a VQ-VAE", "prior": "a prior", "classifier": "a classifier"}  # for messages
_KINDS: dict[Kind, type[AnyConfig]] = {"vqvae": VqvaeConfig, "prior": PriorConfig, "classifier": ClassifierConfig}


@dataclass(frozen=True)
class Checkpoint:
    """A network's configuration, its weights, and their origin as free-form JSON.

    The weights of a large model that was read from a file are ``LazyWeights``, which stay in the file.
    """

    config: AnyConfig
    weights: Weights
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """The kind of the network, from the type of its configuration."""
        return next(kind for kind, config in _KINDS.items() if isinstance(self.config, config))


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, dtype: str = "float32", force: bool = False) -> None:
    """Writes the checkpoint under a temporary name, then renames it. Raises OutputError.

    ``dtype``: float32, or float16 for weights that ``rounding.round_weights`` has rounded. Lazy weights are read one
    after the other.
    """
    metadata = {
        "format": FORMAT,
        "kind": checkpoint.kind,
        "config": json.dumps(to_json(checkpoint.config)),
        "provenance": json.dumps(checkpoint.provenance),
    }
    stored = {
        name: LazyArray(array.shape, partial(_exactly, array, name, np.dtype(dtype)), np.dtype(dtype))
        for name, array in arrays_of(checkpoint.weights).items()
    }
    write_file(Path(path), lambda temporary: write_tensors(temporary, stored, metadata), force=force)


def _exactly(array: LazyArray, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Returns the values as ``dtype``, which must represent them exactly if it is float16."""
    values = array.read()
    stored = values.astype(dtype, copy=False)
    assert dtype != np.float16 or np.array_equal(stored, values, equal_nan=True), f"{name} is not rounded"
    return stored


def wrong_kind_error(source: Path | str, held: Kind, expected: Kind) -> CheckpointError:
    """Returns the error for a file, ``source``, that holds another kind of model than expected."""
    return CheckpointError(
        f"{source} holds {KIND_NAMES[held]}, expected {KIND_NAMES[expected]}; are the files exchanged?"
    )


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

    The weights of a large model are read when they are accessed. Raises CheckpointError that names the file and the
    field.
    """
    path = Path(path)
    try:
        version = FileVersion.of(path)
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = list(opened.keys())
            dtypes = {name: opened.get_slice(name).get_dtype() for name in names}
            shapes = {name: tuple(opened.get_slice(name).get_shape()) for name in names}
        offsets = _offsets(path)  # of a valid file: the library has checked them
    except Exception as error:  # a hostile or damaged file can raise many types of exception
        raise _unreadable(path, error) from error
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
    arrays = {
        name: LazyArray(shapes[name], partial(_read_tensor, version, offsets[name], shapes[name], STORED[dtypes[name]]))
        for name in (names if weights else ())
    }
    return Checkpoint(config, weights_of(arrays), provenance)


def _offsets(path: Path) -> dict[str, int]:
    """Returns where in a safetensors file each tensor begins, in bytes."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {name: 8 + length + each["data_offsets"][0] for name, each in header.items() if name != "__metadata__"}


def _read_tensor(version: FileVersion, offset: int, shape: Shape, dtype: str) -> NDArray[np.float32]:
    """Reads one tensor as float32. Raises CheckpointError."""
    version.check()
    try:
        stored = np.dtype(dtype).newbyteorder("<")
        values: NDArray[Any] = np.fromfile(version.path, stored, math.prod(shape), offset=offset).reshape(shape)
    except (OSError, ValueError) as error:  # ValueError: the file ends before
        raise _unreadable(version.path, error) from error
    return values.astype(np.float32, copy=False)


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    expected = "expected a checkpoint that `latentloop train` wrote"
    if path.is_dir():
        return CheckpointError(f"{path} is a folder, {expected}: name the file in it")
    if isinstance(error, OSError):
        return CheckpointError(f"cannot read {path}: {error.strerror or error}; {expected}")
    return CheckpointError(f"{path}: not a readable safetensors file: {error}; {expected}: is it complete?")
