"""The sampler: draws codes from the priors, from the top level down, and decodes them to images."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.backends import registry
from latentloop.backends.interface import Backend
from latentloop.bundles.bundle import Bundle
from latentloop.draws.level_inputs import Codes
from latentloop.environment.machine import available_threads
from latentloop.errors import InputError, short_repr
from latentloop.sampling import validation
from latentloop.sampling.results import Callback, Classification, Samples
from latentloop.sampling.runs import Runs
from latentloop.sampling.sample_request import MAX_STREAMED, SampleRequest

if TYPE_CHECKING:
    from latentloop.backends.gpu.arrays import ArrayCodec
    from latentloop.kernels.driver import DeviceArray

MAX_THREADS = 1024  # each graph starts this many


class Sampler:
    """Samples from a bundle. ``bundle``, ``threads`` and ``precision`` are those of its construction.

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
        count = available_threads() if threads is None else validation.check_count("threads", threads, MAX_THREADS)
        self._set(bundle, registry.open_backend(bundle, device, count, precision), device, count, precision)

    def _set(self, bundle: Bundle, backend: Backend, device: str, threads: int, precision: str) -> None:
        self.bundle, self.threads, self.precision = bundle, threads, precision
        self._requested_device = device
        self._runs = Runs(bundle, backend)

    def __reduce__(self) -> tuple[type[Sampler], tuple[Bundle, str, int, str]]:
        """Makes copies and pickles construct a new sampler with the same arguments and number of threads."""
        return Sampler, (self.bundle, self._requested_device, self.threads, self.precision)

    def __repr__(self) -> str:
        # The opened backend, because in a forked process a GPU's cannot be used, but described.
        device = self._runs.opened.device
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"<Sampler of {str(self.bundle.path)!r}: {device}, {threads}, {self.precision}>"

    @property
    def device(self) -> str:
        """The device that runs the graphs: cpu, cuda:0, tensorrt:0, …"""
        return self._runs.backend.device

    @property
    def default_batch_size(self) -> int:
        """The batch size if the caller passes none: 16, or less if the engines were built for less."""
        return self._runs.default_batch_size

    @property
    def device_reason(self) -> str:
        """One line that describes the device and the reason for its choice."""
        return self._runs.backend.reason

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
            depend on n. By default n, at most ``default_batch_size``.
        callback: called with a ``Progress`` after every row; returning False, but no other value, cancels the run, and
            finished images are returned.

        Raises InputError for arguments that do not fit the bundle.
        """
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        request = SampleRequest.validated(
            self.bundle.manifest, n, labels=labels, seeds=seeds, given=given, settings=settings
        )
        return self._runs.draw(request, batch_size, callback)

    def stream(
        self,
        n: int,
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
    ) -> Generator[Samples, None, None]:
        """Draws n images, at most 2**28, and yields each batch when it is finished: the samples of ``sample``, bit by
        bit and in order, for the same arguments. Memory holds two batches, and the seeds and labels of all samples.

        Arguments and errors are those of ``sample``; arguments are checked at the call. A batch is yielded when the
        next is drawn. If ``callback`` cancels the run, the last finished batch has ``cancelled`` set; if no batch is
        finished, none is yielded. Between two batches the sampler may be used for something else. Closing the
        generator, or leaving a loop over it, drops the batch that is drawn but not yielded.

        given: codes that are the same for all samples can be a view, ``np.broadcast_to(codes, (n, h, w))``, which
            needs the memory of one.
        """
        settings = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
        request = SampleRequest.validated(
            self.bundle.manifest, n, labels=labels, seeds=seeds, given=given, settings=settings, largest=MAX_STREAMED
        )
        return self._runs.stream(request, batch_size, callback)

    def encode(self, images: ArrayLike) -> dict[str, Codes]:
        """Encodes images uint8 [N, H, W, C] of the bundle's size to codes by level, int64 [N, h, w].

        Raises InputError.
        """
        return self._runs.encode(validation.check_images(images, self.bundle.manifest))

    def decode(self, codes: Mapping[str, ArrayLike]) -> NDArray[np.uint8]:
        """Decodes codes by level, integers [N, h, w], to images uint8 [N, H, W, C].

        Codes are 0 to K - 1, or -1 for one that is not drawn, as in ``given`` and ``Progress.codes``: it has the mean
        codeword of its level, weighted by how often the codes occur, so that an image that is half drawn looks finished
        where it is drawn, and plain elsewhere. A level of which nothing is drawn is an array of -1.

        Raises InputError, also for -1 with a bundle of an earlier release, whose decoder has no such codeword.
        """
        return self._runs.decode(validation.check_codes_to_decode(codes, self.bundle.manifest))

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
        ``encode_on_gpu``. Codes beyond a codebook are not detected, nor -1 with a bundle whose decoder has no codeword
        for it (``bundle.manifest.undrawn_codeword`` is None).
        """
        return self._array_codec().decode(codes, stream)

    def _array_codec(self) -> ArrayCodec:
        arrays = self._runs.backend.arrays
        if arrays is None:
            backends = ", ".join(registry.names(on_gpu=True))
            raise InputError(f"this sampler runs on {self.device}: arrays on a GPU need one of {backends}")
        return arrays

    def log_likelihood(
        self, codes: Mapping[str, ArrayLike], labels: ArrayLike | None = None
    ) -> dict[str, NDArray[np.float64]]:
        """Returns the log-probability of every code given the ones before it, in nats, by level: float64 [N, h, w].

        codes by level, integers [N, h, w]; labels as in ``sample``, but required if the bundle has classes.
        Raises InputError.
        """
        from latentloop.sampling.likelihood import log_likelihood  # late: `sample` does not need it

        return log_likelihood(self._runs, codes, labels)

    def logits(self, codes: Mapping[str, ArrayLike], labels: ArrayLike | None = None) -> dict[str, NDArray[np.float32]]:
        """Returns the logits of every code given the ones before it, by level: float32 [N, h, w, K].

        Entry k of the last axis is the unnormalised log-probability of code k, before temperature and filters: its
        log-softmax at the codes is ``log_likelihood``. The result of a level has 4 * N * h * w * K bytes.
        Arguments and errors are those of ``log_likelihood``.
        """
        from latentloop.sampling.likelihood import logits  # late: `sample` does not need it

        return logits(self._runs, codes, labels)


def sampler_on(bundle: Bundle, backend: Backend, threads: int = 1, precision: str = "float32") -> Sampler:
    """Returns a sampler that runs on the caller's backend; ``precision`` is that of the graphs which it runs."""
    sampler = Sampler.__new__(Sampler)
    sampler._set(bundle, backend, backend.device, threads, precision)
    return sampler


def check_sampler(value: object) -> None:
    """Raises InputError unless ``value`` is a Sampler."""
    if not isinstance(value, Sampler):
        raise InputError(f"sampler is {short_repr(value)}, expected a Sampler, such as Sampler(bundle)")


def runs_of(sampler: Sampler) -> Runs:
    """Returns the runs that the sampler's methods consist of, for modules that need a single level or a request."""
    return sampler._runs
