"""Writing safetensors files tensor by tensor. The format's own library needs all tensors in memory at once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from latentloop.export.checkpoints.lazy_arrays import LazyArray
from latentloop.kernels.element_types import ELEMENT_TYPES


def write_tensors(
    path: Path, tensors: Mapping[str, LazyArray], metadata: Mapping[str, str] | None = None
) -> dict[str, tuple[int, int]]:
    """Writes a safetensors file; only one tensor is in memory at a time.

    The file has an 8-byte length, a JSON header of that length, and the data. As in files of the library, larger types
    precede smaller ones, so that every tensor is aligned, and tensors of one size are in the order of their names.

    Returns each tensor's (offset, length) in the file, in bytes. Raises OSError.
    """
    # 1. The header: shapes and types determine the place of all data.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name in order:
        begin, end = end, end + tensors[name].nbytes
        short = ELEMENT_TYPES[tensors[name].dtype.name].short
        header[name] = {"dtype": short, "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)

    # 2. The data.
    offsets = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            offsets[name] = (file.tell(), tensors[name].nbytes)
            file.write(_content(tensors[name]))  # no variable, which would keep it while the next one is read
    return offsets


def _content(tensor: LazyArray) -> memoryview:
    values = np.asarray(tensor.read(), tensor.dtype.newbyteorder("<"), order="C")
    assert values.shape == tensor.shape, f"{values.shape}, expected {tensor.shape}"
    return values.reshape(-1).view(np.uint8).data
