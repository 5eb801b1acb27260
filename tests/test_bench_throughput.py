"""`latentloop bench throughput`: what both hosts draw, the order of the rounds, the report, and what is refused."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_results import TINY, environment

from latentloop import Bundle, Sampler
from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.result_files import new_result, read_result, write_result
from latentloop.bench.hosts.processes import HOSTS, SEED, Run, Task, run_host
from latentloop.bench.hosts.programs import Programs, build_programs
from latentloop.bench.report.plots import write_plots
from latentloop.bench.throughput import settings as settings_module
from latentloop.bench.throughput import throughput
from latentloop.bench.throughput.best import fastest, leanest
from latentloop.bench.throughput.report import table
from latentloop.bench.throughput.settings import Request, Setting, rotated, settings
from latentloop.cli.program import main
from latentloop.environment import c_library
from latentloop.environment.machine import available_threads
from latentloop.errors import InputError, LatentLoopError, MissingError
from latentloop.export.models.presets import PRESETS

MIB = 2**20


def bench(*arguments: object) -> int:
    return main(["bench", "throughput", *map(str, arguments)])


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    try:
        return build_programs(tmp_path_factory.mktemp("programs"))
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the number of processors that the module sees."""

    def set_processors(count: int) -> None:
        for module in (settings_module, throughput):
            monkeypatch.setattr(module, "available_threads", lambda: count)

    return set_processors


class Fakes:
    """Processes that draw an image in 1 ms, and C++ in half of that; what a test sets in ``faults`` fails."""

    def __init__(self) -> None:
        self.drawn: list[tuple[str, Task, int, float]] = []
        self.faults: dict[str, str] = {}
        self.codes: dict[str, int] = {}  # CRC by host, 7 for others

    def __call__(self, host: str, programs: object, task: Task, count: int, **options: Any) -> Run:
        assert options == {"seconds": options["seconds"], "stream": True}
        self.drawn.append((host, task, count, options["seconds"]))
        for key in (host, f"{host} {task.threads}", f"batch {task.batch}"):
            if key in self.faults:
                raise LatentLoopError(f"the {host} host failed: {self.faults[key]}")
        image = 1e-3 / (2 if host == "C++" else 1) / task.threads
        peak = (100 + task.batch) * MIB
        return Run(
            (1.0,), 2.0, (image * task.batch,) * count, task.batch, 0.0, 0, peak, 40 * MIB, self.codes.get(host, 7)
        )


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, machine: Callable[[int], None]) -> Fakes:
    """Replaces the hosts' processes, on a machine of two processors."""
    machine(2)
    fake = Fakes()
    monkeypatch.setattr(throughput, "run_host", fake)
    monkeypatch.setattr(throughput, "build_programs", lambda folder: None)
    return fake


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_both_hosts_draw_the_same_batches(programs: Programs, small_bundle: Path, precision: str) -> None:
    """Batches of five and three classes: the second batch begins with the first class, in both hosts."""
    task = Task(small_bundle, precision, 1, batch=5)
    runs = [run_host(host, programs, task, 2, stream=True) for host in HOSTS]
    called = run_host("Python", programs, task, 2)
    sampler, crc = Sampler(Bundle.open(small_bundle), "cpu", 1, precision), 0
    for number in range(3):
        for codes in sampler.sample(5, seeds=SEED + 5 * number, batch_size=5).codes.values():
            crc = zlib.crc32(codes.tobytes(), crc)
    assert {run.crc for run in (*runs, called)} == {crc}
    for run in runs:
        assert len(run.batches) == 2
        assert run.image == pytest.approx(sum(run.batches) / 10)
        assert 0 < run.files < run.peak


def test_a_process_draws_whole_batches_for_some_time(programs: Programs, small_bundle: Path) -> None:
    task = Task(small_bundle, "float32", 1, batch=2)
    few = {host: run_host(host, programs, task, 1, stream=True) for host in HOSTS}
    for host in HOSTS:
        run = run_host(host, programs, task, 1, seconds=0.3, stream=True)
        assert len(run.batches) > 1
        assert sum(run.batches) > 0.29  # but for the time between two batches
        assert sum(run.batches[:-1]) < 0.3
        assert run.crc == few[host].crc  # of the batches that had to be drawn


