"""The peers in PyTorch that run row and step: eager, and through ``torch.compile``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, compiler

from latentloop.bench.baselines.baseline import PEER_NAMES, Codes, Inputs, Timing
from latentloop.bench.baselines.torch_rowstep import TorchColumn, TorchFixed, TorchRowStep, TorchState
from latentloop.bench.sampling.models import load_vqvae
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.errors import MissingError
from latentloop.export.checkpoints.checkpoint import load_checkpoint
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.specification.rowstep_weights import arrange


class TorchCodec:
    """Encoding and decoding with the PyTorch modules, 16 images at once as LatentLoop does."""

    vqvae: Vqvae

    def decode(self, codes: dict[str, Codes]) -> float:
        """Seconds to decode codes by level [N, h, w], top first."""
        tensors = [torch.from_numpy(values) for values in codes.values()]
        begin = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, len(tensors[0]), 16):
                self.vqvae.decode([values[start : start + 16] for values in tensors])
        return time.perf_counter() - begin

    def encode(self, images: NDArray[np.uint8]) -> float:
        """Seconds to encode images [N, H, W, C]."""
        begin = time.perf_counter()
        with torch.inference_mode():
            for start in range(0, len(images), 16):
                scaled = torch.from_numpy(images[start : start + 16]).permute(0, 3, 1, 2) / 127.5 - 1
                self.vqvae.quantise(scaled)
        return time.perf_counter() - begin


class TorchPeer(TorchCodec):
    """PyTorch eager, row and step."""

    name = PEER_NAMES["eager"]
    batches: tuple[int, ...] | None = None

    def __init__(self) -> None:
        self.compile_seconds: dict[str, float] = {}
        self.models: dict[str, TorchRowStep] = {}
        self.ready: dict[str, tuple[int, TorchState, TorchFixed]] = {}

    def load(self, part: Part) -> float:
        """Reads the checkpoints and arranges their weights."""
        begin = time.perf_counter()
        self.models, self.ready = {}, {}
        for level in part.levels:
            weights = load_checkpoint(part.checkpoint(level.name)).weights
            self.models[level.name] = self._prepare(TorchRowStep(arrange(level.config, weights, np.float32)))
        self.vqvae = load_vqvae(part)
        return time.perf_counter() - begin

    def time(self, level: TimedLevel, batch: int, budget: float) -> Timing:
        """Times rows spread over the grid: the first, the last, then between them."""
        model, c = self.models[level.name], level.config
        inputs = Inputs.random(level, batch)
        upper, labels = _tensor(inputs.upper), _tensor(inputs.labels)
        uniform, forced = torch.rand(c.width, batch), torch.full((c.width, batch), -1)
        with torch.inference_mode():
            self._warm_up(level.name, batch, model, upper, labels)
            begin = started = time.perf_counter()
            fixed = model.condition(upper, labels)
            timing = Timing(condition=time.perf_counter() - begin)
            state = self.ready[level.name][1]
            for i in spread(c.height):
                if timing.rows and time.perf_counter() - started > budget:
                    break
                begin = before = time.perf_counter()
                terms = model.begin_row(state, fixed, i)
                taken = []
                for j in range(c.width):
                    after = time.perf_counter()
                    taken.append(after - before)
                    before = after
                    model.step(state, fixed, terms, (i, j), uniform[j], forced[j])
                end = time.perf_counter()
                timing.rows[i] = end - begin
                timing.row_graph[i] = taken[0]
                timing.steps[i] = [*taken[1:], end - before]
        return timing

    def logits(self, level: TimedLevel, inputs: Inputs, rows: int) -> NDArray[np.float32]:
        """The first rows, teacher-forced."""
        model, c = self.models[level.name], level.config
        forced = torch.from_numpy(inputs.codes.transpose(1, 2, 0).copy())
        found = np.empty((rows, c.width, len(inputs.codes), c.codebook_size), np.float32)
        with torch.inference_mode():
            state = model.start(len(inputs.codes))
            fixed = model.condition(_tensor(inputs.upper), _tensor(inputs.labels))
            for i in range(rows):
                terms = model.begin_row(state, fixed, i)
                for j in range(c.width):
                    uniform = torch.zeros(len(inputs.codes))
                    found[i, j] = model.step(state, fixed, terms, (i, j), uniform, forced[i, j]).logits.numpy()
        return found

    def _prepare(self, model: TorchRowStep) -> TorchRowStep:
        return model

    def _warm_up(self, level: str, batch: int, model: TorchRowStep, upper: Any, labels: Any) -> None:
        """The memory for this batch, kept from round to round, and a few columns drawn."""
        if level in self.ready and self.ready[level][0] == batch:
            return
        self.ready.pop(level, None)
        c, state, fixed = model.config, model.start(batch), model.condition(upper, labels)
        for i in {0, min(1, c.height - 1), c.height - 1}:
            terms = model.begin_row(state, fixed, i)
            for j in range(min(c.width, 4)):
                model.step(state, fixed, terms, (i, j), torch.rand(batch), torch.full((batch,), -1))
        self.ready[level] = (batch, state, fixed)


class CompiledPeer(TorchPeer):
    """PyTorch's compiler on the same two functions. Compiling is reported apart; batch 1 only, for it takes long."""

    name = PEER_NAMES["compiled"]
    batches: tuple[int, ...] | None = (1,)

    def load(self, part: Part) -> float:
        """As eager; compiles, too. Raises MissingError with the compiler's reason where it fails."""
        compiler.config.force_disable_caches = True  # what an earlier run compiled would be found on disk
        seconds = super().load(part)
        for level in part.levels:
            begin = time.perf_counter()
            inputs = Inputs.random(level, 1)
            try:
                with torch.inference_mode(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that caches are off is what was asked for
                    upper, labels = _tensor(inputs.upper), _tensor(inputs.labels)
                    self._warm_up(level.name, 1, self.models[level.name], upper, labels)
            except Exception as error:  # whatever a compiler tool chain may do
                first = next(iter(str(error).strip().splitlines()), "")
                raise MissingError(f"torch.compile failed: {type(error).__name__}: {first[:200]}") from error
            self.compile_seconds[level.name] = time.perf_counter() - begin
        return seconds

    def _prepare(self, model: TorchRowStep) -> TorchRowStep:
        compiled: Callable[[Any], Any] = torch.compile
        row, column = compiled(model.row_terms), compiled(model.column)

        def row_function(residual: Tensor, hidden: Tensor, codes: Tensor, fixed: Any, label: Any, below: bool) -> Any:
            return row(residual, hidden, codes, None if fixed is None else fixed.clone(), label, below)

        def column_function(*arguments: Any) -> TorchColumn:
            # Copies begin at offset 0. The compiler makes a new program for views at offsets 0, 1 and more.
            residual, hidden, codes, terms, background, keys, values, labels, uniform, forced = arguments
            starts = [x.clone() for x in (residual, hidden, codes, *terms, background, uniform, forced)]
            found: TorchColumn = column(*starts[:3], tuple(starts[3:6]), starts[6], keys, values, labels, *starts[7:])
            return found

        model.row_function, model.column_function = row_function, column_function
        return model


def spread(height: int) -> list[int]:
    """Every row once: the first, the last, the middle, the quarters, and so on."""
    order, gap = [0, height - 1], height - 1
    while gap > 1:
        gap = (gap + 1) // 2
        order += range(0, height, gap)
    return list(dict.fromkeys([*order, *range(height)]))


def _tensor(values: Codes | None) -> Tensor | None:
    return None if values is None else torch.from_numpy(values)
