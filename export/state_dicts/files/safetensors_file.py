"""A safetensors file: its header has the type, the shape and the offsets of every tensor."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from latentloop.errors import CheckpointError
from latentloop.export.state_dicts.files.mapped_file import MappedFile
from latentloop.export.state_dicts.files.tensors import MAX_AXES, StoredTensor, contiguous, element_size
from latentloop.kernels.element_types import ELEMENT_TYPES

_TYPES = {each.short: each.name for each in ELEMENT_TYPES.values() if each.short}
_LONGEST_HEADER = 100_000_000  # bytes, the format's own limit


def header_of(path: Path) -> dict[str, Any] | None:
    """Returns the header of a safetensors file; None for a file that does not begin with one. Raises OSError."""
    with path.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if length > min(_LONGEST_HEADER, path.stat().st_size) or opened.read(1) != b"{":
            return None
        opened.seek(8)
        try:
            header = json.loads(opened.read(length))
        except (ValueError, RecursionError):
            return None
    return header if isinstance(header, dict) else None


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Returns every tensor by its name. Raises CheckpointError for a damaged header or offsets outside the file."""
    header = header_of(path)
    if header is None:
        raise CheckpointError(f"{path}: not a readable safetensors file: its header is damaged")
    file = MappedFile(path)
    content = file.content[8 + int.from_bytes(file.content[:8], "little") :]
    return {name: _tensor(file, name, entry, content) for name, entry in header.items() if name != "__metadata__"}


def _tensor(file: MappedFile, name: str, entry: object, content: memoryview) -> StoredTensor:
    path = file.version.path
    match entry:
        case {"dtype": str() as kind, "shape": [*shape], "data_offsets": [int() as start, int() as stop]}:
            dtype = _TYPES.get(kind, kind)
            if len(shape) > MAX_AXES or not all(isinstance(n, int) and n >= 0 for n in shape):
                raise CheckpointError(f"{path}: {name} has no valid shape; save the file again")
            if not 0 <= start <= stop <= len(content):
                raise CheckpointError(
                    f"{path} is cut short: {name} ends at byte {stop} of the tensors, the file holds {len(content)}; "
                    "copy or download it again"
                )
            if (size := element_size(dtype)) and math.prod(shape) * size != stop - start:
                raise CheckpointError(
                    f"{path}: {name} is {shape} of {dtype}, which needs {math.prod(shape) * size} bytes, but its "
                    f"offsets span {stop - start}; copy or download it again"
                )
            return StoredTensor(dtype, tuple(shape), contiguous(tuple(shape)), 0, file, lambda: content[start:stop])
    raise CheckpointError(f"{path}: the header has no valid entry for {name}; save the file again")
