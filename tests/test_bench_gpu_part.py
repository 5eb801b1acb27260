"""Parts of the check on a GPU in processes of their own: what they find survives whatever ends them."""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path

import pytest

from latentloop.bench.gpu.check.part import run_part


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the bench that is not there: one of ``tmp_path``, which its child process finds."""
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(
            f"""
            import sys, importlib.util
            class Finder:
                @staticmethod
                def find_spec(name, path=None, target=None):
                    if name == "latentloop.bench.made_up":
                        return importlib.util.spec_from_file_location(name, {str(tmp_path / "made_up.py")!r})
            sys.meta_path.append(Finder)
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return str(tmp_path / "made_up.py")


def write(part: str, body: str) -> None:
    Path(part).write_text("import os, sys, time, subprocess\ndef run(findings, x):\n" + textwrap.indent(body, "    "))


def test_findings_come_back_in_order(part: str) -> None:
    write(
        part,
        "findings.check('a', x == 3, bound=1)\nfindings.timing('b', seconds={'row': 0.5})\n"
        "findings.missing('c', 'why')\nfindings.fact('d', rate=2)\n"
        "with findings.trying('e'):\n    raise KeyError('lost')\nfindings.check('f', False)",
    )
    found = run_part("made_up", 60, {"x": 3})
    assert found["error"] is None
    assert found["name"] == "made_up"
    assert found["seconds"] > 0
    assert found["findings"] == [
        {"kind": "check", "name": "a", "passed": True, "bound": 1},
        {"kind": "timing", "name": "b", "seconds": {"row": 0.5}},
        {"kind": "missing", "name": "c", "why": "why"},
        {"kind": "fact", "name": "d", "rate": 2},
        {"kind": "error", "name": "e", "error": "KeyError: 'lost'"},
        {"kind": "check", "name": "f", "passed": False},
    ]


def test_an_error_is_what_the_process_said_last(part: str) -> None:
    write(part, "findings.fact('before')\nraise RuntimeError('the GPU fell off')")
    found = run_part("made_up", 60, {"x": 3})
    assert found["findings"] == [{"kind": "fact", "name": "before"}]
    assert found["error"].startswith("exit status 1: ")
    assert found["error"].endswith("RuntimeError: the GPU fell off")


def test_a_crash_is_an_error(part: str) -> None:
    write(part, "os.kill(os.getpid(), 11)")
    assert run_part("made_up", 60, {"x": 3})["error"].startswith("exit status -11")


def test_what_hangs_is_ended_with_all_it_started(part: str, tmp_path: Path) -> None:
    write(
        part,
        f"child = subprocess.Popen(['sleep', '300'])\nopen({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "findings.fact('before')\ntime.sleep(300)",
    )
    begin = time.monotonic()
    found = run_part("made_up", 3, {"x": 3})
    assert found["error"] == "took more than 3 s"
    assert time.monotonic() - begin < 30
    assert found["findings"] == [{"kind": "fact", "name": "before"}]
    stat = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    until = time.monotonic() + 10
    while stat.exists() and stat.read_text().split()[2] != "Z" and time.monotonic() < until:
        time.sleep(0.05)
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_part_that_is_not_there_is_an_error() -> None:
    found = run_part("no_such_part", 60, {})
    assert found["findings"] == []
    assert "No module named 'latentloop.bench.no_such_part'" in found["error"]
