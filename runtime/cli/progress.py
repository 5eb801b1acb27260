"""Progress bars, which appear after a second and only if stderr is a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from latentloop.cli.interrupt import StopRequest
    from latentloop.sampling.sampler import Sampler

PART = 64  # images between two updates of the bar


def parts(count: int, label: str) -> Iterator[slice]:
    """Yields slices that cover ``count`` images, with a progress bar."""
    from tqdm import tqdm

    with tqdm(total=count, desc=label, unit="image", delay=1, leave=False, disable=None) as bar:
        for start in range(0, count, PART):
            part = slice(start, min(start + PART, count))
            yield part
            bar.update(part.stop - part.start)


def encode(sampler: Sampler, images: NDArray[np.uint8]) -> dict[str, NDArray[np.int64]]:
    """Returns the codes of images uint8 [N, H, W, C], N >= 1, by level, int64 [N, h, w]. Shows a progress bar."""
    import numpy as np

    codes = [sampler.encode(images[part]) for part in parts(len(images), "encode")]
    return {level: np.concatenate([part[level] for part in codes]) for level in codes[0]}


def decode(sampler: Sampler, codes: dict[str, NDArray[np.int64]], stop: StopRequest | None = None) -> NDArray[np.uint8]:
    """Returns the images uint8 [n, H, W, C] of codes by level, integers [N, h, w]. Shows a progress bar.

    n is N, or the number of images that were finished when ``stop`` was set.
    """
    import numpy as np

    count = len(next(iter(codes.values())))
    images, done = np.empty((count, *sampler.bundle.manifest.image), np.uint8), 0
    for part in parts(count, "decode"):
        while done < part.stop and not (stop and stop.is_set()):
            batch = slice(done, min(done + sampler.default_batch, part.stop))
            images[batch] = sampler.decode({level: values[batch] for level, values in codes.items()})
            done = batch.stop
            if stop:
                stop.wait_for_results()
    return images[:done]
