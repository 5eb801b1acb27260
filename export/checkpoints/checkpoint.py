"""LatentLoop's own checkpoint: one safetensors file whose metadata holds the configuration as JSON.

Weights carry the names of the modules in ``latentloop.export.models`` and are float32; a file may store float16.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from latentloop.errors import CheckpointError, ConfigurationError
from latentloop.export.configuration import AnyConfig, ClassifierConfig, PriorConfig, VqvaeConfig, from_json, to_json
from latentloop.io.files import write_file

LISTED = 20  # names in one error
FORMAT = "latentloop-checkpoint-1"
Weights = dict[str, NDArray[np.float32]]
STORED = {"F32": "float32", "F16": "float16"}  # what a file's tensors may be, by safetensors' names

_KINDS: dict[str, type[AnyConfig]] = {"vqvae": VqvaeConfig, "prior": PriorConfig, "classifier": ClassifierConfig}


@dataclass(frozen=True)
class Checkpoint:
    """A network's configuration, its plain weights, and where they come from (free JSON)."""

    config: AnyConfig
    weights: Weights
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``vqvae``, ``prior`` or ``classifier``."""
        return next(kind for kind, config in _KINDS.items() if isinstance(self.config, config))


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, dtype: str = "float32", force: bool = False) -> None:
    """Writes the checkpoint under a temporary name, then renames it. Raises OutputError.

    ``dtype``: float32, or float16 for weights that ``storage.round_weights`` has rounded to it.
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


def listed(items: Sequence[object], separator: str) -> str:
    """The first items of what may be a long list, for an error's text."""
    more = [f"and {len(items) - LISTED} more"] if len(items) > LISTED else []
    return separator.join([*map(str, items[:LISTED]), *more])


def write_tensors(path: Path, tensors: dict[str, NDArray[Any]], metadata: dict[str, str] | None = None) -> None:
    """Writes a safetensors file with the permissions of an ordinary new file: its writer makes private ones.

    Raises OSError.
    """
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:  # a full disk, which writers of files report as OSError
        raise OSError(str(error)) from error
    path.chmod(mode)


def is_own(path: Path) -> bool:
    """Whether a file is a checkpoint of LatentLoop's, of this version or another, whatever its name."""
    try:
        if not path.is_file():  # opening a pipe would wait
            return False
        with safe_open(path, framework="numpy") as opened:
            return str((opened.metadata() or {}).get("format", "")).startswith(FORMAT.rstrip("0123456789"))
    except Exception:  # no safetensors file, or a damaged one: whoever reads it says so
        return False


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint of this format. Raises CheckpointError that names the file and the field."""
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = list(opened.keys())
            dtypes = {name: opened.get_slice(name).get_dtype() for name in names}
            known = [name for name in names if dtypes[name] in STORED]
            weights: Weights = {name: opened.get_tensor(name).astype(np.float32, copy=False) for name in known}
    except Exception as error:  # a hostile or exotic file can fail in many ways, all of which mean the same
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {metadata.get('format')!r}, expected {FORMAT!r}")
    if others := [f"{name} is {dtype}" for name, dtype in dtypes.items() if dtype not in STORED]:
        raise CheckpointError(f"{path}: {listed(others, ', ')}; expected {' or '.join(STORED.values())}")
    if metadata.get("kind") not in _KINDS:
        raise CheckpointError(f"{path}: kind is {metadata.get('kind')!r}, expected one of {', '.join(_KINDS)}")
    try:
        values = json.loads(metadata.get("config", ""))
        provenance = json.loads(metadata.get("provenance", "{}"))
        if not isinstance(values, dict) or not isinstance(provenance, dict):
            raise CheckpointError(f"{path}: config and provenance must be JSON objects")
        config = from_json(_KINDS[metadata["kind"]], values, f"{path}: config")
    except ConfigurationError as error:
        raise CheckpointError(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: config or provenance is not readable as JSON: {error}") from error
    return Checkpoint(config, weights, provenance)
