"""The animation of a grid of images that are drawn row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.images.animation import write_animation
from latentloop.sampling.results import Progress

Images = NDArray[np.uint8]
UNUSED = 255  # cells of batches that are not begun are white, as unused cells of a grid


@dataclass(frozen=True, eq=False)
class Recording:
    """The file of an animation, and the previews for it: of each row the number of the batch's first image, and the
    images [n, H, W, C].
    """

    path: Path
    frame_ms: int
    force: bool
    previews: list[tuple[int, Images]] = field(default_factory=list)

    def add(self, progress: Progress) -> None:
        """Adds the frame after a row. Call it in the callback."""
        self.previews.append((progress.images_done, progress.preview()))

    def frames(self, images: Images) -> Iterator[Images]:
        """Yields the images [N, H, W, C] as they were after each row, the same array each time, changed. The last are
        the finished ``images``. Batches that are not among them, because the run was stopped, are left out.
        """
        shown = np.full_like(images, UNUSED)
        finished = [(start, preview) for start, preview in self.previews if start + len(preview) <= len(images)]
        for start, preview in finished[:-1]:
            shown[start : start + len(preview)] = preview
            yield shown
        yield images

    def write(self, images: Images, grid: Callable[[Images], Images]) -> int:
        """Writes the animation of the finished images [N, H, W, C], at least one, laid out by ``grid``. Returns the
        number of frames. Raises OutputError.
        """
        frames = [grid(each) for each in self.frames(images)]
        write_animation(self.path, frames, frame_ms=self.frame_ms, force=self.force)
        return len(frames)
