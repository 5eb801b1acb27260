"""Memory that is not sufficient: an error with a remedy, before work that would be lost, and no damaged bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from latentloop import Bundle, InputError, LatentLoopError, Sampler
from latentloop.backends.bundle_errors import bundle_errors
from latentloop.bundles import views
from latentloop.errors import BundleError
from latentloop.sampling.results import Progress

REMEDY = "out of memory: use a smaller batch size, fewer images at once, or fewer threads"

# Requests with little memory left, after the sessions have been opened.
CHILD = """
import resource, sys
import numpy as np
from latentloop import Bundle, Sampler
sampler = Sampler(Bundle.default(), "cpu", threads=1)
codes = sampler.sample(1, seeds=1).codes
pages = int(open("/proc/self/statm").read().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**26,) * 2)
for request in (
    lambda: sampler.sample(2**20, batch_size=1),
    lambda: sampler.sample(1, batch_size=4096),
    lambda: sampler.logits({name: np.repeat(values, 2000, 0) for name, values in codes.items()}, labels=0),
):
    try:
        request()
    except Exception as error:
        print(type(error).__name__, str(error).partition(" (")[0])
"""


def test_requests_that_need_more_memory_than_there_is() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"InputError {REMEDY}"] * 3


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to allocate memory for requested buffer of size 4294967296"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0"),
        RuntimeError("std::bad_alloc"),
        MemoryError("Unable to allocate 32.0 MiB"),
        MemoryError(),
    ],
    ids=str,
)
def test_an_allocation_that_fails_is_not_a_damaged_bundle(error: Exception) -> None:
    with pytest.raises(InputError, match=REMEDY), bundle_errors(Path("bundle"), "the prior of top"):
        raise error


def test_other_errors_of_a_graph_are_those_of_its_bundle() -> None:
    with (
        pytest.raises(BundleError, match="does not fit the manifest"),
        bundle_errors(Path("bundle"), "the prior of top"),
    ):
        raise RuntimeError("Invalid rank for input")


def test_the_state_of_lower_levels_is_checked_before_upper_levels_are_drawn(
    small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = Sampler(Bundle.open(small_bundle), "cpu", threads=1)
    reports: list[Progress] = []
    samples = sampler.sample(2, seeds=1)
    sizes = [
        sum(views.initial_values(buffer, 2).size for buffer in level.prior.memories)
        for level in sampler.bundle.manifest.levels
        if level.prior is not None
    ]
    assert sizes[0] < sizes[1]
    monkeypatch.setattr(views, "LARGEST_LOOP", sizes[1] - 1)
    with pytest.raises(InputError, match="a batch of 2 needs 0 GiB for bottom: use a smaller one"):
        sampler.sample(2, seeds=1, callback=reports.append)
    assert not reports
    monkeypatch.setattr("latentloop.sampling.runs.Runs.rows", lambda *_: pytest.fail("a level was run"))
    for request in (sampler.log_likelihood, sampler.logits):
        with pytest.raises(LatentLoopError, match="needs 0 GiB for bottom"):
            request(samples.codes, samples.labels)
    monkeypatch.undo()
    given = {"bottom": samples.codes["bottom"]}
    monkeypatch.setattr(views, "LARGEST_LOOP", sizes[0])
    assert (
        len(sampler.sample(2, seeds=1, labels=samples.labels, given=given).images) == 2
    )  # a level that is not drawn needs no state
