"""The nearest codeword on a GPU: is it right, how fast is it, how fast are its peers, and how fast could it be?

python3 -m latentloop.bench.nearest.gpu --out FOLDER

Times are medians between CUDA events, each after the second cache was overwritten; that takes longer than enqueueing
the work, so that no time of the host is in them, which is given apart. Writes FOLDER/gpu-nearest.json.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from latentloop.bench.machine.environment import environment
from latentloop.bench.nearest import gpu_correctness
from latentloop.bench.report.result_files import result, write_result
from latentloop.io.files import check_free
from latentloop.kernels.driver import open_driver
from latentloop.kernels.nearest_codebook.on_gpu import GpuCodebook, nearest_on_gpu

DIMENSIONS = 64
VECTORS = [1, 64, 1024, 16384, 262144, 4194304]
CASES = [(n, 512) for n in VECTORS] + [(65536, 16384)]  # N, K
COMPILED = {16384, 262144}  # N for which a peer is compiled, which takes its time
MOST_SCORES = 2**34  # bytes that a peer may hold between
REPEATS = 25
SECONDS = 0.5  # after which a case is repeated no more
FLUSHED = 2**31  # bytes; enqueueing a search must not take longer
RATE_SIZE = 8192

Call = Callable[[], object]


class Timer:
    """Times on the GPU, with a cold second cache."""

    def __init__(self) -> None:
        self.flush = torch.empty(FLUSHED // 4, dtype=torch.int32, device="cuda")

    def __call__(self, call: Call) -> dict[str, float]:
        """Seconds: ``median``, and of all ``least`` and ``most``."""
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        taken: list[float] = []
        until = time.monotonic() + SECONDS
        while len(taken) < 5 or (len(taken) < REPEATS and time.monotonic() < until):
            begin: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self.flush.fill_(len(taken))
            begin.record()
            call()
            end.record()
            end.synchronize()
            taken.append(begin.elapsed_time(end) / 1e3)
        return {"median": statistics.median(taken), "least": min(taken), "most": max(taken)}


def host_seconds(call: Call) -> float:
    """Seconds of the host for enqueueing, the median of groups of calls."""
    taken = []
    for _ in range(9):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(10):
            call()
        taken.append((time.perf_counter() - begin) / 10)
    torch.cuda.synchronize()
    return statistics.median(taken)


def rates(timer: Timer) -> dict[str, float]:
    """What this GPU reaches: FLOP/s of a large matrix product of each type, and bytes read and written a second."""
    found = {}
    for name, dtype in gpu_correctness.TYPES.items():
        a, b = (torch.randn(RATE_SIZE, RATE_SIZE, device="cuda").to(dtype) for _ in range(2))
        found[name] = 2 * RATE_SIZE**3 / timer(partial(torch.matmul, a, b))["median"]
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    found["copy"] = 2 * 4 * 2**28 / timer(lambda: target.copy_(source))["median"]
    return found


def by_cdist(z: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """All distances, then the least."""
    return torch.cdist(z, codebook).argmin(1)


def by_product(z: torch.Tensor, codebook: torch.Tensor, half_norms: torch.Tensor) -> torch.Tensor:
    """All scores by a matrix product, then the largest."""
    return torch.addmm(half_norms, z, codebook.T).argmax(1)


def peers(z: torch.Tensor, codebook: torch.Tensor) -> dict[str, Call]:
    """The peers that can search for these, by name. Products of 16 bits round their scores too: other indices."""
    (n, _), k = z.shape, len(codebook)
    half_norms = (codebook.float().square().sum(1) / -2).to(z.dtype)
    found: dict[str, Call] = {}
    if n * k * z.itemsize <= MOST_SCORES:
        if z.dtype == torch.float32:
            found["torch cdist"] = lambda: by_cdist(z, codebook)
        found["torch product"] = lambda: by_product(z, codebook, half_norms)
        if n in COMPILED and k == 512:
            compiled = torch.compile(by_product, dynamic=False)
            found["torch product, compiled"] = lambda: compiled(z, codebook, half_norms)
    return found


def time_case(timer: Timer, driver: Any, n: int, k: int, name: str, reached: dict[str, float]) -> dict[str, Any]:
    """A row of the result: seconds of ours and of the peers, and the least that bytes and FLOPs allow."""
    dtype = gpu_correctness.TYPES[name]
    z, codebook = gpu_correctness.values("normal", n, k, DIMENSIONS, dtype, "cuda")
    prepared = GpuCodebook(codebook, stream=torch.cuda.current_stream(), driver=driver)

    def ours() -> object:
        return nearest_on_gpu(z, prepared, stream=torch.cuda.current_stream(), driver=driver)

    read = (n + k) * DIMENSIONS * z.itemsize + 8 * n
    row: dict[str, Any] = {"vectors": n, "codewords": k, "dimensions": DIMENSIONS, "type": name}
    row["seconds"] = {"latentloop": timer(ours)}
    row["host_seconds"] = host_seconds(ours)
    row["floor"] = {"bytes": read / reached["copy"], "flops": 2 * n * k * DIMENSIONS / reached[name]}
    row["unavailable"] = {}
    for peer, call in peers(z, codebook).items():
        try:
            row["seconds"][peer] = timer(call)
        except Exception as error:  # a peer that cannot is a finding, not a failure
            row["unavailable"][peer] = str(error).splitlines()[0] if str(error) else type(error).__name__
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """A line a row: microseconds, and the share of the floor that was reached."""
    lines = []
    for row in rows:
        seconds = row["seconds"]
        floor = max(row["floor"].values())
        ours = seconds["latentloop"]["median"]
        others = ", ".join(f"{name} {t['median'] * 1e6:.1f}" for name, t in seconds.items() if name != "latentloop")
        lines.append(
            f"{row['type']:9} N {row['vectors']:8} K {row['codewords']:6}: {ours * 1e6:9.1f} us, "
            f"floor {floor * 1e6:.1f} ({floor / ours:.0%}), host {row['host_seconds'] * 1e6:.0f}; {others}"
        )
    return "\n".join(lines)


def main() -> int:
    """Checks, then measures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m latentloop.bench.nearest.gpu")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where gpu-nearest.json goes")
    parser.add_argument("--commit", help="of the tree, where that is no repository")
    parser.add_argument("--minutes", type=float, default=5, help="after which no further case is begun (default: 5)")
    arguments = parser.parse_args()
    path = arguments.out / "gpu-nearest.json"
    check_free(path, force=True)
    until = time.monotonic() + 60 * arguments.minutes
    driver = open_driver()
    checked = gpu_correctness.run(driver, gpu_correctness.WithoutTensorCores())
    gpu_correctness.run_on_a_stream(driver)
    print(f"{checked} searches are right, by {driver.name}", flush=True)

    timer = Timer()
    reached = rates(timer)
    print(", ".join(f"{name} {rate / 1e12:.2f} T/s" for name, rate in reached.items()), flush=True)
    rows: list[dict[str, Any]] = []
    left_out = []
    for n, k in CASES:
        for name in gpu_correctness.TYPES:
            if time.monotonic() > until:
                left_out.append([n, k, name])
                continue
            rows.append(time_case(timer, driver, n, k, name, reached))
            print(table(rows[-1:]), flush=True)
    measured_on = environment(torch.get_num_threads())
    if arguments.commit:
        measured_on["commit"] = arguments.commit
    major, minor = torch.cuda.get_device_capability()
    measured_on |= {
        "command": f"python3 -m latentloop.bench.nearest.gpu {shlex.join(sys.argv[1:])}",
        "gpu": torch.cuda.get_device_name(),
        "compute_capability": f"{major}.{minor}",
        "multiprocessors": torch.cuda.get_device_properties(0).multi_processor_count,
        "cuda": torch.version.cuda,
        "driver_package": driver.name,
    }
    value = result("nearest-gpu", measured_on, checked=checked, rates=reached, searches=rows, left_out=left_out)
    write_result(path, value, force=True)
    print(f"{path} written; {len(left_out)} cases left out for lack of time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
