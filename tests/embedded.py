"""liblatentloop from Python, for tests: the C interface by ctypes, with arrays and exceptions."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentloop.environment import c_library
from latentloop.errors import MissingError

Codes = dict[str, NDArray[np.int64]]
STATUSES = (
    *("ok", "invalid argument", "bad bundle", "missing", "device not usable"),
    *("out of memory", "busy", "cancelled", "internal error"),
)


class SamplerParams(ctypes.Structure):
    _fields_ = (("size", c_uint32), ("threads", c_int32), ("device", c_char_p), ("precision", c_char_p))


class Progress(ctypes.Structure):
    _fields_ = (
        *(("size", c_uint32), ("level", c_int32), ("row", c_int32), ("rows", c_int32)),
        *(("image", c_int64), ("images", c_int64)),
    )


ProgressFunction = ctypes.CFUNCTYPE(c_int, POINTER(Progress), c_void_p)
LogFunction = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)


class SampleParams(ctypes.Structure):
    _fields_ = (
        *(("size", c_uint32), ("count", c_int64), ("seed", c_uint64), ("seeds", c_void_p), ("labels", c_void_p)),
        *(("temperature", c_void_p), ("top_p", c_void_p), ("min_p", c_void_p), ("top_k", c_void_p)),
        *(("given", c_void_p), ("batch", c_int64), ("progress", ProgressFunction), ("user", c_void_p)),
    )


class Level(ctypes.Structure):
    _fields_ = (
        *(("name", c_char_p), ("height", c_int32), ("width", c_int32)),
        *(("codebook_size", c_int32), ("has_prior", c_int32)),
    )


class EmbeddedError(Exception):
    """A status that is not LL_OK, with the text of the last error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{STATUSES[status]}: {text}")
        self.status, self.text = STATUSES[status], text


def installed_library() -> Path:
    """Returns the path of the installed library. Skips the test if it was not built."""
    try:
        return c_library.library()
    except MissingError as error:
        pytest.skip(str(error))


class Library:
    """A liblatentloop.so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.functions = ctypes.CDLL(str(path))
        for name in (
            "ll_version",
            "ll_last_error",
            "ll_status_name",
            "ll_sampler_device",
            "ll_bundle_class_name",
            "ll_bundle_precision",
        ):
            getattr(self.functions, name).restype = c_char_p
        for name in ("ll_bundle_close", "ll_sampler_destroy", "ll_set_log", "ll_cancel"):
            getattr(self.functions, name).restype = None
        self.functions.ll_set_onnxruntime(str(c_library.onnxruntime_library()).encode())

    def last_error(self) -> str:
        return str(self.functions.ll_last_error().decode())

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function that returns a status. Raises EmbeddedError."""
        status = getattr(self.functions, name)(*arguments)
        if status:
            raise EmbeddedError(status, self.last_error())

    def open(self, folder: Path | str) -> EmbeddedBundle:
        return EmbeddedBundle(self, str(folder))


class EmbeddedBundle:
    """An open bundle."""

    def __init__(self, library: Library, folder: str) -> None:
        self.library, self.handle = library, c_void_p()
        library.call("ll_bundle_open", folder.encode(errors="surrogateescape"), byref(self.handle))
        functions = library.functions
        levels = [Level() for _ in range(functions.ll_bundle_levels(self.handle))]
        for index, level in enumerate(levels):
            library.call("ll_bundle_level", self.handle, index, byref(level))
        self.levels = levels
        size = [c_int32() for _ in range(3)]
        library.call("ll_bundle_image", self.handle, *map(byref, size))
        self.image = tuple(each.value for each in size)
        classes = functions.ll_bundle_classes(self.handle)
        self.classes = tuple(functions.ll_bundle_class_name(self.handle, i).decode() for i in range(classes))

    def close(self) -> None:
        self.library.functions.ll_bundle_close(self.handle)
        self.handle = c_void_p()

    def sampler(self, precision: str | None = None, threads: int = 1, device: str | None = None) -> EmbeddedSampler:
        return EmbeddedSampler(self, precision, threads, device)

    def names(self) -> list[str]:
        return [level.name.decode() for level in self.levels]

    def empty_codes(self, n: int, dtype: type = np.int64) -> dict[str, NDArray[Any]]:
        """Returns an array [n, height, width] by level."""
        return {level.name.decode(): np.full((n, level.height, level.width), -7, dtype) for level in self.levels}

    def pointers(self, arrays: Mapping[str, NDArray[Any]]) -> Any:
        """Returns an array of pointers by level; null for levels that are missing."""
        return (c_void_p * len(self.levels))(
            *(arrays[name].ctypes.data if name in arrays else None for name in self.names())
        )


