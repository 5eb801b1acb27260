"""Errors of the driver: they are reported, and later calls work."""

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
    """Makes a call of the driver fail once, after ``after`` successful calls."""
    real, calls = getattr(driver, call), 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == after + 1:
            raise DriverError(ERROR)
        return real(*arguments)

    setattr(driver, call, counted)


# The counts select the construction of a loop, its start, its rows, the end of a batch, decoding, and the next batch.
@pytest.mark.parametrize(
    ("call", "after"),
    [
        ("allocate", 3),
        ("allocate", 40),
        ("allocate", 75),
        ("host_memory", 2),
        ("host_memory", 27),
        ("copy_in", 10),
        ("copy_in", 29),
        ("copy_out", 1),
        ("copy_out", 2),
        ("copy_out", 5),
        ("copy", 3),
        ("zero", 43),
        ("record", 0),
        ("record", 2),
        ("record", 3),
        ("synchronize", 0),
        ("synchronize", 1),
        ("synchronize", 2),
    ],
)
def test_samples_are_right_after_a_failed_call(small_engines: Path, machines: Machines, call: str, after: int) -> None:
    driver = machines(seed=after)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, ("tensorrt", "cuda")[after % 2])
    fail_once(driver, call, after)
    with pytest.raises(DeviceError, match=ERROR):
        draw(sampler)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))
    del sampler
    gc.collect()  # the frames of the error's traceback refer to the sampler
    driver.finish()
    assert driver.unfreed() == 0


def test_samples_are_right_after_a_failed_replay(small_engines: Path, machines: Machines) -> None:
    driver = machines(seed=1)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, "tensorrt")
    fail_once(driver, "replay", 11)
    with pytest.raises(DeviceError, match=ERROR):
        draw(sampler)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))


def test_an_error_in_the_callback_while_images_are_decoded(
    small_engines: Path, machines: Machines, device: str
) -> None:
    machines(seed=2)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, device)

    def fail(progress: Progress) -> None:
        if progress.images_done == 2:
            raise ZeroDivisionError("the caller's")

    with pytest.raises(ZeroDivisionError, match="the caller's"):
        draw(sampler, callback=fail)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))


def test_a_failed_capture_is_repeated(small_engines: Path, machines: Machines) -> None:
    driver = machines(seed=3)
    bundle = Bundle.open(small_engines)
    sampler = Sampler(bundle, "tensorrt")
    enqueue, calls = driver.enqueue, 0

    def fail(text: str, stream: Any, run: Any, accesses: Any) -> None:
        nonlocal calls
        if driver.is_capturing(stream) and "step" in text:
            calls += 1
            if calls == 2:
                raise DriverError(ERROR)
        enqueue(text, stream, run, accesses)

    driver.enqueue = fail  # type: ignore[method-assign]
    with pytest.raises(DeviceError, match=ERROR):
        draw(sampler)
    check_same(draw(sampler), draw(Sampler(bundle, "cpu", threads=1)))
