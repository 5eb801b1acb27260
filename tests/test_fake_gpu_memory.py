"""Ranges of bytes, and who touched them last."""

from __future__ import annotations

import numpy as np
import pytest
from fake_gpu.memory import Accesses, Range, check_apart, united
from fake_gpu.order import FakeGpuError, Work


@pytest.mark.parametrize("seed", range(20))
def test_accesses_are_those_of_every_byte(seed: int) -> None:
    """Segments say of any bytes what a list of all accesses says."""
    rng = np.random.default_rng(seed)
    accesses, told = Accesses(32), list[tuple[range, bool, Work]]()
    for number in range(40):
        first = int(rng.integers(0, 32))
        size, changes = int(rng.integers(0, 33 - first)), bool(rng.integers(0, 2))
        work = Work(str(number), int(rng.integers(0, 3)), number, {})
        needed = [
            w for bytes_, changed, w in told if (changed or changes) and set(bytes_) & set(range(first, first + size))
        ]
        found = list(accesses.others(first, size, changes))
        assert set(found) <= set(needed)
        for other in needed:  # those that are left out are before one that is not
            assert any(other is w or _is_before(other, w, told) for w in found)
        accesses.touch(first, size, changes, work)
        told.append((range(first, first + size), changes, work))


def _is_before(early: Work, late: Work, told: list[tuple[range, bool, Work]]) -> bool:
    """Whether an order between the two had to be settled when the later one came; or both are reads of one stream."""
    spans = {work: (set(span), changes) for span, changes, work in told}
    (a, a_changes), (b, b_changes) = spans[early], spans[late]
    return early.number < late.number and bool(a & b) and (a_changes or b_changes or early.handle == late.handle)


def test_ranges_united() -> None:
    """The same bytes, changed or read, and no more ranges than needed."""

    def bytes_of(parts: list[Range]) -> set[tuple[bool, bool, int]]:
        return {(p.changes, p.host, byte) for p in parts for byte in range(p.pointer or 0, (p.pointer or 0) + p.size)}

    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(0, 40, (12, 2))
        parts = [Range("a part", int(at), 1 + int(size) % 5, at % 2 == 0, at % 3 == 0) for at, size in sizes]
        found = united(parts)
        assert bytes_of(found) == bytes_of(parts)
        assert len(found) <= len(parts)
    assert len(united([Range("a", at, 4) for at in (8, 0, 4, 2)])) == 1


def test_ranges_apart() -> None:
    read, changed = [Range("long", 0, 100), Range("short", 10, 10)], Range("out", 100, 10, True)
    check_apart("a run", [*read, changed, Range("more", 110, 10)])
    for text, parts in {
        "out and long overlap": [*read, Range("out", 99, 10, True)],
        "in and out overlap": [changed, Range("in", 109, 1)],
        "more and out overlap": [changed, Range("more", 105, 1, True)],
        "in and long out overlap": [Range("long out", 0, 100, True), Range("in", 50, 1), Range("after", 200, 1)],
    }.items():
        with pytest.raises(FakeGpuError, match=f"a run: {text}"):
            check_apart("a run", parts)
