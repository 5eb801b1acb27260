"""`latentloop bench`: every sub-command runs on something small. Speeds are not tested."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_results import MACHINE, TINY
from random_models import PRIORS, random_prior

from latentloop.bench.baselines import naive_forward
from latentloop.bench.baselines.timing import level_seconds
from latentloop.bench.machine.bandwidth import measure_bandwidth
from latentloop.bench.machine.child_process import in_child
from latentloop.bench.machine.gemm import measure_gemm
from latentloop.bench.machine.peaks import best
from latentloop.bench.machine.roofline import table
from latentloop.bench.nearest import baselines as nearest_baselines
from latentloop.bench.nearest import cpu as nearest
from latentloop.bench.sampling import cold_start, growth, preset_benchmark
from latentloop.bench.sampling.peak_memory import peak_memory
from latentloop.bench.workload import models
from latentloop.bench.workload.models import build, split
from latentloop.cli.program import main
from latentloop.errors import LatentLoopError
from latentloop.export.models.presets import PRESETS


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adds a small preset, removes pauses, and replaces the measurement of the machine."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    monkeypatch.setattr(preset_benchmark, "PAUSE", 0.0)
    monkeypatch.setattr(preset_benchmark, "measure_roofline", lambda threads: MACHINE)


def bench(*arguments: object) -> int:
    return main(["bench", *map(str, arguments)])


def test_first_rows_alone_give_the_same_logits() -> None:
    """The naive baseline can run on the first rows alone: rows below do not change their logits."""
    for name in ("top-k5", "bottom-k5"):
        config = PRIORS[name]
        model = random_prior(config)
        codes = torch.randint(0, config.codebook_size, (1, config.height, config.width))
        upper = (
            torch.randint(0, config.condition_codes, (1, *config.condition_grid)) if config.condition_codes else None
        )
        with torch.no_grad():
            whole = model(codes, upper)
            for rows in (1, 3):
                torch.testing.assert_close(model(codes[:, :rows], upper), whole[:, :, :rows])


@pytest.mark.parametrize(("budget", "note"), [(1e9, ""), (1.0, naive_forward.ONE_FORWARD)])
def test_the_fit_covers_every_position(monkeypatch: pytest.MonkeyPatch, budget: float, note: str) -> None:
    """With forwards that take 1 + 2 rows seconds, a level takes W * sum of (1 + 2 i), timed whole or in part."""
    config = PRIORS["top-k3"]
    now, forwards = [0.0], [0]
    model = random_prior(config)

    def forward(codes: torch.Tensor, *_: object) -> None:
        now[0] += 1 + 2 * codes.shape[1]
        forwards[0] += 1

    monkeypatch.setattr(model, "given", forward)
    monkeypatch.setattr("latentloop.bench.baselines.naive_forward.time.perf_counter", lambda: now[0])
    timing = naive_forward.time_naive(model, budget=budget)
    seconds, text = level_seconds(timing, config.height)
    assert seconds == pytest.approx(config.width * sum(1 + 2 * i for i in range(1, config.height + 1)))
    assert text.endswith(note)
    assert bool(text) == bool(note)
    estimate = 3  # of five rows: the first, the second, the last
    warm_up, whole = 1, config.height * config.width
    assert len(timing.rows) == (estimate if note else config.height)
    assert timing.timed_steps == (estimate if note else whole)
    assert forwards[0] == warm_up + estimate + (0 if note else whole)


def test_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "result.json"
    options = ["--preset", "tiny", "--threads", 1, "--rounds", 2, "--seconds", 0.05, "--batches", "1,2", "--no-memory"]
    assert bench(*options, "--peers", "naive,eager,float32,int8", "--out", out) == 0
    text = capsys.readouterr().out
    for title in ("the whole network", "PyTorch eager", "LatentLoop, float32", "LatentLoop, int8"):
        assert title in text
    result = json.loads(out.read_text(encoding="utf-8"))
    assert (result["kind"], result["preset"], result["schema"]) == ("sampling", "tiny", 1)
    float32, int8 = result["peers"]["float32"], result["peers"]["int8"]
    assert set(float32["images"]) == {"1", "2"}
    two = float32["images"]["2"]
    assert two["images_per_second"] == pytest.approx(2 / two["seconds"]["median"])
    for implementation in (float32, int8):
        assert set(implementation["graphs"]["bottom"]) == {"condition", "row", "step"}
    assert float32["difference"] < 1e-4 < int8["difference"] < 0.1
    assert set(result["peers"]["naive"]["images"]) == {"1"}
    for name in ("naive", "eager", "float32", "int8"):  # 0.05 s are not enough for all rows of all of them
        for images in result["peers"][name]["images"].values():
            rows = re.findall(r"(\d+) of \d+ rows", images["seconds"]["extrapolated"])
            assert all(int(number) >= 3 for number in rows)
    assert list(result["bounds"]) == ["direct", "float32", "int8"]
    assert bench("compare", out, out) == 0
    assert "within the spread" in capsys.readouterr().out
    plots = tmp_path / "plots"
    pytest.importorskip("matplotlib")
    from latentloop.bench.report.plots import write_plots

    for path in write_plots(plots, result):
        assert path.read_bytes().startswith(b"\x89PNG")
    assert len(list(plots.iterdir())) == 4


def test_a_large_preset_is_timed_in_parts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(models, "MAX_PARAMETERS", 9_000)
    assert [level.reduction for part in split("tiny") for level in part] == [
        "1 of 2 blocks, 1 of 2 residual blocks"
    ] * 2
    options = ["--preset", "tiny", "--threads", 1, "--rounds", 1, "--seconds", 0.01, "--batches", "1", "--no-memory"]
    assert bench(*options, "--peers", "naive,float32", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [level["reduced"] for level in result["levels"]] == ["1 of 2 blocks, 1 of 2 residual blocks"] * 2
    notes = {kind: result["peers"][kind]["images"]["1"]["seconds"]["extrapolated"] for kind in ("naive", "float32")}
    assert "timed, scaled by FLOPs" in notes["naive"]
    assert "timed, graphs scaled by their bounds" in notes["float32"]


def test_wrong_options_are_input_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, expected in (
        (["--preset", "none"], "rosinality-256"),
        (["--preset", "tiny", "--peers", "mine"], "no implementation 'mine'"),
        (["--preset", "tiny", "--batches", "1,x"], "--batches"),
        (["--preset", "tiny", "growth"], "--preset belongs to a plain `latentloop bench`"),
        (["compare", tmp_path / "a.json", tmp_path / "b.json"], "no such file"),
    ):
        assert bench(*options) == 2
        assert expected in capsys.readouterr().err


def test_the_default_bundle_is_one_part(tmp_path: Path) -> None:
    (levels,) = split("default")
    part = build("default", levels, tmp_path / "part")
    assert not part.same_weights
    assert part.grids == {"top": (8, 8), "bottom": (16, 16)}
    peak = in_child(peak_memory, {"name": "float32", "folder": str(part.folder), "threads": 1}, 1)
    assert 20 * 2**20 < peak["bytes"] < 1000 * 2**20


def test_an_error_in_a_child_process_is_reported() -> None:
    with pytest.raises(LatentLoopError, match=r"measuring import_times in a process of its own failed: TypeError: .*"):
        in_child(cold_start.import_times, {"no_such_argument": 1}, 1)


def test_rates_of_the_machine() -> None:
    gemm = measure_gemm(1, size=32, seconds=0.0)
    assert best(gemm["float32"])[1] > 0
    assert best({"a": 1.0, "b": "not available", "c": 3.0}) == ("c", 3.0)
    assert best({"b": "not available"}) == ("none", 0.0)
    rows = measure_bandwidth(1, largest=2**21, seconds=0.0)
    assert {row["bytes"] for row in rows} == {2**20, 2**21}
    assert all(row["gb_s"] > 0 for row in rows)
    assert "100 GFLOP/s (NumPy)" in table(MACHINE)
    assert "ordinary pages 10.0 GB/s" in table(MACHINE)


def test_growth(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = replace(growth.BASE, height=4, width=4, channels=8, residual_channels=8, residual_blocks=1)
    series = [
        growth.Series("grid", "float32", (4, 8), lambda n: replace(base, height=n, width=n), 2, "", unit="side"),
        growth.Series("batch", "naive", (1, 2), lambda n: base, 1, "", batched=True),
    ]
    monkeypatch.setattr(growth, "all_series", lambda largest: series)
    out = tmp_path / "growth.json"
    assert bench("growth", "--threads", 1, "--seconds", 0.03, "--out", out) == 0
    text = capsys.readouterr().out
    assert "| fitted exponent | residual |" in text
    assert "of the two largest" in text
    measured = json.loads(out.read_text(encoding="utf-8"))["series"]
    assert [len(entry["points"]) for entry in measured] == [2, 2]
    assert [entry["exponent"] for entry in measured] == [None, None]  # no fit through two points
    assert all(entry["last_exponent"] is not None for entry in measured)
    assert growth.exponents([1, 2, 4], [1, 4, 16])["exponent"] == pytest.approx(2)
    assert growth.exponents([1, 2, 4], [1, 1, 2])["last_exponent"] == pytest.approx(1)
    assert growth.exponents([1], [1])["last_exponent"] is None
    assert growth.exponents([1, 2], [1, 8]) == {"exponent": None, "residual": None, "last_exponent": pytest.approx(3)}


def test_cold_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cold.json"
    assert bench("cold-start", "--repeats", 1, "--threads", 1, "--out", out) == 0
    assert "The longest phase is " in capsys.readouterr().out
    result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    assert set(result["phases"]) == set(cold_start.PHASES)
    assert all(phase["median"] > 0 for phase in result["phases"].values())


def test_nearest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(nearest.measure, "__defaults__", (1, 0.0, ((1, 5, 3), (9, 2, 70))))
    monkeypatch.setattr(nearest, "GEMM_SIZE", 16)
    names = (nearest_baselines.LATENTLOOP, "NumPy, matmul + argmin")
    monkeypatch.setattr(nearest, "SEARCHES", {name: nearest_baselines.SEARCHES[name] for name in names})
    out = tmp_path / "nearest.json"
    assert bench("nearest", "--threads", 1, "--repeats", 1, "--seconds", 0, "--out", out) == 0
    text = capsys.readouterr().out
    assert "N = 9, D = 2, K = 70" in text
    assert "times as fast as NumPy, matmul + argmin, at" in text
    result = json.loads(out.read_text(encoding="utf-8"))
    for search in result["searches"]:
        assert [implementation["nearest"] for implementation in search["peers"].values()] == [1.0, 1.0]
    assert bench("compare", out, out) == 0
    assert "LatentLoop: N = 1, D = 5, K = 3" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    from latentloop.bench.report.plots import write_plots

    assert [path.name for path in write_plots(tmp_path, result)] == ["nearest-times.png"]


def test_every_search_finds_the_nearest() -> None:
    for name in nearest_baselines.SEARCHES:
        measured = nearest_baselines.time_search(name, [[40, 8, 33]], threads=1, budget=0.0)
        if isinstance(measured, str):
            assert measured.startswith("not available: No module named 'faiss'")
            continue
        assert measured[0]["nearest"] == 1.0
        assert measured[0]["seconds"] > 0


def test_every_series_ends_at_the_largest_grid() -> None:
    all_series = growth.all_series(128)
    assert [series.values[-1] for series in all_series if series.unit == "side"] == [128, 128, 128]
    assert growth.all_series(8)[0].values == (4, 8)
    for series in all_series:
        assert (series.config(series.values[0]) == series.config(series.values[-1])) == series.batched


def test_import_times_add_up_by_package() -> None:
    text = "import time: self [us] | cumulative | imported package\nimport time:  100 |  100 |   numpy.core\n"
    text += "import time:       200 |        300 | numpy\nimport time:        50 |         50 |     os\n"
    assert cold_start.import_times(text) == {"numpy": pytest.approx(300e-6), "os": pytest.approx(50e-6)}
