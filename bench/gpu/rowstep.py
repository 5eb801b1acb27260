"""Row and step in PyTorch with constant shapes and addresses, which CUDA graphs require.

The row index is on the device. A step's column is there too if one program serves all columns; a column that is a
Python integer becomes a constant of the program, and its slices cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from latentloop.bench.baselines.tensors import Index, map_tensors, put, take
from latentloop.bench.baselines.torch_rowstep import TorchRowStep


class StaticRowStep:
    """One level's loop for one batch of B images. Every method updates its tensors in place."""

    def __init__(self, model: TorchRowStep, batch: int, upper: Tensor | None, labels: Tensor | None) -> None:
        """upper [B, H', W'], labels [B], int64, on the model's device, as in ``TorchRowStep.condition``."""
        c, like = model.config, model.w.logits
        options: dict[str, Any] = {"device": like.device}
        precise = torch.promote_types(like.dtype, torch.float32)
        self.model = model
        self.state, self.fixed = model.start(batch), model.condition(upper, labels)
        self.row = torch.zeros(1, dtype=torch.int64, **options)
        self.uniform = torch.rand(c.height, c.width, batch, dtype=precise, **options)
        self.forced = torch.full((c.height, c.width, batch), -1, **options)  # a code, or -1 to draw
        self.codes = torch.zeros(c.height, c.width, batch, dtype=torch.int64, **options)
        self.logits = torch.zeros(c.width, batch, c.codebook_size, dtype=precise, **options)  # of the last row
        self.terms = (
            like.new_zeros(c.width, batch, c.channels),
            like.new_zeros(c.width, c.layers, batch, c.residual_channels),
            like.new_zeros(c.width, c.layers, batch, 2 * c.channels),
        )
        self.row_function: Callable[[], None] = self._row
        self.step_function: Callable[[Index], None] = self._step

    def tensors(self) -> list[Tensor]:
        """Returns all tensors that the loop reads or writes: weights, state, per-image terms, inputs and outputs."""
        found: list[Tensor] = []
        buffers = (self.row, self.uniform, self.forced, self.codes, self.logits, *self.terms)
        map_tensors((self.model.w, self.model.background, self.state, self.fixed, buffers), found.append)
        return found

    def restart(self) -> None:
        """Sets the state back to before the first row."""
        self.row.zero_()
        self.state.codes.fill_(self.model.config.codebook_size)
        self.state.residual.zero_()
        self.state.hidden.zero_()

    def begin_row(self) -> None:
        """Moves the window to the next row, and computes the row's terms."""
        self.row_function()

    def steps(self) -> None:
        """Draws all columns of the row."""
        for column in self._columns():
            self.step_function(column)
        self.row += 1

    def _columns(self) -> list[Index]:
        return list(range(self.model.config.width))

    def _row(self) -> None:
        for buffer, term in zip(self.terms, self.model.begin_row(self.state, self.fixed, self.row), strict=True):
            buffer.copy_(term)

    def _step(self, column: Index) -> None:
        n = self.row * self.model.config.width + column  # [1]
        uniform, forced = (take(values.flatten(0, 1), n) for values in (self.uniform, self.forced))
        result = self.model.step(self.state, self.fixed, self.terms, (self.row, column), uniform, forced)
        put(self.codes.flatten(0, 1), n, result.code)
        put(self.logits, column, result.logits)


class CompiledRowStep(StaticRowStep):
    """The same loop through ``torch.compile``, with one program for the row and one for all steps."""

    def __init__(self, model: TorchRowStep, batch: int, upper: Tensor | None, labels: Tensor | None, mode: str) -> None:
        super().__init__(model, batch, upper, labels)
        self._column_indices = [torch.tensor([j], device=self.row.device) for j in range(model.config.width)]
        # Otherwise the compiler's own CUDA graphs would copy all weights and state for every call.
        for tensor in (*self.tensors(), *self._column_indices):
            torch._dynamo.mark_static_address(tensor)
        compiled: Callable[..., Any] = torch.compile
        self.row_function = compiled(self._row, mode=mode)
        self.step_function = compiled(self._step, mode=mode)

    def _columns(self) -> list[Index]:
        return list(self._column_indices)
