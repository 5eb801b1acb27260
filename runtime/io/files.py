"""Writing files so that nothing half-written is ever seen: a temporary name beside the target, then a rename.

A temporary has a lock file beside it. What a killed process left is removed by the next one that writes to the same
folder, once nobody holds its lock.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from latentloop.bundles.manifest import ENGINES
from latentloop.errors import OutputError

MARK = ".latentloop-"  # in the names of temporaries, before eight random digits
LOCK = "-lock"  # the end of a lock file's name
ELSEWHERE = 7 * 24 * 3600.0  # seconds; some shared file systems keep each host's locks to itself, so age has to tell
TRIES, PAUSE = 100, 0.002  # how often, seconds apart, where other processes make, remove or replace the same folder
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

    def claim(self, *, last: bool) -> bool:
        """Makes missing parents and the lock file, and locks it; False where that must be tried under another name.

        Raises OSError where the folder cannot be written, or at the ``last`` try where it comes and goes.
        """
        folder = self.target.parent
        self._made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except (FileNotFoundError, FileExistsError):  # another process removed the parents that it had made
            if last:
                raise
            return False
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
    with _claimed(Path(path), force=force, directory=False) as temporary:
        temporary.new.touch(exist_ok=False)
        write(temporary.new)
        with temporary.new.open("rb") as written:
            os.fsync(written.fileno())
        _refuse(temporary.target, force=force, directory=False)  # again: another process may have been faster
        if force or not _linked(temporary.new, temporary.target):
            temporary.new.replace(temporary.target)


@contextmanager
def new_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a temporary directory that takes the name ``path`` when the block ends without an error.

    Raises OutputError when ``path`` exists (unless ``force``, which replaces it) or cannot be written.
    """
    with _claimed(Path(path), force=force, directory=True) as temporary:
        temporary.new.mkdir()
        yield temporary.new
        for left in reversed(range(TRIES)):
            try:
                _refuse(temporary.target, force=force, directory=True)  # again: another process may have been faster
                if force and temporary.target.is_dir():
                    _removed(temporary.old)
                    temporary.target.rename(temporary.old)
                temporary.new.rename(temporary.target)
                break
            except OSError as error:  # several processes replace it: the last one's stays
                taken = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.ENOTDIR)
                if not left or error.errno not in taken or not temporary.new.is_dir():
                    raise
            time.sleep(PAUSE)
        _removed(temporary.old)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for the block alone, among the system's temporary files. Raises OSError."""
    import tempfile

    target = Path(tempfile.gettempdir(), "scratch")
    _sweep(target.parent)
    with _temporary(target) as temporary:
        temporary.new.mkdir(0o700)
        yield temporary.new


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


@contextmanager
def _claimed(path: Path, *, force: bool, directory: bool) -> Iterator[Temporary]:
    """Temporary names for what is to be written to ``path``; of a link to a directory, for what it points to.

    Raises OutputError where the path is taken or cannot be written, and in place of the block's OSErrors.
    """
    try:
        target = Path(os.path.realpath(path)) if directory else path
        _sweep(target.parent)  # first: an old directory may get its name back
        _refuse(path, force=force, directory=directory)
        with _temporary(target) as temporary:
            yield temporary
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

        _sweep(path / ENGINES)
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


@contextmanager
def _temporary(target: Path) -> Iterator[Temporary]:
    """Names for one result, claimed. Raises OSError where the target's folder cannot be written."""
    for left in reversed(range(TRIES)):
        temporary = Temporary(target, secrets.token_hex(4))
        _live.add(temporary)
        try:
            if temporary.claim(last=not left):
                yield temporary
                return
        finally:
            temporary.remove()
            _live.discard(temporary)
        time.sleep(PAUSE)
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
    """Removes what killed processes left in a folder, but for what may still be written."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if MARK in name and name.endswith(LOCK):
                with suppress(OSError, ValueError):  # its writer lives, it is another user's, or it is none of ours
                    _sweep_one(folder / name)


def _sweep_one(lock: Path) -> None:
    """Raises OSError where the lock is held, ValueError where it names no file."""
    descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(descriptor)
        token = lock.name.rpartition(MARK)[2].removesuffix(LOCK)
        if not stat.S_ISREG(found.st_mode) or not re.fullmatch("[0-9a-f]{8}", token):
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not found.st_size:  # killed before it made anything else
            lock.unlink()
            return
        writer, _, target = os.read(descriptor, 4096).partition(b"\n")
        if writer != machine() and time.time() - found.st_mtime < ELSEWHERE:
            return
        temporary = Temporary(lock.with_name(os.fsdecode(target)), token, os.dup(descriptor))
        if temporary.lock == lock:  # else its name is not made of the target's
            temporary.remove()
    finally:
        os.close(descriptor)
