"""Checks of imports in child processes, because importing a broken package can end the process."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

_TIMEOUT = 60  # seconds for one import
_SUCCESS = 73  # exit status after a successful import; not 0, because a broken package may end the child with 0


def import_failures(modules: Iterable[str]) -> dict[str, str]:
    """Returns the reason for each module that cannot be imported; modules that this process has imported are skipped.

    Each module is imported in a child process. The children run at the same time.
    """
    children = {module: _start_import(module) for module in dict.fromkeys(modules) if sys.modules.get(module) is None}
    reasons = {module: _failure(child) for module, child in children.items()}
    return {module: reason for module, reason in reasons.items() if reason is not None}


def _start_import(module: str) -> subprocess.Popen[str]:
    code = (
        f"import sys; sys.path[:] = {sys.path}; from latentloop.environment.packages import import_package; "
        f"import_package({module!r}); sys.exit({_SUCCESS})"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
    )


def _failure(child: subprocess.Popen[str]) -> str | None:
    """Waits for the child, and returns why its import failed, or None if it succeeded."""
    try:
        _, stderr = child.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        return f"its import takes more than {_TIMEOUT} s"
    if child.returncode == _SUCCESS:
        return None
    if child.returncode < 0:
        return f"its import ends the process by {signal.Signals(-child.returncode).name}"
    lines = stderr.strip().splitlines()
    reason = lines[-1] if lines else f"its import ends the process with the status {child.returncode}"
    return reason.removeprefix("latentloop.errors.MissingError: ")


@contextmanager
def blocked_imports(reasons: Mapping[str, str]) -> Iterator[None]:
    """Makes imports of these top-level packages raise ImportError with these reasons until the block ends."""
    finder = _BlockingFinder(reasons)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _BlockingFinder:
    """A module finder that raises ImportError for blocked packages, and leaves all others to the next finder."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self._reasons = reasons

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Returns None, or raises ImportError for a module of a blocked package."""
        package = name.partition(".")[0]
        if package in self._reasons:
            raise ImportError(self._reasons[package], name=name)
