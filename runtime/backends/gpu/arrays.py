"""Images and codes that lie on the GPU already, of PyTorch, CuPy, pycuda and others: taken and given as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from latentloop.backends.gpu.codec import DeviceCodec
from latentloop.backends.gpu.device_context import DeviceContext
from latentloop.bundles.manifest import Manifest
from latentloop.errors import InputError
from latentloop.kernels.driver import BorrowedArray, DeviceArray, Stream, as_stream, borrow
from latentloop.kernels.driver.datatype import INT64, UINT8, DataType

AT_ONCE = 16


class ArrayCodec:
    """Encodes and decodes device arrays in the order of the caller's stream."""

    def __init__(
        self, manifest: Manifest, encoder: DeviceCodec, decoder: DeviceCodec, context: DeviceContext, most: int
    ) -> None:
        """``most`` images or codes at once."""
        self._manifest, self._encoder, self._decoder, self._context = manifest, encoder, decoder, context
        self._at_once = min(most, AT_ONCE)

    def encode(self, images: Any, stream: Any) -> dict[str, DeviceArray]:
        """uint8 [N, H, W, C] -> codes by level, int64 [N, h, w]."""
        on = _stream(stream)
        taken = self._take("images", images, self._manifest.image, UINT8, on)
        names = tuple(level.name for level in self._manifest.levels)
        return self._encoder.run_on({"images": taken}, names, on, self._at_once)

    def decode(self, codes: Mapping[str, Any], stream: Any) -> DeviceArray:
        """Codes by level, int64 [N, h, w], within their codebooks (nothing checks that here) -> uint8 [N, H, W, C]."""
        on = _stream(stream)
        names = {level.name for level in self._manifest.levels}
        if not isinstance(codes, Mapping) or codes.keys() != names:
            raise InputError(f"codes must map each of the levels {', '.join(sorted(names))} to a GPU array")
        taken = {
            level.name: self._take(f"codes[{level.name!r}]", codes[level.name], (level.height, level.width), INT64, on)
            for level in self._manifest.levels
        }
        counts = {array.shape[0] for array in taken.values()}
        if len(counts) > 1:
            raise InputError(
                f"codes are of {' and '.join(map(str, sorted(counts)))} images, expected as many everywhere"
            )
        return self._decoder.run_on(taken, ("images",), on, self._at_once)["images"]

    def _take(self, name: str, array: Any, entry: Sequence[int], dtype: DataType, stream: Stream) -> BorrowedArray:
        try:
            with self._context.current():
                taken = borrow(array, name, self._context.driver, stream, (dtype,))
        except (TypeError, ValueError) as error:
            raise InputError(str(error)) from error
        if len(taken.shape) != 1 + len(entry) or taken.shape[1:] != tuple(entry) or not taken.shape[0]:
            raise InputError(f"{name} has shape {list(taken.shape)}, expected {['N', *entry]} with N from 1")
        if taken.device != self._context.number:
            raise InputError(f"{name} is on GPU {taken.device}, the sampler on GPU {self._context.number}")
        return taken


def _stream(stream: Any) -> Stream:
    try:
        return as_stream(stream)
    except TypeError as error:
        raise InputError(str(error)) from error
