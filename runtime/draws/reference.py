"""The draw of a code from logits and a uniform number in NumPy; the reference of the step graphs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.settings import FILTERS

Float64 = NDArray[np.float64]


def allowed_codes(logits: Float64, settings: DrawSettings) -> tuple[Float64, NDArray[np.bool_]]:
    """Returns the unnormalised probabilities of all codes, and which of them the filters allow, both [B, K].

    logits [B, K]; settings of B samples. Codes are ranked by logit, equal logits by index. Top-k allows the first k
    ranks, top-p those whose predecessors have less than p of the mass, min-p those with at least p of the mass of the
    first rank. The first rank is always allowed.
    """
    scaled = logits / settings.values["temperature"][:, None]
    mass = np.exp(scaled - scaled.max(1, keepdims=True))
    order = np.argsort(-logits, axis=1, kind="stable")
    ranked = np.take_along_axis(mass, order, 1)
    passed = [PASSES[each.name](ranked, settings.values[each.name][:, None]) for each in FILTERS]
    allowed_ranks = np.logical_and.reduce(np.broadcast_arrays(*passed))
    allowed_ranks[:, 0] = True
    allowed = np.zeros_like(allowed_ranks)
    np.put_along_axis(allowed, order, allowed_ranks, 1)
    return mass, allowed


# By filter: whether codes with the masses ``ranked`` [B, K] pass it with the setting [B, 1].
PASSES: dict[str, Callable[[Float64, Float64], NDArray[np.bool_]]] = {
    "top_k": lambda ranked, k: np.arange(ranked.shape[1]) < k,
    "top_p": lambda ranked, p: (np.cumsum(ranked, 1) - ranked < p * ranked.sum(1, keepdims=True)) | (p >= 1),
    "min_p": lambda ranked, p: ranked >= p * ranked[:, :1],
}


def distribution(logits: Float64, settings: DrawSettings) -> Float64:
    """Returns the probabilities [B, K] of a draw; arguments as in ``allowed_codes``."""
    mass, allowed = allowed_codes(logits, settings)
    weight = mass * allowed
    normalised: Float64 = weight / weight.sum(1, keepdims=True)
    return normalised


def draw(logits: Float64, uniform: Float64, settings: DrawSettings) -> NDArray[np.int64]:
    """Inverts the CDF: returns the first codes [B] whose cumulative mass exceeds uniform [B] times the total."""
    mass, allowed = allowed_codes(logits, settings)
    cumulative = np.cumsum(mass * allowed, 1)
    drawn: NDArray[np.int64] = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1)
    return drawn
