"""The journal of a run: what fixes its files, then a line per finished shard, appended when its files are in place.

It is a file of JSON lines in the run's folder. A process that writes the folder holds a lock on it. A line that a
killed process wrote only in part has no line break, and is dropped.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from latentloop.errors import BundleError, OutputError
from latentloop.io.file_names import JOURNAL
from latentloop.io.files import new_directory
from latentloop.io.json_reading import parse_json, read, read_versioned
from latentloop.io.replaceable import is_journal

SHARD_FILE = re.compile(r"(?:shard-(?=\d+\.(?:npz|tar))|codes-(?=\d+\.npz)|files-(?=\d+\.csv))(\d{5,})\.\w+", re.ASCII)
IMAGE_FILE = re.compile(r"(?:\d{3,}/)?(\d{5,})(?:-[^/\0]*)?\.png", re.ASCII)
FORMAT, VERSION = "latentloop-samples", 1
BLOCK = 2**16  # bytes
ANEW = "start anew with --force"


@dataclass(frozen=True)
class WrittenFile:
    """A file in the run's folder: its relative path, its size in bytes, and the SHA-256 of its content."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ShardRecord:
    """A shard whose files are in place. It is ``partial`` if the run was stopped in it: it has its first images."""

    shard: Annotated[int, range(2**53)]
    images: Annotated[int, range(2**53)]
    partial: bool
    files: tuple[WrittenFile, ...]


class Journal:
    """A journal that this process has locked. ``header`` says what fixes the run's files."""

    def __init__(self, path: Path, descriptor: int, header: dict[str, Any]) -> None:
        self.path, self.header = path, header
        self._descriptors = [descriptor]  # the last is that of the file; earlier ones keep the lock of replaced files

    def records(self, damaged: list[int] | None = None) -> Iterator[ShardRecord]:
        """Yields the shards' records, in the order in which they were written. Appends the numbers of lines that are
        not readable to ``damaged``.
        """
        for number, line in enumerate(_lines(self.path), 1):
            if number > 1:
                try:
                    yield _record(line, f"{self.path}: line {number}")
                except BundleError:
                    if damaged is not None:
                        damaged.append(number)

    def append(self, record: ShardRecord) -> None:
        """Writes a record, and returns when it is on the disk. Raises OutputError."""
        with _output_errors(self.path):
            end = os.fstat(self._descriptors[-1]).st_size
            try:
                _write(self._descriptors[-1], asdict(record))
            except BaseException:
                os.ftruncate(self._descriptors[-1], end)
                raise

    def replace(self, header: Mapping[str, Any], records: Iterator[ShardRecord]) -> None:
        """Replaces the journal's content, at once. Raises OutputError."""
        with _output_errors(self.path):
            temporary = self.path.with_name(f".{self.path.name}")
            temporary.unlink(missing_ok=True)
            self._descriptors.append(_create(temporary, header, records))
            temporary.replace(self.path)
            sync_folder(self.path.parent)
            self.header = dict(header)

    def close(self) -> None:
        """Releases the lock."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def open_journal(folder: Path, *, force: bool = False) -> Journal:
    """Opens, locks and reads the journal of a folder. Raises OutputError if another process has locked it, or if its
    first line is damaged; with ``force``, the ``header`` of a damaged one is empty.
    """
    path = folder / JOURNAL
    with _output_errors(path):
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        try:
            _lock(path, descriptor)
            os.ftruncate(descriptor, _whole_lines(descriptor))
            return Journal(path, descriptor, _header(path, force=force))
        except BaseException:
            os.close(descriptor)
            raise


def read_journal(folder: Path) -> Journal:
    """Returns the journal of a folder, which cannot be changed, without a lock. Raises OutputError."""
    path = folder / JOURNAL
    with _output_errors(path, "read"):
        return Journal(path, os.open(path, os.O_RDONLY), _header(path, force=False))


def create_journal(folder: Path, header: Mapping[str, Any]) -> Journal:
    """Makes the folder, if it is missing, with a journal in it, and locks the journal. Raises OutputError."""
    path = folder / JOURNAL
    if folder.is_dir():
        journal = Journal(path, os.open(folder, os.O_RDONLY), {})
        with _output_errors(path):
            fcntl.flock(journal._descriptors[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
        journal.replace(header, iter(()))
        return journal
    with new_directory(folder) as temporary:
        descriptor = _create(temporary / JOURNAL, header, iter(()))
    sync_folder(folder.absolute().parent)
    return Journal(path, descriptor, dict(header))


def write_journal(folder: Path, header: Mapping[str, Any], records: Iterator[ShardRecord]) -> None:
    """Writes the journal of a folder that has none, and returns when it is on the disk. Raises OSError."""
    os.close(_create(folder / JOURNAL, header, records))
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(path: Path, header: Mapping[str, Any], records: Iterator[ShardRecord]) -> int:
    """Writes a new journal, and returns its descriptor, locked."""
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        _lock(path, descriptor)
        _write(descriptor, {"format": FORMAT, "version": VERSION, **header}, sync=False)
        for record in records:
            _write(descriptor, asdict(record), sync=False)
        os.fsync(descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(path: Path, descriptor: int) -> None:
    """Locks a journal. Raises OutputError if another process holds the lock. Some file systems have no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(
            f"{path.parent} is being written by another process: wait until it ends, or choose another folder"
        ) from None
    except OSError:
        pass


def _header(path: Path, *, force: bool) -> dict[str, Any]:
    try:
        first = next(_lines(path), b"")
        values = read_versioned(parse_json(first, f"{path}: line 1"), f"{path}: line 1", FORMAT, VERSION, VERSION)
    except BundleError as error:
        if force:
            return {}
        remedy = f"{ANEW}, or choose another folder" if is_journal(path) else "choose another folder"
        raise OutputError(f"{error}: without the journal's first line the run cannot go on: {remedy}") from error
    return {name: value for name, value in values.items() if name not in ("format", "version")}


def _record(line: bytes, where: str) -> ShardRecord:
    record = read(ShardRecord, parse_json(line, where), where)
    for file in record.files:
        if not (SHARD_FILE.fullmatch(file.name) or IMAGE_FILE.fullmatch(file.name)):
            raise BundleError(f"{where}: {file.name!r} is not the name of a file of a run")
    if bool(record.files) != bool(record.images):
        raise BundleError(f"{where}: it has {record.images} images in {len(record.files)} files")
    return record


def _lines(path: Path) -> Iterator[bytes]:
    """Yields the lines that end in a line break."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def _whole_lines(descriptor: int) -> int:
    """Returns the size of a file up to its last line break."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - BLOCK)
        last = os.pread(descriptor, end - start, start).rfind(b"\n")
        if last >= 0:
            return start + last + 1
        end = start
    return 0


def _write(descriptor: int, value: Mapping[str, Any], *, sync: bool = True) -> None:
    """Appends a value as one line, and returns when it is on the disk, unless ``sync`` is off."""
    content = memoryview(json.dumps(value).encode() + b"\n")
    while content:
        content = content[os.write(descriptor, content) :]
    if sync:
        os.fsync(descriptor)


@contextmanager
def _output_errors(path: Path, verb: str = "write") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot {verb} {path}: {error.strerror or error}") from error
