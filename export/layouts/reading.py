"""Reading checkpoints of any layout."""

from __future__ import annotations

from pathlib import Path

from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.layouts.layout import ReadRequest
from latentloop.export.layouts.registry import LAYOUTS
from latentloop.export.layouts.unreadable import unreadable
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.selection import StateSelection


def read_vqvae(path: Path, selection: StateSelection | None = None) -> Checkpoint:
    """Reads a VQ-VAE. ``selection``: the state to use if the file has several.

    Raises CheckpointError that names the file, the problem and a remedy.
    """
    return _read(path, ReadRequest("vqvae", selection or StateSelection("vqvae")))


def read_prior(
    path: Path,
    *,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    selection: StateSelection | None = None,
) -> Checkpoint:
    """Reads the prior of one level.

    ``heads``, the number of attention heads (default: 8), and ``grid``, (height, width) in codes, are for files that do
    not determine them. ``selection``: the state to use if the file has several. The prior of the top level has a
    ``config.condition_codes`` of 0.

    Raises CheckpointError that names the file, the problem and a remedy.
    """
    return _read(path, ReadRequest("prior", selection or StateSelection(""), heads, grid))


def read_classifier(path: Path) -> Checkpoint:
    """Reads a classifier. Raises CheckpointError that names the file."""
    return _read(path, ReadRequest("classifier", StateSelection("classifier")))


def _read(path: Path, request: ReadRequest) -> Checkpoint:
    file = CheckpointFile(path)
    for layout in LAYOUTS:
        if layout.can_read(file):
            return layout.read(file, request)
    raise unreadable(file, request, LAYOUTS)
