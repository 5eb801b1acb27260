"""The training loop: steps, a progress line, and a state file from which a killed run goes on.

One that is asked to stop finishes its step and saves the state. Of several processes that train together none does: the
others would wait for it in the middle of a step.

The state is the task's tensors, the next step and the arguments. It holds no generator states, because every
step seeds its random numbers from (seed, step): a resumed run ends with the same bits as an uninterrupted one
on the same machine with the same number of threads. Of several processes that train together each reads the
state, and the first writes it.
"""

from __future__ import annotations

import json
import math
import sys
import textwrap
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from tqdm import tqdm

from latentloop.cli.interrupt import Request, interruptible
from latentloop.errors import CheckpointError, InputError
from latentloop.export.train.data.order import step_seed
from latentloop.export.train.loop import distributed
from latentloop.io.files import check_free, write_file

STATE_FORMAT = "latentloop-training-1"
TOLD = 300  # characters of another's error in one of ours
LOOK_EVERY = 20  # steps between two readings of the loss: each one waits for the device


class Task(Protocol):
    """What is trained. ``state`` and ``restore`` cover every tensor that a step changes."""

    def step(self, step: int) -> Tensor:
        """Does one step and returns its loss, a scalar that carries no gradient."""
        ...

    def state(self) -> dict[str, Any]:
        """Tensors and plain values, as ``torch.save`` takes them."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned."""
        ...


@dataclass(frozen=True)
class LoopOptions:
    """How a training runs. ``arguments`` is all that decides the result, as JSON; a state must agree."""

    out: Path
    steps: int
    seed: int = 0
    save_every: int = 500
    save_seconds: float = 600.0
    restart: bool = False
    force: bool = False
    progress: bool = True
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def state_path(self) -> Path:
        """The state file beside ``out``."""
        return state_path(self.out)


def state_path(out: Path) -> Path:
    """Where the state of the training that writes ``out`` lies."""
    return out.with_name(out.name + ".state")


def run_training(task: Task, options: LoopOptions) -> bool:
    """Runs the steps that are left, saving the state on the way and once after the last step.

    Ctrl-C, and SIGTERM and SIGHUP where the program takes them, end the step and save the state.

    Returns whether ``out`` may be replaced: ``force`` was given, now or when the resumed run began.
    ``finish`` removes the state once the checkpoint is written.
    Raises InputError, CheckpointError, OutputError, KeyboardInterrupt.
    """
    if options.steps < 1 or options.save_every < 1:
        raise InputError(f"steps is {options.steps}, save-every {options.save_every}; expected at least 1")
    path = options.state_path
    if options.restart:
        check_free(options.out, force=options.force)
        if distributed.leads():
            path.unlink(missing_ok=True)
    distributed.wait()
    first, force = 0, options.force
    if path.exists():
        first, began_with_force = _resume(task, options)
        force = force or began_with_force
    check_free(options.out, force=force)
    distributed.wait()  # the first may have no step left, and removes the state
    began = saved_at = time.monotonic()
    loss = math.nan
    losses: list[Tensor] = []
    if first and options.progress:
        print(f"{options.out}: going on at step {first} of {options.steps}", file=sys.stderr)
    quiet = None if options.progress else True  # None: quiet where there is no terminal
    alone = distributed.processes() == 1
    stoppable = interruptible() if alone else nullcontext(Request())
    bar = tqdm(total=options.steps, initial=first, desc=options.out.stem, unit="step", disable=quiet)
    with stoppable as asked, bar:
        for step in range(first, options.steps):
            torch.manual_seed(step_seed(options.seed, step, rank=distributed.rank()))
            losses.append(task.step(step))
            if alone:
                asked.wait_for_results()  # however long a step takes, this one is not lost
            done = step + 1
            if done % LOOK_EVERY == 0 or done == options.steps:
                loss = _mean_loss(losses, done)
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                losses.clear()
            bar.update()
            due = done % options.save_every == 0 or time.monotonic() - saved_at > options.save_seconds
            if distributed.leads() and (due or done == options.steps):
                _save(task, options, done, force)
                if options.progress and not sys.stderr.isatty():  # where no bar is shown, a line now and then
                    left = (time.monotonic() - began) / (done - first) * (options.steps - done)
                    text = f"step {done} of {options.steps}, loss {loss:.4f}, {tqdm.format_interval(left)} left"
                    print(f"{options.out.name}: {text}", file=sys.stderr, flush=True)
                saved_at = time.monotonic()
            if asked.is_set():
                break
    if asked.is_set():
        if losses:
            _mean_loss(losses, done)  # a state that has diverged is not saved
        _save(task, options, done, force)
        print(f"{options.out}: stopped after step {done}; the same command goes on from there", file=sys.stderr)
        raise asked.interrupt()
    return force


def finish(options: LoopOptions, write: Callable[[], None]) -> None:
    """Writes the checkpoint, then removes the state: killed in between, the same command just ends again."""
    write()
    options.state_path.unlink(missing_ok=True)


def _mean_loss(losses: list[Tensor], step: int) -> float:
    loss = float(distributed.total(torch.stack(losses).mean())) / distributed.processes()
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss} near step {step}; pass a lower --lr")
    return loss


def _save(task: Task, options: LoopOptions, step: int, force: bool) -> None:
    state = {
        "format": STATE_FORMAT,
        "arguments": json.dumps(options.arguments, sort_keys=True),
        "step": step,
        "force": force,
        "task": task.state(),
    }
    write_file(options.state_path, lambda temporary: _write(state, temporary), force=True)


def _write(state: dict[str, Any], path: Path) -> None:
    try:
        torch.save(state, path)
    except RuntimeError as error:  # a full disk, which writers of files report as OSError
        raise OSError(f"torch could not write all of it; is the disk full? ({error})") from error


def _resume(task: Task, options: LoopOptions) -> tuple[int, bool]:
    path = options.state_path
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail in many ways, all of which mean the same
        # torch's own text advises an unsafe load: it stays out of the message.
        raise CheckpointError(f"{path}: not a readable training state; pass --restart to begin anew") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != STATE_FORMAT:
        raise CheckpointError(f"{path}: format is {found!r}, expected {STATE_FORMAT!r}; pass --restart to begin anew")
    try:
        saved, step, force = dict(json.loads(state["arguments"])), int(state["step"]), bool(state["force"])
        _check_arguments(path, saved, json.loads(json.dumps(options.arguments)))
        if not 0 < step <= options.steps:
            raise ValueError(f"step is {step}, expected 1 to {options.steps}")
        task.restore(state["task"])
    except (InputError, MemoryError, torch.OutOfMemoryError):  # nothing is wrong with the state
        raise
    except Exception as error:  # whatever values of wrong names, types and shapes lead to
        told = textwrap.shorten(f"{type(error).__name__}: {error}", TOLD)  # torch's text may have many lines
        raise CheckpointError(f"{path}: does not fit this training ({told}); pass --restart to begin anew") from error
    return step, force


def _check_arguments(path: Path, saved: dict[str, Any], given: dict[str, Any]) -> None:
    differing = [name for name in sorted(saved.keys() | given.keys()) if saved.get(name) != given.get(name)]
    if differing:
        listed = "; ".join(f"{name} was {saved.get(name)!r}, is {given.get(name)!r}" for name in differing)
        raise InputError(
            f"{path}: a training with other arguments was interrupted here: {listed}. Give the same arguments"
            " to go on with it, or pass --restart to begin anew"
        )
