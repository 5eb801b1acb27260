"""Time on a GPU, of work that is captured once. On a CPU the same calls run as they are."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

Work = Callable[[], object]


def full_precision() -> None:
    """From now on products of float32 take no shortcut through TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def captured(work: Work, device: str) -> Work:
    """The work as one CUDA graph, after two runs that settle what a library does at first; on a CPU the work itself."""
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
    """Seconds of one run, the host's waiting for it included."""
    synchronise(device)
    begin = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - begin


def median(work: Work, device: str, repeats: int, budget: float) -> float:
    """The median of ``repeats`` runs after one that is not counted; of fewer, at least one, once ``budget`` is over."""
    work()
    taken: list[float] = []
    while len(taken) < repeats and sum(taken) < budget:
        taken.append(seconds(work, device))
    return statistics.median(taken)


def synchronise(device: str) -> None:
    """Waits for the GPU."""
    if device != "cpu":
        torch.cuda.synchronize()