def test_a_stream_that_ends_goes_on(monkeypatch: pytest.MonkeyPatch, small_bundle: Path) -> None:
    from latentloop.bench.hosts import python_host

    monkeypatch.setattr(python_host, "STREAMED", 4)
    streamed = python_host._streamed(Sampler(Bundle.open(small_bundle), threads=1), 5, 2)
    called = python_host._called(Sampler(Bundle.open(small_bundle), threads=1), 5, 2)
    for _ in range(5):  # streams of two batches
        a, b = next(streamed), next(called)
        assert (a.images == b.images).all()
        assert a.seeds.tolist() == b.seeds.tolist()


def test_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Everything for real, with a tiny model: each host, and two processes if the machine has two processors."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    out = tmp_path / "throughput.json"
    threads = min(2, available_threads())
    options: list[object] = ["--preset", "tiny", "--batches", 3, "--precisions", "int8", "--threads", threads]
    options += ["--rounds", 2, "--seconds", 0.01]
    assert bench(*options, "--out", out) == 0
    text = capsys.readouterr().out
    result = read_result(out, "throughput")
    hosts = ["Python"] if "C++" in result["left_out"] else ["Python", "C++"]
    assert {entry["host"] for entry in result["runs"]} == set(hosts)
    assert {(entry["precision"], entry["batch"]) for entry in result["runs"]} == {("int8", 3)}
    assert {entry["processes"] for entry in result["runs"]} == {1, threads}
    for entry in result["runs"]:
        assert len(entry["images_per_second"]["samples"]) == len(entry["memory"]["samples"]) == 2
        assert min(entry["images_per_second"]["samples"]) > 0
        assert 10 < entry["memory"]["median"] < 1000 * entry["processes"]
        assert entry["batches_per_round"] >= 2
    assert result["differing_codes"] == []
    assert ("Both hosts drew the same codes" in text) == (len(hosts) == 2)
    assert "Priors in int8, images/s and memory by batch size:" in text
    assert "The default setting (float32, batch 16, " in text
    assert text.rstrip() == table(result)
    assert main(["bench", "compare", str(out), str(out)]) == 0
    assert f"| int8, Python, {threads} thread" in capsys.readouterr().out


def test_every_setting_is_timed_once_a_round(fakes: Fakes, tmp_path: Path) -> None:
    """In an order that starts elsewhere in each round, after a first batch of the largest size."""
    request = Request(Bundle.default().path, batches=(1, 4), precisions=("int8",), rounds=3, seconds=2.5)
    result = throughput.measure(request)
    warm_ups = [(host, task.threads, task.batch) for host, task, count, _ in fakes.drawn if count == 0]
    one, two = [("Python", 1, 4), ("C++", 1, 4)], [("Python", 1, 4)] * 2 + [("C++", 1, 4)] * 2
    assert warm_ups == one + two
    timed = [
        (host, task.threads, task.batch) for host, task, count, seconds in fakes.drawn if (count, seconds) == (2, 2.5)
    ]
    assert len(timed) + len(warm_ups) == len(fakes.drawn)
    per_round = len(timed) // 3
    assert per_round == 2 * 2 * (1 + 1 + 2)  # hosts, batches, processes of: 1 thread, 2 threads, two of 1 thread
    rounds = [timed[i : i + per_round] for i in range(0, len(timed), per_round)]
    assert all(sorted(each) == sorted(rounds[0]) for each in rounds)
    assert len({tuple(each) for each in rounds}) == 3
    assert rounds[0][:2] == [("Python", 1, 1), ("C++", 1, 1)]  # neighbours, for their ratio
    by_name = {(v["host"], v["parallel"], v["batch"]): v for v in result["runs"]}
    for host, factor in (("Python", 1), ("C++", 2)):
        assert by_name[host, "1 thread", 4]["images_per_second"]["median"] == pytest.approx(1000 * factor)
        assert by_name[host, "2 threads", 4]["images_per_second"]["median"] == pytest.approx(2000 * factor)
        assert by_name[host, "2 processes of 1 thread", 4]["images_per_second"]["median"] == pytest.approx(
            2000 * factor
        )
    assert by_name["C++", "2 threads", 4]["memory"]["median"] == 104
    assert by_name["C++", "2 processes of 1 thread", 4]["memory"]["median"] == 2 * 104 - 40  # pages of files once
    write_result(tmp_path / "throughput.json", result)
    assert read_result(tmp_path / "throughput.json") == json.loads(json.dumps(result))
    assert table(read_result(tmp_path / "throughput.json")) == table(result)


