"""The draw of a code from logits and a uniform number; the reference of the step graphs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def allowed_codes(
    logits: Float64, temperature: Float64, top_k: NDArray[np.int64], top_p: Float64
) -> tuple[Float64, NDArray[np.bool_]]:
    """Returns the unnormalised probabilities of all codes, and which of them the filters allow, both [B, K].

    logits [B, K]; temperature, top_k (K or more: off) and top_p (1: off) are per sample [B]. Codes are ranked by logit,
    equal logits by index. Top-k allows the first k ranks, top-p those whose predecessors have less than p of the mass.
    The first rank is always allowed.
    """
    scaled = logits / temperature[:, None]
    mass = np.exp(scaled - scaled.max(1, keepdims=True))
    order = np.argsort(-logits, axis=1, kind="stable")
    ranked = np.take_along_axis(mass, order, 1)
    before = np.cumsum(ranked, 1) - ranked
    ranks = np.arange(logits.shape[1])
    within_p = (before < top_p[:, None] * ranked.sum(1, keepdims=True)) | (top_p[:, None] >= 1)
    allowed_ranks = (ranks < top_k[:, None]) & within_p
    allowed_ranks[:, 0] = True
    allowed = np.zeros_like(allowed_ranks)
    np.put_along_axis(allowed, order, allowed_ranks, 1)
    return mass, allowed


def distribution(logits: Float64, temperature: Float64, top_k: NDArray[np.int64], top_p: Float64) -> Float64:
    """Returns the probabilities [B, K] of a draw; arguments as in ``allowed_codes``."""
    mass, allowed = allowed_codes(logits, temperature, top_k, top_p)
    weight = mass * allowed
    normalised: Float64 = weight / weight.sum(1, keepdims=True)
    return normalised


def draw(
    logits: Float64, uniform: Float64, temperature: Float64, top_k: NDArray[np.int64], top_p: Float64
) -> NDArray[np.int64]:
    """Inverts the CDF: returns the first codes [B] whose cumulative mass exceeds uniform [B] times the total."""
    mass, allowed = allowed_codes(logits, temperature, top_k, top_p)
    cumulative = np.cumsum(mass * allowed, 1)
    drawn: NDArray[np.int64] = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1)
    return drawn
