"""Atomic writes of files and directories: under a temporary name first, then renamed to the final one."""

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
from latentloop.io.temporaries import PAUSE, TRIES, Temporary, remove_leftovers, remove_path, temporary


def write_file(path: Path, write: Callable[[Path], object], *, force: bool = False) -> None:
    """Calls ``write`` with a temporary path in the target's folder, then renames it to ``path``.

    Raises OutputError if ``path`` exists (unless ``force``) or cannot be written; then nothing is left behind.
    """
    with _temporary_for(Path(path), force=force, directory=False) as names:
        names.new.touch(exist_ok=False)
        write(names.new)
        with names.new.open("rb") as written:
            os.fsync(written.fileno())
        _check_target(names.target, force=force, directory=False)  # it may have been created since the first check
        if force or not _link(names.new, names.target):
            names.new.replace(names.target)


@contextmanager
def new_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a temporary directory, which is renamed to ``path`` if the block ends without an error.

    Raises OutputError if ``path`` exists (unless ``force``, which replaces it) or cannot be written.
    """
    with _temporary_for(Path(path), force=force, directory=True) as names:
        names.new.mkdir()
        yield names.new
        for tries_left in reversed(range(TRIES)):
            try:
                _check_target(names.target, force=force, directory=True)  # another process may have created it
                if force and names.target.is_dir():
                    remove_path(names.old)
                    names.target.rename(names.old)
                names.new.rename(names.target)
                break
            except OSError as error:  # another process replaces it too: try again, so that the last result stays
                conflicts = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR)
                if not tries_left or error.errno not in conflicts or not names.new.is_dir():
                    raise
            time.sleep(PAUSE)
        remove_path(names.old)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """Yields a directory in the system's folder for temporary files, and removes it at the end. Raises OSError."""
    import tempfile

    target = Path(tempfile.gettempdir(), "scratch")
    remove_leftovers(target.parent)
    with temporary(target) as names:
        names.new.mkdir(0o700)
        yield names.new


def check_free(path: Path, *, force: bool, directory: bool = False) -> None:
    """Raises OutputError if ``path`` exists and ``force`` is off, or if it cannot be written. Call it before long work.

    ``directory``: whether a directory is to be written there, not a file. The check creates a file in the target's
    folder and removes it. A directory may only be replaced if it holds nothing but an earlier result: neither a home
    directory nor a user's notes in a bundle may get lost.
    """
    with _temporary_for(Path(path), force=force, directory=directory):
        pass


def write_each(writes: Mapping[str, Callable[[], object]]) -> None:
    """Calls all functions, even after one fails. Their keys name the outputs.

    Raises one OutputError that says which outputs were not written, and which were.
    """
    written, failures = [], []
    for name, write in writes.items():
        try:
            write()
            written.append(name)
        except (OutputError, OSError) as error:
            failures.append(str(error))
        except MemoryError:
            failures.append(f"cannot write {name}: out of memory")
    if failures:
        others = f"{' and '.join(written)} {'is' if len(written) == 1 else 'are'} written"
        raise OutputError("; ".join([*failures, *([others] if written else [])]))


@contextmanager
def _temporary_for(path: Path, *, force: bool, directory: bool) -> Iterator[Temporary]:
    """Yields temporary names for a result at ``path``; if that is a link to a directory, for the link's target.

    Raises OutputError if the path is taken or cannot be written, and converts OSErrors of the block to OutputErrors.
    """
    try:
        target = Path(os.path.realpath(path)) if directory else path
        remove_leftovers(target.parent)  # before the check: it may rename an old directory back to ``path``
        _check_target(path, force=force, directory=directory)
        with temporary(target) as names:
            yield names
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _check_target(path: Path, *, force: bool, directory: bool) -> None:
    """Raises OutputError if the path is taken, and OSError if it cannot exist, such as a path below a file."""
    kind = 0
    with suppress(FileNotFoundError):
        kind = stat.S_IFMT(path.lstat().st_mode)  # remains if the path is a broken link
        kind = stat.S_IFMT(path.stat().st_mode)
    if kind not in (0, stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK):
        raise OutputError(f"{path} is a device, a pipe or a socket, expected a {'directory' if directory else 'file'}")
    if not force and kind and not (kind == stat.S_IFLNK and directory):  # a directory is written to a link's target
        raise OutputError(f"{path} exists; pass --force (in Python force=True) to replace it")
    if kind == stat.S_IFDIR:
        from latentloop.io.replaceable import check_directory

        remove_leftovers(path / ENGINES)
        check_directory(path)
        if not directory:
            raise OutputError(f"{path} is a directory, expected a file")
    elif kind == stat.S_IFREG and directory:
        raise OutputError(f"{path} is a file, expected a directory")


def _link(source: Path, target: Path) -> bool:
    """Makes a hard link, which never replaces a file, unlike a rename. Returns False if the file system has no links.

    Raises OutputError if the target exists.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise OutputError(f"{target} exists; pass --force (in Python force=True) to replace it") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        return False
    return True
