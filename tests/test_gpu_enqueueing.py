"""The numbers of enqueued runs, captures and waits of the host."""

from __future__ import annotations

import gc
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gpu_machines import CAPTURE, WAIT, Machines, backend, check_same

from latentloop import Bundle, Progress, Sampler, Samples

GRIDS = {"top": 4, "bottom": 8}  # rows
ROW_AND_STEPS = 2  # pieces of work


def draw(sampler: Sampler, **changes: Any) -> Samples:
    return sampler.sample(**{"n": 2, "seeds": 9, "labels": 0, **changes})


def phases(sampler: Sampler) -> dict[str, int]:
    rows_of_codes = {}
    for level in sampler.bundle.manifest.levels:
        assert level.prior is not None
        rows_of_codes[level.name] = next(
            int(memory.shape[0]) for memory in level.prior.memories if memory.name == "codes"
        )
    return rows_of_codes


def summary(events: Iterable[str]) -> list[str]:
    """Returns every wait, and "sample" or "decode" for the runs between two waits."""
    kinds = [
        "decode" if event.startswith("decoder") else "wait" if event == WAIT else "sample"
        for event in events
        if not event.endswith("profile")
    ]
    return [kind for kind, group in groupby(kinds) for _ in (group if kind == "wait" else [None])]


def test_the_host_waits_for_each_batchs_codes_and_for_its_images(
    small_engines: Path, machines: Machines, device: str
) -> None:
    driver = machines(seed=1)
    sampler = Sampler(Bundle.open(small_engines), device)
    for settings in ({}, {}, {"top_k": 3}):
        driver.events.clear()
        draw(sampler, n=5, batch_size=2, **settings)
        # The images of a batch are decoded while the next batch is sampled.
        first, middle = ["sample", "wait", "decode"], ["sample", "wait", "decode", "wait"]
        assert summary(driver.events) == [*first, *middle, *middle, "wait"], driver.events


@pytest.mark.parametrize("captures", [True, False])
def test_with_a_callback_the_host_waits_for_each_row_after_it_enqueued_the_next(
    small_engines: Path, machines: Machines, captures: bool
) -> None:
    driver = machines(seed=2, captures=captures)
    sampler = Sampler(Bundle.open(small_engines), "tensorrt")
    draw(sampler)
    rows: list[tuple[Progress, int, int]] = []

    def record(progress: Progress) -> None:
        rows.append(
            (progress, sum(f"{progress.level}.row" in event for event in driver.events), driver.events.count(WAIT))
        )

    driver.events.clear()
    draw(sampler, callback=record)
    assert driver.events.count(WAIT) == sum(GRIDS.values()) + 2
    assert [waits for *_, waits in rows] == list(range(1, sum(GRIDS.values()) + 1))
    if not captures:
        expected = [min(progress.rows_done + 1, progress.rows_total) for progress, *_ in rows]
        assert [enqueued for _, enqueued, _ in rows] == expected


def test_work_is_captured_once(small_engines: Path, machines: Machines) -> None:
    driver = machines(seed=3)
    sampler = Sampler(Bundle.open(small_engines), "tensorrt")
    rings = phases(sampler)
    draw(sampler)
    assert driver.events.count(CAPTURE) == sum(GRIDS.values()) + sum(rings.values())
    expected = {name: height + rings[name] for name, height in GRIDS.items()}
    assert backend(sampler).captures() == expected
    driver.events.clear()
    draw(sampler)
    assert backend(sampler).captures() == expected
    assert CAPTURE not in driver.events
    assert driver.events.count("replay") == ROW_AND_STEPS * sum(GRIDS.values())
    assert not [event for event in driver.events if "step" in event or "row" in event]
    draw(sampler, top_k={"bottom": 3})
    filtered = {"top": expected["top"], "bottom": expected["bottom"] + rings["bottom"]}
    assert backend(sampler).captures() == filtered
    draw(sampler, n=4, batch_size=2, top_p={"bottom": 0.5})
    assert backend(sampler).captures() == filtered


def test_a_driver_without_captures(small_engines: Path, machines: Machines, device: str) -> None:
    driver = machines(seed=4, captures=False)
    bundle = Bundle.open(small_engines)
    sampler, cpu = Sampler(bundle, device), Sampler(bundle, "cpu")
    for settings in ({}, {"top_k": 3}, {}):
        check_same(draw(sampler, **settings), draw(cpu, **settings), settings)
    assert "replay" not in driver.events
    assert backend(sampler).captures() == {"top": 0, "bottom": 0}


def test_garbage_is_not_collected_during_a_capture(
    small_engines: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = machines(seed=5)
    bundle = Bundle.open(small_engines)
    other: Any = SimpleNamespace(sampler=Sampler(bundle, "tensorrt"))
    draw(other.sampler)
    other.itself = other
    enqueue = driver.enqueue

    def delete_other(text: str, stream: Any, run: Any, accesses: Any) -> None:
        nonlocal other
        if driver.is_capturing(stream):
            other = None
            if gc.isenabled():  # an enabled collector could run at any time
                gc.collect()
        enqueue(text, stream, run, accesses)

    monkeypatch.setattr(driver, "enqueue", delete_other)
    live_before = driver.live()
    draw(Sampler(bundle, "tensorrt"))
    assert driver.faults == []
    gc.collect()
    assert 0 == driver.live() < live_before
