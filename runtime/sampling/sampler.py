"""The sampler: codes from the priors, top to bottom, and images from codes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.backends.interface import Backend, Decoding
from latentloop.backends.registry import DEVICES, open_backend
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.json_fields import shown
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row
from latentloop.draws.uniforms import uniforms
from latentloop.environment.machine import available_threads
from latentloop.errors import BundleError, InputError
from latentloop.sampling import validation
from latentloop.sampling.classifier import classify
from latentloop.sampling.results import Classification, Progress, Samples

if TYPE_CHECKING:
    from latentloop.backends.gpu.arrays import ArrayCodec
    from latentloop.kernels.driver import DeviceArray

LARGEST_BATCH = 16  # of one that the caller does not name
MOST_SAMPLES = 2**20  # of one call: their images and codes are held together
MOST_THREADS = 1024  # each graph starts as many


class Sampler:
    """Samples from a bundle.

    A Sampler owns the loop's memory, so two threads must not use one at once; give each thread its own. They may be
    made from one Bundle, whose weights they share. Copies and pickles open the bundle anew, and so does a process that
    is forked later; one on a GPU cannot follow a fork, and says so.

    What a seed promises: a sample depends on its seed and settings, not on the others in its batch. Sums in float32
    round differently for another batch size, thread count or processor, so the same bits are promised only where
    these are the same; elsewhere a draw that falls within rounding of a boundary may come out as the other code.
    """

    def __init__(
        self, bundle: Bundle, device: str = "auto", threads: int | None = None, precision: str = "float32"
    ) -> None:
        """``device``: "cpu"; "tensorrt" for the bundle's engines; "cuda" or "onnxruntime-tensorrt" for ONNX Runtime on
        a GPU, each also with a GPU's number as in "cuda:1"; or "auto", the best of them that works here: ``device`` and
        ``device_reason`` say which and why. ``threads`` of the CPU default to the processors available.

        ``precision`` of the priors' weights: "float32", or "int8" where the bundle has it, which is faster and draws
        from slightly different probabilities; with engines also "float16" and "bfloat16". On a CPU the encoder and the
        decoder are float32 always.

        Raises InputError for other values, MissingError for a device that this installation cannot use.
        """
        if not isinstance(bundle, Bundle):
            raise InputError(f"bundle is {shown(bundle)}, expected a Bundle, such as Bundle.open(path)")
        self.bundle = bundle
        self.threads = (
            available_threads() if threads is None else validation.check_count("threads", threads, MOST_THREADS)
        )
        self.precision = precision
        self._asked = device
        self._start(open_backend(bundle, device, self.threads, precision))

    def _start(self, backend: Backend) -> None:
        self._opened, self._running, self._process = backend, threading.Lock(), os.getpid()

    @property
    def _backend(self) -> Backend:
        """Another in a process that was forked since, where the threads of the first one are not."""
        if self._process != os.getpid():
            self._start(self._opened.after_fork())
        return self._opened

    def __reduce__(self) -> tuple[type[Sampler], tuple[Bundle, str, int, str]]:
        """Copies and pickles are made anew with the same arguments, and the threads of this one."""
        return Sampler, (self.bundle, self._asked, self.threads, self.precision)

    @property
    def device(self) -> str:
        """What runs the graphs: cpu, cuda:0, tensorrt:0, …"""
        return self._backend.device

    @property
    def default_batch(self) -> int:
        """Samples computed at once where a caller names no batch size; engines may be built for fewer than 16."""
        return min(LARGEST_BATCH, self._backend.largest_batch)

    @property
    def device_reason(self) -> str:
        """One line on what that is, and why it was chosen."""
        return self._backend.reason

    def sample(
        self,
        n: int = 1,
        *,
        labels: ArrayLike | None = None,
        seeds: ArrayLike | None = None,
        temperature: validation.Setting = None,
        top_k: validation.Setting = None,
        top_p: validation.Setting = None,
        given: Mapping[str, ArrayLike] | None = None,
        batch_size: int | None = None,
        callback: Callable[[Progress], bool | None] | None = None,
    ) -> Samples:
        """Draws n images.

        labels: class indices or names, one for all or one per sample; by default sample i takes class i modulo
            their number.
        seeds: integers, one per sample, or the first of n consecutive ones; by default fresh ones (returned).
        temperature (over 0), top_k (from 1; 1 takes the most probable code), top_p (in (0, 1]): a number for all,
            one per sample [n], or a mapping from level names to either. A code must pass both filters.
        given: codes to keep by level, integers [n, h, w], -1 where a code is to be drawn; what is kept must be a
            prefix in raster order.
        All of these also as arrays or tensors in host memory.
        batch_size: samples computed at once; short batches are padded to it, so that a seed's bits do not depend
            on n. By default n, at most ``default_batch``.
        callback: called after every row; returning False cancels the run, and finished images are returned.

        Raises InputError for arguments that do not fit the bundle.
        """
        n = validation.check_count("n", n, MOST_SAMPLES)
        levels = self.bundle.manifest.levels
        chosen = validation.check_labels(labels, n, self.bundle.manifest)
        keys = validation.check_seeds(seeds, n)
        settings = validation.check_settings(temperature, top_k, top_p, n, levels)
        kept = validation.check_given(given, n, levels)
        for level in levels:
            if (kept[level.name] < 0).any():
                self._check_prior(level)
        if callback is not None and not callable(callback):
            raise InputError(f"callback is {shown(callback)}, expected a function or None")
        batch = (
            min(n, self.default_batch)
            if batch_size is None
            else validation.check_count("batch_size", batch_size, self._backend.largest_batch)
        )
        codes: dict[str, Codes] = {level.name: np.empty((n, level.height, level.width), np.int64) for level in levels}
        images = np.empty((n, *self.bundle.manifest.image), np.uint8)
        drawn_so_far, waiting = 0, None
        while drawn_so_far < n:
            part = np.minimum(np.arange(drawn_so_far, drawn_so_far + batch), n - 1)  # padded with the last sample
            place = slice(drawn_so_far, min(drawn_so_far + batch, n))
            after_row = None if callback is None else _reporting(callback, drawn_so_far, n)
            drawn = self._draw(part, chosen, keys, settings, kept, after_row)
            if drawn is None:
                break
            for name in codes:
                codes[name][place] = drawn[name][: place.stop - place.start]
            # Decoded while the next batch is being drawn, where the device can do both.
            decoding = self._backend.decode(drawn)
            if waiting is not None:
                self._finish(*waiting, images)
            waiting = decoding, place
            drawn_so_far = place.stop
        if waiting is not None:
            self._finish(*waiting, images)
        return Samples(
            images[:drawn_so_far],
            {name: values[:drawn_so_far] for name, values in codes.items()},
            keys[:drawn_so_far],
            None if chosen is None else chosen[:drawn_so_far],
            cancelled=drawn_so_far < n,
        )

    def encode(self, images: ArrayLike) -> dict[str, Codes]:
        """Images uint8 [N, H, W, C] at the bundle's size -> codes by level, int64 [N, h, w]. Raises InputError."""
        array = validation.check_images(images, self.bundle.manifest)
        codes = {
            level.name: np.empty((len(array), level.height, level.width), np.int64)
            for level in self.bundle.manifest.levels
        }
        for part in _batches(len(array), self.default_batch):
            found = self._backend.encode(array[part])
            for name, values in codes.items():
                values[part] = found[name]
        return codes

    def decode(self, codes: Mapping[str, ArrayLike]) -> NDArray[np.uint8]:
        """Codes by level, integers [N, h, w] -> images uint8 [N, H, W, C]. Raises InputError."""
        checked = validation.check_codes(codes, self.bundle.manifest.levels, partial=False)
        n = len(next(iter(checked.values())))
        images = np.empty((n, *self.bundle.manifest.image), np.uint8)
        for part in _batches(n, self.default_batch):
            self._finish(self._backend.decode({name: values[part] for name, values in checked.items()}), part, images)
        return images

    def classify(self, images: ArrayLike) -> Classification:
        """What the bundle's classifier makes of images uint8 [N, H, W, C] at the bundle's size. It runs on the CPU,
        whatever the device. Raises InputError, also where the bundle has no classifier.
        """
        return classify(self.bundle, validation.check_images(images, self.bundle.manifest), self.threads)

    def encode_on_gpu(self, images: Any, stream: Any = None) -> dict[str, DeviceArray]:
        """As ``encode``, for an array on the sampler's GPU: uint8 [N, H, W, C] of PyTorch, CuPy, pycuda or any library
        with DLPack or the CUDA array interface -> arrays that they adopt without a copy.

        Work is enqueued in the order of ``stream`` (of any of these libraries; default: the legacy default stream), and
        nothing waits, unless N is another than before. The caller's CUDA context is used where it is the GPU's. Raises
        InputError, also on a CPU.
        """
        return self._arrays().encode(images, stream)

    def decode_on_gpu(self, codes: Mapping[str, Any], stream: Any = None) -> DeviceArray:
        """As ``decode``, for int64 arrays [N, h, w] on the sampler's GPU -> uint8 [N, H, W, C] there; see
        ``encode_on_gpu``. Codes beyond a codebook are not noticed.
        """
        return self._arrays().decode(codes, stream)

    def _arrays(self) -> ArrayCodec:
        if self._backend.arrays is None:
            raise InputError(
                f"this sampler runs on {self.device}: arrays on a GPU need one of {', '.join(DEVICES[1:])}"
            )
        return self._backend.arrays

    def decoded(self, codes: dict[str, Codes]) -> NDArray[np.float32]:
        """What ``decode`` rounds: codes by level, int64 [N, h, w] -> float32 [N, H, W, C], nominally in [-1, 1]."""
        n = len(next(iter(codes.values())))
        parts = [{name: values[part] for name, values in codes.items()} for part in _batches(n, self.default_batch)]
        return np.concatenate([self._backend.decode(part).wait()[1] for part in parts])

    def log_likelihood(
        self, codes: Mapping[str, ArrayLike], labels: ArrayLike | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """The log-probability of every code given the ones before it, in nats, by level: float64 [N, h, w].

        codes by level, integers [N, h, w]; labels as in ``sample``, but required where the bundle has classes.
        Raises InputError.
        """
        levels = self.bundle.manifest.levels
        checked = validation.check_codes(codes, levels, partial=False)
        n = len(next(iter(checked.values())))
        if labels is None and self.bundle.manifest.classes:
            raise InputError("labels are missing: the likelihood of codes depends on their class")
        found = {level.name: np.empty((n, level.height, level.width)) for level in levels}
        if n == 0:
            return found
        for level in levels:
            self._check_prior(level)
        chosen = validation.check_labels(labels, n, self.bundle.manifest)
        batch = min(n, self.default_batch)
        for part in _batches(n, batch):
            indices = np.minimum(np.arange(part.start, part.start + batch), n - 1)
            count = len(checked[levels[0].name][part])
            for index, level in enumerate(levels):
                controls = LevelInputs.forcing(
                    checked[level.name][indices],
                    checked[levels[index - 1].name][indices] if index else None,
                    None if chosen is None else chosen[indices],
                )
                for row in self.rows(level, controls):
                    if not np.isfinite(row.logits).all():
                        raise BundleError(f"{self.bundle.path}: {level.name} has logits that are not finite numbers")
                    logp = log_softmax(row.logits.astype(np.float64))
                    picked = np.take_along_axis(logp, row.codes[..., None], 2)[..., 0]  # [W, B]
                    found[level.name][part, row.index] = picked.T[:count]
        return found

    def rows(self, level: Level, controls: LevelInputs, rows: int | None = None) -> Iterator[Row]:
        """Runs one level's loop, yielding each finished row; ``rows`` limits it to the first ones.

        Raises InputError for a level without a prior and while this Sampler runs already, BundleError where graphs
        and manifest do not fit each other.
        """
        process = os.getpid()
        with self._run() as backend:
            self._check_prior(level)
            for row in backend.rows(level, controls, rows or level.height):
                yield row
                if os.getpid() != process:
                    raise InputError("this process was forked after the first of these rows: begin again")

    @contextmanager
    def _run(self) -> Iterator[Backend]:
        """The backend, for one run at a time."""
        backend, running = self._backend, self._running
        if not running.acquire(blocking=False):
            raise InputError("this Sampler is running already; make another from the same Bundle for each thread")
        try:
            yield backend
        finally:
            running.release()

    def _check_prior(self, level: Level) -> None:
        if level.prior is None:
            raise InputError(f"the bundle has no prior for the level {level.name!r}: it can encode and decode only")

    def _draw(
        self,
        part: NDArray[np.int64],
        labels: Codes | None,
        seeds: NDArray[np.uint64],
        settings: dict[str, dict[str, NDArray[np.float64]]],
        given: dict[str, Codes],
        after_row: AfterRow | None,
    ) -> dict[str, Codes] | None:
        """One batch's codes by level, or None where ``after_row`` cancelled it."""
        draws = []
        for index, level in enumerate(self.bundle.manifest.levels):
            kept = given[level.name][part]
            if (kept >= 0).all():
                draws.append(LevelDraw(level, kept))
                continue
            top_k, top_p = settings["top_k"][level.name][part], settings["top_p"][level.name][part]
            filtered = bool((top_k < level.codebook_size).any() or (top_p < 1).any())
            temperature = np.maximum(settings["temperature"][level.name][part], validation.COLDEST)
            controls = LevelInputs(
                uniform=uniforms(seeds[part], index, level.height, level.width),
                forced=kept.transpose(1, 2, 0),
                temperature=temperature.astype(np.float32),
                top_k=np.minimum(top_k, level.codebook_size).astype(np.int64) if filtered else None,
                top_p=top_p.astype(np.float32) if filtered else None,
                labels=None if labels is None else labels[part],
            )
            draws.append(LevelDraw(level, controls))
        with self._run() as backend:
            return backend.draw(draws, after_row)

    def _finish(self, decoding: Decoding, place: slice, images: NDArray[np.uint8]) -> None:
        """Puts the decoded images where they belong; a batch may have been padded."""
        found, decoded = decoding.wait()
        if not np.isfinite(decoded).all():
            decoder = self.bundle.path / self.bundle.manifest.decoder
            raise BundleError(f"{decoder}: pixels that are not finite: the weights are damaged")
        images[place] = found[: place.stop - place.start]


def _reporting(callback: Callable[[Progress], bool | None], images_done: int, images_total: int) -> AfterRow:
    def after_row(level: Level, rows_done: int) -> bool:
        answer = callback(Progress(level.name, rows_done, level.height, images_done, images_total))
        return answer is None or bool(answer)

    return after_row


def _batches(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logits [..., K] as log-probabilities in nats."""
    shifted = logits - logits.max(-1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return result
