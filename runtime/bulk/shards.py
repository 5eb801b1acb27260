"""Division of a run into shards, which are made and written one after the other, and of these into parts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from latentloop.errors import InputError

SIZES = {"png": 256, "npz": 1024, "tar": 1024, "codes": 1024}  # by format: images of a shard by default, at most
MAX_BYTES = 2**28  # of a shard's images by default


@dataclass(frozen=True)
class Shards:
    """``n`` samples in shards of ``size``; the last one may have fewer."""

    n: int
    size: int

    @property
    def count(self) -> int:
        """The number of shards."""
        return -(-self.n // self.size)

    def part(self, number: int) -> slice:
        """Returns the slice of the samples that the shard has."""
        return slice(number * self.size, min((number + 1) * self.size, self.n))


@dataclass(frozen=True)
class RunPart:
    """Part ``index``, from 0, of a run that ``count`` processes write, each into a folder of its own."""

    index: int
    count: int

    @staticmethod
    def parse(text: str) -> RunPart:
        """Returns the part that a text such as 3/64 names. Raises InputError."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        part = RunPart(*map(int, match.groups())) if match else RunPart(0, 0)
        if part.index < part.count:
            return part
        if not part.count:
            raise InputError(f"{text!r} is no part of a run, expected i/n, such as 0/64: part i of n, from 0 to n - 1")
        raise InputError(
            f"{text!r} is no part of a run: i counts from 0, so the {part.count} parts are 0/{part.count} to "
            f"{part.count - 1}/{part.count}"
        )

    def numbers(self, shards: Shards) -> range:
        """Returns the numbers of the part's shards: consecutive ones, and none if there are fewer shards than parts."""
        return range(self.index * shards.count // self.count, (self.index + 1) * shards.count // self.count)

    def images(self, shards: Shards) -> int:
        """Returns the number of the part's images."""
        numbers = self.numbers(shards)
        return min(numbers.stop * shards.size, shards.n) - min(numbers.start * shards.size, shards.n)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = RunPart(0, 1)


def default_size(format: str, image: tuple[int, int, int], batch_size: int) -> int:
    """Returns the size of shards for a format: whole batches, and images (H, W, C) of at most ``MAX_BYTES``, except
    that there is at least one batch.
    """
    most = min(SIZES[format], MAX_BYTES // math.prod(image))
    return max(1, most // batch_size) * batch_size
