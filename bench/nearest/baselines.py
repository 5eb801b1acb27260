"""The search for the nearest codeword by other people's means, and by ours; each timed in a process of its own."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.machine.memory import peak, reset_peak
from latentloop.kernels import Codebook, nearest_codebook
from latentloop.kernels.nearest_codebook.reference import nearest_reference

Array = NDArray[np.float32]
Search = Callable[[Array], NDArray[np.int64]]

OURS = "LatentLoop"
CHECKED = 64  # vectors compared with the float64 reference, and runs at least
FEWEST = 3


def _latentloop(codebook: Array, threads: int) -> Search:
    prepared = Codebook(codebook)
    return lambda z: nearest_codebook(z, prepared, threads=threads).index


def _numpy(codebook: Array, threads: int) -> Search:
    halves, columns = np.square(codebook).sum(1) / 2, np.ascontiguousarray(codebook.T)
    return lambda z: (halves - z @ columns).argmin(1)


def _torch(codebook: Array, threads: int) -> Search:
    import torch

    torch.set_num_threads(threads)
    weight = torch.from_numpy(codebook)
    norms, columns = weight.square().sum(1), weight.T.contiguous()
    return lambda z: torch.addmm(norms, torch.from_numpy(z), columns, alpha=-2).argmin(1).numpy()


def _torch_cdist(codebook: Array, threads: int) -> Search:
    import torch

    torch.set_num_threads(threads)
    weight = torch.from_numpy(codebook)
    return lambda z: torch.cdist(torch.from_numpy(z), weight).argmin(1).numpy()


def _faiss(codebook: Array, threads: int) -> Search:
    import faiss

    faiss.omp_set_num_threads(threads)
    index = faiss.IndexFlatL2(codebook.shape[1])
    index.add(codebook)

    def search(z: Array) -> NDArray[np.int64]:
        found: NDArray[np.int64] = index.search(z, 1)[1][:, 0]
        return found

    return search


PEERS: dict[str, Callable[[Array, int], Search]] = {
    OURS: _latentloop,
    "NumPy, matmul + argmin": _numpy,
    "PyTorch, addmm + argmin": _torch,
    "PyTorch, cdist + argmin": _torch_cdist,
    "FAISS, IndexFlatL2": _faiss,
}


def time_peer(peer: str, searches: list[list[int]], threads: int, budget: float) -> list[dict[str, Any]] | str:
    """Per search [N, D, K]: median ``seconds`` of a run, ``bytes`` that a run adds to what is resident at most, and
    ``nearest``, the share of the first vectors whose index is that of the float64 reference; or why the peer cannot.

    What depends on the codebook alone is prepared before, as a codebook is fixed while images are encoded.
    """
    found = []
    for vectors, dimensions, codewords in searches:
        rng = np.random.default_rng(0)
        z = rng.standard_normal((vectors, dimensions), np.float32)
        codebook = rng.standard_normal((codewords, dimensions), np.float32)
        try:
            search = PEERS[peer](codebook, threads)
        except ImportError as error:
            return f"not available: {error}"
        search(z[:CHECKED])  # threads, and the library's own memory
        gc.collect()
        reset_peak()
        before = peak()
        index = search(z)
        added = max(0, peak() - before)
        seconds: list[float] = []
        while len(seconds) < FEWEST or sum(seconds) < budget:
            begin = time.perf_counter()
            search(z)
            seconds.append(time.perf_counter() - begin)
        same = index[:CHECKED] == nearest_reference(z[:CHECKED], codebook).index
        found.append({"seconds": float(np.median(seconds)), "bytes": added, "nearest": float(same.mean())})
    return found
