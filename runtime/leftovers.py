"""Temporaries of processes that were killed: removed where nobody holds their lock any more."""

from __future__ import annotations

import fcntl
import os
import re
import stat
import time
from contextlib import suppress
from pathlib import Path

from latentloop.files import LOCK, MARK, Temporary, machine

ELSEWHERE = 7 * 24 * 3600.0  # seconds; some shared file systems keep each host's locks to itself, so age has to tell


def sweep(folder: Path, locks: list[str]) -> None:
    """Removes the temporaries that these lock files of a folder stand for, but for those that may still be written."""
    for name in locks:
        with suppress(OSError, ValueError):  # its writer lives, it is another user's, or it is none of ours
            _sweep(folder / name)


def _sweep(lock: Path) -> None:
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
