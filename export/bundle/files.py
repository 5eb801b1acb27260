"""The files of a bundle: one file of weights, and ONNX graphs that read their weights from it."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path

import onnx

from latentloop.bundles.manifest import FileRecord
from latentloop.export.checkpoints.checkpoint import write_tensors
from latentloop.export.graphs.builder import WEIGHTS_FILE, GraphBuilder, WeightStore


def write_graphs(folder: Path, graphs: Mapping[str, GraphBuilder], store: WeightStore) -> None:
    """Writes the weights once, and every graph of ``graphs``, by file name, as ONNX with the weights as external data.

    Raises OSError, and onnx.checker.ValidationError for a graph that is not valid.
    """
    write_tensors(folder / WEIGHTS_FILE, store.tensors)
    offsets = tensor_offsets(folder / WEIGHTS_FILE)
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


def tensor_offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Returns each tensor's (offset, length) in a safetensors file, in bytes.

    The file is an 8-byte length, a JSON header of that length, and the data.
    """
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    ranges = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {name: (8 + length + begin, end - begin) for name, (begin, end) in ranges.items()}
