"""Parts of the check on a GPU in processes of their own: findings survive whatever ends the process."""

from __future__ import annotations

import time
from pathlib import Path

import gpu_check_parts
import pytest

from latentloop.bench.gpu.check.process import run_part


@pytest.fixture(autouse=True)
def _importable_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def test_findings_are_returned_in_order() -> None:
    outcome = run_part(gpu_check_parts.every_kind, 60, {"x": 3})
    assert outcome.error is None
    assert outcome.seconds > 0
    assert outcome.findings == [
        {"kind": "check", "name": "a", "passed": True, "bound": 1},
        {"kind": "timing", "name": "b", "seconds": {"row": 0.5}},
        {"kind": "missing", "name": "c", "why": "why"},
        {"kind": "fact", "name": "d", "rate": 2},
        {"kind": "error", "name": "e", "error": "KeyError: 'lost'"},
        {"kind": "check", "name": "f", "passed": False},
    ]


def test_an_error_has_the_last_lines_of_stderr() -> None:
    outcome = run_part(gpu_check_parts.raises, 60, {})
    assert outcome.findings == [{"kind": "fact", "name": "before"}]
    assert outcome.error is not None
    assert outcome.error.startswith("exit status 1: ")
    assert outcome.error.endswith("RuntimeError: the GPU fell off")


def test_a_crash_is_an_error() -> None:
    error = run_part(gpu_check_parts.crashes, 60, {}).error
    assert error is not None
    assert error.startswith("exit status -11")


def test_a_part_that_hangs_is_killed_with_its_processes(tmp_path: Path) -> None:
    child = tmp_path / "child"
    begin = time.monotonic()
    outcome = run_part(gpu_check_parts.hangs, 3, {"child": str(child)})
    assert outcome.error == "took more than 3 s"
    assert time.monotonic() - begin < 30
    assert outcome.findings == [{"kind": "fact", "name": "before"}]
    stat = Path("/proc") / child.read_text() / "stat"
    until = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z" and time.monotonic() < until:
        time.sleep(0.05)
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_function_that_cannot_be_imported_is_an_error() -> None:
    def local() -> None: ...

    outcome = run_part(local, 60, {})
    assert outcome.findings == []
    assert outcome.error is not None
    assert "<locals>" in outcome.error
