"""Fixtures and comparisons of the tests of engines in liblatentloop, for a process with the simulated libcuda.so.1.

In environment variables: the library, a bundle with engines for it, and the file of the fake TensorRT.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ctypes import c_void_p
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from embedded import EmbeddedBundle, EmbeddedSampler, Library
from embedded_gpu import FakeGpu

SEEDS = (3, 2**64 - 1, 11)
LABELS = [1, 0, 3]
LEGACY = c_void_p(None)
TENSORRT = os.environ["LATENTLOOP_TEST_TENSORRT"]


@pytest.fixture(scope="session")
def library() -> Library:
    library = Library(Path(os.environ["LATENTLOOP_TEST_LIBRARY"]))
    library.call("ll_set_tensorrt", TENSORRT.encode())
    return library


@pytest.fixture(scope="session")
def bundle(library: Library) -> EmbeddedBundle:
    return library.open(os.environ["LATENTLOOP_TEST_BUNDLE"])


@pytest.fixture(scope="session")
def cpu(bundle: EmbeddedBundle) -> EmbeddedSampler:
    return bundle.sampler(device="cpu")


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    """The simulated GPU; after the test it has seen no violation, and everything is freed."""
    simulated = FakeGpu(TENSORRT)
    yield simulated
    simulated.finish()


@pytest.fixture
def sampler(bundle: EmbeddedBundle, gpu: FakeGpu) -> Iterator[EmbeddedSampler]:
    with bundle.sampler(device="tensorrt") as made:
        yield made


def check_same(actual: tuple[Any, Any], expected: tuple[Any, Any]) -> None:
    """Compares images and codes. Images may differ by rounding."""
    for level, codes in expected[1].items():
        assert np.array_equal(actual[1][level], codes), level
    assert np.abs(actual[0].astype(int) - expected[0]).max() <= 1
