"""Sessions on the CPU of graphs that belong to no bundle."""

from __future__ import annotations

from pathlib import Path

from latentloop.backends.cpu.session import PROVIDERS, OrtSession
from latentloop.backends.onnxruntime import open_session


def cpu_session(path: Path, threads: int, operators: Path | None = None) -> OrtSession:
    return OrtSession(path, open_session(path, PROVIDERS, operators, threads))
