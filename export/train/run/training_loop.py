"""The training loop: steps, progress, and saving of the state file.

When the user interrupts the training, the current step finishes and the state is saved, so the same command continues
the training. If several processes train together, an interrupt ends them at once: a process that stopped after its step
would leave the others waiting in theirs. Every process reads the state file, and the leader writes it.
"""

from __future__ import annotations

import math
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from latentloop.cli.interrupt import StopRequest, stop_request
from latentloop.errors import InputError
from latentloop.export.train import distributed
from latentloop.export.train.optimisation.schedule import step_seed
from latentloop.export.train.run.losses import LOSS_INTERVAL, Losses
from latentloop.export.train.run.state_file import StateFile, Task
from latentloop.io.files import check_free

FIRST_LINE, LINE_INTERVAL = 5.0, 30.0  # seconds: of the first line of progress, and between two lines


@dataclass(frozen=True)
class LoopOptions:
    """Options of a training run. ``arguments`` is everything that determines the result, as JSON values: a state file
    is loaded only if its arguments are the same.
    """

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
    def state_file(self) -> StateFile:
        """The state file of this run, beside ``out``."""
        return StateFile(state_path(self.out), self.arguments)

    @property
    def remedy(self) -> str:
        """What to do about a training that diverges; it would diverge again from a saved state."""
        rate = f" (now {self.arguments['rate']:g})" if "rate" in self.arguments else ""
        return f"start again with a lower --lr{rate}{' and --restart' if self.state_file.path.exists() else ''}"


def state_path(out: Path) -> Path:
    """Returns the path of the state file of the training that writes ``out``."""
    return out.with_name(out.name + ".state")


def run_training(task: Task, options: LoopOptions) -> bool:
    """Runs the remaining steps. Saves the state at intervals and after the last step.

    Ctrl-C ends the training after the current step, with the state saved; so do SIGTERM and SIGHUP if the program
    handles them.

    Returns whether ``out`` may be replaced: ``force`` is set, now or when the interrupted run started. The caller then
    calls ``save_trained``.
    Raises InputError, CheckpointError, OutputError, KeyboardInterrupt.
    """
    if options.steps < 1 or options.save_every < 1:
        raise InputError(f"steps is {options.steps}, save-every {options.save_every}; expected at least 1")
    first, force = _start(task, options)
    losses = Losses(lambda: options.remedy)
    progress = _Progress(options, first)
    saved_at = time.monotonic()
    alone = distributed.world_size() == 1
    with stop_request() if alone else nullcontext(StopRequest()) as stop, progress.bar:
        for step in range(first, options.steps):
            # 1. The step. Its random numbers depend on nothing but seed, step and rank.
            torch.manual_seed(step_seed(options.seed, step, rank=distributed.rank()))
            losses.add(task.step(step))
            if alone:
                stop.wait_for_results()  # from now on an interrupt does not end the program in the middle of a step
            done = step + 1
            # 2. The loss.
            if done % LOSS_INTERVAL == 0 or done == options.steps:
                losses.read(done, last=done == options.steps)
            progress.update(done, losses.mean)
            # 3. The state file.
            is_due = done % options.save_every == 0 or time.monotonic() - saved_at > options.save_seconds
            if distributed.is_leader() and ((is_due and not losses.is_high) or done == options.steps):
                losses.check(done)  # a training that diverges does not replace the state
                options.state_file.save(task, done, force=force)
                saved_at = time.monotonic()
            if stop.is_set():
                break
    if stop.is_set():
        losses.read(done)  # raises for a diverged training, whose state is not saved
        options.state_file.save(task, done, force=force)
        saved = f"the state is in {options.state_file.path}"
        print(f"{options.out}: stopped after step {done} of {options.steps}; {saved}", file=sys.stderr)
        raise stop.exception()
    return force


def _start(task: Task, options: LoopOptions) -> tuple[int, bool]:
    """Restores the task if there is a state file. Returns the first step to run and whether ``out`` may be replaced."""
    state = options.state_file
    if options.restart:
        check_free(options.out, force=options.force)
        if distributed.is_leader():
            state.remove()
    distributed.barrier()
    first, force = 0, options.force
    if state.path.exists():
        first, earlier_force = state.load(task, options.steps)
        force = force or earlier_force
    check_free(options.out, force=force)
    distributed.barrier()  # if no step remains, the leader soon removes the state file: all must have read it
    if first and options.progress:
        print(f"{options.out}: continuing at step {first} of {options.steps}", file=sys.stderr)
    return first, force


class _Progress:
    """A progress bar; if stderr is not a terminal, lines of text: soon after the start, then every half a minute."""

    def __init__(self, options: LoopOptions, first: int) -> None:
        self.options, self.first = options, first
        self.started = time.monotonic()
        self.due = self.started + FIRST_LINE
        disable = None if options.progress else True  # None: disabled if stderr is not a terminal
        self.bar = tqdm(total=options.steps, initial=first, desc=options.out.stem, unit="step", disable=disable)

    def update(self, done: int, loss: float) -> None:
        """Shows the progress after ``done`` steps. ``loss`` is NaN before the first reading."""
        known = not math.isnan(loss)
        if known:
            self.bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self.bar.update()
        now = time.monotonic()
        if not self.options.progress or sys.stderr.isatty() or (now < self.due and done < self.options.steps):
            return
        self.due = now + LINE_INTERVAL
        left = tqdm.format_interval((now - self.started) / (done - self.first) * (self.options.steps - done))
        text = f"step {done} of {self.options.steps}, {f'loss {loss:.4f}, ' if known else ''}{left} left"
        print(f"{self.options.out.name}: {text}", file=sys.stderr, flush=True)
