"""Uniform random numbers by Philox 4x32-10, a counter-based generator: one number per seed, level and position.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). The key is the sample's seed,
the counter is (position, level, 0, 0), and the number is made of the upper 24 bits of the first word: it is exact in
float32 and less than 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UInt32 = NDArray[np.uint32]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_ROUNDS = 10


def philox(counter: UInt32, key: UInt32) -> UInt32:
    """Returns four random words [..., 4] for counters [..., 4] and keys [..., 2], which are broadcast; all uint32."""
    c0, c1, c2, c3 = (counter[..., word].astype(np.uint64) for word in range(4))
    k0, k1 = (key[..., word].astype(np.uint64) for word in range(2))
    for round_index in range(_ROUNDS):
        if round_index:
            k0, k1 = (k0 + np.uint64(_WEYL[0])) & _LOW, (k1 + np.uint64(_WEYL[1])) & _LOW
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c2 = (product1 >> _WORD) ^ c1 ^ k0, (product0 >> _WORD) ^ c3 ^ k1
        c1, c3 = product1 & _LOW, product0 & _LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def uniforms(seeds: NDArray[np.uint64], level: int, height: int, width: int) -> NDArray[np.float32]:
    """Returns a number in [0, 1) per position and seed: seeds [N] uint64 -> [H, W, N] float32. The top level is 0."""
    key = np.stack([seeds & _LOW, seeds >> _WORD], axis=-1).astype(np.uint32)
    counter = np.zeros((height * width, 1, 4), np.uint32)
    counter[:, 0, 0] = np.arange(height * width)
    counter[:, 0, 1] = level
    words = philox(counter, key)[..., 0]
    numbers: NDArray[np.float32] = (words >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24)
    return numbers.reshape(height, width, len(seeds))
