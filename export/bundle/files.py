"""The files of a bundle: one file of weights, and ONNX graphs that read their weights from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import onnx

from latentloop.bundles.manifest import FileRecord
from latentloop.export.checkpoints.tensor_file import write_tensors
from latentloop.export.graphs.builder import WEIGHTS_FILE, GraphBuilder, WeightStore


def write_graphs(folder: Path, graphs: Mapping[str, GraphBuilder], store: WeightStore) -> None:
    """Writes the weights once, and every graph of ``graphs``, by file name, as ONNX with the weights as external data.

    Raises OSError, and onnx.checker.ValidationError for a graph that is not valid.
    """
    offsets = write_tensors(folder / WEIGHTS_FILE, store.tensors)
    for name, graph in graphs.items():
        model = graph.model(offsets)
        (folder / name).write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(folder / name), full_check=True)


def file_records(folder: Path) -> dict[str, FileRecord]:
    """Returns size in bytes and SHA-256 of every file in ``folder``, in the order of their names."""
    records = {}
    for file in sorted(folder.iterdir()):
        with file.open("rb") as opened:
            records[file.name] = FileRecord(file.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())
    return records
