"""Files of torch.save, of any release since 0.1.10, as plain data; tensors are read from the file on demand.

Nothing in a file is executed, and no memory is allocated for sizes that a file only claims.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentloop.errors import CheckpointError
from latentloop.export.state_dicts.files.mapped_file import MappedFile
from latentloop.export.state_dicts.files.pickled import GlobalName, PickleError, read_pickle
from latentloop.export.state_dicts.files.tensors import StoredTensor, element_size, most_bytes, out_of_bounds
from latentloop.kernels.element_types import ELEMENT_TYPES

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file before torch 1.6
_LEGACY_PROTOCOL = 1001
PICKLE = re.compile(r"^(.*/)?data\.pkl$")

# Element types by the last part of a storage's class name.
STORAGES = {f"{each.storage}Storage": each.name for each in ELEMENT_TYPES.values() if each.storage}
STORAGES["UntypedStorage"] = "uint8"
_WRAPPERS = (  # functions whose first argument is the tensor itself
    "_rebuild_parameter", "_rebuild_parameter_with_state", "_rebuild_device_tensor_from_cpu_tensor", "Parameter",
    "Buffer",
)  # fmt: skip


@dataclass(frozen=True)
class Storage:
    """The memory that tensors are views of: ``nbytes`` bytes of ``file`` from ``read``, elements of ``dtype``."""

    dtype: str
    nbytes: int
    file: MappedFile
    read: Callable[[], memoryview]
    byte_order: str = "<"


def build_tensor(name: str, arguments: tuple[Any, ...]) -> object:
    """Returns the tensor that torch would rebuild by calling ``name``; None if the call does not build a tensor."""
    module, _, function = name.rpartition(".")
    if module.partition(".")[0] != "torch" or not arguments:
        return None
    if function in _WRAPPERS and isinstance(arguments[0], StoredTensor):
        return arguments[0]
    if function in ("_rebuild_from_type", "_rebuild_from_type_v2") and len(arguments) == 4:
        inner, _type, values, _state = arguments
        known = isinstance(inner, GlobalName) and isinstance(values, tuple)
        return build_tensor(inner.name, values) if known else None
    if function not in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3") or len(arguments) < 4:
        return None
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, Storage):
        return None
    dtype = storage.dtype
    if function == "_rebuild_tensor_v3":
        if len(arguments) < 7 or not isinstance(arguments[6], GlobalName):
            return None
        dtype = arguments[6].last
    size = element_size(dtype)
    problem = out_of_bounds(shape, strides, offset, storage.nbytes // size) if size else ""
    views = arguments[-1] if isinstance(arguments[-1], dict) else {}  # the flags of the view, or empty backward hooks
    if views.get("neg") or views.get("conj"):
        problem = problem or "is a negated or conjugated view, save it with .resolve_neg() and .resolve_conj()"
    shape, strides = (value if isinstance(value, tuple) else () for value in (shape, strides))
    return StoredTensor(dtype, shape, strides, offset, storage.file, storage.read, storage.byte_order, problem)


def read_zip(path: Path) -> object:
    """Returns the object in a file of torch 1.6 or newer. Raises CheckpointError if the archive is damaged."""
    archive = _Archive(path)
    pickle = archive.read(archive.entries[f"{archive.folder}data.pkl"])
    return read_pickle(io.BytesIO(pickle), build_tensor, archive.storage)


def read_legacy(path: Path) -> object:
    """Returns the object in a file of torch before 1.6.

    Raises PickleError for a damaged file, CheckpointError for a pickle that torch did not write.
    """
    file = MappedFile(path)
    content = file.mapping
    if read_pickle(content) != LEGACY_MAGIC or read_pickle(content) != _LEGACY_PROTOCOL:
        raise CheckpointError(
            f"{path} is a pickle that torch.save did not write; if you trust it, save its tensors again with "
            f'torch.save(pickle.load(open("{path.name}", "rb")), "{path.stem}-weights.pt")'
        )
    read_pickle(content)  # properties of the machine that saved it; the data are always little-endian
    claimed: dict[object, tuple[int, int]] = {}  # bytes of an element and of the whole storage, by its key
    stored: dict[object, memoryview] = {}

    def persistent(identity: object) -> object:
        if isinstance(identity, tuple) and len(identity) > 1 and identity[0] == "module":
            return identity[1]
        dtype, key, count, rest = _storage_of(identity)
        size = element_size(dtype)
        claimed[key] = (size, count * size)
        first = 0
        if rest and isinstance(rest[0], tuple) and len(rest[0]) == 3:
            _, first, count = rest[0]
        return Storage(dtype, count * size, file, lambda: stored[key][first * size : (first + count) * size])

    loaded = read_pickle(content, build_tensor, persistent)
    for key in read_pickle(content):
        size, total = claimed.pop(key)
        start = content.tell() + 8
        stop = start + int.from_bytes(content.read(8), "little") * size
        if stop > len(content) or stop - start < total:
            raise PickleError(f"it ends within its tensors, at {len(content)} bytes of {start + total} or more")
        stored[key] = file.content[start:stop]
        content.seek(stop)
    if claimed:
        raise PickleError(f"it has no values for {len(claimed)} of its tensors")
    return loaded


class _Archive:
    """A ZIP archive with ``data.pkl`` and one entry per storage."""

    def __init__(self, path: Path) -> None:
        self.path, self.file = path, MappedFile(path)
        self.content = self.file.content
        self.checked: set[str] = set()
        with zipfile.ZipFile(path) as archive:
            self.entries = {entry.filename: entry for entry in archive.infolist()}
        self.folder = min(filter(PICKLE.search, self.entries), key=len).removesuffix("data.pkl")
        order = self.entries.get(f"{self.folder}byteorder")
        self.byte_order = ">" if order is not None and bytes(self.read(order)) == b"big" else "<"

    def storage(self, identity: object) -> object:
        dtype, key, count, _ = _storage_of(identity)
        entry = self.entries.get(f"{self.folder}data/{key}")
        if entry is None:
            raise PickleError(f"its entry data/{key}, the values of a tensor, is missing")
        size = min(count * element_size(dtype), entry.file_size)
        return Storage(dtype, size, self.file, lambda: self.read(entry), self.byte_order)

    def read(self, entry: zipfile.ZipInfo) -> memoryview:
        """Returns the bytes of an entry. Raises CheckpointError if they are damaged."""
        start = entry.header_offset
        header = self.content[start : start + 30]
        if bytes(header[:4]) != b"PK\3\4" or entry.flag_bits & 1:
            raise self.damaged(entry, "its header is not that of a readable entry")
        start += 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        content = self.content[start : start + entry.compress_size]
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            if entry.file_size > most_bytes(len(self.content)):
                raise self.damaged(entry, f"it would unpack to {entry.file_size} bytes")
            try:
                content = memoryview(zlib.decompressobj(-15).decompress(content, entry.file_size))
            except zlib.error as error:
                raise self.damaged(entry, str(error)) from error
        if len(content) != entry.file_size:
            raise self.damaged(entry, f"{len(content)} bytes of {entry.file_size}")
        # Without checksums torch writes 0.
        if entry.CRC and entry.filename not in self.checked and zlib.crc32(content) != entry.CRC:
            raise self.damaged(entry, "its CRC-32 does not match")
        self.checked.add(entry.filename)
        return content

    def damaged(self, entry: zipfile.ZipInfo, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.path} is damaged in its entry {entry.filename}: {reason}; copy or download it again"
        )


def _storage_of(identity: object) -> tuple[str, str, int, tuple[Any, ...]]:
    """Splits the persistent id ('storage', class, key, device, count, ...) into type, key, count and the rest."""
    match identity:
        case ("storage", GlobalName() as kind, str() as key, _, int() as count, *rest) if count >= 0:
            return STORAGES.get(kind.last, kind.last), key, count, tuple(rest)
    raise PickleError("it has a persistent id that is not a tensor's storage")
