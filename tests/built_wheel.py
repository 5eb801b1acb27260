"""The wheel of these sources, built and installed once per run of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_once import made_once

ROOT = Path(__file__).parents[1]
BUILT = (".*", "build", "*.egg-info", "*.so", "*.fatbin", "__pycache__")


def copy_sources(target: Path, *, with_tests: bool = False) -> None:
    """Copies the repository without files of earlier builds."""
    other = () if with_tests else ("tests", "docs")
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*BUILT, *other))


def built_wheel(folders: pytest.TempPathFactory) -> Path:
    """Returns the path of the wheel. Skips the test without setuptools."""
    pytest.importorskip("setuptools", "77")

    def build(target: Path) -> None:
        source = target / "source"
        copy_sources(source)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
        subprocess.run([*command, target, source], check=True, timeout=600)

    (path,) = made_once(folders, "wheel", build).glob("*.whl")
    return path


def installed_wheel(folders: pytest.TempPathFactory) -> Path:
    """Returns a folder that `pip install --target` made from the wheel."""
    wheel = built_wheel(folders)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target"]
    return made_once(
        folders, "installed", lambda target: subprocess.run([*command, target, wheel], check=True, timeout=600)
    )
