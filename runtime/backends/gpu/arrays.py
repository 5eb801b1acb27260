"""Encoding and decoding of arrays in GPU memory that PyTorch, CuPy, pycuda or other libraries own, without copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentloop.backends.gpu.codec import DeviceCodec
from latentloop.backends.gpu.device_context import DeviceContext
from latentloop.bundles.manifest import Manifest
from latentloop.errors import InputError
from latentloop.kernels.driver import BorrowedArray, DeviceArray, Stream, as_stream, borrow
from latentloop.kernels.element_types import INT64, UINT8, ElementType

LARGEST_RUN = 16  # images; larger batches are split


class ArrayCodec:
    """Encodes and decodes arrays in device memory, in the order of the caller's stream."""

    def __init__(
        self, manifest: Manifest, encoder: DeviceCodec, decoder: DeviceCodec, context: DeviceContext, largest_batch: int
    ) -> None:
        self._manifest, self._encoder, self._decoder, self._context = manifest, encoder, decoder, context
        self._largest_run = min(largest_batch, LARGEST_RUN)

    def encode(self, images: Any, stream: Any) -> dict[str, DeviceArray]:
        """Encodes images, uint8 [N, H, W, C], to codes by level, int64 [N, h, w]."""
        caller_stream = _stream(stream)
        borrowed = self._borrow("images", images, self._manifest.image, UINT8, caller_stream)
        names = tuple(level.name for level in self._manifest.levels)
        return self._encoder.run_on_device({"images": borrowed}, names, caller_stream, self._largest_run)

    def decode(self, codes: Mapping[str, Any], stream: Any) -> DeviceArray:
        """Decodes codes by level, int64 [N, h, w], to images, uint8 [N, H, W, C]. Codes must be less than the codebook
        size, which is not checked.
        """
        caller_stream = _stream(stream)
        names = {level.name for level in self._manifest.levels}
        if not isinstance(codes, Mapping) or codes.keys() != names:
            raise InputError(f"codes must map each of the levels {', '.join(sorted(names))} to a GPU array")
        borrowed = {}
        for level in self._manifest.levels:
            argument, grid = f"codes[{level.name!r}]", (level.height, level.width)
            borrowed[level.name] = self._borrow(argument, codes[level.name], grid, INT64, caller_stream)
        counts = sorted({array.shape[0] for array in borrowed.values()})
        if len(counts) > 1:
            raise InputError(
                f"codes are of {' and '.join(map(str, counts))} images, expected the same number for every level"
            )
        return self._decoder.run_on_device(borrowed, ("images",), caller_stream, self._largest_run)["images"]

    def _borrow(self, name: str, array: Any, shape: Sequence[int], dtype: ElementType, stream: Stream) -> BorrowedArray:
        """Returns the array behind an argument. Raises InputError unless its shape is [N, *shape], with N from 1."""
        try:
            with self._context.current():
                borrowed = borrow(array, name, self._context.driver, stream, (dtype,))
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from error
        if len(borrowed.shape) != 1 + len(shape) or borrowed.shape[1:] != tuple(shape) or not borrowed.shape[0]:
            raise InputError(f"{name} has shape {list(borrowed.shape)}, expected {['N', *shape]} with N from 1")
        if borrowed.device != self._context.number:
            raise InputError(f"{name} is on GPU {borrowed.device}, the sampler on GPU {self._context.number}")
        return borrowed


def _stream(stream: Any) -> Stream:
    try:
        return as_stream(stream)
    except TypeError as error:
        raise InputError(str(error)) from error
