"""The figures that ``latentloop reconstruct`` reports: mean squared errors, and the PSNR."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloop.errors import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ErrorsReport:
    """The mean squared error of each of the ``files``, on the scale 0 to 1."""

    files: list[str]
    errors: list[float]

    @property
    def mean(self) -> float | None:
        """The mean of the errors, None without images."""
        return math.fsum(self.errors) / len(self.errors) if self.errors else None

    @property
    def psnr(self) -> float | None:
        """The PSNR in dB for a peak of 1; None if it is infinite, and without images."""
        if not self.mean:
            return None
        import numpy as np

        from latentloop.evaluation.pixel_errors import PEAK, psnr

        return float(psnr(np.array([self.mean * PEAK**2]), least=0)[0])

    def text(self) -> str:
        """Returns the figures for people."""
        shown = "infinite" if self.psnr is None else f"{self.psnr:.2f} dB"
        return f"mean squared error {self.mean:.6f}, PSNR {shown}"

    def line(self) -> str:
        """Returns a line for people."""
        done = len(self.errors)
        return f"{done} {plural(done, 'image')}: {self.text()}"

    def summary(self, most_listed: float = math.inf) -> dict[str, Any]:
        """Returns the fields of the summary; images are listed if there are at most ``most_listed``."""
        listed = len(self.files) <= most_listed
        return {
            "images": self.files if listed else None,
            "mean_squared_error": self.mean,
            "psnr_db": self.psnr,
            "mean_squared_error_by_image": self.errors if listed else None,
        }


def unit_errors(images: NDArray[np.uint8], others: NDArray[np.uint8]) -> list[float]:
    """Two arrays of images uint8 [N, H, W, C] -> each pair's mean squared error on the scale 0 to 1."""
    from latentloop.evaluation.pixel_errors import PEAK, mean_squared_errors  # late, so that --help is fast

    errors: list[float] = (mean_squared_errors(images, others) / PEAK**2).tolist()
    return errors
