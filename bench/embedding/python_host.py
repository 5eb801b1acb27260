"""The Python host of ``latentloop bench embedding``: opens a bundle and draws images one at a time, as host.cpp does.

A script, ``python -P python_host.py BUNDLE PRECISION THREADS SEED COUNT [--timed]``: ``python -m`` would load the
package before the first phase. ``--timed`` measures how long graphs run. host.cpp describes what it prints.
"""

from __future__ import annotations

import time

BEGUN = time.monotonic()


def draw(path: str, precision: str, threads: int, seed: int, count: int, timed: bool) -> dict[str, object]:
    """Draws one image, and ``count`` more; returns what host.cpp prints."""
    from latentloop import Bundle, Sampler

    imported = time.monotonic()
    bundle = Bundle.open(path)
    opened = time.monotonic()
    backend = None
    if timed:
        from latentloop.bench.baselines.timed_backend import TimedCpuBackend
        from latentloop.sampling.sampler import sampler_on

        backend = TimedCpuBackend(bundle, threads, precision)
        sampler = sampler_on(bundle, backend, threads, precision)
    else:
        sampler = Sampler(bundle, "cpu", threads, precision)
    created = time.monotonic()
    drawn = [sampler.sample(1, seeds=seed)]
    first = time.monotonic()
    if backend is not None:
        backend.take_seconds()
    nanoseconds = []
    for number in range(1, count + 1):
        begin = time.perf_counter_ns()
        drawn.append(sampler.sample(1, seeds=seed + number))
        nanoseconds.append(time.perf_counter_ns() - begin)
    graphs = [] if backend is None else [one for by_role in backend.take_seconds().values() for one in by_role]

    import zlib

    from latentloop.bench.machine.memory import peak

    peak_bytes, crc = peak(), 0
    for samples in drawn:
        for codes in samples.codes.values():
            crc = zlib.crc32(codes.tobytes(), crc)
    return {
        "ends": [BEGUN, imported, opened, created, first],
        "nanoseconds": nanoseconds,
        "peak_bytes": peak_bytes,
        "crc": crc,
        "graph_seconds": sum(graphs),
        "graph_runs": len(graphs),
    }


if __name__ == "__main__":
    import json
    import sys

    path, precision, *numbers = sys.argv[1:6]
    threads, seed, count = map(int, numbers)
    print(json.dumps(draw(path, precision, threads, seed, count, sys.argv[6:] == ["--timed"])))
