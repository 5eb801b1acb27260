"""``latentloop bench throughput``: images a second and memory of every setting, in rounds of whole processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from latentloop import Bundle, Sampler
from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.result_files import new_result
from latentloop.bench.hosts.processes import HOSTS, Run, Task, run_host
from latentloop.bench.hosts.programs import Programs, build_programs
from latentloop.bench.machine.environment import environment
from latentloop.bench.throughput import report
from latentloop.bench.throughput.settings import ON_GPU, Request, Setting, rotated, settings
from latentloop.environment.machine import available_threads
from latentloop.errors import LatentLoopError
from latentloop.io.files import scratch_directory

FEWEST = 2  # batches of a setting and round, after the first, which does not count
table = report.table


def measure(request: Request) -> dict[str, Any]:
    """Returns the figures of all settings as plain JSON types.

    What was requested by name and cannot be measured raises LatentLoopError before the first measurement; anything else
    that cannot be is left out, with the reason in the result.
    """
    ways = request.ways()
    left_out: dict[str, str] = {}
    with scratch_directory() as folder:
        path = request.bundle or _built(str(request.preset), folder / "bundle")
        bundle = Bundle.open(path)
        samplers = _samplers(bundle, request, left_out)
        programs = _programs(request, folder, left_out)
        sampler = next(iter(samplers.values()))
        device, default_batch = sampler.device, sampler.default_batch_size
        processes = _Processes(path, device, programs)
        hosts = [host for host in request.hosts or HOSTS[::-1] if host not in left_out]
        every = settings(hosts, list(samplers), request.batches, ways)
        del sampler, samplers  # on a GPU they hold its memory
        every = _those_that_run(every, request, processes, left_out)
        runs: dict[Setting, list[list[Run]]] = {setting: [] for setting in every}
        with tqdm(total=len(every) * request.rounds, desc="throughput", leave=False, disable=None) as bar:
            for number in range(request.rounds):
                for setting in rotated(every, number, request.rounds):
                    runs[setting].append(processes.run(setting, FEWEST, request.seconds))
                    bar.update()
    name = request.preset or path.name
    default = {"precision": "float32", "batch": default_batch, "threads": available_threads(), "processes": 1}
    return new_result(
        "throughput",
        environment(max(threads * count for threads, count in ways)),
        **({} if request.preset is None else {"preset": request.preset}),
        bundle={"name": name, "image": list(bundle.manifest.image)},
        settings={"rounds": request.rounds, "seconds": request.seconds, "device": device},
        default=default,
        left_out=left_out,
        differing_codes=_differing_codes(runs),
        runs=[_figures(setting, rounds) for setting, rounds in runs.items()],
    )


class _Processes:
    """Runs settings of one bundle on one device."""

    def __init__(self, bundle: Path, device: str, programs: Programs | None) -> None:
        self._bundle, self._device, self._programs = bundle, device, programs

    def run(self, setting: Setting, count: int, seconds: float) -> list[Run]:
        """Runs the processes of a setting at once; see ``run_host`` for the arguments. Raises LatentLoopError."""
        task = Task(self._bundle, setting.precision, setting.threads, setting.batch, self._device)

        def one(_: int) -> Run:
            return run_host(setting.host, self._programs, task, count, seconds=seconds, stream=True)

        with ThreadPoolExecutor(setting.processes) as pool:
            return list(pool.map(one, range(setting.processes)))


def _built(preset: str, folder: Path) -> Path:
    """Writes the bundle of a preset of one part, and returns its folder."""
    from latentloop.bench.workload.models import build, split  # late: they import PyTorch

    (levels,) = split(preset)
    return build(preset, levels, folder).bundle


def _samplers(bundle: Bundle, request: Request, left_out: dict[str, str]) -> dict[str, Sampler]:
    """Returns a sampler for each precision that can be measured, and checks the batch sizes; draws nothing."""
    samplers: dict[str, Sampler] = {}
    default = ON_GPU if request.on_gpu else bundle.manifest.precisions
    for precision in request.precisions or default:
        try:
            samplers[precision] = Sampler(bundle, request.device, precision=precision)
        except LatentLoopError as error:
            if request.precisions or (precision == default[-1] and not samplers):
                raise
            left_out[precision] = str(error)
    for sampler in samplers.values():
        for batch in request.batches:
            sampler.stream(batch, batch_size=batch)  # raises InputError for a batch that is too large
    return samplers


def _programs(request: Request, folder: Path, left_out: dict[str, str]) -> Programs | None:
    """Returns the compiled C++ host; None if it is not to be measured, or cannot be and was not requested by name."""
    if request.hosts and "C++" not in request.hosts:
        return None
    try:
        return build_programs(folder)
    except LatentLoopError as error:
        if request.hosts:
            raise
        left_out["C++"] = str(error)
        return None


def _those_that_run(
    every: Sequence[Setting], request: Request, processes: _Processes, left_out: dict[str, str]
) -> list[Setting]:
    """Draws a first batch of the largest size with every host, precision and number of processes.

    This fills the file cache, and finds what a device or too little memory does not allow. Returns the settings without
    the hosts other than Python, and without the processes, for which it failed. Raises LatentLoopError, for others and
    for those requested by name.
    """
    largest, tried = max(request.batches), set()
    for setting in every:
        key = (setting.host, setting.precision, setting.processes)
        if setting.batch < largest or key in tried or {setting.host, setting.parallel} & set(left_out):
            continue
        tried.add(key)
        try:
            processes.run(setting, 0, 0.0)
        except LatentLoopError as error:
            if setting.processes > 1 and not request.processes:
                left_out[setting.parallel] = str(error)
            elif setting.host != "Python" and not request.hosts:
                left_out[setting.host] = str(error)
            else:
                raise
    return [setting for setting in every if not {setting.host, setting.parallel} & set(left_out)]


def _figures(setting: Setting, rounds: Sequence[Sequence[Run]]) -> dict[str, Any]:
    rates = tuple(sum(1 / run.image for run in runs) for runs in rounds)
    memory = tuple(_resident(runs) / 2**20 for runs in rounds)
    return {
        **asdict(setting),
        "parallel": setting.parallel,
        "batches_per_round": min(len(run.batches) for runs in rounds for run in runs),
        "images_per_second": Figure(rates, "images/s").to_json(),
        "memory": Figure(memory, "MiB").to_json(),
    }


def _resident(runs: Sequence[Run]) -> int:
    """Returns the most resident memory of processes at once, with the pages of files, which they share, once."""
    files = [run.files for run in runs]
    return sum(run.peak for run in runs) - sum(files) + max(files)


def _differing_codes(runs: Mapping[Setting, Sequence[Sequence[Run]]]) -> list[str]:
    """Returns precision, batch and threads of settings of which not all runs drew the same codes."""
    drawn: dict[str, set[int]] = defaultdict(set)
    for setting, rounds in runs.items():
        threads = Setting(setting.host, setting.precision, setting.batch, setting.threads).parallel
        key = f"{setting.precision}, batch {setting.batch}, {threads}"
        drawn[key] |= {run.crc for runs in rounds for run in runs}
    return [key for key, crcs in drawn.items() if len(crcs) > 1]
