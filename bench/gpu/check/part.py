"""One part of the check on a GPU, in a process of its own: it may hang, or leave the GPU's context broken.

``python3 -m latentloop.bench.gpu.check.part MODULE FILE ARGUMENTS`` runs ``run(findings, **arguments)`` of that module
of the bench, which writes a line of FILE for everything it finds: what it had found by then survives its end.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

Finding = dict[str, Any]  # ``kind``: check, timing, fact, missing or error
TAIL = 600  # characters of an error that are kept


class Findings:
    """What a part has found, a line of JSON each."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self, name: str, passed: bool, **values: Any) -> None:
        """A comparison that was made. ``backend`` in ``values``: whose."""
        self._add("check", name, passed=bool(passed), **values)

    def timing(self, name: str, **values: Any) -> None:
        """Seconds of something."""
        self._add("timing", name, **values)

    def fact(self, name: str, **values: Any) -> None:
        """What else there is to say."""
        self._add("fact", name, **values)

    def missing(self, name: str, why: str) -> None:
        """Something that cannot run here."""
        self._add("missing", name, why=why)

    @contextmanager
    def trying(self, name: str) -> Iterator[None]:
        """An error within is noted, and what follows goes on."""
        try:
            yield
        except Exception as error:  # whatever it is, it is what was found
            self._add("error", name, error=f"{type(error).__name__}: {error}"[:TAIL])

    def _add(self, kind: str, name: str, **values: Any) -> None:
        line = json.dumps({"kind": kind, "name": name, **values})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(line, flush=True)


def run_part(module: str, limit: float, arguments: dict[str, Any]) -> dict[str, Any]:
    """The part's ``findings``, its ``seconds``, and its ``error`` where it did not come to its end.

    After ``limit`` seconds it is ended, and with it every process that it started.
    """
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file, said = Path(folder) / "findings", Path(folder) / "stderr"
        command = [sys.executable, "-m", "latentloop.bench.gpu.check.part", module, str(file), json.dumps(arguments)]
        error = None
        with said.open("wb") as stderr:
            process = subprocess.Popen(command, stderr=stderr, start_new_session=True)
            try:
                status = process.wait(max(1.0, limit))
            except subprocess.TimeoutExpired:
                error = f"took more than {limit:.0f} s"
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)  # it is in a session of its own, which Ctrl-C does not reach
                raise
            else:
                last = " / ".join(said.read_text(errors="replace").strip().splitlines()[-3:])
                error = f"exit status {status}: {last[-TAIL:]}" if status else None
        findings = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return {"name": module, "seconds": time.monotonic() - begin, "error": error, "findings": findings}


def main(arguments: list[str]) -> int:
    """The child's side; returns the exit status."""
    module, file, values = arguments
    import_module(f"latentloop.bench.{module}").run(Findings(Path(file)), **json.loads(values))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
