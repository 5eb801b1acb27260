"""A program that measures a GPU: its options, its result file, and the GPU in the file's environment."""

from __future__ import annotations

import argparse
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from latentloop.bench.figures.result_files import new_result, write_result
from latentloop.bench.machine.environment import environment
from latentloop.io.files import check_free


@dataclass(frozen=True)
class GpuRun:
    """One run of a program. ``commit``: that of the source tree, if the tree has no .git."""

    command: str
    path: Path  # of the result file
    commit: str | None
    seconds: float  # that the run may take

    @staticmethod
    def parse(module: str, file: str, arguments: list[str], minutes: float, purpose: str) -> GpuRun:
        """Reads the options ``--out``, ``--commit`` and ``--minutes``; ``purpose`` says what the minutes limit.

        Raises OutputError if the result file cannot be written.
        """
        parser = argparse.ArgumentParser(prog=f"python3 -m {module}")
        parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help=f"folder of {file}")
        parser.add_argument("--commit", help="commit of the source tree, if it is not a git repository")
        parser.add_argument("--minutes", type=float, default=minutes, help=f"{purpose} (default: {minutes:g})")
        options = parser.parse_args(arguments)
        path = options.out / file
        check_free(path, force=True)
        return GpuRun(f"{parser.prog} {shlex.join(arguments)}", path, options.commit, 60 * options.minutes)

    def write(self, kind: str, threads: int, more: dict[str, Any], **values: Any) -> None:
        """Writes a result whose environment describes the machine, with ``more`` entries, and replaces an older one."""
        described = environment(threads) | {"command": self.command}
        if self.commit:
            described["commit"] = self.commit
        result = new_result(kind, {**described, **gpu(), **more}, **values)
        write_result(self.path, result, force=True)


def gpu() -> dict[str, Any]:
    """Returns PyTorch's description of the GPU, or {"gpu": "none"}."""
    if not torch.cuda.is_available():
        return {"gpu": "none"}
    major, minor = torch.cuda.get_device_capability()
    return {
        "gpu": torch.cuda.get_device_name(),
        "compute_capability": f"{major}.{minor}",
        "cuda": torch.version.cuda,
    }


def driver_version() -> str:
    """Returns the driver's version from ``nvidia-smi``, or "unknown"."""
    try:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        process = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return process.stdout.splitlines()[0].strip()
