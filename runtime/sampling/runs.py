"""Runs of a backend for a sampler, one at a time: the priors in batches, the encoder and the decoder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.bundle_errors import memory_errors
from latentloop.backends.interface import Backend, Decoding
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level
from latentloop.bundles.views import check_size
from latentloop.draws.level_inputs import AfterRow, Codes, DrawnCodes, LevelInputs, Row
from latentloop.errors import BundleError, InputError, short_repr
from latentloop.sampling import validation
from latentloop.sampling.batches import batches, padded_batches
from latentloop.sampling.results import Callback, Progress, Samples
from latentloop.sampling.sample_request import SampleRequest

LARGEST_BATCH = 16  # default, if the caller passes no batch size


@dataclass(frozen=True, eq=False)
class _PendingBatch:
    """A batch that was drawn and is being decoded: its codes by level without padding, and its slice of the samples."""

    decoding: Decoding
    codes: dict[str, Codes]
    part: slice


class Runs:
    """Runs a bundle's graphs on a backend. Arguments are validated, unless a method says otherwise."""

    def __init__(self, bundle: Bundle, backend: Backend) -> None:
        self.bundle = bundle
        self._start(backend)

    def _start(self, backend: Backend) -> None:
        self.opened, self._running, self._process = backend, threading.Lock(), os.getpid()

    @property
    def backend(self) -> Backend:
        """The backend; a new one in a forked process, because threads do not survive a fork. ``opened`` is the one of
        the process that opened it.
        """
        if self._process != os.getpid():
            self._start(self.opened.after_fork())
        return self.opened

    @property
    def default_batch_size(self) -> int:
        """The batch size if the caller passes none: 16, or less if the engines were built for less."""
        return min(LARGEST_BATCH, self.backend.largest_batch)

    @memory_errors()
    def draw(self, request: SampleRequest, batch_size: int | None = None, callback: Callback | None = None) -> Samples:
        """Draws the samples of a request; see ``Sampler.sample``. Checks ``batch_size`` and ``callback``."""
        stream = self.stream(request, batch_size, callback)
        codes = self.empty_codes(request.n)
        images = self.empty_images(request.n)
        finished = 0
        for batch in stream:
            part = slice(finished, finished + len(batch.images))
            for name, values in codes.items():
                values[part] = batch.codes[name]
            images[part] = batch.images
            finished = part.stop
        samples = Samples(images, codes, request.seeds, request.labels, cancelled=finished < request.n)
        return samples.take(slice(finished))

    def stream(
        self, request: SampleRequest, batch_size: int | None = None, callback: Callback | None = None
    ) -> Generator[Samples, None, None]:
        """Yields the finished batches of a request; see ``Sampler.stream``. Checks its arguments when it is called."""
        if callback is not None and not callable(callback):
            raise InputError(f"callback is {short_repr(callback)}, expected a function or None")
        return self._batches(request, self.checked_batch(request, batch_size), callback)

    def checked_batch(self, request: SampleRequest, batch_size: int | None) -> int:
        """Returns the number of samples at once, by default for None. Raises InputError if it is too large."""
        batch = (
            min(request.n, self.default_batch_size)
            if batch_size is None
            else validation.check_count("batch_size", batch_size, self.backend.largest_batch)
        )
        self.check_state(request.drawn_levels, batch)
        return batch

    def _batches(self, request: SampleRequest, batch: int, callback: Callback | None) -> Generator[Samples, None, None]:
        """Draws batches. Each is decoded while the next is drawn, if the device can do both at once."""
        process = os.getpid()
        pending: _PendingBatch | None = None
        finished: Samples | None
        try:
            with memory_errors():
                for part, indices in padded_batches(request.n, batch):
                    previous, pending = pending, None
                    try:
                        pending = self._drawn(request, part, indices, callback)
                    finally:  # also after an error: a decoder's buffers are released when its images are read
                        finished = None if previous is None else self._finished(previous, request)
                    if finished is not None:
                        yield finished if pending is not None else replace(finished, cancelled=True)
                        if os.getpid() != process:
                            raise InputError("this process was forked while samples were being drawn: start again")
                    if pending is None:
                        return
                if pending is not None:
                    last, pending = pending, None
                    yield self._finished(last, request)
        finally:
            if pending is not None and os.getpid() == process:  # the caller stopped
                pending.decoding.wait()

    def _drawn(
        self, request: SampleRequest, part: slice, indices: NDArray[np.int64], callback: Callback | None
    ) -> _PendingBatch | None:
        """Draws one batch and starts to decode it. Returns None if the callback cancelled it."""
        with self._run() as backend:
            after_row = None
            if callback is not None:
                after_row = _reporting(callback, request, part, lambda codes: self._preview(codes, len(indices)))
            drawn = backend.draw(request.draws(indices), after_row)
            if drawn is None:
                return None
            codes = {name: values[: part.stop - part.start].astype(np.int64) for name, values in drawn.items()}
            return _PendingBatch(backend.decode(drawn), codes, part)

    def _preview(self, codes: dict[str, Codes], batch: int) -> NDArray[np.uint8]:
        """Decodes codes by level [n, h, w], -1 where none is drawn yet, while a batch of this size is drawn.

        The batch is padded as it is when its images are decoded: the decoder then runs at one batch size, and the last
        preview is bit-identical to the images. A decoder shares no memory with the loop.

        Raises InputError if the decoder has no codeword for codes that are not drawn.
        """
        codes = validation.check_codes_to_decode(codes, self.bundle.manifest)
        n = len(next(iter(codes.values())))
        images = self.empty_images(n)
        padded = {name: values[np.minimum(np.arange(batch), n - 1)] for name, values in codes.items()}
        self._finish(self.backend.decode(padded), slice(0, n), images)
        return images

    def _finished(self, batch: _PendingBatch, request: SampleRequest) -> Samples:
        """Waits for a batch's images, and returns its samples without the padding."""
        part, n = batch.part, batch.part.stop - batch.part.start
        images = self.empty_images(n)
        self._finish(batch.decoding, slice(0, n), images)
        labels = None if request.labels is None else request.labels[part].copy()
        codes = {level.name: batch.codes[level.name] for level in request.manifest.levels}
        return Samples(images, codes, request.seeds[part].copy(), labels)

    def check_state(self, levels: Iterable[str], batch: int) -> None:
        """Raises InputError if the state buffers of one of these levels are too large for a batch of this size."""
        for name in levels:
            level = self.bundle.manifest.level(name)
            check_size(level, level.prior.memories if level.prior else (), batch)

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int | None = None) -> Generator[Row, None, None]:
        """Runs one level's loop and yields each finished row; ``rows`` limits their number.

        Raises InputError if the level has no prior or another run is not finished, BundleError if the graphs and the
        manifest do not match.
        """
        process = os.getpid()
        with self._run() as backend:
            validation.check_prior(level)
            for row in backend.rows(level, level_inputs, rows or level.height):
                yield row
                if os.getpid() != process:
                    raise InputError("this process was forked while the rows were being computed: start again")

    @memory_errors()
    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        """Encodes images [N, H, W, C] to codes by level [N, h, w]."""
        codes = self.empty_codes(len(images))
        for part in batches(len(images), self.default_batch_size):
            batch = self.backend.encode(images[part])
            for name, values in codes.items():
                values[part] = batch[name]
        return codes

    @memory_errors()
    def decode(self, codes: dict[str, Codes]) -> NDArray[np.uint8]:
        """Decodes codes by level [N, h, w] to images [N, H, W, C]."""
        n = len(next(iter(codes.values())))
        images = self.empty_images(n)
        for part in batches(n, self.default_batch_size):
            self._finish(self.backend.decode({name: values[part] for name, values in codes.items()}), part, images)
        return images

    def unrounded(self, codes: dict[str, Codes]) -> NDArray[np.float32]:
        """Like ``decode``, for at least one image, before rounding: float32 [N, H, W, C], nominally in [-1, 1]."""
        n = len(next(iter(codes.values())))
        parts = [{name: values[part] for name, values in codes.items()} for part in batches(n, self.default_batch_size)]
        return np.concatenate([self.backend.decode(part).wait()[1] for part in parts])

    @contextmanager
    def _run(self) -> Iterator[Backend]:
        """Yields the backend. Raises InputError if another run is using it."""
        backend, running = self.backend, self._running
        if not running.acquire(blocking=False):
            raise InputError("this Sampler is already running; make another one from the same Bundle for each thread")
        try:
            yield backend
        finally:
            running.release()

    def _finish(self, decoding: Decoding, part: slice, images: NDArray[np.uint8]) -> None:
        """Waits for a batch's images, and copies them to ``images[part]`` without the padding."""
        decoded, unrounded = decoding.wait()
        if not np.isfinite(unrounded).all():
            decoder = self.bundle.path / self.bundle.manifest.decoder
            raise BundleError(f"{decoder}: pixels that are not finite: the weights are damaged")
        images[part] = decoded[: part.stop - part.start]

    def empty_images(self, n: int) -> NDArray[np.uint8]:
        """Returns an array for n images, uint8 [n, H, W, C]."""
        return np.empty((n, *self.bundle.manifest.image), np.uint8)

    def empty_codes(self, n: int) -> dict[str, Codes]:
        """Returns arrays for the codes of n images by level, int64 [n, h, w]."""
        return {level.name: np.empty((n, level.height, level.width), np.int64) for level in self.bundle.manifest.levels}


