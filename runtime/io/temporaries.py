"""Temporary names next to a target, and lock files that let later processes remove what a killed process left behind.

Each temporary has a lock file next to it. The next process that writes to the same directory removes the temporaries
whose lock no process holds.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARKER = ".latentloop-"  # in the names of temporaries, before eight random digits
LOCK = "-lock"  # the end of a lock file's name
# Some shared file systems hide the locks of other machines, so another machine's temporaries are removed by age.
FOREIGN_AGE = 7 * 24 * 3600.0  # seconds
TRIES, PAUSE = 100, 0.002  # attempts, and seconds between them, if other processes make or remove the same folder
_active: set[Temporary] = set()  # of this process


class Temporary:
    """Hidden names next to a target: ``new`` for its future content, ``old`` for the content that is replaced, and
    ``lock`` for a file that the writer keeps locked.
    """

    def __init__(self, target: Path, token: str, descriptor: int = -1) -> None:
        """``descriptor`` is that of the lock file, if it is locked already."""
        short_stem = os.fsencode(target.stem)[:80].decode(errors="ignore")  # file systems limit a name's bytes
        stem = f".{short_stem}{MARKER}{token}"
        self.target = target
        self.new = target.with_name(f"{stem}-new{target.suffix if len(target.suffix) < 12 else ''}")
        self.old = target.with_name(f"{stem}-old")
        self.lock = target.with_name(stem + LOCK)
        self._created_parents: list[Path] = []
        self._descriptor = descriptor

    def acquire(self, *, last_try: bool) -> bool:
        """Creates missing parents and the lock file, and locks it. Returns False if another name must be tried.

        Raises OSError if the folder cannot be written, or, at the last try, if other processes keep removing it.
        """
        folder = self.target.parent
        self._created_parents = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.lock, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        except (FileNotFoundError, FileExistsError):  # another process removed the parents that it had created
            if last_try:
                raise
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # another process is inspecting the lock file
            return False
        except OSError:  # a file system without locks: it keeps leftovers
            pass
        if not os.fstat(self._descriptor).st_nlink:  # another process has just removed the lock file
            return False
        os.write(self._descriptor, boot_id() + b"\n" + os.fsencode(self.target.name))
        return True

    def discard(self) -> bool:
        """Removes ``new`` and ``old``, and returns whether both are gone. If the target is missing, ``old`` is renamed
        back to it instead.

        Does nothing and returns True if the lock is not held. Raises no OSError.
        """
        if self._descriptor < 0:
            return True
        if os.path.lexists(self.old) and not os.path.lexists(self.target):
            with suppress(OSError):
                self.old.rename(self.target)
        return all([remove_path(self.new), remove_path(self.old)])

    def remove(self) -> None:
        """Removes ``new``, ``old``, the lock file, and empty parents that ``acquire`` created. Releases the lock."""
        if self.discard() and self._descriptor >= 0:
            with suppress(OSError):
                self.lock.unlink()
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
        for folder in self._created_parents:
            with suppress(OSError):
                folder.rmdir()


def discard_temporaries() -> None:
    """Removes all temporaries of this process, which is about to end."""
    for active in list(_active):
        for _ in range(20):
            if active.discard():
                break
            time.sleep(0.01)  # a worker process is still writing there
        active.remove()


def boot_id() -> bytes:
    """Returns an identifier of the running kernel. Another machine, or a later boot, may not see its locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
    except OSError:
        return os.uname().nodename.encode()


@contextmanager
def temporary(target: Path) -> Iterator[Temporary]:
    """Yields a locked Temporary for one result. Raises OSError if the target's folder cannot be written."""
    for tries_left in reversed(range(TRIES)):
        names = Temporary(target, secrets.token_hex(4))
        _active.add(names)
        try:
            if names.acquire(last_try=not tries_left):
                yield names
                return
        finally:
            names.remove()
            _active.discard(names)
        time.sleep(PAUSE)
    raise OSError(f"other processes keep removing what is written to {target.parent}")


def remove_path(path: Path) -> bool:
    """Removes a file or a directory if it exists, and returns whether the path is free now. Raises no OSError."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            path.unlink()
    return not os.path.lexists(path)


def remove_leftovers(folder: Path) -> None:
    """Removes the temporaries of killed processes from a folder, except those that may still be in use."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if MARKER in name and name.endswith(LOCK):
                with suppress(OSError, ValueError):  # in use, of another user, or not a lock file of this program
                    _remove_leftover(folder / name)


def _remove_leftover(lock: Path) -> None:
    """Removes one temporary and its lock file.

    Raises OSError if the lock is held, ValueError if it does not contain a file name.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        token = lock.name.rpartition(MARKER)[2].removesuffix(LOCK)
        if not stat.S_ISREG(status.st_mode) or not re.fullmatch("[0-9a-f]{8}", token):
            return
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not status.st_size:  # the writer was killed before it created anything else
            lock.unlink()
            return
        writer, _, target = os.read(descriptor, 4096).partition(b"\n")
        if writer != boot_id() and time.time() - status.st_mtime < FOREIGN_AGE:
            return
        leftover = Temporary(lock.with_name(os.fsdecode(target)), token, os.dup(descriptor))
        if leftover.lock == lock:  # otherwise the lock file does not belong to this target
            leftover.remove()
    finally:
        os.close(descriptor)
