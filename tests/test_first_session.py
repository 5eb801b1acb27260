"""The first session of a process is created alone, because ONNX Runtime then changes a table without a lock."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentloop.backends import onnxruntime as backend


@pytest.fixture
def most_at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], int]:
    """Returns a function that opens sessions on several threads, and returns how many were created at the same time."""
    running, most, lock = 0, 0, threading.Lock()

    class Session:
        def __init__(self, *_: Any, **__: Any) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.05)
            with lock:
                running -= 1

        def get_providers(self) -> list[str]:
            return ["CPUExecutionProvider"]

    def opened(count: int) -> int:
        nonlocal most
        most = 0
        threads = [
            threading.Thread(target=backend.open_session, args=(Path("x"), ["CPUExecutionProvider"], None))
            for _ in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return most

    monkeypatch.setattr("onnxruntime.InferenceSession", Session)
    return opened


def test_the_first_session_is_created_alone(
    most_at_once: Callable[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "_first_session", backend._FirstSession())
    assert most_at_once(3) == 1
    assert backend._first_session.exists
    assert most_at_once(3) == 3


def test_a_first_session_that_fails_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    first = backend._FirstSession()
    with pytest.raises(ValueError, match="no session"), first.alone():
        raise ValueError("no session")
    assert not first.exists
    assert first.lock.acquire(blocking=False)


@pytest.mark.slow
def test_a_child_that_is_forked_meanwhile_can_create_sessions(small_bundle: Path) -> None:
    code = f"""
import os, sys, threading
from pathlib import Path
from latentloop import Bundle, Sampler
from latentloop.backends import onnxruntime as backend
held = threading.Event()
def hold():
    with backend._first_session.lock:
        held.set()
        threading.Event().wait()
threading.Thread(target=hold, daemon=True).start()
held.wait()
child = os.fork()
if child == 0:
    Sampler(Bundle.open(Path({str(small_bundle)!r})), "cpu", threads=1).sample(1)
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
sys.stdout.flush()
os._exit(0)
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "7\n"
