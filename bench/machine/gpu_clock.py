"""Timing of work on a GPU, captured as CUDA graphs. On a CPU the same functions run the work directly."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Work = Callable[[], object]


def disable_tf32() -> None:
    """Makes PyTorch compute float32 products in full precision from now on, without TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def captured(work: Work, device: str) -> Work:
    """Returns the work as one CUDA graph, after two warm-up runs; on a CPU the work itself."""
    if device == "cpu":
        return work
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work()
        work()
    torch.cuda.current_stream().wait_stream(stream)
    graph: Any = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Work = graph.replay
    return replay


def seconds(work: Work, device: str) -> float:
    """Returns the seconds from starting the work until the device has finished it."""
    synchronise(device)
    begin = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begin


def median(work: Work, device: str, repeats: int, budget: float) -> float:
    """Returns the median seconds of ``repeats`` runs after a warm-up run.

    Stops repeating once the runs have taken ``budget`` seconds; times at least one.
    """
    work()
    times: list[float] = []
    while len(times) < repeats and sum(times) < budget:
        times.append(seconds(work, device))
    return statistics.median(times)


def synchronise(device: str) -> None:
    """Waits until the GPU has finished all work; does nothing on a CPU."""
    if device != "cpu":
        torch.cuda.synchronize()
