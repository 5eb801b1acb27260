"""Peers by their short names."""

from __future__ import annotations

from latentloop.bench.baselines.baseline import Peer
from latentloop.bench.baselines.timed_calls import CallClock


def make_peer(kind: str, threads: int, clock: CallClock) -> Peer:
    """A peer that has loaded nothing yet; ``clock`` is that of the block in which it will run.

    Loads PyTorch for those that need it, and not for LatentLoop: peak memory would count it.
    """
    if kind in ("naive", "eager", "compiled"):
        import torch

        torch.set_num_threads(threads)
    if kind == "naive":
        from latentloop.bench.baselines.naive import NaivePeer

        return NaivePeer()
    if kind in ("eager", "compiled"):
        from latentloop.bench.baselines.torch_baseline import CompiledPeer, TorchPeer

        return TorchPeer() if kind == "eager" else CompiledPeer()
    from latentloop.bench.baselines.latentloop_runtime import LatentLoopPeer

    return LatentLoopPeer(kind, threads, clock)
