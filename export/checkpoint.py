"""LatentLoop's own checkpoint: one safetensors file whose metadata holds the configuration as JSON.

Weights carry the names of the modules in ``latentloop.export.models`` and are float32.
"""

from __future__ import annotations

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
from latentloop.export.configuration import PriorConfig, VqvaeConfig, from_json, to_json
from latentloop.files import write_file

LISTED = 20  # names in one error
FORMAT = "latentloop-checkpoint-1"
Weights = dict[str, NDArray[np.float32]]

_KINDS: dict[str, type[VqvaeConfig] | type[PriorConfig]] = {"vqvae": VqvaeConfig, "prior": PriorConfig}


@dataclass(frozen=True)
class Checkpoint:
    """A network's configuration, its plain weights, and where they come from (free JSON)."""

    config: VqvaeConfig | PriorConfig
    weights: Weights
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """``vqvae`` or ``prior``."""
        return "vqvae" if isinstance(self.config, VqvaeConfig) else "prior"


def save_checkpoint(path: Path, checkpoint: Checkpoint, *, force: bool = False) -> None:
    """Writes the checkpoint under a temporary name, then renames it. Raises OutputError."""
    metadata = {
        "format": FORMAT,
        "kind": checkpoint.kind,
        "config": json.dumps(to_json(checkpoint.config)),
        "provenance": json.dumps(checkpoint.provenance),
    }
    contiguous = {name: np.ascontiguousarray(value) for name, value in checkpoint.weights.items()}
    write_file(Path(path), lambda temporary: write_tensors(temporary, contiguous, metadata), force=force)


def listed(items: Sequence[object], separator: str) -> str:
    """The first items of what may be a long list, for an error's text."""
    more = [f"and {len(items) - LISTED} more"] if len(items) > LISTED else []
    return separator.join([*map(str, items[:LISTED]), *more])


def write_tensors(path: Path, tensors: Weights, metadata: dict[str, str] | None = None) -> None:
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


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint of this format. Raises CheckpointError that names the file and the field."""
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as opened:
            metadata = opened.metadata() or {}
            weights: Weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # a hostile or exotic file can fail in many ways, all of which mean the same
        raise CheckpointError(f"{path}: not a readable safetensors file: {error}") from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path}: format is {metadata.get('format')!r}, expected {FORMAT!r}")
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
