"""What reading at one size changes in a folder's images: a user should know it before the training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from latentloop.images.reading import ReadResult


class ImageChanges:
    """Counts of the images, of ``size`` x ``size`` when read, that were cropped to a square or enlarged."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.images = self.cropped = self.enlarged = 0

    def count(self, results: Iterable[ReadResult]) -> Iterator[ReadResult]:
        """Yields ``results`` unchanged, and counts them."""
        for result in results:
            if result.original_size is not None:
                height, width = result.original_size
                self.images += 1
                self.cropped += height != width
                self.enlarged += min(height, width) < self.size
            yield result

    def lines(self) -> list[str]:
        """Returns a line for each kind of change that occurred."""
        lines = []
        if self.cropped:
            lines.append(f"{self.cropped} of {self.images} images were cropped to their central square")
        if self.enlarged:
            least = f"they have under {self.size} rows or columns"
            lines.append(f"{self.enlarged} of {self.images} images were enlarged: {least}")
        return lines
