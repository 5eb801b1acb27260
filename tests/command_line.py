"""Runs commands, in this process or as the installed program, and reads the files that they write."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from latentloop.cli import program as cli

PROGRAM = Path(sysconfig.get_path("scripts")) / "latentloop"
RGB = (32, 48, 3)


def run(*arguments: object) -> int:
    """Runs a command in this process; returns the exit status."""
    return cli.main([str(argument) for argument in arguments])


def program(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the installed program in a process of its own."""
    command = [str(PROGRAM), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def codes(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}
