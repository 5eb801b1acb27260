"""The settings with which the codes of one level are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.draws.settings import FILTERS, SETTINGS, TEMPERATURE, DrawSetting


@dataclass(frozen=True, eq=False)
class DrawSettings:
    """The value of every setting for n samples: float64 [n] by the setting's name."""

    values: dict[str, NDArray[np.float64]]

    @staticmethod
    def of(n: int, **values: ArrayLike) -> DrawSettings:
        """Returns settings of n samples from numbers or arrays [n]; others are the defaults."""
        return DrawSettings(
            {
                name: np.broadcast_to(np.asarray(values.get(name, setting.default), np.float64), (n,))
                for name, setting in SETTINGS.items()
            }
        )

    def take(self, indices: NDArray[np.int64]) -> DrawSettings:
        """Returns the settings of the samples ``indices`` [B]."""
        return DrawSettings({name: values[indices] for name, values in self.values.items()})

    def filters_in_use(self, codebook_size: int) -> list[str]:
        """Returns the names of the filters that may exclude a code of a codebook of this size."""
        return [
            each.name
            for each in FILTERS
            if (_limited(each, self.values[each.name], codebook_size) != min(each.default, codebook_size)).any()
        ]

    def arrays(self, codebook_size: int) -> dict[str, NDArray[Any]]:
        """Returns the settings as their state buffers hold them, [n] by name: all, or only the temperature if no filter
        is in use.
        """
        settings = (TEMPERATURE, *FILTERS) if self.filters_in_use(codebook_size) else (TEMPERATURE,)
        return {
            each.name: np.maximum(_limited(each, self.values[each.name], codebook_size), each.lowest).astype(each.dtype)
            for each in settings
        }

    def recorded(self) -> dict[str, float | None]:
        """Returns the first sample's settings as files of codes record them."""
        return {name: SETTINGS[name].recorded(float(values[0])) for name, values in self.values.items()}


def _limited(setting: DrawSetting, values: NDArray[np.float64], codebook_size: int) -> NDArray[np.float64]:
    return np.minimum(values, codebook_size) if setting.is_integer else values
