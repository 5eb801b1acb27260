"""What a measurement depends on: processor, threads, versions, commit."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from latentloop.environment import machine

PACKAGES = ("latentloop", "numpy", "onnxruntime", "torch")


def environment(threads: int) -> dict[str, Any]:
    """Returns the environment of a measurement as plain JSON types."""
    return {
        "processor": processor(),
        "threads": threads,
        "command": shlex.join(["latentloop", *sys.argv[1:]]),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "commit": commit(),
        "date": datetime.now(UTC).date().isoformat(),
        **versions(PACKAGES),
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the versions of packages by name, or "not installed"."""
    return {name: machine.package_version(name) or "not installed" for name in packages}


def processor() -> str:
    """Returns the processor's name with its widest vector instructions."""
    description = machine.processor()
    instructions = description["instructions"]
    widest = next((name for name in ("avx512_vnni", "avx512f", "avx2") if name in instructions), "no AVX2")
    return f"{description['name']} ({widest})"


def commit() -> str:
    """Returns the commit of this source tree, with -dirty if files were changed; "unknown" outside a repository."""
    here = Path(__file__).resolve()
    try:
        for command in (
            ["ls-files", "--error-unmatch", here.name],
            ["describe", "--always", "--dirty", "--exclude", "*"],
        ):
            process = subprocess.run(["git", *command], cwd=here.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return process.stdout.strip()
