"""PyTorch on the GPU: the whole network for every code, and row and step in CUDA graphs and through its compiler."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloop.bench.baselines.baseline import AGREEMENT, Scale, level_seconds
from latentloop.bench.baselines.naive_forward import time_naive
from latentloop.bench.baselines.torch_rowstep import TorchRowStep
from latentloop.bench.gpu.bound import TYPES
from latentloop.bench.gpu.check.part import Findings
from latentloop.bench.gpu.clock import captured, full_precision, median, seconds
from latentloop.bench.gpu.rowstep import CompiledRowStep, StaticRowStep
from latentloop.bench.gpu.weights import random_codes, random_module, random_weights
from latentloop.bench.machine.arithmetic import parameters
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.presets import preset as preset_of
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.specification.rowstep_weights import arrange

NAIVE = "PyTorch, the whole network for every code"
EAGER = "PyTorch eager, row and step in CUDA graphs"
COMPILED = {  # what captures: this file a row's steps as one, or the compiler each call; the name, and the mode
    "compiled": (
        "PyTorch torch.compile, max-autotune, row and step in CUDA graphs",
        "max-autotune-no-cudagraphs",
    ),
    "compiled-calls": ('PyTorch torch.compile(mode="max-autotune"), row and step', "max-autotune"),
}
MOST_ARRANGED = 300_000_000  # parameters of a prior that is arranged on the CPU, so that ways can be compared
REPEATS = 5


@dataclass(frozen=True)
class Case:
    """One level at one type and batch size on a device, with its inputs."""

    preset: str
    level: str
    config: PriorConfig
    type: str
    batch: int
    device: str
    upper: Tensor | None
    labels: Tensor | None

    @staticmethod
    def of(preset: str, level: str, config: PriorConfig, kind: str, batch: int, device: str) -> Case:
        """With random inputs."""
        c, upper, labels = config, None, None
        if c.condition_codes:
            upper = random_codes(c.condition_codes, (batch, *c.condition_grid), device)
        if c.classes:
            labels = random_codes(c.classes, (batch,), device)
        return Case(preset, level, config, kind, batch, device, upper, labels)

    def values(self, way: str) -> dict[str, Any]:
        """What a finding says of it."""
        return {"way": way, "preset": self.preset, "level": self.level, "type": self.type, "batch": self.batch}


def run(findings: Findings, preset: str, types: list[str], batches: list[int], ways: list[str], device: str) -> None:
    """The part: every level of the preset. ``ways``: naive, eager, and those of ``COMPILED``."""
    full_precision()
    chosen = preset_of(preset)
    with torch.inference_mode():
        for kind in types:
            for level, config in zip(chosen.vqvae.level_names, chosen.priors, strict=True):
                cases = [Case.of(preset, level, config, kind, batch, device) for batch in batches]
                time_level(findings, cases, ways)
            with findings.trying("decode"):
                time_decoder(findings, chosen.vqvae, chosen.priors, preset, kind, batches, device)


def time_level(findings: Findings, cases: list[Case], ways: list[str]) -> None:
    """All ways, for one level and type at several batch sizes."""
    config, device, kind = cases[0].config, cases[0].device, cases[0].type
    module = random_module(PixelSnail, config, device, torch.float32) if "naive" in ways else None
    first = Case.of(cases[0].preset, cases[0].level, config, kind, 1, device)
    if module is not None and parameters(config) <= MOST_ARRANGED:
        weights = {name: value.cpu().numpy() for name, value in module.state_dict().items()}
        model = TorchRowStep(arrange(config, weights, np.float32), device, TYPES[kind])
        check_agreement(findings, first, StaticRowStep(model, 1, first.upper, first.labels), EAGER, module)
    else:
        model = TorchRowStep(random_weights(config, device, TYPES[kind]))
    for case in cases:
        if module is not None:
            with findings.trying(f"{NAIVE}, {case.level}, batch {case.batch}"):
                timing = time_naive(module.to(TYPES[kind]), case.batch)
                total, note = level_seconds(timing, config.height, Scale())
                row = total / config.height
                times = {"step": row / config.width, "row": row, "level": total}
                findings.timing("level", seconds=times, note=note, **case.values(NAIVE))
        if "eager" in ways:
            with findings.trying(f"{EAGER}, {case.level}, batch {case.batch}"):
                loop = StaticRowStep(model, case.batch, case.upper, case.labels)
                time_loop(findings, loop, case, EAGER, is_captured=True)
        for way in (way for way in ways if way in COMPILED):
            name, mode = COMPILED[way]
            with findings.trying(f"{name}, {case.level}, batch {case.batch}"):
                compiled = CompiledRowStep(model, case.batch, case.upper, case.labels, mode)
                begin = time.perf_counter()
                eager = StaticRowStep(model, case.batch, case.upper, case.labels)
                check_agreement(findings, case, compiled, name, eager)
                findings.timing("compiling", seconds={"all": time.perf_counter() - begin}, **case.values(name))
                time_loop(findings, compiled, case, name, is_captured=mode != "max-autotune")


def check_agreement(
    findings: Findings, case: Case, loop: StaticRowStep, way: str, expected: PixelSnail | StaticRowStep
) -> None:
    """The first two rows' logits of both, teacher-forced: another model's time would mean nothing. float32 only."""
    if case.type != "float32":
        return
    c, rows = case.config, min(2, case.config.height)
    codes = random_codes(c.codebook_size, (c.height, c.width, case.batch), case.device)
    if isinstance(expected, StaticRowStep):
        right = _forced_rows(expected, codes, rows)
    else:
        right = expected(codes[:rows].permute(2, 0, 1), case.upper, case.labels).permute(2, 3, 0, 1)
    error = float((_forced_rows(loop, codes, rows) - right).abs().max() / right.std())
    name = f"{way}: logits of {case.level}, batch {case.batch}, of their standard deviation"
    findings.check(name, error <= AGREEMENT, error=error, bound=AGREEMENT)


def _forced_rows(loop: StaticRowStep, codes: Tensor, rows: int) -> Tensor:
    """Logits [rows, W, B, K]; afterwards codes are drawn again."""
    loop.restart()
    loop.forced.copy_(codes)
    found = []
    for _ in range(rows):
        loop.begin_row()
        loop.steps()
        found.append(loop.logits.clone())
    loop.forced.fill_(-1)
    return torch.stack(found)


def time_loop(findings: Findings, loop: StaticRowStep, case: Case, way: str, *, is_captured: bool) -> None:
    """Whole levels, and their rows and steps apart."""
    c, device = case.config, case.device

    begin_row = captured(loop.begin_row, device) if is_captured else loop.begin_row
    steps = captured(loop.steps, device) if is_captured else loop.steps

    def level() -> None:
        loop.restart()
        for _ in range(c.height):
            begin_row()
            steps()

    condition = median(lambda: loop.model.condition(case.upper, case.labels), device, REPEATS, 1.0)
    total = condition + median(level, device, REPEATS, 4.0)
    loop.restart()
    rows = [(seconds(begin_row, device), seconds(steps, device)) for _ in range(c.height)]
    row_graph, all_steps = (sum(part) / c.height for part in zip(*rows, strict=True))
    times = {"step": all_steps / c.width, "row graph": row_graph, "row": total / c.height, "level": total}
    findings.timing("level", seconds=times, **case.values(way))


def time_decoder(
    findings: Findings,
    config: VqvaeConfig,
    priors: tuple[PriorConfig, ...],
    preset: str,
    kind: str,
    batches: list[int],
    device: str,
) -> None:
    """What turns codes into images, which every way of drawing them is followed by."""
    decoder = random_module(Vqvae, config, device, TYPES[kind])
    for batch in batches:
        codes = [random_codes(config.codebook_size, (batch, prior.height, prior.width), device) for prior in priors]
        taken = median(partial(decoder.decode, codes), device, REPEATS, 1.0)
        findings.timing("decode", preset=preset, type=kind, batch=batch, seconds={"decode": taken})
