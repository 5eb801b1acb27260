"""The nearest codeword on a GPU: its correctness, its speed, baselines in PyTorch, and the roofline bound.

python3 -m latentloop.bench.nearest.gpu --out FOLDER

Times are medians between CUDA events. Before each run the L2 cache is overwritten, which takes longer than enqueueing
the run: the times include no host overhead, which is measured separately. Writes FOLDER/gpu-nearest.json.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from latentloop.bench.machine.gpu_run import GpuRun
from latentloop.bench.nearest import gpu_correctness
from latentloop.kernels.driver import open_driver
from latentloop.kernels.nearest_codebook.on_gpu import GpuCodebook, nearest_on_gpu

MODULE = "latentloop.bench.nearest.gpu"
DIMENSIONS = 64
VECTORS = [1, 64, 1024, 16384, 262144, 4194304]
CASES = [(n, 512) for n in VECTORS] + [(65536, 16384)]  # N, K
COMPILED = {16384, 262144}  # N with a compiled baseline: compiling takes long
MAX_SCORES = 2**34  # bytes of scores that a baseline may allocate
REPEATS = 25
SECONDS = 0.5  # of repeating one case
FLUSHED = 2**31  # bytes written before each run: enqueueing a search must not take longer
RATE_SIZE = 8192

Call = Callable[[], object]


class Timer:
    """Timing on the GPU with a cold L2 cache."""

    def __init__(self) -> None:
        self.flush = torch.empty(FLUSHED // 4, dtype=torch.int32, device="cuda")

    def __call__(self, call: Call) -> dict[str, float]:
        """Returns the ``median``, ``least`` and ``most`` seconds of a call."""
        for _ in range(3):
            call()
        torch.cuda.synchronize()
        times: list[float] = []
        until = time.monotonic() + SECONDS
        while len(times) < 5 or (len(times) < REPEATS and time.monotonic() < until):
            begin: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            end: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            self.flush.fill_(len(times))
            begin.record()
            call()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        return {"median": statistics.median(times), "least": min(times), "most": max(times)}


def host_seconds(call: Call) -> float:
    """Returns the host's seconds to enqueue one call: the median of groups of ten."""
    times = []
    for _ in range(9):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(10):
            call()
        times.append((time.perf_counter() - begin) / 10)
    torch.cuda.synchronize()
    return statistics.median(times)


def measure_rates(timer: Timer) -> dict[str, float]:
    """Returns this GPU's FLOP/s of a large matrix product by type, and bytes/s of a copy (read and written)."""
    rates = {}
    for name, dtype in gpu_correctness.TYPES.items():
        a, b = (torch.randn(RATE_SIZE, RATE_SIZE, device="cuda").to(dtype) for _ in range(2))
        rates[name] = 2 * RATE_SIZE**3 / timer(partial(torch.matmul, a, b))["median"]
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    rates["copy"] = 2 * 4 * 2**28 / timer(lambda: target.copy_(source))["median"]
    return rates


def by_cdist(z: torch.Tensor, codebook: torch.Tensor) -> torch.Tensor:
    """Computes all distances; returns the index of the smallest."""
    return torch.cdist(z, codebook).argmin(1)


def by_product(z: torch.Tensor, codebook: torch.Tensor, half_norms: torch.Tensor) -> torch.Tensor:
    """Computes all scores by a matrix product; returns the index of the largest."""
    return torch.addmm(half_norms, z, codebook.T).argmax(1)


def baselines(z: torch.Tensor, codebook: torch.Tensor) -> dict[str, Call]:
    """Returns by name the baselines that support these operands. 16-bit products round the scores: indices differ."""
    (n, _), k = z.shape, len(codebook)
    half_norms = (codebook.float().square().sum(1) / -2).to(z.dtype)
    calls: dict[str, Call] = {}
    if n * k * z.itemsize <= MAX_SCORES:
        if z.dtype == torch.float32:
            calls["torch cdist"] = lambda: by_cdist(z, codebook)
        calls["torch product"] = lambda: by_product(z, codebook, half_norms)
        if n in COMPILED and k == 512:
            compiled = torch.compile(by_product, dynamic=False)
            calls["torch product, compiled"] = lambda: compiled(z, codebook, half_norms)
    return calls


