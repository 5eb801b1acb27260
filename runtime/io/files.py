"""Writing files and directories so that nothing half-written is ever seen: under a temporary name, then a rename."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from latentloop.errors import OutputError
from latentloop.io.file_names import ENGINES
from latentloop.io.temporaries import PAUSE, TRIES, Temporary, removed, sweep, temporary


def write_file(path: Path, write: Callable[[Path], object], *, force: bool = False) -> None:
    """Calls ``write`` with a temporary path in the target's folder, then renames it to ``path``.

    Raises OutputError when ``path`` exists (unless ``force``) or cannot be written; nothing is left behind then.
    """
    with _claimed(Path(path), force=force, directory=False) as claimed:
        claimed.new.touch(exist_ok=False)
        write(claimed.new)
        with claimed.new.open("rb") as written:
            os.fsync(written.fileno())
        _refuse(claimed.target, force=force, directory=False)  # again: another process may have been faster
        if force or not _linked(claimed.new, claimed.target):
            claimed.new.replace(claimed.target)


@contextmanager
def new_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a temporary directory that takes the name ``path`` when the block ends without an error.

    Raises OutputError when ``path`` exists (unless ``force``, which replaces it) or cannot be written.
    """
    with _claimed(Path(path), force=force, directory=True) as claimed:
        claimed.new.mkdir()
        yield claimed.new
        for left in reversed(range(TRIES)):
            try:
                _refuse(claimed.target, force=force, directory=True)  # again: another process may have been faster
                if force and claimed.target.is_dir():
                    removed(claimed.old)
                    claimed.target.rename(claimed.old)
                claimed.new.rename(claimed.target)
                break
            except OSError as error:  # several processes replace it: the last one's stays
                taken = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR)
                if not left or error.errno not in taken or not claimed.new.is_dir():
                    raise
            time.sleep(PAUSE)
        removed(claimed.old)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for the block alone, among the system's temporary files. Raises OSError."""
    import tempfile

    target = Path(tempfile.gettempdir(), "scratch")
    sweep(target.parent)
    with temporary(target) as claimed:
        claimed.new.mkdir(0o700)
        yield claimed.new


def check_free(path: Path, *, force: bool, directory: bool = False) -> None:
    """Raises OutputError when ``path`` exists and ``force`` is off, or cannot be written: ask before the work, not
    after it. ``directory``: what is to be written there.

    Whether it can be written is tried; nothing is left of it. A directory is replaced only where it holds nothing but
    what an earlier result would: a home directory, or a note among a bundle's files, would be lost.
    """
    with _claimed(Path(path), force=force, directory=directory):
        pass


def write_each(writes: Mapping[str, Callable[[], object]]) -> None:
    """Runs every one of the writes, by the name of what it writes, also after one that fails.

    Raises OutputError that says what was not written, and what was.
    """
    written, failed = [], []
    for name, write in writes.items():
        try:
            write()
            written.append(name)
        except (OutputError, OSError) as error:
            failed.append(str(error))
        except MemoryError:
            failed.append(f"cannot write {name}: out of memory")
    if failed:
        kept = f"{' and '.join(written)} {'is' if len(written) == 1 else 'are'} written"
        raise OutputError("; ".join([*failed, *([kept] if written else [])]))


@contextmanager
def _claimed(path: Path, *, force: bool, directory: bool) -> Iterator[Temporary]:
    """Temporary names for what is to be written to ``path``; of a link to a directory, for what it points to.

    Raises OutputError where the path is taken or cannot be written, and in place of the block's OSErrors.
    """
    try:
        target = Path(os.path.realpath(path)) if directory else path
        sweep(target.parent)  # first: an old directory may get its name back
        _refuse(path, force=force, directory=directory)
        with temporary(target) as claimed:
            yield claimed
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _refuse(path: Path, *, force: bool, directory: bool) -> None:
    """Raises OutputError for a path that is taken, OSError for one that cannot be: its parent is a file, or so."""
    kind = 0
    with suppress(FileNotFoundError):
        kind = stat.S_IFMT(path.lstat().st_mode)  # of a link to nothing
        kind = stat.S_IFMT(path.stat().st_mode)
    if kind not in (0, stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
        raise OutputError(f"{path} is a device, a pipe or a socket, expected a {'directory' if directory else 'file'}")
    if not force and kind and not (kind == stat.S_IFLNK and directory):  # a directory goes where a link points
        raise OutputError(f"{path} exists; pass --force to replace it")
    if kind == stat.S_IFDIR:
        from latentloop.io.replaceable import check_directory

        sweep(path / ENGINES)
        check_directory(path)
        if not directory:
            raise OutputError(f"{path} is a directory, expected a file")
    elif kind == stat.S_IFREG and directory:
        raise OutputError(f"{path} is a file, expected a directory")


def _linked(source: Path, target: Path) -> bool:
    """Gives a file a second name; False where the file system cannot. Raises OutputError where the name is taken."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise OutputError(f"{target} exists; pass --force to replace it") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        return False
    return True
