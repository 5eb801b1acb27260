"""Writing files so that nothing half-written is ever seen: a temporary name beside the target, then a rename.

A temporary has a lock file beside it. What a killed process left is removed by the next one that writes to the same
folder, once nobody holds its lock (``leftovers``).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from latentloop.errors import OutputError
from latentloop.manifest import ENGINES
from latentloop.manifest import FILE_NAME as MANIFEST

MARK = ".latentloop-"  # in the names of temporaries, before eight random digits
LOCK = "-lock"  # the end of a lock file's name
_live: set[Temporary] = set()  # this process's


class Temporary:
    """Hidden names beside a target: ``new`` for what is to take its name, ``old`` for what that replaces, and ``lock``
    for a file that its writer keeps locked.
    """

    def __init__(self, target: Path, token: str, descriptor: int = -1) -> None:
        """``descriptor``: the lock file's, where it is locked already."""
        short = os.fsencode(target.stem)[:80].decode(errors="ignore")  # file systems limit a name's bytes
        stem = f".{short}{MARK}{token}"
        self.target = target
        self.new = target.with_name(f"{stem}-new{target.suffix if len(target.suffix) < 12 else ''}")
        self.old = target.with_name(f"{stem}-old")
        self.lock = target.with_name(stem + LOCK)
        self._made: list[Path] = []
        self._descriptor = descriptor

    def claim(self) -> bool:
        """Makes missing parents and the lock file, and locks it; False where that must be tried under another name.

        Raises OSError where the folder cannot be written.
        """
        folder = self.target.parent
        self._made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._descriptor = os.open(self.lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except FileNotFoundError:
            if folder.is_dir():
                raise
            return False  # another process removed the parents that it had made
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # looked at by another process, just now
            return False
        except OSError:  # a file system without locks: nobody ever removes what is left there
            pass
        if not os.fstat(self._descriptor).st_nlink:  # removed by another process, just now
            return False
        os.write(self._descriptor, machine() + b"\n" + os.fsencode(self.target.name))
        return True

    def discard(self) -> bool:
        """Removes what is under the temporary names; an old target without a new one gets its name back. Does what it
        can, and nothing without the lock; returns whether nothing is left.
        """
        if self._descriptor < 0:
            return True
        if os.path.lexists(self.old) and not os.path.lexists(self.target):
            with suppress(OSError):
                self.old.rename(self.target)
        return all([_removed(self.new), _removed(self.old)])

    def remove(self) -> None:
        """Removes all of it, also parents that it made and that are empty."""
        if self.discard() and self._descriptor >= 0:
            with suppress(OSError):
                self.lock.unlink()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()


def write_file(path: Path, write: Callable[[Path], object], *, force: bool = False) -> None:
    """Calls ``write`` with a temporary path in the target's folder, then renames it to ``path``.

    Raises OutputError when ``path`` exists (unless ``force``) or cannot be written; nothing is left behind then.
    """
    path = Path(path)
    _refuse(path, force=force, directory=False)
    with _writing(path), _temporary(path) as temporary:
        temporary.new.touch(exist_ok=False)
        write(temporary.new)
        with temporary.new.open("rb") as written:
            os.fsync(written.fileno())
        if not force:
            _refuse(path, force=False, directory=False)  # again: another process may have been faster
        temporary.new.replace(path)


@contextmanager
def new_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a temporary directory that takes the name ``path`` when the block ends without an error.

    Raises OutputError when ``path`` exists (unless ``force``, which replaces it) or cannot be written.
    """
    path = _refuse(path, force=force, directory=True)
    with _writing(path), _temporary(path) as temporary:
        temporary.new.mkdir()
        yield temporary.new
        _refuse(path, force=force, directory=True)  # again: another process may have been faster
        if path.is_dir():
            path.rename(temporary.old)
        temporary.new.rename(path)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for the block alone, among the system's temporary files. Raises OSError."""
    import tempfile

    with _temporary(Path(tempfile.gettempdir(), "scratch")) as temporary:
        temporary.new.mkdir(0o700)
        yield temporary.new


def check_free(path: Path, *, force: bool, directory: bool = False) -> None:
    """Raises OutputError when ``path`` exists and ``force`` is off, or cannot be written: ask before the work, not
    after it. ``directory``: what is to be written there.

    Whether it can be written is tried; nothing is left of it. A directory that holds directories is never replaced: no
    result does but a bundle with its engines, and a home directory would be lost.
    """
    path = _refuse(path, force=force, directory=directory)
    with _writing(path), _temporary(path):
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


def discard_temporaries() -> None:
    """Removes what this process has under temporary names: for a process that is about to end."""
    for temporary in list(_live):
        for _ in range(20):
            if temporary.discard():
                break
            time.sleep(0.01)  # another process of this program is still writing there
        temporary.remove()


def machine() -> bytes:
    """What tells this running kernel from others: another one may not see this one's locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return os.uname().nodename.encode()


def _refuse(path: Path, *, force: bool, directory: bool) -> Path:
    """The path that is to be written: a link to a directory stays, and what it points to is replaced.

    Raises OutputError for a path that is taken.
    """
    path = Path(path)
    with _writing(path):
        with suppress(FileNotFoundError):
            path.lstat()  # a name too long, a parent that is a file
        if path.exists() and not force:
            raise OutputError(f"{path} exists; pass --force to replace it")
        if path.is_dir() and Path.cwd().resolve().is_relative_to(path.resolve()):
            raise OutputError(f"{path} is the working directory or holds it: it is never replaced, give another name")
        entries = list(path.iterdir()) if path.is_dir() else []
        allowed = ENGINES if any(entry.name == MANIFEST for entry in entries) else None
        inner = next((entry.name for entry in entries if entry.is_dir() and entry.name != allowed), None)
        if inner is not None:
            raise OutputError(f"{path} holds the directory {inner}, which no result does: remove it yourself")
        if path.is_dir() and not directory:
            raise OutputError(f"{path} is a directory, expected a file")
        if path.exists() and not path.is_dir() and (directory or not path.is_file()):
            what = "a file" if path.is_file() else "a device, a pipe or a socket"
            raise OutputError(f"{path} is {what}, expected a {'directory' if directory else 'file'}")
        return Path(os.path.realpath(path)) if directory else path


@contextmanager
def _temporary(target: Path) -> Iterator[Temporary]:
    """Names for one result, claimed. Raises OSError where the target's folder cannot be written."""
    _sweep(target.parent)
    for _ in range(10):
        temporary = Temporary(target, secrets.token_hex(4))
        _live.add(temporary)
        try:
            if temporary.claim():
                yield temporary
                return
        finally:
            temporary.remove()
            _live.discard(temporary)
    raise OSError(f"other processes remove what is written to {target.parent}")


def _removed(path: Path) -> bool:
    """Removes a file or a directory; returns whether nothing is there any more."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            path.unlink()
    return not os.path.lexists(path)


def _sweep(folder: Path) -> None:
    """Removes what killed processes left in a folder."""
    with suppress(OSError):
        locks = [name for name in os.listdir(folder) if MARK in name and name.endswith(LOCK)]
        if locks:
            from latentloop.leftovers import sweep

            sweep(folder, locks)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
