"""Peers by their short names."""

from __future__ import annotations

from latentloop.bench.peers import Peer
from latentloop.bench.timed_calls import CallClock


def make_peer(kind: str, threads: int, clock: CallClock) -> Peer:
    """A peer that has loaded nothing yet; ``clock`` is that of the block in which it will run.

    Loads PyTorch for those that need it, and not for LatentLoop: peak memory would count it.
    """
    if kind in ("naive", "eager", "compiled"):
        import torch

        torch.set_num_threads(threads)
    if kind == "naive":
        from latentloop.bench.naive import NaivePeer

        return NaivePeer()
    if kind in ("eager", "compiled"):
        from latentloop.bench.torch_peer import CompiledPeer, TorchPeer

        return TorchPeer() if kind == "eager" else CompiledPeer()
    from latentloop.bench.latentloop_peer import LatentLoopPeer

    return LatentLoopPeer(kind, threads, clock)
