"""The data set as files: ``train`` and ``test``, in each a folder per class."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from latentloop.errors import InputError, OutputError
from latentloop.export.planets.scene import draw_planet
from latentloop.export.planets.surfaces import SURFACES
from latentloop.export.train.data.folder import PARTS
from latentloop.io.files import new_directory

CHUNK = 25  # images that a process draws between two reports
MOST = 10**6  # images of a class and part
SHARES = {"ringed": 2}  # training images of a class against the others': rings are hardest to learn


@dataclass(frozen=True)
class PlanetsOptions:
    """``train`` and ``test`` images per class (ringed ones twice as many to train on), the seed, processes at work."""

    train: int = 4000
    test: int = 250
    seed: int = 0
    processes: int = 1

    def counts(self, part: str) -> dict[str, int]:
        """Images of one part by class."""
        if part == "test":
            return dict.fromkeys(SURFACES, self.test)
        return {kind: self.train * SHARES.get(kind, 1) for kind in SURFACES}


def planet(kind: str, part: str, index: int, seed: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Image ``index`` of a class and part, [64, 64, 3] uint8: a function of its arguments alone.

    The part is a word of the seed, so no training image is a held-out one.
    """
    words = (seed, PARTS.index(part), list(SURFACES).index(kind), index)
    return draw_planet(kind, np.random.default_rng(words))


def write_planets(out: Path, options: PlanetsOptions) -> int:
    """Writes all images as PNG files, all or none, behind a progress bar; returns how many.

    Raises InputError for more than ``MOST`` images a class, OutputError where ``out`` exists or cannot be written.
    """
    for name, count in (("train", options.train), ("test", options.test)):
        if not 1 <= count <= MOST:
            raise InputError(f"{name} is {count}, expected 1 to {MOST} images per class")
    if out.exists():
        raise OutputError(f"{out} exists; give another name, or remove it yourself")
    with new_directory(out) as folder:
        jobs = [
            (folder / part / kind, kind, part, range(first, min(first + CHUNK, count)), options.seed)
            for part in PARTS
            for kind, count in options.counts(part).items()
            for first in range(0, count, CHUNK)
        ]
        for target in {job[0] for job in jobs}:
            target.mkdir(parents=True)
        total = sum(len(job[3]) for job in jobs)
        with tqdm(total=total, desc=out.name, unit="image", disable=None) as bar:
            if options.processes == 1:
                for job in jobs:
                    bar.update(_write_chunk(*job))
                return total
            # Spawned, not forked: a fork copies the locks of threads that it does not copy.
            with ProcessPoolExecutor(options.processes, get_context("spawn"), _end_with_parent) as pool:
                others = active_children()
                try:
                    with _without_interrupts():
                        futures: list[Future[int]] = [pool.submit(_write_chunk, *job) for job in jobs]
                    for future in futures:
                        bar.update(future.result())
                except BaseException:  # nobody wants the rest; on a busy machine a chunk, or a start, takes seconds
                    for process in active_children():
                        if process not in others:
                            process.kill()
                    pool.shutdown(wait=True, cancel_futures=True)
                    raise
    return total


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes started within ignore Ctrl-C, which reaches all of a terminal: the first one tells the others."""
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be set
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _end_with_parent() -> None:
    """A process whose parent was killed has nobody to draw for."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_chunk(folder: Path, kind: str, part: str, indices: range, seed: int) -> int:
    for index in indices:
        Image.fromarray(planet(kind, part, index, seed)).save(folder / f"{index:05}.png")
    return len(indices)
