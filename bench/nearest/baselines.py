"""The search for the nearest codeword by NumPy, PyTorch, FAISS and LatentLoop, timed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bench.machine.clock import elapsed
from latentloop.bench.machine.memory import peak, reset_peak
from latentloop.kernels import Codebook, nearest_codebook
from latentloop.kernels.nearest_codebook.reference import nearest_reference

Array = NDArray[np.float32]
Search = Callable[[Array], NDArray[np.int64]]  # vectors [N, D] -> indices [N]

LATENTLOOP = "LatentLoop"
CHECKED = 64  # vectors that are compared with the float64 reference
FEWEST = 3  # timed runs


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
    flat = faiss.IndexFlatL2(codebook.shape[1])
    flat.add(codebook)

    def search(z: Array) -> NDArray[np.int64]:
        indices: NDArray[np.int64] = flat.search(z, 1)[1][:, 0]
        return indices

    return search


SEARCHES: dict[str, Callable[[Array, int], Search]] = {  # from a codebook [K, D] and a number of threads
    LATENTLOOP: _latentloop,
    "NumPy, matmul + argmin": _numpy,
    "PyTorch, addmm + argmin": _torch,
    "PyTorch, cdist + argmin": _torch_cdist,
    "FAISS, IndexFlatL2": _faiss,
}


def time_search(name: str, shapes: list[list[int]], threads: int, budget: float) -> list[dict[str, Any]] | str:
    """Times one implementation on random vectors of each shape [N, D, K].

    Returns per shape the median ``seconds`` of a run, the ``bytes`` that a run adds to the peak of resident memory,
    and ``nearest``, the share of the first vectors whose index equals the float64 reference's; or why the
    implementation is not available. Preparing the codebook is not timed: it is fixed while images are encoded.
    """
    measured = []
    for vectors, dimensions, codewords in shapes:
        rng = np.random.default_rng(0)
        z = rng.standard_normal((vectors, dimensions), np.float32)
        codebook = rng.standard_normal((codewords, dimensions), np.float32)
        try:
            search = SEARCHES[name](codebook, threads)
        except ImportError as error:
            return f"not available: {error}"
        search(z[:CHECKED])  # warm-up: starts threads, allocates the library's own memory
        gc.collect()
        reset_peak()
        before = peak()
        index = search(z)
        added = max(0, peak() - before)
        seconds: list[float] = []
        while len(seconds) < FEWEST or sum(seconds) < budget:
            seconds.append(elapsed(partial(search, z)))
        correct = index[:CHECKED] == nearest_reference(z[:CHECKED], codebook).index
        measured.append({"seconds": float(np.median(seconds)), "bytes": added, "nearest": float(correct.mean())})
    return measured
