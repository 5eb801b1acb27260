"""The bench's counts of FLOPs and bytes, compared with numbers computed by hand and with the models' FLOPs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bench_results import MACHINE
from torch import Tensor, nn

from latentloop.bench.baselines.timing import Scale, Timing, level_seconds
from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.fits import extrapolate_rows, fit_exponent, fit_line
from latentloop.bench.figures.text import duration, quantity
from latentloop.bench.machine.peaks import Peaks
from latentloop.bench.sampling.summary import image_bounds, scale_of
from latentloop.bench.workload.arithmetic import (
    DIRECT,
    Form,
    Work,
    forward_flops,
    level_work,
    native_form,
    parameters,
    row_work,
    step_work,
)
from latentloop.bench.workload.bounds import Bound, bound
from latentloop.bench.workload.codec import codec_flops
from latentloop.bench.workload.models import MAX_PARAMETERS, reduced, split
from latentloop.bench.workload.part import TimedLevel
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.pixelsnail import CausalConv2d, PixelSnail
from latentloop.export.models.presets import PRESETS

PLAIN = PriorConfig(
    2, 4, codebook_size=10, channels=4, residual_channels=3, kernel=3, blocks=1, residual_blocks=2, attention=False
)
ATTENTION = replace(PLAIN, attention=True, heads=2)


def test_a_row_equals_hand_computed_work() -> None:
    # One tap of a gated block holds 4 x 3 + 3 x 8 = 36 weights; 2 layers of 6 taps above hold 432.
    assert row_work(PLAIN) == Work(flops=2 * 432 * 4, weight_bytes=4 * 432)
    assert row_work(PLAIN, batch=3).flops == 3 * 2 * 432 * 4
    halved = Form("half", row_products=0.5, row_bytes=3)
    assert row_work(PLAIN, form=halved) == Work(flops=432 * 4, weight_bytes=3 * 432)
    conditioned = replace(PLAIN, condition_codes=5, condition_channels=7)
    assert row_work(conditioned).flops == 2 * (432 * 4 + 7 * 2 * 8 * 2)  # for half of the 4 columns


def test_a_step_equals_hand_computed_work() -> None:
    # 2 layers of one tap to the left, the 4 x 4 pointwise convolution, logits 4 x 10.
    assert step_work(PLAIN) == Work(flops=2 * (72 + 16 + 40), weight_bytes=4 * (72 + 16 + 40))
    assert step_work(PLAIN, columns=2) == Work(flops=4 * (72 + 16 + 40), weight_bytes=4 * (72 + 16 + 40))
    assert step_work(PLAIN, form=replace(DIRECT, step_bytes=1)).weight_bytes == 72 + 16 + 40
    # Gated blocks of 10, 6 and 4 channels around the attention, the last with 2 x 4 weights more; three projections to
    # 2 channels.
    matrices = 72 + 3 * 10 * 4 + 3 * 6 * 4 + 3 * 4 * 4 + 2 * 4 + 2 * (6 + 10 + 10) + 40
    attended = 2 * 5 * 2  # keys and values of 5 positions
    work = step_work(ATTENTION, batch=3, position=5)
    assert work == Work(2 * 3 * (matrices + attended), 4 * matrices, 4 * 3 * attended)
    assert work.read_bytes == 4 * matrices + 4 * 3 * attended


def test_a_level_is_the_sum_of_its_runs() -> None:
    steps = [step_work(ATTENTION, position=n) for n in range(8)]
    expected = sum(work.flops for work in steps) + 2 * row_work(ATTENTION).flops
    assert level_work(ATTENTION).flops == pytest.approx(expected)
    halved = level_work(PLAIN, columns=2)
    assert halved.flops == pytest.approx(level_work(PLAIN).flops)
    assert halved.weight_bytes == pytest.approx(2 * row_work(PLAIN).weight_bytes + 4 * step_work(PLAIN).weight_bytes)


def test_native_forms_equal_hand_computed_numbers() -> None:
    five = native_form(5)  # F(4, 5): 8 products instead of 20; F(2, 3) over pairs of rows: 6 instead of 8
    assert (five.row_products, five.row_bytes, five.step_bytes) == pytest.approx((0.3, 4 * 1.2, 3))
    assert native_form(5, "int8").row_bytes == pytest.approx(2 * 1.2)
    assert native_form(3).row_products == pytest.approx(6 / 12)  # F(4, 3)
    assert native_form(7).row_products == pytest.approx(8 / 14)  # F(2, 7)
    assert native_form(9).row_products == 1


def test_rosinality_256_takes_0_7_teraflop() -> None:
    priors = PRESETS["rosinality-256"].priors
    taps = 22 * 16 * 3 * 256 * 256 * 2
    assert sum(level_work(c).flops for c in priors) == pytest.approx(taps * (32**2 + 64**2), rel=0.05)
    assert 0.70e12 < sum(level_work(c).flops for c in priors) < 0.75e12


@pytest.mark.parametrize("config", [replace(PLAIN, condition_codes=5, condition_channels=7, condition_blocks=1), PLAIN])
def test_a_forward_has_the_flops_of_its_modules(config: PriorConfig) -> None:
    counted_flops = 0

    def count(module: nn.Conv2d, _: object, out: Tensor) -> None:
        nonlocal counted_flops
        taps = int(module.live.sum()) if isinstance(module, CausalConv2d) else math.prod(module.kernel_size)
        # The columns of the condition are equal in pairs, so only half of them are computed.
        divisor = 2 if module.in_channels == config.condition_channels else 1
        counted_flops += 2 * out[0].numel() * module.in_channels * taps // divisor

    model = PixelSnail(config)
    for module in [*model.blocks.modules(), *model.output.modules(), model.logits]:
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    upper = torch.zeros(1, *config.condition_grid, dtype=torch.int64) if config.condition_codes else None
    model(torch.zeros(1, 2, 4, dtype=torch.int64), upper)
    background = 2 * 8 * 2 * 4  # products with the coordinates, which are constants and not counted
    assert counted_flops - background == forward_flops(config)


def test_parameters_are_those_of_the_model() -> None:
    for config in (PLAIN, ATTENTION, PRESETS["rosinality-256"].priors[1]):
        with torch.device("meta"):
            model = PixelSnail(config)
        matrices = sum(p.numel() for name, p in model.named_parameters() if not name.endswith("bias"))
        assert parameters(config) == pytest.approx(matrices, rel=0.01, abs=200)


def test_the_codec_equals_hand_computed_flops() -> None:
    config = VqvaeConfig(levels=1, bottom_stride=2, image_channels=1, channels=2, residual_channels=1,
                         residual_layers=0, code_channels=3, codebook_size=5)  # fmt: skip
    flops = codec_flops(config, (4, 4))  # codes of 2 x 2
    down, conv, project, search = 4 * 16 * 1 * 1, 4 * 9 * 1 * 2, 4 * 2 * 3, 4 * 5 * 3
    assert flops["encode"] == 2 * (down + conv + project + search)
    assert flops["decode"] == 2 * (4 * 9 * 3 * 2 + 4 * 16 * 2 * 1)


def test_fits_recover_the_function_of_the_points() -> None:
    line = fit_line({0: 3.0, 4: 11.0, 9: 21.0})
    assert [line.intercept, line.slope, line.at(2)] == pytest.approx([3, 2, 7])
    assert line.residual == pytest.approx(0, abs=1e-12)
    assert fit_line({7: 5.0}).at(0) == 5
    exponent, residual = fit_exponent([1, 2, 4, 8], [3 * x**1.7 for x in (1, 2, 4, 8)])
    assert exponent == pytest.approx(1.7)
    assert residual == pytest.approx(0, abs=1e-9)


def test_rows_that_are_not_timed_are_extrapolated_linearly() -> None:
    assert extrapolate_rows({0: 1.0, 1: 2.0}, 2) == (3.0, "")
    seconds, text = extrapolate_rows({0: 1.0, 2: 3.0}, 5)
    assert seconds == pytest.approx(1 + 2 + 3 + 4 + 5)
    assert text.startswith("2 of 5 rows timed")


def test_a_reduced_level_is_scaled_graph_by_graph() -> None:
    timing = Timing(condition=1.0, rows={0: 10.0}, row_graph={0: 4.0}, steps={0: [1.0, 2.0]})
    assert timing.host(0) == 3
    assert timing.columns(4) == 2
    assert level_seconds(timing, 1, Scale()) == (11.0, "")
    seconds, text = level_seconds(timing, 1, Scale(condition=2, row=3, step=4, note="1 of 4 blocks timed"))
    assert seconds == 2 * 1 + 3 + 3 * 4 + 4 * 3
    assert text == "1 of 4 blocks timed"


def test_figures_say_when_they_are_unstable() -> None:
    assert Figure((1.0, 1.05, 1.1), "s").spread == pytest.approx(0.1 / 1.05)
    assert not Figure((1.0, 1.05, 1.1), "s").unstable
    assert "unstable" in Figure((1.0, 1.0, 1.2), "s").note()
    single = Figure((1.0,), "s", "1 of 2 rows timed")
    assert single.spread is None
    assert not single.unstable
    assert single.note() == "one run, extrapolated: 1 of 2 rows timed"
    assert Figure.from_json(single.to_json()) == single


def test_units() -> None:
    assert [duration(s) for s in (2e-6, 0.5, 11.64, 9060)] == ["2 µs", "500 ms", "11.6 s", "2.52 h"]
    assert [quantity(x, "FLOP") for x in (0.71e12, 26.7e6, 3)] == ["0.71 TFLOP", "26.7 MFLOP", "3 FLOP"]


def test_the_roofline_uses_the_faster_kind_of_page() -> None:
    peaks = Peaks.of(MACHINE)
    assert (peaks.flops, peaks.rates["int8"]) == (100e9, 400e9)
    assert peaks.read_rate(1) == peaks.read_rate(2**20) == 50e9
    assert peaks.read_rate(2**22) == pytest.approx(35e9)  # half way between 1 and 16 MiB on the logarithm
    assert peaks.read_rate(2**30) == 20e9
    compute_bound = bound(Work(1e9, 2**24), peaks)
    assert compute_bound == Bound(0.01, 2**24 / 20e9)
    assert compute_bound.by == "arithmetic"
    assert compute_bound.verdict(0.0125) == "bound by arithmetic (80% of the roofline)"
    assert compute_bound.verdict(0.1) == "bound by overhead: arithmetic explains 10%"


def test_the_bounds_of_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("latentloop.bench.sampling.summary.operators", lambda: Path("built"))
    level = TimedLevel("top", PLAIN, PLAIN)
    bounds = image_bounds([level], Peaks.of(MACHINE))
    assert list(bounds) == ["direct", "float32", "int8"]
    assert bounds["direct"]["flops"] == level_work(PLAIN).flops
    assert bounds["float32"]["flops"] == level_work(PLAIN, form=native_form(3)).flops < bounds["direct"]["flops"]
    assert bounds["int8"]["weight_bytes"] < bounds["float32"]["weight_bytes"]
    monkeypatch.setattr("latentloop.bench.sampling.summary.operators", lambda: None)
    assert image_bounds([level], Peaks.of(MACHINE))["float32"]["form"] == "direct"


@pytest.mark.parametrize("name", PRESETS)
def test_large_hierarchies_are_reduced(name: str) -> None:
    parts = split(name)
    for part in parts:
        assert sum(parameters(level.config) for level in part) <= MAX_PARAMETERS
        for level in part:
            assert (level.config == level.full) == (not level.reduction)
            scale = scale_of("float32", level, 1, Peaks.of(MACHINE))
            assert scale.step >= 1
            assert bool(scale.note) == bool(level.reduction)
    assert (len(parts) == 1) == (name == "rosinality-256")
    assert reduced(PLAIN) is PLAIN
