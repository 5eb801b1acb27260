"""Training by several processes, one a device, as ``torchrun`` starts them; alone, every function here is a no-op.

Each process takes its part of every batch. Gradients are averaged and the codebooks' statistics summed over all
processes, so that all hold the same weights and codebooks at every step. The first process, the leader, reports
and writes the files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from latentloop.errors import InputError

PATIENCE = timedelta(hours=1)  # the others wait while the leader encodes a data set


def launched() -> int:
    """How many processes ``torchrun`` started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: str) -> str:
    """Joins the processes that ``torchrun`` started, if any; returns this one's device: cuda becomes cuda:1, say."""
    if launched() == 1:
        return device
    backend = "gloo"
    if device != "cpu":
        if device != "cuda":
            raise InputError(f"device is {device!r}, expected cpu or cuda: torchrun gives each process one GPU")
        index = int(os.environ["LOCAL_RANK"])
        if index >= torch.cuda.device_count():
            raise InputError(f"torchrun starts process {index + 1} on {torch.cuda.device_count()} GPUs; start fewer")
        backend, device = "nccl", f"cuda:{index}"
        torch.cuda.set_device(index)
    dist.init_process_group(backend, timeout=PATIENCE)
    return device


def leave() -> None:
    """Leaves the other processes, after the last exchange."""
    if dist.is_initialized():
        dist.destroy_process_group()


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process among them, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def leads() -> bool:
    """Whether this process reports and writes."""
    return rank() == 0


def wait() -> None:
    """Returns once every process has come here."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def leader_first() -> Iterator[None]:
    """Runs the block in the leader, then in the others, which find the files that it wrote."""
    if not leads():
        wait()
    yield
    if leads():
        wait()


def parallel(network: nn.Module, device: str) -> nn.Module:
    """The network with its gradients averaged over all processes, and its buffers as the leader has them."""
    if processes() == 1:
        return network
    index = None if device == "cpu" else [torch.device(device)]
    return DistributedDataParallel(network, device_ids=index)


def check_batch(batch: int) -> None:
    """Raises InputError unless a batch splits evenly."""
    if batch % processes():
        raise InputError(f"batch is {batch}, expected a multiple of the {processes()} processes; pass --batch")


def part(whole: Tensor) -> Tensor:
    """This process's part of what a whole batch [N, ...] holds: [N / processes, ...], in the ranks' order."""
    size = len(whole) // processes()
    return whole[rank() * size : (rank() + 1) * size]


def total(value: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value


def agree(value: Tensor) -> Tensor:
    """The leader's value for every process, in place."""
    if dist.is_initialized():
        dist.broadcast(value, src=0)
    return value


def take(vectors: Tensor, indices: Tensor) -> Tensor:
    """Rows ``indices`` [M] of all processes' ``vectors`` [L, D] one after the other: [M, D]."""
    first = rank() * len(vectors)
    mine = (indices >= first) & (indices < first + len(vectors))
    taken = vectors.new_zeros(len(indices), vectors.shape[1])
    taken[mine] = vectors[indices[mine] - first]
    return total(taken)