def test_an_order_has_every_setting_once() -> None:
    every = settings(["Python"], ["float32"], [1, 2, 4], [(1, 1), (2, 1)])
    orders = [rotated(every, number, 3) for number in range(3)]
    assert [order[0] for order in orders] == [every[0], every[2], every[4]]
    assert all(sorted(order, key=str) == sorted(every, key=str) for order in orders)


def test_codes_that_differ_are_reported(fakes: Fakes) -> None:
    fakes.codes["C++"] = 8
    result = throughput.measure(Request(Bundle.default().path, batches=(4,), precisions=("int8",), processes=(1,)))
    assert result["differing_codes"] == ["int8, batch 4, 1 thread", "int8, batch 4, 2 threads"]
    text = table(result)
    assert "DIFFERENT codes were drawn at the same setting: int8, batch 4, 1 thread; int8, batch 4, 2 threads." in text
    assert "the same codes" not in text


@pytest.mark.parametrize(
    ("processors", "options", "expected"),
    [
        (1, {}, [(1, 1)]),
        (2, {}, [(1, 1), (2, 1), (1, 2)]),
        (6, {}, [(1, 1), (3, 1), (6, 1), (1, 6)]),
        (64, {}, [(1, 1), (32, 1), (64, 1), (8, 8)]),
        (22, {}, [(1, 1), (11, 1), (22, 1), (11, 2)]),
        (8, {"threads": (4, 2)}, [(2, 1), (4, 1), (1, 4)]),
        (8, {"processes": (1,)}, [(1, 1), (4, 1), (8, 1)]),
        (8, {"processes": (4, 2)}, [(4, 2), (2, 4)]),
        (8, {"device": "cuda"}, [(8, 1)]),
        (8, {"device": "cuda", "threads": (1, 2), "processes": (1, 2)}, [(1, 1), (2, 1), (1, 2)]),
    ],
)
def test_threads_and_processes(
    machine: Callable[[int], None], processors: int, options: dict[str, Any], expected: list[tuple[int, int]]
) -> None:
    machine(processors)
    assert Request(None, **options).ways() == expected


