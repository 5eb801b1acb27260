"""A program that runs a command in forked processes and kills them at random points.

Arguments: the number of points, a seed, a folder, and the command's. It runs the command once to its end, and prints a
line of JSON: the exit status, the number of changes that it made to files, and the digests of the files. Then for each
point it starts anew in an empty folder, kills the process (SIGKILL) before that change, runs the command again to its
end, and prints the same of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import os
import random
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "os.fsync")


def digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in a folder, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_child(work: Callable[[], int]) -> int:
    """Runs work in a forked process; returns its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        status = 99
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                status = work()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Changes:
    """Counts changes of files in and beside a folder in this process, which kills itself before number ``last``."""

    def __init__(self, folder: Path, last: float) -> None:
        self._place, self._last, self.count = str(folder.parent), last, 0
        self._lock = threading.Lock()
        sys.addaudithook(self._hook)
        self._fsync = os.fsync
        setattr(os, "fsync", self._counted_fsync)  # noqa: B010  it has no audit event

    def _hook(self, event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and arguments and str(arguments[0]).startswith(self._place):
            self._add()

    def _counted_fsync(self, descriptor: int) -> None:
        self._add()
        self._fsync(descriptor)

    def _add(self) -> None:
        with self._lock:
            if self.count >= self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1


def main() -> None:
    """Runs the program."""
    from latentloop.bulk.formats import npz_shards, png_files, tar_shards  # noqa: F401  imported once for all
    from latentloop.cli import program
    from latentloop.cli.folders import decoding, encoding, reconstructing, sampling  # noqa: F401
    from latentloop.sampling import sampler  # noqa: F401

    count, seed, folder, command = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]
    reading, writing = os.pipe()

    def run(last: float) -> int:
        changes = Changes(folder, last)
        status = program.main(command)
        os.write(writing, changes.count.to_bytes(4, "little"))
        return status

    status = in_child(lambda: run(math.inf))
    total = int.from_bytes(os.read(reading, 4), "little")
    print(json.dumps({"status": status, "changes": total, "files": digests(folder)}), flush=True)
    for point in sorted(random.Random(seed).sample(range(total), min(count, total))):
        shutil.rmtree(folder.parent, ignore_errors=True)
        status = in_child(lambda point=point: run(point))  # type: ignore[misc]
        again = in_child(lambda: program.main(command))
        line = {"point": point, "status": status, "again": again, "files": digests(folder)}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
