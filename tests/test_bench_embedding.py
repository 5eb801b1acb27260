"""`latentloop bench embedding`: both hosts draw the same, and the figures are those of the processes."""

from __future__ import annotations

import json
import re
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bench_results import TINY, environment

from latentloop import Bundle, Sampler
from latentloop.bench.embedding.embedding import measure, table
from latentloop.bench.figures.figure import Figure
from latentloop.bench.hosts.processes import HOSTS, PHASES, SEED, Run, Task, run_host
from latentloop.bench.hosts.programs import Programs, build_programs, compiler
from latentloop.cli.program import main
from latentloop.environment import c_library
from latentloop.errors import InputError, LatentLoopError, MissingError
from latentloop.export.graphs.prior.bindings import columns_per_step
from latentloop.export.models.presets import PRESETS

COUNT = 3


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    try:
        return build_programs(tmp_path_factory.mktemp("programs"))
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(small_bundle, tmp_path_factory.mktemp("hosts") / "bundle"))


@pytest.fixture(scope="module", params=["float32", "int8"])
def runs(request: pytest.FixtureRequest, programs: Programs, bundle: Path) -> dict[tuple[str, bool], Run]:
    """Runs of both hosts, by host and whether graphs were timed."""
    task = Task(bundle, request.param, 1)
    return {
        (host, timed): run_host(host, programs, task, COUNT, timed=timed) for host in HOSTS for timed in (False, True)
    }


def test_both_hosts_draw_the_same_codes(runs: dict[tuple[str, bool], Run]) -> None:
    assert len({run.crc for run in runs.values()}) == 1


def test_the_codes_are_those_of_the_sampler(programs: Programs, bundle: Path) -> None:
    sampler, crc = Sampler(Bundle.open(bundle), threads=1), 0
    for seed in (SEED, SEED + 1):
        for codes in sampler.sample(1, seeds=seed).codes.values():
            crc = zlib.crc32(np.ascontiguousarray(codes, np.int64).tobytes(), crc)
    task = Task(bundle, "float32", 1)
    assert [run_host(host, programs, task, 1).crc for host in HOSTS] == [crc, crc]
    assert run_host("C++", programs, task, 0).crc != crc  # of one image


def test_what_a_process_measures(runs: dict[tuple[str, bool], Run]) -> None:
    for run in runs.values():
        assert len(run.batches) == COUNT
        assert len(run.phases) == len(PHASES)
        assert all(seconds >= 0 for seconds in run.phases)
        assert 0 < run.first_image < run.process
        assert run.process - run.first_image > sum(run.batches)
        assert 10 * 2**20 < run.peak < 1000 * 2**20
        assert run.image == pytest.approx(sum(run.batches) / COUNT)


def test_both_hosts_time_the_same_runs_of_graphs(runs: dict[tuple[str, bool], Run], bundle: Path) -> None:
    """An image runs a condition graph for every level below the top, a row graph per row, its steps, the decoder."""
    levels = Bundle.open(bundle).manifest.levels
    per_image = 1
    for level in levels:
        assert level.prior is not None
        graphs = level.prior.graphs
        steps = level.height * level.width // level.prior.columns_per_step
        per_image += ("condition" in graphs) + level.height + steps
    for (_, timed), run in runs.items():
        assert run.graph_runs == (COUNT * per_image if timed else 0)
        assert (run.graphs > 0) == timed
        assert run.graphs < sum(run.batches)
        assert run.outside == pytest.approx(1 - run.graphs / sum(run.batches))


