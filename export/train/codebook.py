"""How a codebook learns: k-means at the start, moving averages, restarts of codes that fell out of use.

With n_k the vectors nearest to code k in a batch and s_k their sum (VQ-VAE-2, section 2.1; VQ-VAE,
arXiv 1711.00937, appendix A.1):

    N_k <- decay N_k + (1 - decay) n_k        m_k <- decay m_k + (1 - decay) s_k        e_k <- m_k / N'_k

where N'_k = (N_k + eps) / (N + K eps) N is N_k after Laplace smoothing and N the sum of all N_k. Where several
processes train together, a batch is what all of them hold of it, and all keep the same codebook.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from latentloop.export.train.loop import distributed
from latentloop.export.train.loop.average import copy_exactly

EPSILON = 1e-5
RESTART_BELOW = 0.02  # of an even share of the batch


def assign(vectors: Tensor, embedding: Tensor) -> Tensor:
    """The nearest codeword of each vector, lowest index on ties: [M, D], [K, D] -> [M] int64."""
    return (embedding.square().sum(1) - 2 * vectors @ embedding.T).argmin(1)


def gather(vectors: Tensor, codes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Counts [K] and sums [K, D] of the vectors [M, D] at each code [M].

    A matrix product, not a scatter: a GPU scatters in any order, and sums would differ from run to run.
    """
    hot = functional.one_hot(codes, size).to(vectors.dtype)
    return hot.sum(0), hot.T @ vectors


def k_means(vectors: Tensor, size: int, generator: torch.Generator, iterations: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from randomly chosen vectors [M, D]: centres [size, D] and their shares [size].

    A centre that loses all its vectors moves to a random vector, so that none starts unused.
    """
    centres = vectors[_choose(len(vectors), size, generator).to(vectors.device)]
    for _ in range(iterations):
        counts, sums = gather(vectors, assign(vectors, centres), size)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        empty = counts == 0
        if bool(empty.any()):
            centres[empty] = vectors[_choose(len(vectors), int(empty.sum()), generator).to(vectors.device)]
    counts, _ = gather(vectors, assign(vectors, centres), size)
    return centres, counts / len(vectors)


class EmaCodebook:
    """The averages behind one codebook. ``embedding`` [K, D] is the model's own buffer, changed in place."""

    def __init__(self, embedding: Tensor, decay: float) -> None:
        self.embedding, self.decay = embedding, decay
        self.cluster_size = torch.zeros(len(embedding), device=embedding.device)
        self.sums = torch.zeros_like(embedding)

    def begin(self, vectors: Tensor, batch_vectors: int, generator: torch.Generator) -> None:
        """k-means on vectors [M, D]; ``batch_vectors`` is how many a step will bring."""
        centres, shares = k_means(vectors, len(self.embedding), generator)
        self.cluster_size = (shares * batch_vectors).clamp(min=EPSILON)
        self.sums = centres * self.cluster_size[:, None]
        self.embedding.copy_(centres)
        for value in (self.cluster_size, self.sums, self.embedding):
            distributed.agree(value)

    def update(self, vectors: Tensor, codes: Tensor) -> None:
        """One step of the averages: vectors [M, D] and their codes [M]."""
        counts, sums = map(distributed.total, gather(vectors, codes, len(self.embedding)))
        self.cluster_size.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + EPSILON) / (total + len(counts) * EPSILON) * total
        self.embedding.copy_(self.sums / smoothed[:, None])

    def restart_unused(self, vectors: Tensor, generator: torch.Generator) -> int:
        """Moves codes whose average count fell below a fraction of an even share to vectors of this batch.

        A restarted code begins with an even share, so that it has time to find users. Returns how many
        codes moved.
        """
        whole = len(vectors) * distributed.processes()
        share = whole / len(self.embedding)
        unused = self.cluster_size < RESTART_BELOW * share
        count = int(unused.sum())
        if count:
            indices = distributed.agree(_choose(whole, count, generator).to(vectors.device))
            chosen = distributed.take(vectors, indices)
            self.cluster_size[unused] = share
            self.sums[unused] = chosen * share
            self.embedding[unused] = chosen
        return count

    def state(self) -> dict[str, Any]:
        """The averages; the embedding is saved with the model."""
        return {"cluster_size": self.cluster_size, "sums": self.sums}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned."""
        copy_exactly(self.cluster_size, state["cluster_size"])
        copy_exactly(self.sums, state["sums"])


def perplexity(counts: Tensor) -> float:
    """exp of the entropy of a histogram [K]: K where all codes are used evenly, 1 where one takes all."""
    shares = counts.double() / counts.sum()
    return float(torch.special.entr(shares).sum().exp())


def _choose(size: int, count: int, generator: torch.Generator) -> Tensor:
    """``count`` indices below ``size`` at random, without repetition where there are enough; a CPU generator."""
    if count <= size:
        return torch.randperm(size, generator=generator)[:count]
    return torch.randint(size, (count,), generator=generator)
