"""The Python host of ``latentloop bench embedding`` and ``throughput``: draws batches of images, as host.cpp does.

A script, ``python -P python_host.py BUNDLE DEVICE PRECISION THREADS SEED BATCH COUNT SECONDS [--timed | --stream]``:
``python -m`` would load the package before the first phase. ``--timed`` measures how long graphs run, on a CPU;
``--stream`` takes the batches from ``Sampler.stream``. host.cpp describes the other arguments and what is printed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentloop import Sampler
    from latentloop.sampling.results import Samples

BEGUN = time.monotonic()
STREAMED = 2**16  # images per stream, about: it holds the seeds and labels of all


def draw(
    path: str,
    device: str,
    precision: str,
    threads: int,
    seed: int,
    batch: int,
    count: int,
    seconds: float,
    option: str = "",
) -> dict[str, object]:
    """Draws a batch, ``count`` more, and more until ``seconds`` have passed; returns what host.cpp prints."""
    from latentloop import Bundle, Sampler

    imported = time.monotonic()
    bundle = Bundle.open(path)
    opened = time.monotonic()
    backend = None
    if option == "--timed":
        from latentloop.bench.baselines.timed_backend import TimedCpuBackend
        from latentloop.sampling.sampler import sampler_on

        backend = TimedCpuBackend(bundle, threads, precision)
        sampler = sampler_on(bundle, backend, threads, precision)
    else:
        sampler = Sampler(bundle, device, threads, precision)
    created = time.monotonic()
    batches = (_streamed if option == "--stream" else _called)(sampler, seed, batch)
    drawn = [next(batches)]
    first = time.monotonic()
    if backend is not None:
        backend.take_seconds()
    nanoseconds: list[int] = []
    begun = time.perf_counter()
    while len(nanoseconds) < count or time.perf_counter() - begun < seconds:
        begin = time.perf_counter_ns()
        samples = next(batches)
        nanoseconds.append(time.perf_counter_ns() - begin)
        if len(drawn) <= count:
            drawn.append(samples)
    graphs = [] if backend is None else [one for by_role in backend.take_seconds().values() for one in by_role]

    import zlib

    from latentloop.bench.machine.memory import of_files, peak

    peak_bytes, file_bytes, crc = peak(), of_files(), 0
    for samples in drawn:
        for codes in samples.codes.values():
            crc = zlib.crc32(codes.tobytes(), crc)
    return {
        "ends": [BEGUN, imported, opened, created, first],
        "nanoseconds": nanoseconds,
        "peak_bytes": peak_bytes,
        "file_bytes": file_bytes,
        "crc": crc,
        "graph_seconds": sum(graphs),
        "graph_runs": len(graphs),
    }


def _called(sampler: Sampler, seed: int, batch: int) -> Iterator[Samples]:
    """Yields batches, each from a call of ``Sampler.sample``."""
    while True:
        yield sampler.sample(batch, seeds=seed, batch_size=batch)
        seed += batch


def _streamed(sampler: Sampler, seed: int, batch: int) -> Iterator[Samples]:
    """Yields the same batches, but for rare ends of a stream each when the next is drawn."""
    import numpy as np

    n = batch * max(2, STREAMED // batch)
    classes = len(sampler.bundle.manifest.classes or ())
    labels = np.resize(np.arange(batch) % classes, n) if classes else None  # as of calls of ``batch`` samples
    while True:
        yield from sampler.stream(n, labels=labels, seeds=seed, batch_size=batch)
        seed += n


if __name__ == "__main__":
    import json
    import sys

    path, device, precision, *numbers, seconds = sys.argv[1:9]
    threads, seed, batch, count = map(int, numbers)
    option = sys.argv[9] if len(sys.argv) > 9 else ""
    print(json.dumps(draw(path, device, precision, threads, seed, batch, count, float(seconds), option)))
