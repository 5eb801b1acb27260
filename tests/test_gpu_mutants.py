"""Runs on the fake GPU detect every fault that is inserted into the GPU backend."""

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
def test_every_fault_is_detected(small_engines: Path, tmp_path: Path) -> None:
    sources = Path(str(latentloop.backends.gpu.__file__)).parent
    done = subprocess.run(
        [sys.executable, PROGRAM, small_engines, sources, tmp_path], stdout=subprocess.PIPE, check=True
    )
    errors = json.loads(done.stdout)
    assert errors.pop("") == "", "the unchanged backend fails"
    assert len(errors) == len(MUTANTS)
    assert [fault for fault, error in errors.items() if not error] == []
