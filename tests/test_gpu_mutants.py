"""Runs on the GPU that the host plays find every fault that is put into its hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_mutants import MUTANTS

import latentloop.backends.gpu

PROGRAM = Path(__file__).with_name("gpu_mutants.py")


@pytest.mark.slow
def test_every_fault_is_found(small_engines: Path, tmp_path: Path) -> None:
    sources = Path(str(latentloop.backends.gpu.__file__)).parent
    done = subprocess.run(
        [sys.executable, PROGRAM, small_engines, sources, tmp_path], stdout=subprocess.PIPE, check=True
    )
    found = json.loads(done.stdout)
    assert found.pop("") == "", "a fault is found where there is none"
    assert len(found) == len(MUTANTS)
    assert [fault for fault, how in found.items() if not how] == []
