"""How often each code occurs, as an optional part of a VQ-VAE's checkpoint, and the mean codeword.

A code that is not drawn yet has the codeword sum_k u_k e_k / sum_k u_k, with u_k the share of code k among all codes of
its level: the mean over images of what stands there. Without these shares all codes count equally.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.lazy_arrays import Weights, arrays_of, in_memory, weights_of
from latentloop.export.configuration import VqvaeConfig

SUFFIX = ".usage"  # of the tensors' names, which no network reads to compute codes


def usage_name(level: int) -> str:
    """Returns the name of a level's tensor [K], non-negative: the shares of its codes."""
    return f"codebooks.{level}{SUFFIX}"


def is_known(usage: NDArray[Any]) -> bool:
    """Returns whether these are shares, or counts: zeros say that they are not known, as before any training."""
    with np.errstate(over="ignore"):
        return bool(np.isfinite(usage).all() and (usage >= 0).all() and 0 < usage.sum(dtype=np.float64) < np.inf)


def has_usage(checkpoint: Checkpoint) -> bool:
    """Returns whether a VQ-VAE's checkpoint holds the use of the codes of every level."""
    config, weights = checkpoint.config, checkpoint.weights
    assert isinstance(config, VqvaeConfig)
    names = map(usage_name, range(config.levels))
    return all(name in weights and is_known(weights[name]) for name in names)


def with_usage(checkpoint: Checkpoint, counts: Sequence[NDArray[Any]], **provenance: Any) -> Checkpoint:
    """Returns a VQ-VAE's checkpoint with the use of its codes. ``counts``: how often each occurs, [K] by level, top
    first, or their shares; the checkpoint stays as it is if they are not known. ``provenance`` is recorded.
    """
    config = checkpoint.config
    assert isinstance(config, VqvaeConfig)
    if len(counts) < config.levels or not all(map(is_known, counts)):
        return checkpoint
    arrays = arrays_of(checkpoint.weights)
    for level, count in enumerate(counts):
        shares = np.asarray(count, np.float64)
        arrays = arrays | {usage_name(level): in_memory((shares / shares.sum()).astype(np.float32))}
    return replace(checkpoint, weights=weights_of(arrays), provenance=checkpoint.provenance | provenance)


def mean_codeword(weights: Weights, level: int) -> NDArray[np.float32]:
    """Returns the codeword [D] of a code of that level that is not drawn."""
    codebook = weights[f"codebooks.{level}.embedding"].astype(np.float64)
    name = usage_name(level)
    usage = weights[name].astype(np.float64) if name in weights else np.zeros(len(codebook))
    usage = usage if is_known(usage) else np.ones(len(codebook))
    return np.asarray(usage @ codebook / usage.sum(), np.float32)


def without_usage(weights: Mapping[str, Any]) -> list[str]:
    """Returns the names of the weights that are those of a network."""
    return [name for name in weights if not name.endswith(SUFFIX)]
