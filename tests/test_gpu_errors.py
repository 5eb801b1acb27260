"""Calls of the driver that fail: told, and no harm to what comes after."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from gpu_machines import Machines, WatchedDriver, check_same

from latentloop import Bundle, Progress, Sampler, Samples
from latentloop.errors import DeviceError
from latentloop.kernels.driver import DriverError

ERROR = "CUDA_ERROR_OUT_OF_MEMORY"


def draw(sampler: Sampler, **changes: Any) -> Samples:
    return sampler.sample(**{"n": 3, "seeds": 1, "labels": 2, "batch_size": 2, **changes})


def fail_once(driver: WatchedDriver, call: str, after: int) -> None:
    """The call fails once, after it has worked that often."""
    real, calls = getattr(driver, call), 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            raise DriverError(ERROR)
        return real(*arguments)

    setattr(driver, call, counted)


# Counts that hit making a loop, beginning it, its rows, the end of a batch, decoding, and the next batch.
@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("allocate", 3),
        ("allocate", 40),
        ("allocate", 75),
        ("host_memory", 2),
        ("host_memory", 19),
        ("copy_in", 6),
        ("copy_in", 21),
        ("copy_out", 1),
        ("copy_out", 2),
        ("copy_out", 5),
        ("copy", 3),
        ("zero", 55),
        ("record", 0),
        ("record", 2),
        ("record", 3),
        ("synchronize", 0),
        ("synchronize", 1),
        ("synchronize", 2),
    ],
)
def test_a_call_that_fails_does_no_harm(small_engines: Path, machines: Machines, call: str, after: int) -> None:
    driver = machines(seed=after)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, ("tensorrt", "cuda")[after % 2])
    fail_once(driver, call, after)
    with pytest.raises(DeviceError, match=ERROR):
        draw(sampler)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))
    del sampler
    gc.collect()  # the error's traceback has been through many frames
    driver.finish()
    assert driver.kept() == 0


def test_a_replay_that_fails_does_no_harm(small_engines: Path, machines: Machines) -> None:
    driver = machines(seed=1)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, "tensorrt")
    fail_once(driver, "replay", 11)
    with pytest.raises(DeviceError, match=ERROR):
        draw(sampler)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))


def test_an_error_while_images_are_on_their_way(small_engines: Path, machines: Machines, device: str) -> None:
    machines(seed=2)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, device)

    def fail(progress: Progress) -> None:
        if progress.images_done == 2:
            raise ZeroDivisionError("the caller's")

    with pytest.raises(ZeroDivisionError, match="the caller's"):
        draw(sampler, callback=fail)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))


def test_a_capture_that_fails_is_made_again(small_engines: Path, machines: Machines) -> None:
    driver = machines(seed=3)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, "tensorrt")
    enqueue, calls = driver.enqueue, 0

    def fail(text: str, stream: Any, run: Any, touched: Any) -> None:
        nonlocal calls
        if driver.is_capturing(stream) and "step" in text:
            calls += 1
            if calls == 2:
                raise DriverError(ERROR)
        enqueue(text, stream, run, touched)

    driver.enqueue = fail  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match=ERROR):
        draw(sampler)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))
