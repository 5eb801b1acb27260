"""The draw, plainly: logits and one uniform number -> a code. The step graphs are checked against this."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def kept(
    logits: Float64, temperature: Float64, top_k: NDArray[np.int64], top_p: Float64
) -> tuple[Float64, NDArray[np.bool_]]:
    """Unnormalised probabilities and which codes a draw may take, both [B, K].

    logits [B, K]; temperature, top_k (K or more: off) and top_p (1: off) are per sample [B]. Codes are ranked by
    logit, equal ones by index: top-k keeps the first k ranks, top-p those whose predecessors hold less than p of
    the mass. The first rank is always kept.
    """
    scaled = logits / temperature[:, None]
    mass = np.exp(scaled - scaled.max(1, keepdims=True))
    order = np.argsort(-logits, axis=1, kind="stable")
    ranked = np.take_along_axis(mass, order, 1)
    before = np.cumsum(ranked, 1) - ranked
    ranks = np.arange(logits.shape[1])
    within_p = (before < top_p[:, None] * ranked.sum(1, keepdims=True)) | (top_p[:, None] >= 1)
    keep_ranked = (ranks < top_k[:, None]) & within_p
    keep_ranked[:, 0] = True
    keep = np.zeros_like(keep_ranked)
    np.put_along_axis(keep, order, keep_ranked, 1)
    return mass, keep


def distribution(logits: Float64, temperature: Float64, top_k: NDArray[np.int64], top_p: Float64) -> Float64:
    """The probabilities [B, K] that a draw follows; arguments as in ``kept``."""
    mass, keep = kept(logits, temperature, top_k, top_p)
    weight = mass * keep
    normalised: Float64 = weight / weight.sum(1, keepdims=True)
    return normalised


def draw(
    logits: Float64, uniform: Float64, temperature: Float64, top_k: NDArray[np.int64], top_p: Float64
) -> NDArray[np.int64]:
    """Inverts the CDF: the first code whose cumulative mass exceeds uniform [B] times the total -> codes [B]."""
    mass, keep = kept(logits, temperature, top_k, top_p)
    cumulative = np.cumsum(mass * keep, 1)
    drawn: NDArray[np.int64] = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(1)
    return drawn
