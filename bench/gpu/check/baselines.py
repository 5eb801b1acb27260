"""The parts of the check that time PyTorch on the GPU.

Methods: the whole network for every code, and row and step in CUDA graphs or through PyTorch's compiler.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentloop.bench.baselines.agreement import AGREEMENT
from latentloop.bench.baselines.naive_forward import time_naive
from latentloop.bench.baselines.tensors import random_tensors
from latentloop.bench.baselines.timing import Scale, level_seconds
from latentloop.bench.baselines.torch_rowstep import TorchRowStep
from latentloop.bench.gpu.check.findings import Findings
from latentloop.bench.gpu.roofline import TYPES
from latentloop.bench.gpu.rowstep import CompiledRowStep, StaticRowStep
from latentloop.bench.gpu.weights import random_codes, random_module, random_weights
from latentloop.bench.machine.gpu_clock import captured, disable_tf32, median, seconds
from latentloop.bench.workload.arithmetic import parameters
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.pixelsnail import PixelSnail
from latentloop.export.models.presets import preset as preset_of
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.specification.rowstep_weights import arrange

NAIVE = "PyTorch, the whole network for every code"
EAGER = "PyTorch eager, row and step in CUDA graphs"
COMPILED = {  # by method: title and compiler mode. The first captures whole rows here, the second each call by itself
    "compiled": (
        "PyTorch torch.compile, max-autotune, row and step in CUDA graphs",
        "max-autotune-no-cudagraphs",
    ),
    "compiled-calls": ('PyTorch torch.compile(mode="max-autotune"), row and step', "max-autotune"),
}
MAX_ARRANGED = 300_000_000  # parameters of a prior whose checkpoint is arranged on the CPU, to compare two methods
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
    def random(preset: str, level: str, config: PriorConfig, kind: str, batch: int, device: str) -> Case:
        """Returns a case with random inputs."""
        _, upper, labels = random_tensors(config, batch, device)
        return Case(preset, level, config, kind, batch, device, upper, labels)

    def values(self, title: str) -> dict[str, Any]:
        """Returns the values of a finding about this case and the method ``title``."""
        return {"way": title, "preset": self.preset, "level": self.level, "type": self.type, "batch": self.batch}


def time_baselines(
    findings: Findings, preset: str, types: list[str], batches: list[int], methods: list[str], device: str
) -> None:
    """Times every level of the preset, and the decoder. ``methods``: naive, eager, and the keys of ``COMPILED``."""
    disable_tf32()
    networks = preset_of(preset)
    with torch.inference_mode():
        for kind in types:
            for level, config in zip(networks.vqvae.level_names, networks.priors, strict=True):
                cases = [Case.random(preset, level, config, kind, batch, device) for batch in batches]
                time_level(findings, cases, methods)
            with findings.trying("decode"):
                time_decoder(findings, networks.vqvae, networks.priors, preset, kind, batches, device)


def time_level(findings: Findings, cases: list[Case], methods: list[str]) -> None:
    """Times all methods for one level and type at several batch sizes."""
    config, device, kind = cases[0].config, cases[0].device, cases[0].type
    module = random_module(PixelSnail, config, device, torch.float32) if "naive" in methods else None
    if module is not None and parameters(config) <= MAX_ARRANGED:
        weights = {name: value.cpu().numpy() for name, value in module.state_dict().items()}
        model = TorchRowStep(arrange(config, weights, np.float32), device, TYPES[kind])
        first = Case.random(cases[0].preset, cases[0].level, config, kind, 1, device)
        check_agreement(findings, first, StaticRowStep(model, 1, first.upper, first.labels), EAGER, module)
    else:
        model = TorchRowStep(random_weights(config, device, TYPES[kind]))
    for case in cases:
        if module is not None:
            with findings.trying(f"{NAIVE}, {case.level}, batch {case.batch}"):
                time_whole_network(findings, module.to(TYPES[kind]), case)
        if "eager" in methods:
            with findings.trying(f"{EAGER}, {case.level}, batch {case.batch}"):
                loop = StaticRowStep(model, case.batch, case.upper, case.labels)
                time_loop(findings, loop, case, EAGER, capture=True)
        for title, mode in (COMPILED[method] for method in methods if method in COMPILED):
            with findings.trying(f"{title}, {case.level}, batch {case.batch}"):
                time_compiled(findings, model, case, title, mode)


def time_whole_network(findings: Findings, module: PixelSnail, case: Case) -> None:
    """Times the whole network for every code, and adds the level's times."""
    height, width = case.config.height, case.config.width
    total, note = level_seconds(time_naive(module, case.batch), height, Scale())
    times = {"step": total / height / width, "row": total / height, "level": total}
    findings.timing("level", seconds=times, note=note, **case.values(NAIVE))


