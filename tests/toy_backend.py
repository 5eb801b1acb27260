"""A complete example of a backend. It draws code 0 everywhere, and decodes any codes to grey images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from latentloop.backends.interface import Decoding
from latentloop.backends.registry import BackendRequest
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest import Level
from latentloop.draws.level_inputs import AfterRow, Codes, LevelDraw, LevelInputs, Row
from latentloop.errors import MissingError

GREY = 77  # the value of every pixel
missing = ""  # the reason why the backend cannot be used, which tests set


def check(name: str) -> None:
    if missing:
        raise MissingError(missing)


def find(request: BackendRequest) -> Callable[[], ToyBackend]:
    check(request.name)
    request.bundle.manifest.check_precision(request.precision)
    return lambda: ToyBackend(request.bundle, request.name)


class ToyBackend:
    largest_batch = 3
    reason = "an example"
    arrays = None
    gpu = None

    def __init__(self, bundle: Bundle, device: str) -> None:
        self.bundle, self.device = bundle, device

    def draw(self, draws: Sequence[LevelDraw], after_row: AfterRow | None) -> dict[str, Codes] | None:
        codes = {}
        for draw in draws:
            level = self.bundle.manifest.level(draw.level)
            if isinstance(draw.source, LevelInputs):
                codes[level.name] = np.zeros((draw.source.batch, level.height, level.width), np.int64)
            else:
                codes[level.name] = draw.source
        return codes

    def rows(self, level: Level, level_inputs: LevelInputs, rows: int) -> Iterator[Row]:
        for index in range(rows):
            codes = np.zeros((level.width, level_inputs.batch), np.int64)
            yield Row(index, codes, np.zeros((*codes.shape, level.codebook_size), np.float32))

    def encode(self, images: NDArray[np.uint8]) -> dict[str, Codes]:
        levels = self.bundle.manifest.levels
        return {level.name: np.zeros((len(images), level.height, level.width), np.int64) for level in levels}

    def decode(self, codes: dict[str, Codes]) -> Decoding:
        images = np.full((len(next(iter(codes.values()))), *self.bundle.manifest.image), GREY, np.uint8)
        return Decoding(lambda: (images, images.astype(np.float32) / 127.5 - 1))

    def after_fork(self) -> ToyBackend:
        return self
