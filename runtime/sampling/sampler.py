"""The sampler: draws codes from the priors, from the top level down, and decodes them to images."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.backends import registry
from latentloop.backends.interface import Backend, Decoding
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level, Manifest
from latentloop.draws.level_inputs import AfterRow, Codes, LevelInputs, Row
from latentloop.environment.machine import available_threads
from latentloop.errors import BundleError, InputError, short_repr
from latentloop.sampling import validation
from latentloop.sampling.batches import batches, padded_batches
from latentloop.sampling.results import Callback, Classification, Progress, Samples
from latentloop.sampling.sample_request import SampleRequest

if TYPE_CHECKING:
    from latentloop.backends.gpu.arrays import ArrayCodec
    from latentloop.kernels.driver import DeviceArray

LARGEST_BATCH = 16  # default, if the caller passes no batch size
MAX_THREADS = 1024  # each graph starts this many


class Sampler:
    """Samples from a bundle.

    A Sampler owns the loop's memory, so only one thread may use it at a time: make one for each thread. Samplers made
    from the same Bundle share its weights. Copies and pickles open the bundle again, and so does a process that is
    forked later; a Sampler on a GPU cannot be used after a fork, and raises InputError.

    Reproducibility: a sample depends on its seed and settings, not on the other samples in its batch. Sums in float32
    round differently for another batch size, thread count or processor, so results are bit-identical only if these
    are the same; otherwise a draw within rounding error of a boundary between two codes may give the other code.
    """

    def __init__(
        self, bundle: Bundle, device: str = "auto", threads: int | None = None, precision: str = "float32"
    ) -> None:
        """``device``: "cpu"; "tensorrt" for the bundle's engines; "cuda" or "onnxruntime-tensorrt" for ONNX Runtime on
        a GPU; or "auto", the best of them that works here. A GPU can be chosen by number, as in "cuda:1". The
        properties ``device`` and ``device_reason`` report the choice. ``threads``: CPU threads, by default all
        available processors.

        ``precision`` of the priors' weights: "float32", or "int8" if the bundle has it, which is faster and draws from
        slightly different probabilities; with engines also "float16" and "bfloat16". On a CPU the encoder and the
        decoder always use float32.

        Raises InputError for other values, MissingError for a device that this installation cannot use.
        """
        if not isinstance(bundle, Bundle):
            raise InputError(f"bundle is {short_repr(bundle)}, expected a Bundle, such as Bundle.open(path)")
        self.bundle = bundle
        self.threads = (
            available_threads() if threads is None else validation.check_count("threads", threads, MAX_THREADS)
        )
        self.precision = precision
        self._requested_device = device
        self._start(registry.open_backend(bundle, device, self.threads, precision))

    @classmethod
    def with_backend(cls, bundle: Bundle, backend: Backend, threads: int = 1, precision: str = "float32") -> Sampler:
        """Returns a sampler that runs on the caller's backend; ``precision`` is that of the graphs which it runs."""
        sampler = cls.__new__(cls)
        sampler.bundle, sampler.threads, sampler.precision = bundle, threads, precision
        sampler._requested_device = backend.device
        sampler._start(backend)
        return sampler

    def _start(self, backend: Backend) -> None:
        self._opened, self._running, self._process = backend, threading.Lock(), os.getpid()

    @property
    def _backend(self) -> Backend:
        """The backend; a new one in a forked process, because threads do not survive a fork."""
        if self._process != os.getpid():
            self._start(self._opened.after_fork())
        return self._opened

    def __reduce__(self) -> tuple[type[Sampler], tuple[Bundle, str, int, str]]:
        """Makes copies and pickles construct a new sampler with the same arguments and number of threads."""
        return Sampler, (self.bundle, self._requested_device, self.threads, self.precision)

    @property
    def device(self) -> str:
        """The device that runs the graphs: cpu, cuda:0, tensorrt:0, …"""
        return self._backend.device

    @property
    def default_batch(self) -> int:
        """The batch size if the caller passes none: 16, or less if the engines were built for less."""
        return min(LARGEST_BATCH, self._backend.largest_batch)

    @property
    def device_reason(self) -> str:
        """One line that describes the device and the reason for its choice."""
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
        min_p: validation.Setting = None,
        given: Mapping[str, ArrayLike] | None = None,
        batch_size: int | None = None,
        callback: Callback | None = None,
    ) -> Samples:
        """Draws n images.

        labels: class indices or names, one for all or one per sample; by default sample i has class i modulo the
            number of classes.
        seeds: integers, one per sample, or the first of n consecutive ones; by default fresh ones (returned).
        temperature (over 0), top_k (from 1; 1 draws the most probable code), top_p (in (0, 1]), min_p (in [0, 1]; the
            share that a code must have of the most probable one's probability): a number for all, one per sample [n],
            or a mapping from level names to either. A code must pass all filters.
        given: codes to keep by level, integers [n, h, w], -1 for a code to draw; the kept codes must be a prefix in
            raster order.
        All of these may also be arrays or tensors in host memory.
        batch_size: samples computed at once; short batches are padded to it, so that the result of a seed does not
            depend on n. By default n, at most ``default_batch``.
        callback: called after every row; returning False cancels the run, and finished images are returned.

        Raises InputError for arguments that do not fit the bundle.
        """
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        request = SampleRequest.validated(
            self.bundle.manifest, n, labels=labels, seeds=seeds, given=given, settings=settings
        )
        return self.draw(request, batch_size, callback)

    def draw(self, request: SampleRequest, batch_size: int | None = None, callback: Callback | None = None) -> Samples:
        """Draws the samples of a request, which was validated for this sampler's bundle; see ``sample``."""
        # 1. Validate what is not in the request.
        if callback is not None and not callable(callback):
            raise InputError(f"callback is {short_repr(callback)}, expected a function or None")
        batch = (
            min(request.n, self.default_batch)
            if batch_size is None
            else validation.check_count("batch_size", batch_size, self._backend.largest_batch)
        )
        # 2. Draw the batches. Each is decoded while the next is drawn, if the device can do both at once.
        codes = _empty_codes(request.n, self.bundle.manifest)
        images = np.empty((request.n, *self.bundle.manifest.image), np.uint8)
        decodings: list[tuple[Decoding, slice]] = []
        finished = 0
        for part, indices in padded_batches(request.n, batch):
            after_row = None if callback is None else self._after_row(callback, finished, request.n)
            with self._run() as backend:
                drawn = backend.draw(request.draws(indices), after_row)
            if drawn is None:
                break
            for name in codes:
                codes[name][part] = drawn[name][: part.stop - part.start]
            decodings.append((self._backend.decode(drawn), part))
            if len(decodings) > 1:
                self._finish(*decodings.pop(0), images)
            finished = part.stop
        for decoding in decodings:
            self._finish(*decoding, images)
        # 3. Return the finished samples.
        samples = Samples(images, codes, request.seeds, request.labels, cancelled=finished < request.n)
        return samples.take(slice(finished))

    def encode(self, images: ArrayLike) -> dict[str, Codes]:
        """Encodes images uint8 [N, H, W, C] of the bundle's size to codes by level, int64 [N, h, w].

        Raises InputError.
        """
        array = validation.check_images(images, self.bundle.manifest)
        codes = _empty_codes(len(array), self.bundle.manifest)
        for part in batches(len(array), self.default_batch):
            batch = self._backend.encode(array[part])
            for name, values in codes.items():
                values[part] = batch[name]
        return codes

    def decode(self, codes: Mapping[str, ArrayLike]) -> NDArray[np.uint8]:
        """Decodes codes by level, integers [N, h, w], to images uint8 [N, H, W, C]. Raises InputError."""
        checked = validation.check_codes(codes, self.bundle.manifest.levels, partial=False)
        n = len(next(iter(checked.values())))
        images = np.empty((n, *self.bundle.manifest.image), np.uint8)
        for part in batches(n, self.default_batch):
            self._finish(self._backend.decode({name: values[part] for name, values in checked.items()}), part, images)
        return images

    def classify(self, images: ArrayLike) -> Classification:
        """Classifies images uint8 [N, H, W, C] at the bundle's size with the bundle's classifier, on the CPU for every
        device. Raises InputError, also if the bundle has no classifier.
        """
        from latentloop.sampling.classifier import classify  # late: `sample` does not need it

        return classify(self.bundle, validation.check_images(images, self.bundle.manifest), self.threads)

    def encode_on_gpu(self, images: Any, stream: Any = None) -> dict[str, DeviceArray]:
        """Like ``encode``, for an array uint8 [N, H, W, C] on the sampler's GPU, of PyTorch, CuPy, pycuda or any
        library with DLPack or the CUDA array interface. Returns arrays that these libraries adopt without a copy.

        Work is enqueued in the order of ``stream`` (of any of these libraries; default: the legacy default stream)
        without waiting, unless N differs from the previous call. Uses the caller's CUDA context if it belongs to this
        GPU. Raises InputError, also on a CPU.
        """
        return self._array_codec().encode(images, stream)

    def decode_on_gpu(self, codes: Mapping[str, Any], stream: Any = None) -> DeviceArray:
        """Like ``decode``, for int64 arrays [N, h, w] on the sampler's GPU; returns uint8 [N, H, W, C] there. See
        ``encode_on_gpu``. Codes beyond a codebook are not detected.
        """
        return self._array_codec().decode(codes, stream)

    def _array_codec(self) -> ArrayCodec:
        if self._backend.arrays is None:
            backends = ", ".join(registry.names(on_gpu=True))
            raise InputError(f"this sampler runs on {self.device}: arrays on a GPU need one of {backends}")
        return self._backend.arrays

    def decoded(self, codes: dict[str, Codes]) -> NDArray[np.float32]:
        """Returns unrounded images, float32 [N, H, W, C], nominally in [-1, 1], of codes by level, int64 [N, h, w]."""
        n = len(next(iter(codes.values())))
        parts = [{name: values[part] for name, values in codes.items()} for part in batches(n, self.default_batch)]
        return np.concatenate([self._backend.decode(part).wait()[1] for part in parts])

    def log_likelihood(
        self, codes: Mapping[str, ArrayLike], labels: ArrayLike | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Returns the log-probability of every code given the ones before it, in nats, by level: float64 [N, h, w].

        codes by level, integers [N, h, w]; labels as in ``sample``, but required if the bundle has classes.
        Raises InputError.
        """
        from latentloop.sampling.likelihood import log_likelihood  # late: `sample` does not need it

        return log_likelihood(self.bundle, self.rows, self.default_batch, codes, labels)

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int | None = None) -> Generator[Row, None, None]:
        """Runs one level's loop and yields each finished row; ``rows`` limits their number.

        Raises InputError if the level has no prior or this Sampler is already running, BundleError if the graphs and
        the manifest do not match.
        """
        process = os.getpid()
        with self._run() as backend:
            validation.check_prior(level)
            for row in backend.rows(level, level_inputs, rows or level.height):
                yield row
                if os.getpid() != process:
                    raise InputError("this process was forked while the rows were being computed: start again")

    @contextmanager
    def _run(self) -> Iterator[Backend]:
        """Yields the backend. Raises InputError if another run is using it."""
        backend, running = self._backend, self._running
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

    def _after_row(self, callback: Callback, images_done: int, images_total: int) -> AfterRow:
        def after_row(level: str, rows_done: int) -> bool:
            height = self.bundle.manifest.level(level).height
            proceed = callback(Progress(level, rows_done, height, images_done, images_total))
            return proceed is None or bool(proceed)

        return after_row


def _empty_codes(n: int, manifest: Manifest) -> dict[str, Codes]:
    return {level.name: np.empty((n, level.height, level.width), np.int64) for level in manifest.levels}