def _reporting(
    callback: Callback,
    request: SampleRequest,
    part: slice,
    decode: Callable[[dict[str, Codes]], NDArray[np.uint8]],
) -> AfterRow:
    """Returns the function for a backend to call after every row of the samples ``part``: it calls the callback.

    ``decode`` decodes codes by level [n, h, w], -1 where none is drawn yet.
    """

    def after_row(level: str, rows_done: int, drawn: DrawnCodes) -> bool:
        running = True

        def codes() -> dict[str, Codes]:
            if not running:
                raise InputError(
                    "codes or preview of a Progress were first read after its callback: read them in the callback"
                )
            return _with_given(drawn(), request, part)

        def preview() -> NDArray[np.uint8]:
            return decode(codes())  # not the arrays that Progress.codes gave to the caller, who may change them

        height = request.manifest.level(level).height
        try:
            proceed = callback(Progress(level, rows_done, height, part.start, request.n, codes, preview))
        finally:
            running = False
        return not (isinstance(proceed, bool | np.bool_) and not proceed)  # False cancels, not what is only like it

    return after_row


def _with_given(drawn: dict[str, Codes], request: SampleRequest, part: slice) -> dict[str, Codes]:
    """Returns codes by level [n, h, w] of the samples ``part``: those drawn, else those given, else -1."""
    codes = {name: given[part].copy() for name, given in request.given.items()}
    for name, values in drawn.items():
        without_padding = values[: part.stop - part.start]
        np.copyto(codes[name], without_padding, where=without_padding >= 0)
    return codes