def test_a_run(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    out, plots = tmp_path / "embedding.json", tmp_path / "plots"
    options = ["--presets", "tiny", "--precisions", "float32", "--threads", 1, "--repeats", 2, "--seconds", 0.01]
    assert main(["bench", "embedding", *map(str, options), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"\| tiny \| float32 \| C\+\+ \|.*MiB", text)
    assert re.search(r"\| tiny \| float32 \|.*\| the same \|", text)
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    (comparison,) = result["comparisons"]
    assert comparison["same_codes"]
    assert comparison["steps_per_image"] == sum(p.height * p.width // columns_per_step(p) for p in TINY.priors)
    for values in comparison["hosts"].values():
        assert set(values["phases"]) | {"imports"} == set(PHASES)
        for name in ("image", "first_image", "process", "memory", "outside"):
            assert len(values[name]["samples"]) == 2
    assert "imports" in comparison["hosts"]["Python"]["phases"]
    cpp, python = (comparison["hosts"][host] for host in HOSTS)
    faster = [p / c for c, p in zip(cpp["image"]["samples"], python["image"]["samples"], strict=True)]
    assert comparison["ratios"]["images per second"]["samples"] == pytest.approx(faster)
    for ratio, name in (("first image", "first_image"), ("resident memory", "memory")):
        expected = [c / p for c, p in zip(cpp[name]["samples"], python[name]["samples"], strict=True)]
        assert comparison["ratios"][ratio]["samples"] == pytest.approx(expected)
    assert main(["bench", "compare", str(out), str(out)]) == 0
    assert "tiny float32, Python: first image" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    from latentloop.bench.report.plots import write_plots

    for path in write_plots(plots, result):
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_host_that_fails_is_named(programs: Programs, tmp_path: Path) -> None:
    for host in HOSTS:
        with pytest.raises(LatentLoopError, match=rf"the {re.escape(host)} host failed.*manifest.json"):
            run_host(host, programs, Task(tmp_path, "float32", 1), 0)


def test_missing_tools_are_named_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="needs a C\\+\\+ compiler: install one"):
        compiler()
    monkeypatch.setenv("CXX", "ccache no-such-compiler")
    assert compiler() == ["ccache", "no-such-compiler"]

    def missing() -> Path:
        raise MissingError("the C library was not built: reinstall")

    monkeypatch.setattr(c_library, "library", missing)
    with pytest.raises(MissingError, match="the C library was not built"):
        measure(1, presets=["default"])


@pytest.mark.parametrize(
    ("command", "error", "message"),
    [
        ("/no-such-compiler", MissingError, "the C++ compiler /no-such-compiler cannot be started"),
        ("c++ -DLL_OK=1", LatentLoopError, "c++ cannot compile"),
    ],
)
def test_a_compiler_that_does_not_compile(
    programs: Programs,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    command: str,
    error: type[LatentLoopError],
    message: str,
) -> None:
    assert programs.host.is_file()  # a compiler and the C library are installed
    monkeypatch.setenv("CXX", command)
    with pytest.raises(error, match=re.escape(message)):
        build_programs(tmp_path)


def test_presets_are_checked_before_measuring() -> None:
    with pytest.raises(InputError, match="no preset 'none'"):
        measure(1, presets=["none"])
    with pytest.raises(InputError, match="paper-256 is too large"):
        measure(1, presets=["paper-256"])


def test_the_table_says_what_is_wrong() -> None:
    """Codes that differ, and times that vary by more than 10 %."""

    def values(*samples: float) -> dict[str, Any]:
        return Figure(samples, "s").to_json()

    figures = {"image": values(0.5, 0.5), "first_image": values(1.0, 2.0), "process": values(3.0, 3.0)}
    host = {**figures, "memory": values(80.0, 80.0), "outside": values(0.01, 0.01), "phases": {PHASES[0]: values(0.25)}}
    comparison = {"preset": "tiny", "precision": "int8", "steps_per_image": 8, "same_codes": False}
    ratios = {"images per second": values(1.5, 1.5), "first image": values(0.5, 0.6), "resident memory": values(0.7)}
    comparisons = [{**comparison, "ratios": ratios, "hosts": dict.fromkeys(HOSTS, host)}]
    text = table({"environment": environment(), "settings": {"rounds": 2}, "comparisons": comparisons})
    row = "| tiny | int8 | Python | 500 ms | 2 | 16 | 1.5 s (unstable) | 3 s | 80 MiB | 1.0% |"
    assert row in text.splitlines()
    ratio = "| tiny | int8 | 1.5, 1.5 to 1.5 | 0.55, 0.5 to 0.6 (unstable) | 0.7, 0.7 to 0.7 | DIFFERENT |"
    assert ratio in text.splitlines()
    assert "| tiny | int8 | C++ | 250 ms | none | none | none | none |" in text.splitlines()
    assert "*unstable*: the spread of the rounds is above 10 %." in text
