"""Training in several processes, one per device, started by ``torchrun``. In a single process every function here
does nothing.

Each process computes its part of every batch. Gradients are averaged and codebook statistics summed over all processes,
so all processes have the same weights and codebooks after every step. Rank 0, the leader, reports and writes the files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from latentloop.errors import InputError

TIMEOUT = timedelta(hours=1)  # the other processes wait while the leader encodes a data set


def launched_processes() -> int:
    """Returns how many processes ``torchrun`` started; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device: str) -> str:
    """Joins the processes that ``torchrun`` started, if any. Returns this process's device, for example ``cuda:1`` for
    ``cuda``. Raises InputError for a device with an index, or if there are fewer GPUs than processes.
    """
    if launched_processes() == 1:
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
    dist.init_process_group(backend, timeout=TIMEOUT)
    return device


def leave() -> None:
    """Ends this process with status 0 if torchrun started several: call it last, when the leader has written its files.

    All end together: if one ends with an error before the leader is done, torchrun stops the leader.
    """
    if not dist.is_initialized():
        return
    dist.barrier()
    dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    # DistributedDataParallel keeps Gloo's threads alive (PyTorch 2.13), and one that is busy when the interpreter shuts
    # down aborts the process: https://github.com/pytorch/pytorch/pull/179291
    os._exit(0)


def world_size() -> int:
    """Returns how many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Returns this process's rank, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_leader() -> bool:
    """Returns whether this process reports and writes the files."""
    return rank() == 0


def barrier() -> None:
    """Waits until every process has called this function."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def leader_first() -> Iterator[None]:
    """Runs the block in the leader first, so the other processes can read the files that it wrote."""
    if not is_leader():
        barrier()
    yield
    if is_leader():
        barrier()


def data_parallel(network: nn.Module, device: str) -> nn.Module:
    """Returns the network with gradients averaged over all processes and buffers copied from the leader."""
    if world_size() == 1:
        return network
    index = None if device == "cpu" else [torch.device(device)]
    return DistributedDataParallel(network, device_ids=index)


def check_batch(batch: int) -> None:
    """Raises InputError unless a batch splits evenly."""
    if batch % world_size():
        raise InputError(f"batch is {batch}, expected a multiple of the {world_size()} processes; pass --batch")


def local_part(batch: Tensor) -> Tensor:
    """Returns this process's part of a whole batch [N, ...]: [N / world size, ...], in order of rank."""
    size = len(batch) // world_size()
    return batch[rank() * size : (rank() + 1) * size]


def all_reduce(value: Tensor) -> Tensor:
    """Sums ``value`` over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value


def broadcast(value: Tensor) -> Tensor:
    """Replaces ``value`` by the leader's, in place."""
    if dist.is_initialized():
        dist.broadcast(value, src=0)
    return value


def gather_rows(vectors: Tensor, indices: Tensor) -> Tensor:
    """Returns rows ``indices`` [M] of the concatenation, by rank, of all processes' ``vectors`` [L, D]: [M, D]."""
    first = rank() * len(vectors)
    is_local = (indices >= first) & (indices < first + len(vectors))
    rows = vectors.new_zeros(len(indices), vectors.shape[1])
    rows[is_local] = vectors[indices[is_local] - first]
    return all_reduce(rows)
