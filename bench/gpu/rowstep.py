"""Row and step in PyTorch with constant shapes and addresses, which CUDA graphs require.

The row index is on the device. A step's column is there too if one program serves all columns; a column that is a
Python integer becomes a constant of the program, and its slices cost nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor

from latentloop.bench.baselines.torch_rowstep import TorchRowStep

Column = int | Tensor  # or int64 [1]


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
        self._positions = torch.arange(c.height * c.width if c.attention else 0, **options)
        self.row_function: Callable[[], None] = self._row
        self.step_function: Callable[[Column], None] = self._step

    def tensors(self) -> list[Tensor]:
        """Returns all tensors that the loop reads or writes: weights, state, per-image terms, inputs and outputs."""
        buffers = (self.row, self.uniform, self.forced, self.codes, self.logits, self._positions, *self.terms)
        return [*_tensors(self.model.w), *_tensors(self.state), *_tensors(self.fixed), *buffers]

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

    def _columns(self) -> list[Column]:
        return list(range(self.model.config.width))

    def _row(self) -> None:
        c, state, fixed = self.model.config, self.state, self.fixed
        for window, fill in ((state.codes, c.codebook_size), (state.residual, 0), (state.hidden, 0)):
            window[:-1] = window[1:].clone()
            window[-1] = fill
        terms = self.model.row_terms(
            state.residual[: c.kernel - 1],
            state.hidden[: c.kernel - 1],
            state.codes[: c.reach],
            None if fixed.condition is None else fixed.condition.index_select(0, self.row)[0],
            fixed.class_causal,
            self.row > 0,
        )
        for buffer, term in zip(self.terms, terms, strict=True):
            buffer.copy_(term)

    def _step(self, column: Column) -> None:
        c, state = self.model.config, self.state
        n = self.row * c.width + column  # [1]
        result = self.model.column(
            _take(state.residual[-1], column, c.reach),
            _take(state.hidden[-1], column, c.reach),
            _take(state.codes[-1], column, c.reach),
            (
                _take(self.terms[0], column, 1)[0],
                _take(self.terms[1], column, 1)[0],
                _take(self.terms[2], column, 1)[0],
            ),
            self.model.w.background.flatten(0, 1).index_select(0, n)[0],
            state.keys,
            state.values,
            self.fixed.class_pointwise,
            self.uniform.flatten(0, 1).index_select(0, n)[0],
            self.forced.flatten(0, 1).index_select(0, n)[0],
            seen=self._positions < n,
        )
        _put(state.codes[-1], column + c.reach, result.code)
        _put(state.residual[-1], column + c.reach, result.residual)
        _put(state.hidden[-1], column + c.reach, result.hidden)
        _put(self.logits, column, result.logits)
        self.codes.flatten(0, 1).index_copy_(0, n, result.code[None])
        for b, (key, value) in enumerate(zip(result.keys, result.values, strict=True)):
            state.keys[b].index_copy_(2, n, key[:, :, None])
            state.values[b].index_copy_(2, n, value[:, :, None])


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

    def _columns(self) -> list[Column]:
        return list(self._column_indices)


def _take(x: Tensor, first: Column, count: int) -> Tensor:
    """Returns x[first : first + count]."""
    if isinstance(first, int):
        return x[first : first + count]
    return x.index_select(0, first + torch.arange(count, device=x.device))


def _put(x: Tensor, index: Column, value: Tensor) -> None:
    """Sets x[index] = value."""
    if isinstance(index, int):
        x[index] = value
    else:
        x.index_copy_(0, index, value[None])


def _tensors(value: Any) -> list[Tensor]:
    """Returns all tensors in a structure of dataclasses, tuples and lists."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, (tuple, list)):
        return [tensor for item in value for tensor in _tensors(item)]
    if not is_dataclass(value):
        return []
    return [tensor for field in fields(value) for tensor in _tensors(getattr(value, field.name))]
