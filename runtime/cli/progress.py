"""Progress bars, which appear after a second and only if stderr is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from latentloop.cli.interrupt import StopRequest
    from latentloop.sampling.sampler import Sampler

PART = 64  # images between two updates of the bar
DELAY = 1.0  # seconds


class Bar:
    """A progress bar. Use it as a context manager. tqdm, whose import takes 30 ms, is imported when the bar appears."""

    def __init__(self, unit: str, label: str | None = None) -> None:
        self._unit, self._label = unit, label
        self._is_shown = sys.stderr is not None and sys.stderr.isatty()
        self._start = time.monotonic()
        self._done = 0
        self._bar: Any = None

    def update(self, more: int, total: int, note: str = "") -> None:
        """Counts ``more`` units of ``total``, with a ``note`` behind the figures."""
        self._done += more
        if not self._is_shown or time.monotonic() - self._start < DELAY:
            return
        if self._bar is None:
            try:
                from tqdm import tqdm
            except ImportError:  # a broken installation is no reason to stop
                self._is_shown = False
                return
            earlier = self._done - more
            self._bar = tqdm(total=total, initial=earlier, unit=self._unit, desc=self._label, leave=False)
        self._bar.total = total
        self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(more)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()


def parts(count: int, label: str) -> Iterator[slice]:
    """Yields slices that cover ``count`` images, with a progress bar."""
    with Bar("image", label) as bar:
        for start in range(0, count, PART):
            part = slice(start, min(start + PART, count))
            yield part
            bar.update(part.stop - part.start, count)


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
            batch = slice(done, min(done + sampler.default_batch_size, part.stop))
            images[batch] = sampler.decode({level: values[batch] for level, values in codes.items()})
            done = batch.stop
            if stop:
                stop.wait_for_results()
    return images[:done]
