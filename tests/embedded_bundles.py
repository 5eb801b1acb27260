"""The C++ reader of bundles and sets of engines: its build, a process that opens bundles with it, and a comparison with
Python's reader.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from corrupted_bundles import error_of
from nearest_grid import NATIVE, ROOT, SANITIZERS, compiler

from latentloop.bundles.bundle import Bundle
from latentloop.errors import BundleError

CPP = ROOT / "runtime" / "cpp"
Refused = Callable[[Path], str]  # the fixture ``refused``
INVALID_ARGUMENT, BAD_BUNDLE, MISSING = 1, 2, 3  # statuses: LL_INVALID_ARGUMENT and so on
ESCAPES = {"\\\\": "\\", "\\n": "\n", "\\r": "\r", "\\t": "\t"}

# Where texts differ on purpose, and what both are changed to before they are compared.
DIFFERENCES = (
    (r"(: not readable as JSON: ).*", r"\1"),  # the parsers describe errors of syntax in their own words
    (r"(\[(?:[^\[\],]+, ){10})[^\[\]]+\]", r"\1...]"),  # C++ shortens lists and names that Python writes out
    (r"('[^']{27})[^']{4,}([^']{28}')", r"\1...\2"),
    (r" hold (\d{37,}|more than 10\^36) values", " hold too many values"),  # beyond 128 bits
    # Python reads integers of any length, and 64 bits are enough for C++; both refuse them as values of fields.
    (r" is (1000\d*\.\.\.\d+0|an integer of \d+ bits), expected .*", r" is \1"),
)


def build_reader(out: Path) -> Path:
    """Builds the program of ``Reader``, with sanitizers."""
    rooms = ("io", "bundles", "engines")
    sources = [NATIVE / "bundle_check.cpp", *(source for room in rooms for source in (CPP / room).glob("*.cpp"))]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", *SANITIZERS, f"-I{CPP}", f"-I{CPP / 'include'}"]
    objects = out.with_suffix(".objects")
    objects.mkdir(exist_ok=True)

    def run(*arguments: object) -> None:
        command = [str(compiler()), *flags, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda source: run("-c", source, "-o", objects / f"{source.stem}.o"), sources))
    run(*(objects / f"{source.stem}.o" for source in sources), "-lcrypto", "-o", out)
    return out


class Reader:
    """A process of tests/native/bundle_check.cpp."""

    def __init__(self, program: Path) -> None:
        self.report = TemporaryFile()  # noqa: SIM115, closed by __exit__
        self.process = subprocess.Popen(
            [program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.report, env={"LC_ALL": "C"}
        )

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.communicate()  # the leak checker runs when the program ends
        self.report.seek(0)
        report = self.report.read().decode(errors="replace")
        self.report.close()
        assert self.process.returncode == 0, report

    def ask(self, *words: object, refusal: int = BAD_BUNDLE) -> tuple[str | None, str]:
        """Returns the error's text, or None, and the answer to a command. ``refusal`` is the status of an error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = "\t".join(map(str, words))
        assert "\n" not in line
        self.process.stdin.write(os.fsencode(f"{line}\n"))
        self.process.stdin.flush()
        status, _, text = os.fsdecode(self.process.stdout.readline()).rstrip("\n").partition("\t")
        if not status:
            self.process.wait()
            self.report.seek(0)
            raise AssertionError(f"{line}: the reader ended:\n{self.report.read().decode(errors='replace')}")
        text = re.sub(r"\\.", lambda match: ESCAPES[match[0]], text)
        if status == "ok":
            return None, text
        assert status == str(refusal), text
        return text, ""

    def open(self, path: Path | str) -> str | None:
        """Returns the text of the error with which a bundle is refused, or None."""
        return self.ask("open", path)[0]

    def json(self, *words: object) -> Any:
        """Returns the answer to a command, which is JSON."""
        error, text = self.ask(*words)
        assert error is None, error
        return json.loads(text)


def comparable(text: str) -> str:
    """Returns the text of an error without what may differ between the readers."""
    for pattern, replacement in DIFFERENCES:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text


def python_error(bundle: Path) -> str | None:
    """Returns the text of the error with which Python's reader refuses a bundle, or None."""
    try:
        Bundle.open(bundle)
    except BundleError as error:
        return str(error)
    return None


def refused(bundle: Path, reader: Reader | None) -> str:
    """Returns the text of the BundleError with which a bundle must be refused. The C++ reader, if there is a compiler,
    must refuse it with the same text.
    """
    text = error_of(lambda: Bundle.open(bundle))
    if reader is not None:
        found = reader.open(bundle)
        assert found is not None, f"the C++ reader accepts what Python's refuses: {text}"
        assert comparable(found) == comparable(text)
    return text
