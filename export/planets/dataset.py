"""Writing of the data set: folders ``train`` and ``test``, each with a folder per class."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from latentloop.errors import InputError, OutputError
from latentloop.export.data.folder import PARTS
from latentloop.export.planets.scene import SIZE, draw_planet
from latentloop.export.planets.surfaces import SURFACES
from latentloop.io.files import new_directory

CHUNK = 25  # images per task of a process
MAX_IMAGES = 10**6  # per class and part
SIZES = 32, 1024  # smallest and largest height and width of an image
TRAINING_FACTORS = {"ringed": 2}  # relative number of training images: rings are the hardest to learn


@dataclass(frozen=True)
class PlanetsOptions:
    """``train`` and ``test``: images per class, more of the ringed class in ``train``; ``processes``: in parallel;
    ``size``: height and width of an image.
    """

    train: int = 4000
    test: int = 250
    seed: int = 0
    processes: int = 1
    size: int = SIZE

    def counts(self, part: str) -> dict[str, int]:
        """Returns the number of images per class of one part."""
        if part == "test":
            return dict.fromkeys(SURFACES, self.test)
        return {kind: self.train * TRAINING_FACTORS.get(kind, 1) for kind in SURFACES}


def planet(kind: str, part: str, index: int, seed: int, size: int = SIZE) -> NDArray[np.uint8]:
    """Returns image ``index`` of a class and part, [size, size, 3] uint8: a pure function of its arguments.

    The part is a word of the seed, so training images and held-out images differ. The size is none: it is the same
    planet in another resolution.
    """
    words = (seed, PARTS.index(part), list(SURFACES).index(kind), index)
    return draw_planet(kind, np.random.default_rng(words), size)


def write_planets(out: Path, options: PlanetsOptions) -> int:
    """Writes all images as PNG files, with a progress bar; returns their number. After an error no file remains.

    Raises InputError for more than ``MAX_IMAGES`` per class or a size outside ``SIZES``, OutputError if ``out`` exists
    or cannot be written.
    """
    for name, count in (("train", options.train), ("test", options.test)):
        if not 1 <= count <= MAX_IMAGES:
            raise InputError(f"{name} is {count}, expected 1 to {MAX_IMAGES} images per class")
    if not SIZES[0] <= options.size <= SIZES[1]:
        raise InputError(f"size is {options.size}, expected {SIZES[0]} to {SIZES[1]} pixels")
    if out.exists():
        raise OutputError(f"{out} exists; pass another name, or remove it")
    with new_directory(out) as folder:
        chunks = [
            _Chunk(folder / part / kind, kind, part, range(first, min(first + CHUNK, count)), options)
            for part in PARTS
            for kind, count in options.counts(part).items()
            for first in range(0, count, CHUNK)
        ]
        for target in {chunk.folder for chunk in chunks}:
            target.mkdir(parents=True)
        total = sum(len(chunk.indices) for chunk in chunks)
        with tqdm(total=total, desc=out.name, unit="image", disable=None) as bar:
            if options.processes == 1:
                for chunk in chunks:
                    bar.update(_write_chunk(chunk))
            else:
                _write_in_processes(chunks, options.processes, bar)
    return total


class _Chunk(NamedTuple):
    folder: Path
    kind: str
    part: str
    indices: range
    options: PlanetsOptions


def _write_in_processes(chunks: Sequence[_Chunk], processes: int, bar: tqdm[NoReturn]) -> None:
    # Spawned, not forked: a forked process has copies of the locks of all threads, but not the threads.
    with ProcessPoolExecutor(processes, get_context("spawn"), _exit_with_parent) as pool:
        other_children = active_children()
        try:
            with _ignored_interrupts():
                futures: list[Future[int]] = [pool.submit(_write_chunk, chunk) for chunk in chunks]
            for future in futures:
                bar.update(future.result())
        except BaseException:  # do not wait for the processes: a chunk or a start can take seconds on a busy machine
            for process in active_children():
                if process not in other_children:
                    process.kill()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _ignored_interrupts() -> Iterator[None]:
    """Lets processes that the block starts ignore Ctrl-C, which a terminal sends to all: this process ends them."""
    if threading.current_thread() is not threading.main_thread():  # other threads cannot set signal handlers
        yield
        return
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _exit_with_parent() -> None:
    """Starts a thread that ends this process when its parent has ended."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _write_chunk(chunk: _Chunk) -> int:
    for index in chunk.indices:
        image = planet(chunk.kind, chunk.part, index, chunk.options.seed, chunk.options.size)
        Image.fromarray(image).save(chunk.folder / f"{index:05}.png")
    return len(chunk.indices)
