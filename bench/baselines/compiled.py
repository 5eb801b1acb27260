"""The baseline in PyTorch that runs row and step through ``torch.compile``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, compiler

from latentloop.bench.baselines.eager import EagerPyTorch
from latentloop.bench.baselines.implementation import TITLES
from latentloop.bench.baselines.tensors import random_tensors
from latentloop.bench.baselines.torch_rowstep import TorchColumn, TorchRowStep
from latentloop.bench.workload.part import Part
from latentloop.errors import MissingError


class CompiledPyTorch(EagerPyTorch):
    """Row and step compiled by PyTorch, batch 1 only because compiling takes long; that time is reported apart."""

    title = TITLES["compiled"]
    batches: tuple[int, ...] | None = (1,)

    def load(self, part: Part) -> float:
        """Loads like ``EagerPyTorch`` and compiles; returns the seconds of loading alone.

        Raises MissingError with the compiler's reason if compiling fails.
        """
        compiler.config.force_disable_caches = True  # otherwise an earlier run's programs would be loaded from disk
        seconds = super().load(part)
        for level in part.levels:
            begin = time.perf_counter()
            _, upper, labels = random_tensors(level.config, 1)
            try:
                with torch.inference_mode(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the compiler warns that its caches are disabled
                    self.warm_up(level.name, 1, upper, labels)
            except Exception as error:  # a compiler tool chain can raise anything
                first = next(iter(str(error).strip().splitlines()), "")
                raise MissingError(f"torch.compile failed: {type(error).__name__}: {first[:200]}") from error
            self.compile_seconds[level.name] = time.perf_counter() - begin
        return seconds

    def prepare(self, model: TorchRowStep) -> TorchRowStep:
        """Replaces the model's row and column by compiled functions."""
        compiled: Callable[[Any], Any] = torch.compile
        row, column = compiled(model.row_terms), compiled(model.column)

        def row_function(residual: Tensor, hidden: Tensor, codes: Tensor, fixed: Any, label: Any, below: bool) -> Any:
            return row(residual, hidden, codes, None if fixed is None else fixed.clone(), label, below)

        def column_function(*arguments: Any) -> TorchColumn:
            # Copies begin at offset 0. The compiler makes a new program for views at offsets 0, 1 and more.
            residual, hidden, codes, terms, background, keys, values, labels, uniform, forced, _ = arguments
            copies = [x.clone() for x in (residual, hidden, codes, *terms, background, uniform, forced)]
            result: TorchColumn = column(*copies[:3], tuple(copies[3:6]), copies[6], keys, values, labels, *copies[7:])
            return result

        model.row_function, model.column_function = row_function, column_function
        return model
