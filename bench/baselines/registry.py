"""Implementations by the names of the command line."""

from __future__ import annotations

from latentloop.bench.baselines.implementation import Implementation


def create(name: str, threads: int) -> Implementation:
    """Returns an implementation that has not loaded a model yet.

    Imports PyTorch only for implementations that need it: LatentLoop's peak memory must not include it.
    """
    if name in ("float32", "int8"):
        from latentloop.bench.baselines.latentloop_sampler import LatentLoopSampler

        return LatentLoopSampler(name, threads)
    import torch

    torch.set_num_threads(threads)
    if name == "naive":
        from latentloop.bench.baselines.naive import NaivePyTorch

        return NaivePyTorch()
    if name == "eager":
        from latentloop.bench.baselines.eager import EagerPyTorch

        return EagerPyTorch()
    from latentloop.bench.baselines.compiled import CompiledPyTorch

    return CompiledPyTorch()
