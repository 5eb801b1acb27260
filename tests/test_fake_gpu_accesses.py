"""Accesses to ranges of bytes, and their history."""

from __future__ import annotations

import numpy as np
import pytest
from fake_gpu.accesses import Access, AccessHistory, check_no_overlap, merge_accesses
from fake_gpu.scheduler import FakeGpuError, Work


@pytest.mark.parametrize("seed", range(20))
def test_the_history_equals_a_list_of_all_accesses(seed: int) -> None:
    """The conflicts that the segments give are those of a list of all accesses."""
    rng = np.random.default_rng(seed)
    history, listed = AccessHistory(32), list[tuple[range, bool, Work]]()
    for number in range(40):
        first = int(rng.integers(0, 32))
        size, writes = int(rng.integers(0, 33 - first)), bool(rng.integers(0, 2))
        work = Work(str(number), int(rng.integers(0, 3)), number, {})
        expected = [
            other
            for bytes_, wrote, other in listed
            if (wrote or writes) and set(bytes_) & set(range(first, first + size))
        ]
        conflicts = list(history.conflicts(first, size, writes))
        assert set(conflicts) <= set(expected)
        for other in expected:  # a conflict that the history omits is before one that it gives
            assert any(other is work or _is_before(other, work, listed) for work in conflicts)
        history.add(first, size, writes, work)
        listed.append((range(first, first + size), writes, work))


def _is_before(early: Work, late: Work, listed: list[tuple[range, bool, Work]]) -> bool:
    """Returns whether the two had to be ordered when ``late`` was added, or are reads of one stream."""
    accesses = {work: (set(bytes_), writes) for bytes_, writes, work in listed}
    (a, a_writes), (b, b_writes) = accesses[early], accesses[late]
    return early.number < late.number and bool(a & b) and (a_writes or b_writes or early.handle == late.handle)


def test_merged_accesses() -> None:
    """Merging keeps the bytes that are read and written, in at most as many ranges."""

    def bytes_of(accesses: list[Access]) -> set[tuple[bool, bool, int]]:
        return {
            (access.writes, access.host, byte)
            for access in accesses
            for byte in range(access.pointer or 0, (access.pointer or 0) + access.size)
        }

    rng = np.random.default_rng(0)
    for _ in range(50):
        sizes = rng.integers(0, 40, (12, 2))
        accesses = [
            Access("a part", int(pointer), 1 + int(size) % 5, pointer % 2 == 0, pointer % 3 == 0)
            for pointer, size in sizes
        ]
        merged = merge_accesses(accesses)
        assert bytes_of(merged) == bytes_of(accesses)
        assert len(merged) <= len(accesses)
    assert len(merge_accesses([Access("a", pointer, 4) for pointer in (8, 0, 4, 2)])) == 1


def test_overlapping_outputs() -> None:
    inputs, output = [Access("long", 0, 100), Access("short", 10, 10)], Access("out", 100, 10, True)
    check_no_overlap("a run", [*inputs, output, Access("more", 110, 10)])
    for text, accesses in {
        "out and long overlap": [*inputs, Access("out", 99, 10, True)],
        "in and out overlap": [output, Access("in", 109, 1)],
        "more and out overlap": [output, Access("more", 105, 1, True)],
        "in and long out overlap": [Access("long out", 0, 100, True), Access("in", 50, 1), Access("after", 200, 1)],
    }.items():
        with pytest.raises(FakeGpuError, match=f"a run: {text}"):
            check_no_overlap("a run", accesses)
