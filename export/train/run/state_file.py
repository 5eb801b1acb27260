"""The state file of an interrupted training: the task's tensors, the number of steps done, and the arguments.

No generator state is saved, because every step seeds its random numbers from (seed, step). A resumed run is therefore
bit-identical to an uninterrupted one on the same machine with the same number of threads.
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from latentloop.errors import CheckpointError, InputError
from latentloop.io.files import write_file

STATE_FORMAT = "latentloop-training-1"
MAX_CAUSE = 300  # characters of a library's error text that a message quotes


class Task(Protocol):
    """A network in training. ``state`` and ``restore`` cover every tensor that a step changes."""

    def step(self, step: int) -> Tensor:
        """Runs one step and returns its loss, a scalar without gradient."""
        ...

    def state(self) -> dict[str, Any]:
        """Returns tensors and plain values that ``torch.save`` accepts."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Loads what ``state`` returned."""
        ...


@dataclass(frozen=True)
class StateFile:
    """The state file of one training. ``arguments`` is everything that determines the result, as JSON values."""

    path: Path
    arguments: dict[str, Any]

    def save(self, task: Task, step: int, *, force: bool) -> None:
        """Saves the task after ``step`` steps, and whether the checkpoint may be replaced. Raises OutputError."""
        state = {
            "format": STATE_FORMAT,
            "arguments": json.dumps(self.arguments, sort_keys=True),
            "step": step,
            "force": force,
            "task": task.state(),
        }
        write_file(self.path, lambda temporary: _write(state, temporary), force=True)

    def load(self, task: Task, steps: int) -> tuple[int, bool]:
        """Restores the task; returns how many of ``steps`` are done, and ``force``.

        Raises InputError if the arguments differ, CheckpointError for a file that is damaged or does not fit.
        """
        state = self._read()
        try:
            saved, step, force = dict(json.loads(state["arguments"])), int(state["step"]), bool(state["force"])
            self._check_arguments(saved)
            if not 0 < step <= steps:
                raise ValueError(f"step is {step}, expected 1 to {steps}")
            task.restore(state["task"])
        except (InputError, MemoryError, torch.OutOfMemoryError):  # the state file is valid
            raise
        except Exception as error:  # values with wrong names, types or shapes can raise many types of error
            cause = textwrap.shorten(f"{type(error).__name__}: {error}", MAX_CAUSE)  # torch's text can have many lines
            raise CheckpointError(
                f"{self.path}: does not fit this training ({cause}); pass --restart to start again"
            ) from error
        return step, force

    def remove(self) -> None:
        """Removes the file, if it exists."""
        self.path.unlink(missing_ok=True)

    def _read(self) -> dict[str, Any]:
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
        except MemoryError:
            raise
        except Exception as error:  # a damaged file can raise many types of error
            # The message does not quote torch's text, which recommends an unsafe load.
            raise CheckpointError(
                f"{self.path}: not a readable training state; pass --restart to start again"
            ) from error
        actual = state.get("format") if isinstance(state, dict) else None
        if actual != STATE_FORMAT:
            raise CheckpointError(
                f"{self.path}: format is {actual!r}, expected {STATE_FORMAT!r}; pass --restart to start again"
            )
        return dict(state)

    def _check_arguments(self, saved: dict[str, Any]) -> None:
        current = json.loads(json.dumps(self.arguments))
        differing = [name for name in sorted(saved.keys() | current.keys()) if saved.get(name) != current.get(name)]
        if differing:
            differences = "; ".join(f"{name} was {saved.get(name)!r}, is {current.get(name)!r}" for name in differing)
            raise InputError(
                f"{self.path}: belongs to an interrupted training with other arguments: {differences}. Pass the same"
                " arguments to continue it, or pass --restart to start again"
            )


def _write(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:  # torch reports a full disk this way; write_file expects OSError
        raise OSError(f"torch could not write all of it; is the disk full? ({error})") from error
