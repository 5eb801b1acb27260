"""The state buffers of a prior, and the bindings of its graphs' inputs and outputs to views of them.

A row reads the k - 1 rows above from ring buffers. A step reads the columns before it and writes its own in place.
"""

from __future__ import annotations

from latentloop.bundles.loop_buffers import loop_buffers
from latentloop.bundles.manifest import BATCH, Binding, StateBuffer
from latentloop.export.configuration import PriorConfig


def state_buffers(config: PriorConfig, class_pointwise: int) -> tuple[StateBuffer, ...]:
    """Returns every array of one prior's loop; ``class_pointwise``: width of the 1 x 1 blocks' label terms, or 0."""
    c = config

    def ring(name: str, padding: int, *slot: int | str, rows: int = c.kernel - 1) -> StateBuffer:
        return StateBuffer(name, "float32", (rows, c.width + 2 * padding, *slot), ring=True, padding=padding)

    upper = c.condition_grid if c.condition_codes else None
    grid = (c.kernel - 1, c.width + 2 * c.reach, BATCH)
    buffers = [
        # Filled with code K, which adds nothing to the input.
        StateBuffer("codes", "int64", grid, c.codebook_size, ring=True, padding=c.reach),
        ring("residual", c.reach + 1, c.layers, BATCH, c.channels),
        ring("hidden", c.reach, c.layers, BATCH, c.residual_channels),
        StateBuffer("input_above", "float32", (c.width, BATCH, c.channels)),
        ring("conv1_above", 1, c.layers, BATCH, c.residual_channels, rows=2),  # a row completes the row above
        StateBuffer("conv2_above", "float32", (c.width, c.layers, BATCH, 2 * c.channels)),
        *loop_buffers(c.height, c.width, c.codebook_size, upper=upper, labels=bool(c.classes)),
    ]
    if rows_pair_up(c):
        buffers.append(StateBuffer("conv1_partial", "float32", (c.width, c.layers, BATCH, c.residual_channels)))
        buffers.append(StateBuffer("conv2_partial", "float32", (c.width, c.layers, BATCH, 2 * c.channels)))
    if c.attention:
        heads, d = c.heads, c.attention_channels // c.heads
        buffers.append(StateBuffer("background", "float32", (c.width, BATCH, 2)))
        buffers.append(StateBuffer("history_mask", "float32", (c.height, 1, 1, 1, 1)))
        for b in range(c.blocks):
            buffers += [
                StateBuffer(f"keys.{b}", "float32", (c.height, BATCH, heads, d, c.width)),
                StateBuffer(f"values.{b}", "float32", (c.height, BATCH, heads, c.width, d)),
                StateBuffer(f"row_keys.{b}", "float32", (c.width, BATCH, c.attention_channels)),
                StateBuffer(f"row_values.{b}", "float32", (c.width, BATCH, c.attention_channels)),
            ]
    else:
        buffers.append(StateBuffer("mix_above", "float32", (c.width, c.blocks, 1, c.channels)))
    if upper is not None:
        buffers.append(StateBuffer("condition", "float32", (c.height, upper[1], BATCH, c.condition_channels)))
    if c.classes:
        buffers.append(StateBuffer("class_causal", "float32", (c.layers, BATCH, 2 * c.channels)))
    if class_pointwise:
        buffers.append(StateBuffer("class_pointwise", "float32", (BATCH, class_pointwise)))
    return tuple(buffers)


def rows_pair_up(config: PriorConfig) -> bool:
    """Returns whether the row's operators compute rows in pairs, with partial sums from the first for the second."""
    return config.kernel == 5


def columns_per_step(config: PriorConfig) -> int:
    """Returns how many columns one step advances: 2 if the grid's width is even, else 1."""
    return 1 if config.width % 2 else 2


def bind(name: str, role: str, config: PriorConfig) -> Binding:
    """Returns the binding of an input or output of a graph; ``role``: condition, row, step or step_filtered."""
    if role == "condition":
        return Binding(name, name, "all")
    return _bind_row(name, config) if role == "row" else _bind_step(name, config)


def _bind_row(name: str, config: PriorConfig) -> Binding:
    """Returns the row graph's binding of ``name``; in ``name.a``, a = 0 is the farthest of the rows above."""
    p, width = config.reach, config.width
    base, _, index = name.partition(".")
    if base in ("codes_above", "residual_above", "hidden_above"):
        back = (p if base == "codes_above" else config.kernel - 1) - int(index)
        is_incomplete = base == "hidden_above" and back == 1
        count = width + p - 1 if is_incomplete else width + 2 * p
        return Binding(name, base.removesuffix("_above"), "span", back=back, first=-p, count=count)
    if name == "conv1_above":
        return Binding(name, name, "span", first=0, count=width)
    if name == "conv1_last":
        return Binding(name, "conv1_above", "span", back=1, first=width - 1, count=1)
    if name == "hidden_last":
        return Binding(name, "hidden", "span", back=1, first=width - 1, count=1)
    if base.startswith("finished_"):
        return Binding(name, f"{base.removeprefix('finished_')}.{index}", "row")
    if name.endswith("_partial_next"):
        return Binding(name, name.removesuffix("_next"), "all")
    return Binding(name, name, "row" if name in ("row", "condition") else "all")


def _bind_step(name: str, config: PriorConfig) -> Binding:
    p, n = config.reach, columns_per_step(config)
    base, _, index = name.partition(".")
    windows = {  # buffer, first column relative to the step's, number of columns
        "codes": ("codes", -p, p),
        "residual": ("residual", -p - 1, p + n - 1),
        "hidden": ("hidden", -p, p - 1),
        "conv1_above": ("conv1_above", -1, n),
        "hidden_next": ("hidden", -1, n),
        "residual_next": ("residual", 0, n),
        "code": ("codes", 0, n),
        "column": ("column", 0, 1),
    }
    if name in windows:
        buffer, first, count = windows[name]
        return Binding(name, buffer, "columns", first=first, count=count)
    if base.endswith("_next"):
        return Binding(name, f"{base.removesuffix('_next')}.{index}", "columns", first=0, count=n)
    if name in ("input_above", "conv2_above", "mix_above", "background", "uniform", "forced", "logits"):
        return Binding(name, name, "columns", first=0, count=n)
    return Binding(name, name, "entries" if base in ("keys", "values", "history_mask") else "all")
