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
from latentloop.bench.figures.fits import (
    enough_rows,
    extrapolate_rows,
    fit_exponent,
    fit_line,
    poor_fit,
    worst_note,
)
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
    for few in ({}, {7: 5.0}, {0: 1.0, 9: 2.0}):  # a line through two points has no residual
        with pytest.raises(ValueError, match=f"a line through {len(few)} points, expected at least 3"):
            fit_line(few)
    with pytest.raises(ValueError, match="a power law through 2 points"):
        fit_exponent([1, 2], [1, 2])
    exponent, residual = fit_exponent([1, 2, 4, 8], [3 * x**1.7 for x in (1, 2, 4, 8)])
    assert exponent == pytest.approx(1.7)
    assert residual == pytest.approx(0, abs=1e-9)


def test_rows_that_are_not_timed_are_extrapolated_linearly() -> None:
    assert extrapolate_rows({0: 1.0, 1: 2.0}, 2) == (3.0, "")
    seconds, text = extrapolate_rows({0: 1.0, 4: 5.0, 2: 3.0}, 5)
    assert seconds == pytest.approx(1 + 2 + 3 + 4 + 5)
    assert text.startswith("3 of 5 rows timed, linear fit with a residual of 0.0%")
    assert extrapolate_rows({0: 1.0, 1: 2.0, 2: 3.0}, 5)[1].startswith("the first 3 of 5 rows timed")
    with pytest.raises(ValueError, match="a line through 2 points"):
        extrapolate_rows({0: 1.0, 2: 3.0}, 5)


def test_a_level_is_timed_whole_within_its_budget() -> None:
    for height in (1, 2, 3):
        assert [enough_rows(n, height, 1e9, 0.0) for n in range(1, height + 1)] == [False] * (height - 1) + [True]
    assert not enough_rows(2, 64, 1e9, 0.0)  # no fit from two rows, however long they take
    assert enough_rows(3, 64, 1e9, 0.0)
    assert not enough_rows(3, 64, 3 * 120 / 64, 120)  # 64 such rows take 120 s
    assert not enough_rows(4, 64, 7.0, 120)  # 112 s, within the budget
    assert enough_rows(64, 64, 119.0, 120)
    assert enough_rows(3, 64, 6.1, 120)  # 130 s, and a twentieth of the budget is spent
    assert not enough_rows(10, 640, 5.9, 120)


def test_poor_fits_are_recognised_by_their_note() -> None:
    note = "{} of 32 rows timed, linear fit with a residual of {}%"
    assert not poor_fit("")
    assert not poor_fit("1 of 4 blocks timed, scaled by FLOPs")
    assert not poor_fit(note.format(3, "10.0"))
    assert poor_fit(note.format(3, "10.1"))
    assert poor_fit(note.format(2, "0.0"))
    assert poor_fit(f"top: {note.format(9, '2.0')}; bottom: {note.format(31, '54.3')}; 1 of 4 blocks timed")
    assert poor_fit(extrapolate_rows({0: 35.0, 1: 10.0, 2: 35.0, 3: 10.0}, 64)[1])
    assert not poor_fit(extrapolate_rows({0: 35.0, 63: 45.0, 32: 40.0}, 64)[1])


def test_of_several_rounds_the_worst_note_remains() -> None:
    note = "{} of 32 rows timed, linear fit with a residual of {}%"
    good, fewer, poor = note.format(9, "2.0"), note.format(4, "1.0"), note.format(4, "30.0")
    assert worst_note([]) == worst_note(["", ""]) == ""
    assert worst_note([good, ""]) == worst_note(["", good]) == good  # the last round may have been timed whole
    assert worst_note(["", "scaled"]) == "scaled"
    assert worst_note([good, poor, fewer, "scaled", ""]) == poor


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
    assert Figure((1.0, 1.0, 1.2), "s").caveats == ("unstable",)
    assert Figure((1.0,), "s", "2 of 9 rows timed, linear fit with a residual of 0.0%").caveats == (
        "extrapolated",
        "poor fit",
    )
    assert Figure((1.0,), "s", "1 of 4 blocks timed, scaled by FLOPs").caveats == ("extrapolated",)
    assert Figure((1.0,), "s", "1 of 4 blocks timed, not scaled").caveats == ("fewer layers",)
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
    assert (
        compute_bound.verdict(0.0125) == "mostly arithmetic: at this machine's best rate it alone takes 80% of the time"
    )
    assert (
        compute_bound.verdict(0.1)
        == "mostly overhead: arithmetic at this machine's best rate takes only 10% of the time"
    )


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