def test_what_was_not_asked_for_is_left_out(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(folder: Path) -> Programs:
        raise MissingError("the C library was not built: reinstall")

    request = Request(Bundle.default().path, batches=(4,), precisions=("int8",))
    with monkeypatch.context() as patch:
        patch.setattr(throughput, "build_programs", missing)
        text = table(throughput.measure(request))
        with pytest.raises(MissingError, match="was not built"):
            throughput.measure(Request(request.bundle, hosts=("C++",)))
        throughput.measure(Request(request.bundle, batches=(1,), hosts=("Python",)))
    assert "Not measured: C++: the C library was not built: reinstall" in text
    assert "| batch | Python, 1 thread | Python, 2 threads | Python, 2 processes of 1 thread |" in text
    fakes.faults["C++"] = "no engines"
    result = throughput.measure(request)
    assert result["left_out"] == {"C++": "the C++ host failed: no engines"}
    assert {entry["host"] for entry in result["runs"]} == {"Python"}
    with pytest.raises(LatentLoopError, match="no engines"):
        throughput.measure(Request(request.bundle, batches=(4,), hosts=("Python", "C++")))
    fakes.faults = {"Python": "out of memory"}
    with pytest.raises(LatentLoopError, match="out of memory"):
        throughput.measure(request)
    assert all(count == 0 for *_, count, _ in fakes.drawn[-1:])  # before the first measurement


def test_processes_that_fail_are_left_out(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(host: str, programs: object, task: Task, count: int, **options: Any) -> Run:
        return fakes(host, programs, task, count, **options)

    monkeypatch.setattr(throughput, "run_host", fails)
    request = Request(Bundle.default().path, batches=(4,), precisions=("int8",), hosts=("Python",), threads=(2,))
    fakes.faults["Python 1"] = "out of memory"  # one thread: of the two processes
    result = throughput.measure(request)
    assert result["left_out"] == {"2 processes of 1 thread": "the Python host failed: out of memory"}
    assert [entry["parallel"] for entry in result["runs"]] == ["2 threads"]
    with pytest.raises(LatentLoopError, match="out of memory"):
        throughput.measure(Request(request.bundle, batches=(4,), hosts=("Python",), processes=(2,)))


def test_wrong_options_are_refused_before_measuring(
    fakes: Fakes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    for options, expected in (
        (["--batches", "0"], "--batches: '0' is not a positive integer"),
        (["--batches", ""], "--batches: '' is not a positive integer"),
        (["--batches", "5000"], "batch_size is 5000, expected at most 4096"),
        (["--threads", "1,3"], "--threads: 3, but this process may use 2 processors"),
        (["--threads", "one"], "--threads: 'one' is not a positive integer"),
        (["--processes", "3"], "--processes: 3 do not divide 2, the largest number of --threads, evenly"),
        (["--precisions", "int4"], "precision is 'int4', expected one that the bundle has: float32, int8"),
        (["--hosts", "rust"], "--hosts: no host 'rust', expected some of python, c++"),
        (["--seconds", "-1"], "--seconds: -1 is not a number of seconds from 0 to 3600"),
        (["--seconds", "nan"], "--seconds: nan is not a number of seconds"),
        (["--device", "tpu"], "device is 'tpu'"),
        (["--preset", "none"], "no preset 'none'"),
        (["--preset", "paper-256"], "--preset: paper-256 is too large to be timed whole here"),
        (["--bundle", tmp_path / "none"], "none: no such directory"),
        (["--bundle", tmp_path, "--preset", "default"], "--preset: not allowed with argument --bundle"),
        (["--out", tmp_path / "file" / "x.json"], "file"),
    ):
        assert bench(*options) in (1, 2), options
        error = capsys.readouterr().err
        assert expected in error
        assert len(error.strip().splitlines()) == 1
    assert fakes.drawn == []
    assert main(["bench", "--batches", "1", "throughput"]) == 2
    assert "--batches belongs to a plain `latentloop bench`" in capsys.readouterr().err


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        c_library.library()
    except MissingError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("CXX", "/no-such-compiler")
    assert bench("--hosts", "c++") != 0
    assert "the C++ compiler /no-such-compiler cannot be started" in capsys.readouterr().err


def entry(
    host: str,
    batch: int,
    rates: tuple[float, ...],
    mib: float,
    *,
    threads: int = 2,
    processes: int = 1,
    int8: bool = False,
) -> dict[str, Any]:
    setting = Setting(host, "int8" if int8 else "float32", batch, threads, processes)
    return {
        **{name: getattr(setting, name) for name in ("host", "precision", "batch", "threads", "processes", "parallel")},
        "batches_per_round": 2,
        "images_per_second": Figure(rates, "images/s").to_json(),
        "memory": Figure((mib,) * len(rates), "MiB").to_json(),
    }


def stored(entries: list[dict[str, Any]], device: str = "cpu") -> dict[str, Any]:
    return new_result(
        "throughput",
        environment(2),
        bundle={"name": "planets", "image": [64, 64, 3]},
        settings={"rounds": 2, "seconds": 3.0, "device": device},
        default={"precision": "float32", "batch": 16, "threads": 2, "processes": 1},
        left_out={"bfloat16": "no engines"},
        differing_codes=[],
        runs=entries,
    )


def measured() -> list[dict[str, Any]]:
    return [
        entry("Python", 16, (80.0, 80.0), 160),
        entry("C++", 16, (96.0, 88.0), 120),
        entry("Python", 64, (100.0, 100.0), 300),
        entry("C++", 64, (98.0, 98.0), 260),
        entry("Python", 16, (150.0, 210.0), 275, threads=1, processes=2),
        entry("C++", 16, (120.0, 120.0), 225, threads=1, processes=2),
        entry("Python", 64, (90.0, 90.0), 500, threads=1, processes=2),
        entry("C++", 64, (90.0, 90.0), 480, threads=1, processes=2),
        entry("Python", 16, (97.0, 97.0), 150, int8=True),
        entry("Python", 64, (100.0, 100.0), 290, int8=True),
    ]


def test_the_report_of_a_stored_result() -> None:
    lines = table(stored(measured())).splitlines()
    assert lines[0] == (
        "`test`: images a second of the bundle planets, 64 × 64 × 3, on cpu, test, ONNX Runtime test, test, commit "
        "test. Every setting draws whole batches for at least 3 s per round, in processes of its own; medians of 2 "
        "rounds."
    )
    for line in (
        "Not measured: bfloat16: no engines",
        "| batch | Python, 2 threads | C++, 2 threads | Python, 2 processes of 1 thread "
        "| C++, 2 processes of 1 thread |",
        "| 16 | 80, 160 MiB | 92, 120 MiB | 180 (unstable), 275 MiB | 120, 225 MiB |",
        "| 64 | 100, 300 MiB | 98, 260 MiB | 90, 500 MiB | 90, 480 MiB |",
        "C++ : Python, at the same setting in the same round: 0.69 to 1.15 times as many images/s, the median 0.99.",
        "1 of 10 settings are unstable, so what follows is uncertain: measure on a machine that does nothing else.",
        "The most images/s: float32, Python, 2 processes of 1 thread, batch 16: 180 images/s (unstable), 275 MiB.",
        "- `--batch-size 64 --threads 2 --precision float32`: 100 images/s, 300 MiB, 1.25 times the default setting's "
        "(80 images/s, 160 MiB)",
        "- 2 processes at once, each with `--batch-size 16 --threads 1 --precision float32`: 180 images/s (unstable), "
        "275 MiB, 2.25 times the default setting's (80 images/s, 160 MiB)",
        '- `ll_sampler_params` with `threads = 2, precision = "float32"` and `ll_sample_params` with `batch = 64`: '
        "98 images/s, 260 MiB, 1.07 times the default setting's (92 images/s, 120 MiB)",
        "  - within 5% of it, with the least memory: `--batch-size 16 --threads 2 --precision int8`: "
        "97 images/s, 150 MiB",
    ):
        assert line in lines, line
    assert "*unstable*: the spread of the rounds is above 10 %." in lines[-1]


def test_the_default_setting_may_be_the_best() -> None:
    lines = table(stored(measured()[:2], device="tensorrt:0")).splitlines()
    default = "80 images/s, 160 MiB, the default setting"
    assert f"- `--batch-size 16 --threads 2 --precision float32 --device tensorrt:0`: {default}" in lines
    assert any('precision = "float32", device = "tensorrt:0"`' in line for line in lines)
    assert not any("unstable" in line or "was not measured" in line for line in lines)
    without = table(stored([measured()[2]]))
    assert "The default setting (float32, batch 16, 2 threads) was not measured." in without
    assert "- `--batch-size 64 --threads 2 --precision float32`: 100 images/s, 300 MiB\n" in without
    assert "C++" not in without


def test_the_leanest_of_the_fastest() -> None:
    entries = [entry("Python", batch, (rate,), mib) for batch, rate, mib in ((1, 94, 10), (4, 96, 90), (16, 100, 100))]
    assert fastest(entries) is entries[2]
    assert leanest(entries) is entries[1]  # the first is not as fast
    entries[1]["memory"]["median"] = 96.0
    assert leanest(entries) is None  # not worth a line


def test_a_comparison_and_plots(tmp_path: Path) -> None:
    from latentloop.bench.report import comparison

    before = stored(measured())
    after = stored([entry("Python", 16, (120.0, 120.0), 80), *measured()[1:]])
    rows = {row["name"]: row["verdict"] for row in comparison.compare(before, after)["rows"]}
    assert rows["float32, Python, 2 threads, batch 16"] == "better"
    assert rows["float32, Python, 2 threads, batch 16: memory"] == "better"
    assert rows["float32, C++, 2 threads, batch 64"] == "within the spread"
    pytest.importorskip("matplotlib")
    paths = write_plots(tmp_path, stored([*measured(), {**measured()[0], "precision": "float16"}]))
    assert [path.name for path in paths] == ["throughput-images.png", "throughput-memory.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_truncated_result_is_refused(tmp_path: Path) -> None:
    value = stored(measured())
    del value["runs"]
    write_result(tmp_path / "x.json", value)
    with pytest.raises(InputError, match=re.escape("no field runs: the file is truncated or edited")):
        read_result(tmp_path / "x.json")
