"""The folder of a run: the names of its files, files in the making, and what ``--force`` may remove."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from latentloop.bulk.journal import SHARD_FILE, ShardRecord, WrittenFile, sync_folder
from latentloop.errors import OutputError
from latentloop.io.file_names import JOURNAL
from latentloop.io.replaceable import check_not_working_directory, is_earlier_image, is_journal

UNFINISHED = ".unfinished"  # the sub-folder with the files of the shards that are being written
PER_FOLDER = 10_000  # images; a run with more has sub-folders
_SUBFOLDER = re.compile(r"\d{3,}")


def subfolder(index: int, n: int) -> str:
    """Returns the sub-folder of image ``index`` of n, with a / at its end; "" if there are no sub-folders."""
    if n <= PER_FOLDER:
        return ""
    return f"{index // PER_FOLDER:0{max(3, len(str((n - 1) // PER_FOLDER)))}}/"


def write_unfinished(folder: Path, name: str, content: bytes | memoryview) -> WrittenFile:
    """Writes a file of a shard that is not finished, and returns when it is on the disk. Raises OSError."""
    path = folder / UNFINISHED / name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return WrittenFile(name, len(content), hashlib.sha256(content).hexdigest())


def synced(folder: Path, name: str) -> WrittenFile:
    """Like ``write_unfinished``, for a file that is written already."""
    with (folder / UNFINISHED / name).open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return WrittenFile(name, file.tell(), digest)


def move_into_place(folder: Path, files: tuple[WrittenFile, ...]) -> None:
    """Moves the files of a finished shard to their final names, and returns when this is on the disk.

    Raises OSError.
    """
    parents = set()
    for file in files:
        target = folder / file.name
        if target.parent not in parents:
            target.parent.mkdir(exist_ok=True)
            parents.add(target.parent)
        (folder / UNFINISHED / file.name).replace(target)
    for parent in {folder, *parents}:
        sync_folder(parent)


def clear_unfinished(folder: Path, *, again: bool = False) -> None:
    """Removes files that are not finished; ``again``: makes a new sub-folder for them. Raises OSError."""
    with suppress(FileNotFoundError):
        if (folder / UNFINISHED).is_symlink() or (folder / UNFINISHED).is_file():
            (folder / UNFINISHED).unlink()
        else:
            shutil.rmtree(folder / UNFINISHED)
    if again:
        (folder / UNFINISHED).mkdir()


def first_missing(folder: Path, record: ShardRecord) -> str:
    """Returns a sentence on the first of a shard's files that is not as it was written, or ""."""
    links = _linked_subfolders(folder, (file.name for file in record.files))
    for file in record.files:
        try:
            state = os.lstat(folder / file.name)
        except OSError:
            return f"{file.name} is missing"
        if not stat.S_ISREG(state.st_mode) or _subfolder_of(file.name) in links:
            return f"{file.name} is no file in the folder"
        if state.st_size != file.size:
            return f"{file.name} has {state.st_size} bytes instead of {file.size}"
    return ""


def remove_files(folder: Path, names: Iterable[str]) -> None:
    """Removes files of shards; not through links. Raises OSError."""
    names = list(names)
    links = _linked_subfolders(folder, names)
    for name in names:
        if _subfolder_of(name) not in links:
            (folder / name).unlink(missing_ok=True)


def _linked_subfolders(folder: Path, names: Iterable[str]) -> set[str]:
    """Returns the sub-folders of files that are links. The folder itself may be one."""
    subfolders = {_subfolder_of(name) for name in names} - {""}
    return {name for name in subfolders if (folder / name).is_symlink()}


def _subfolder_of(name: str) -> str:
    return name.rpartition("/")[0]


def check_replaceable(folder: Path) -> None:
    """Raises OutputError unless ``--force`` may replace what is in the folder: what runs have written, and no more."""
    if folder.is_symlink():
        raise OutputError(f"{folder} is not a folder, choose another name for the folder of images")
    check_not_working_directory(folder)
    for _ in _own_files(folder):
        pass


def remove_own_files(folder: Path) -> None:
    """Removes all that runs have written to a folder, except the journal. Raises OutputError, OSError."""
    clear_unfinished(folder)
    for path in list(_own_files(folder)):
        if path.is_dir():
            path.rmdir()
        elif path.name != JOURNAL:
            path.unlink()


def _own_files(folder: Path) -> Iterator[Path]:
    """Yields the files of runs in a folder, and the sub-folders after their files. Raises OutputError for others."""
    has_journal = is_journal(folder / JOURNAL)
    for path in sorted(folder.iterdir()):
        if has_journal and _SUBFOLDER.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            for inner in sorted(path.iterdir()):
                if not is_earlier_image(inner):
                    raise _foreign(folder, inner)
                yield inner
            yield path
        elif has_journal and path.name == UNFINISHED and path.is_dir() and not path.is_symlink():
            continue
        elif (has_journal and _is_own_name(path)) or is_earlier_image(path):
            yield path
        else:
            raise _foreign(folder, path)


def _is_own_name(path: Path) -> bool:
    is_named = path.name in (JOURNAL, f".{JOURNAL}") or SHARD_FILE.fullmatch(path.name) is not None
    return is_named and path.is_file() and not path.is_symlink()


def _foreign(folder: Path, path: Path) -> OutputError:
    return OutputError(
        f"{folder} also holds {path.relative_to(folder)}, which --force would remove with it: choose another name"
    )


@contextmanager
def output_errors(folder: Path) -> Iterator[None]:
    """Converts OSError in the block to OutputError."""
    try:
        yield
    except OSError as error:
        path = error.filename2 or error.filename or folder
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; the shards that are finished stay, and the same "
            "command goes on"
        ) from error