def time_case(timer: Timer, driver: Any, n: int, k: int, name: str, rates: dict[str, float]) -> dict[str, Any]:
    """Returns a row of the result: seconds of LatentLoop and the baselines, and the roofline bounds (key ``floor``)."""
    dtype = gpu_correctness.TYPES[name]
    z, codebook = gpu_correctness.values("normal", n, k, DIMENSIONS, dtype, "cuda")
    prepared = GpuCodebook(codebook, stream=torch.cuda.current_stream(), driver=driver)

    def latentloop() -> object:
        return nearest_on_gpu(z, prepared, stream=torch.cuda.current_stream(), driver=driver)

    read = (n + k) * DIMENSIONS * z.itemsize + 8 * n
    row: dict[str, Any] = {"vectors": n, "codewords": k, "dimensions": DIMENSIONS, "type": name}
    row["seconds"] = {"latentloop": timer(latentloop)}
    row["host_seconds"] = host_seconds(latentloop)
    row["floor"] = {"bytes": read / rates["copy"], "flops": 2 * n * k * DIMENSIONS / rates[name]}
    row["unavailable"] = {}
    for baseline, call in baselines(z, codebook).items():
        try:
            row["seconds"][baseline] = timer(call)
        except Exception as error:  # a baseline that cannot run here is reported, and is no failure
            row["unavailable"][baseline] = str(error).splitlines()[0] if str(error) else type(error).__name__
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Returns one line per row: microseconds, and the share of the roofline bound that was reached."""
    lines = []
    for row in rows:
        seconds = row["seconds"]
        bound = max(row["floor"].values())
        latentloop = seconds["latentloop"]["median"]
        others = ", ".join(f"{name} {t['median'] * 1e6:.1f}" for name, t in seconds.items() if name != "latentloop")
        lines.append(
            f"{row['type']:9} N {row['vectors']:8} K {row['codewords']:6}: {latentloop * 1e6:9.1f} us, "
            f"bound {bound * 1e6:.1f} ({bound / latentloop:.0%}), host {row['host_seconds'] * 1e6:.0f}; {others}"
        )
    return "\n".join(lines)


def main() -> int:
    """Checks correctness, then times; returns the exit status."""
    run = GpuRun.parse(MODULE, "gpu-nearest.json", sys.argv[1:], 5, "time after which no new case starts")
    until = time.monotonic() + run.seconds
    driver = open_driver()
    checked = gpu_correctness.run(driver, gpu_correctness.WithoutTensorCores())
    gpu_correctness.run_on_a_stream(driver)
    print(f"{checked} searches are correct, by {driver.name}", flush=True)

    timer = Timer()
    rates = measure_rates(timer)
    print(", ".join(f"{name} {rate / 1e12:.2f} T/s" for name, rate in rates.items()), flush=True)
    rows: list[dict[str, Any]] = []
    left_out = []
    for n, k in CASES:
        for name in gpu_correctness.TYPES:
            if time.monotonic() > until:
                left_out.append([n, k, name])
                continue
            rows.append(time_case(timer, driver, n, k, name, rates))
            print(table(rows[-1:]), flush=True)
    processors = torch.cuda.get_device_properties(0).multi_processor_count
    more = {"multiprocessors": processors, "driver_package": driver.name}
    values = {"checked": checked, "rates": rates, "searches": rows, "left_out": left_out}
    run.write("nearest-gpu", torch.get_num_threads(), more, **values)
    print(f"{run.path} written; {len(left_out)} cases left out for lack of time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