class EmbeddedSampler:
    """A sampler of the C interface. Results are like those of ``latentloop.Sampler``."""

    def __init__(self, bundle: EmbeddedBundle, precision: str | None, threads: int, device: str | None) -> None:
        self.bundle, self.library, self.handle = bundle, bundle.library, c_void_p()
        params = SamplerParams(
            ctypes.sizeof(SamplerParams),
            threads,
            None if device is None else device.encode(),
            None if precision is None else precision.encode(),
        )
        self.library.call("ll_sampler_create", bundle.handle, byref(params), byref(self.handle))
        self.finished = 0

    def __enter__(self) -> EmbeddedSampler:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def destroy(self) -> None:
        self.library.functions.ll_sampler_destroy(self.handle)
        self.handle = c_void_p()

    def cancel(self) -> None:
        self.library.functions.ll_cancel(self.handle)

    def sample_params(
        self,
        n: int,
        *,
        seeds: int | Sequence[int] = 0,
        labels: Sequence[int] | None = None,
        given: Mapping[str, NDArray[np.int64]] | ctypes.Array[c_void_p] | None = None,
        batch: int = 0,
        progress: Callable[[Any], int] | None = None,
        **settings: Mapping[str, float],
    ) -> tuple[SampleParams, list[Any]]:
        """Returns the struct, and the objects that it points to. ``settings`` have a value for every level."""
        levels = self.bundle.names()
        arrays: dict[str, Any] = {
            name: np.array([values[level] for level in levels], np.int64 if name == "top_k" else np.float32)
            for name, values in settings.items()
        }
        if not isinstance(seeds, int):
            arrays["seeds"] = np.array(seeds, np.uint64)
        if labels is not None:
            arrays["labels"] = np.array(labels, np.int64)
        pointers = {name: c_void_p(array.ctypes.data) for name, array in arrays.items()}
        kept: list[Any] = [arrays, given]
        if given is not None:
            kept.append(self.bundle.pointers(given) if isinstance(given, Mapping) else given)
            pointers["given"] = ctypes.cast(kept[-1], c_void_p)
        function = ProgressFunction() if progress is None else ProgressFunction(lambda report, _: progress(report[0]))
        kept.append(function)
        params = SampleParams(size=ctypes.sizeof(SampleParams), count=n, batch=batch, progress=function, **pointers)
        if isinstance(seeds, int):
            params.seed = seeds
        return params, kept

    def sample(self, n: int = 1, decode: bool = True, **arguments: Any) -> tuple[NDArray[np.uint8], Codes]:
        params, kept = self.sample_params(n, **arguments)
        images, codes, finished = self._images(n), self.bundle.empty_codes(n), c_int64(-1)
        pointer = c_void_p(images.ctypes.data if decode else None)
        try:
            self.library.call(
                *("ll_sample", self.handle, byref(params), pointer, c_size_t(images.nbytes)),
                *(self.bundle.pointers(codes), byref(finished)),
            )
        finally:
            self.finished, self.images, self.codes = finished.value, images, codes
            del kept
        return images, codes

    def sample_best(self, n: int, candidates: int, **arguments: Any) -> dict[str, Any]:
        params, kept = self.sample_params(n, **arguments)
        images, codes, finished = self._images(n), self.bundle.empty_codes(n), c_int64(-1)
        seeds, labels, confidence = np.zeros(n, np.uint64), np.zeros(n, np.int64), np.zeros(n, np.float32)
        self.best = {"images": images, "codes": codes, "seeds": seeds, "labels": labels, "confidence": confidence}
        try:
            self.library.call(
                *("ll_sample_best", self.handle, byref(params), c_int64(candidates), c_void_p(images.ctypes.data)),
                *(c_size_t(images.nbytes), self.bundle.pointers(codes), c_void_p(seeds.ctypes.data)),
                *(c_void_p(labels.ctypes.data), c_void_p(confidence.ctypes.data), byref(finished)),
            )
        finally:
            self.finished = finished.value
            del kept
        return self.best

    def encode(self, images: NDArray[np.uint8]) -> Codes:
        codes = self.bundle.empty_codes(len(images))
        self.library.call(
            *("ll_encode", self.handle, c_void_p(images.ctypes.data), c_size_t(images.nbytes), c_int64(len(images))),
            self.bundle.pointers(codes),
        )
        return codes

    def decode(self, codes: Mapping[str, NDArray[np.int64]]) -> NDArray[np.uint8]:
        n = len(next(iter(codes.values())))
        images = self._images(n)
        self.library.call(
            *("ll_decode", self.handle, self.bundle.pointers(codes), c_int64(n), c_void_p(images.ctypes.data)),
            c_size_t(images.nbytes),
        )
        return images

    def log_likelihood(
        self, codes: Mapping[str, NDArray[np.int64]], labels: NDArray[np.int64] | None
    ) -> dict[str, NDArray[np.float64]]:
        n = len(next(iter(codes.values())))
        nats = self.bundle.empty_codes(n, np.float64)
        self.library.call(
            *("ll_log_likelihood", self.handle, self.bundle.pointers(codes)),
            *(None if labels is None else c_void_p(labels.ctypes.data), c_int64(n), self.bundle.pointers(nats)),
        )
        return nats

    def classify(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities = np.full((len(images), len(self.bundle.classes)), -7, np.float32)
        self.library.call(
            *("ll_classify", self.handle, c_void_p(images.ctypes.data), c_size_t(images.nbytes)),
            *(c_int64(len(images)), c_void_p(probabilities.ctypes.data)),
        )
        return probabilities

    def _images(self, n: int) -> NDArray[np.uint8]:
        return np.full((n, *self.bundle.image), 77, np.uint8)
