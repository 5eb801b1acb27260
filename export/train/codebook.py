"""Training of a codebook: k-means initialisation, exponential moving averages, restarts of unused codes.

With n_k the number of vectors nearest to code k in a batch and s_k their sum (VQ-VAE-2, section 2.1; VQ-VAE,
arXiv 1711.00937, appendix A.1):

    N_k <- decay N_k + (1 - decay) n_k        m_k <- decay m_k + (1 - decay) s_k        e_k <- m_k / N'_k

where N'_k = (N_k + eps) / (N + K eps) N is N_k after Laplace smoothing and N the sum of all N_k. If several processes
train together, the batch is that of all processes, and every process has the same codebook.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latentloop.export.models.vqvae import nearest_codewords
from latentloop.export.train import distributed
from latentloop.export.train.optimisation.weight_average import copy_same_shape

EPSILON = 1e-5
RESTART_BELOW = 0.02  # of the count that a code has if all codes are used equally


def counts_and_sums(vectors: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns the counts [K] and sums [K, D] of the vectors [M, D] of each code; ``codes`` [M].

    A matrix product, not a scatter: a GPU scatters in any order, so the sums would differ from run to run.
    """
    one_hot = functional.one_hot(codes, size).to(vectors.dtype)
    return one_hot.sum(0), one_hot.T @ vectors


def k_means(vectors: Tensor, size: int, generator: torch.Generator, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from randomly chosen vectors [M, D]: returns centres [size, D] and their shares [size].

    A centre that loses all its vectors moves to a random vector.
    """
    centres = vectors[_random_indices(len(vectors), size, generator).to(vectors.device)]
    for _ in range(iterations):
        counts, sums = counts_and_sums(vectors, nearest_codewords(vectors, centres), size)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        empty = counts == 0
        if bool(empty.any()):
            centres[empty] = vectors[_random_indices(len(vectors), int(empty.sum()), generator).to(vectors.device)]
    counts, _ = counts_and_sums(vectors, nearest_codewords(vectors, centres), size)
    return centres, counts / len(vectors)


class EmaCodebook:
    """The moving averages of one codebook. ``embedding`` [K, D] is the model's own buffer, changed in place."""

    def __init__(self, embedding: Tensor, decay: float) -> None:
        self.embedding, self.decay = embedding, decay
        self.cluster_size = torch.zeros(len(embedding), device=embedding.device)
        self.sums = torch.zeros_like(embedding)

    def initialise(self, vectors: Tensor, batch_vectors: int, generator: torch.Generator) -> None:
        """Sets the codebook by k-means on vectors [M, D]; ``batch_vectors`` is the number of vectors of one step."""
        centres, shares = k_means(vectors, len(self.embedding), generator)
        self.cluster_size = (shares * batch_vectors).clamp(min=EPSILON)
        self.sums = centres * self.cluster_size[:, None]
        self.embedding.copy_(centres)
        for value in (self.cluster_size, self.sums, self.embedding):
            distributed.broadcast(value)

    def update(self, vectors: Tensor, codes: Tensor) -> None:
        """Updates the averages and the embedding by one step's vectors [M, D] and their codes [M]."""
        counts, sums = map(distributed.all_reduce, counts_and_sums(vectors, codes, len(self.embedding)))
        self.cluster_size.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + EPSILON) / (total + len(counts) * EPSILON) * total
        self.embedding.copy_(self.sums / smoothed[:, None])

    def restart_unused(self, vectors: Tensor, generator: torch.Generator) -> int:
        """Moves rarely used codes to random vectors of this batch; returns how many codes moved.

        A code is rarely used if its average count is below ``RESTART_BELOW`` of an even share. It restarts with an even
        share, so it is not restarted again before vectors can move to it.
        """
        batch_vectors = len(vectors) * distributed.world_size()
        share = batch_vectors / len(self.embedding)
        unused = self.cluster_size < RESTART_BELOW * share
        count = int(unused.sum())
        if count:
            indices = distributed.broadcast(_random_indices(batch_vectors, count, generator).to(vectors.device))
            chosen = distributed.gather_rows(vectors, indices)
            self.cluster_size[unused] = share
            self.sums[unused] = chosen * share
            self.embedding[unused] = chosen
        return count

    def shares(self) -> Tensor:
        """Returns the share of each code [K] of the vectors of the last steps; zeros before the initialisation."""
        return self.cluster_size / self.cluster_size.sum().clamp(min=EPSILON)

    def state(self) -> dict[str, Any]:
        """Returns the averages for the state file; the embedding is saved with the model."""
        return {"cluster_size": self.cluster_size, "sums": self.sums}

    def restore(self, state: dict[str, Any]) -> None:
        """Loads what ``state`` returned. Raises KeyError or ValueError if it does not fit."""
        copy_same_shape(self.cluster_size, state["cluster_size"])
        copy_same_shape(self.sums, state["sums"])


def _random_indices(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Returns ``count`` random indices below ``size``, distinct if ``count`` <= ``size``; a CPU generator."""
    if count <= size:
        return torch.randperm(size, generator=generator)[:count]
    return torch.randint(size, (count,), generator=generator)
