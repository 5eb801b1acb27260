"""Temporary names beside a target, and lock files, so that what a killed process left behind is found and removed.

A temporary has a lock file beside it. The next process that writes to the same directory removes what a killed process
left there, once nobody holds the lock.
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
        return all([removed(self.new), removed(self.old)])

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
def temporary(target: Path) -> Iterator[Temporary]:
    """Names for one result, claimed. Raises OSError where the target's folder cannot be written."""
    for left in reversed(range(TRIES)):
        claimed = Temporary(target, secrets.token_hex(4))
        _live.add(claimed)
        try:
            if claimed.claim(last=not left):
                yield claimed
                return
        finally:
            claimed.remove()
            _live.discard(claimed)
        time.sleep(PAUSE)
    raise OSError(f"other processes remove what is written to {target.parent}")


def removed(path: Path) -> bool:
    """Removes a file or a directory; returns whether nothing is there any more."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.lexists(path):
            path.unlink()
    return not os.path.lexists(path)


def sweep(folder: Path) -> None:
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
