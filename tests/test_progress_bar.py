"""Progress bars appear after a second, on a terminal, and never stop the work."""

from __future__ import annotations

import io
import sys

import pytest

from latentloop.cli import progress


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _run(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, *, delay: float = 0.0) -> str:
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(progress, "DELAY", delay)
    with progress.Bar("row", "top") as bar:
        for done in range(1, 5):
            bar.update(1, 4, f"{done} done")
    return stderr.getvalue()


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = _run(monkeypatch, _Terminal())
    assert "top:   0%" in text
    assert "0/4" in text
    assert "row/s" in text


def test_no_bar_without_a_terminal_or_for_short_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(monkeypatch, io.StringIO()) == ""
    assert _run(monkeypatch, _Terminal(), delay=60.0) == ""


def test_a_broken_tqdm_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert _run(monkeypatch, _Terminal()) == ""