def time_compiled(findings: Findings, model: TorchRowStep, case: Case, title: str, mode: str) -> None:
    """Compiles row and step, compares them with eager PyTorch, and times them."""
    compiled = CompiledRowStep(model, case.batch, case.upper, case.labels, mode)
    begin = time.perf_counter()
    eager = StaticRowStep(model, case.batch, case.upper, case.labels)
    check_agreement(findings, case, compiled, title, eager)
    findings.timing("compiling", seconds={"all": time.perf_counter() - begin}, **case.values(title))
    time_loop(findings, compiled, case, title, capture=mode != "max-autotune")


def check_agreement(
    findings: Findings, case: Case, loop: StaticRowStep, title: str, expected: PixelSnail | StaticRowStep
) -> None:
    """Compares the first two rows' teacher-forced logits, in float32: another model's time would mean nothing."""
    if case.type != "float32":
        return
    c, rows = case.config, min(2, case.config.height)
    codes = random_codes(c.codebook_size, (c.height, c.width, case.batch), case.device)
    if isinstance(expected, StaticRowStep):
        logits = _forced_rows(expected, codes, rows)
    else:
        logits = expected(codes[:rows].permute(2, 0, 1), case.upper, case.labels).permute(2, 3, 0, 1)
    error = float((_forced_rows(loop, codes, rows) - logits).abs().max() / logits.std())
    name = f"{title}: logits of {case.level}, batch {case.batch}, of their standard deviation"
    findings.check(name, error <= AGREEMENT, error=error, bound=AGREEMENT)


def _forced_rows(loop: StaticRowStep, codes: Tensor, rows: int) -> Tensor:
    """Returns logits [rows, W, B, K] for forced codes; afterwards the loop draws codes again."""
    loop.restart()
    loop.forced.copy_(codes)
    logits = []
    for _ in range(rows):
        loop.begin_row()
        loop.steps()
        logits.append(loop.logits.clone())
    loop.forced.fill_(-1)
    return torch.stack(logits)


def time_loop(findings: Findings, loop: StaticRowStep, case: Case, title: str, *, capture: bool) -> None:
    """Times whole levels, and separately their rows and steps, in CUDA graphs with ``capture``."""
    c, device = case.config, case.device

    begin_row = captured(loop.begin_row, device) if capture else loop.begin_row
    steps = captured(loop.steps, device) if capture else loop.steps

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
    findings.timing("level", seconds=times, **case.values(title))


def time_decoder(
    findings: Findings,
    config: VqvaeConfig,
    priors: tuple[PriorConfig, ...],
    preset: str,
    kind: str,
    batches: list[int],
    device: str,
) -> None:
    """Times the decoder, which follows every method of drawing codes."""
    decoder = random_module(Vqvae, config, device, TYPES[kind])
    for batch in batches:
        codes = [random_codes(config.codebook_size, (batch, prior.height, prior.width), device) for prior in priors]
        elapsed = median(partial(decoder.decode, codes), device, REPEATS, 1.0)
        findings.timing("decode", preset=preset, type=kind, batch=batch, seconds={"decode": elapsed})
