"""Philox against the known answers of its authors, and the uniform numbers made from it."""

from __future__ import annotations

import numpy as np
import pytest

from latentloop.draws.uniforms import philox, uniforms

# Random123's kat_vectors, philox4x32 with 10 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], np.uint32)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter: str, key: str, expected: str) -> None:
    np.testing.assert_array_equal(philox(words(counter), words(key)), words(expected))


def test_a_number_depends_only_on_seed_level_and_position() -> None:
    seeds = np.array([3, 2**63 + 5, 2**64 - 1], np.uint64)
    together = uniforms(seeds, 1, 4, 6)
    assert together.shape == (4, 6, 3)
    for index in range(3):
        np.testing.assert_array_equal(uniforms(seeds[index : index + 1], 1, 4, 6)[..., 0], together[..., index])
    assert not np.array_equal(uniforms(seeds, 0, 4, 6), together)
    counter = np.array([2 * 6 + 5, 1, 0, 0], np.uint32)
    key = np.array([(2**63 + 5) & 0xFFFFFFFF, (2**63 + 5) >> 32], np.uint32)
    assert together[2, 5, 1] == np.float32(int(philox(counter, key)[0]) >> 8) * np.float32(2.0**-24)


def test_numbers_are_uniform_below_one() -> None:
    numbers = uniforms(np.arange(50, dtype=np.uint64), 0, 64, 64).ravel()
    assert numbers.dtype == np.float32
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, 64, (0, 1))[0]
    expected = numbers.size / 64
    assert np.square(counts - expected).sum() / expected < 63 + 5 * np.sqrt(2 * 63)
