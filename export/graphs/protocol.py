"""What a host must know to drive a prior's graphs: its memories, and the view that each binding is.

The names are those of ``latentloop.export.graphs.prior``. A row reads the k - 1 rows above from rings; a step reads
the p columns before it, and writes its own column in place.
"""

from __future__ import annotations

from latentloop.export.configuration import PriorConfig
from latentloop.export.graphs.builder import GraphBuilder
from latentloop.manifest import BATCH, Binding, Memory


def memories(config: PriorConfig, class_pointwise: int) -> tuple[Memory, ...]:
    """Every array of one prior's loop; ``class_pointwise`` is the width of the 1 x 1 blocks' label terms, or 0."""
    c = config
    ring = c.kernel - 1
    padded = c.width + 2 * c.reach

    def state(name: str, dtype: str, *slot: int | str, fill: int = 0) -> Memory:
        return Memory(name, dtype, (ring, padded, *slot), fill, ring=True, padding=c.reach)

    found = [
        state("codes", "int64", BATCH, fill=c.codebook_size),  # this fill is the code that adds nothing
        state("residual", "float32", c.layers, BATCH, c.channels),
        state("hidden", "float32", c.layers, BATCH, c.residual_channels),
        Memory("input_above", "float32", (c.width, BATCH, c.channels)),
        Memory("conv1_above", "float32", (c.width, c.layers, BATCH, c.residual_channels)),
        Memory("conv2_above", "float32", (c.width, c.layers, BATCH, 2 * c.channels)),
        Memory("row", "int64", (c.height, 1)),
        Memory("column", "int64", (c.width, 1)),
        Memory("uniform", "float32", (c.width, BATCH)),
        Memory("forced", "int64", (c.width, BATCH)),
        Memory("temperature", "float32", (BATCH,)),
        Memory("top_k", "int64", (BATCH,)),
        Memory("top_p", "float32", (BATCH,)),
        Memory("logits", "float32", (c.width, BATCH, c.codebook_size)),
    ]
    if c.attention:
        heads, d = c.heads, c.attention_channels // c.heads
        found.append(Memory("background", "float32", (c.width, BATCH, 2)))
        for b in range(c.blocks):
            found += [
                Memory(f"keys.{b}", "float32", (c.height, BATCH, heads, d, c.width)),
                Memory(f"values.{b}", "float32", (c.height, BATCH, heads, c.width, d)),
                Memory(f"row_keys.{b}", "float32", (c.width, BATCH, c.attention_channels)),
                Memory(f"row_values.{b}", "float32", (c.width, BATCH, c.attention_channels)),
            ]
    else:
        found.append(Memory("mix_above", "float32", (c.width, c.blocks, 1, c.channels)))
    if c.condition_codes:
        height, width = c.condition_grid
        found.append(Memory("upper", "int64", (BATCH, height, width)))
        found.append(Memory("condition", "float32", (c.height, width, BATCH, c.condition_channels)))
    if c.classes:
        found.append(Memory("labels", "int64", (BATCH,)))
        found.append(Memory("class_causal", "float32", (c.layers, BATCH, 2 * c.channels)))
    if class_pointwise:
        found.append(Memory("class_pointwise", "float32", (BATCH, class_pointwise)))
    return tuple(found)


def bindings(graph: GraphBuilder, role: str, config: PriorConfig) -> tuple[tuple[Binding, ...], tuple[Binding, ...]]:
    """The inputs and outputs of one graph (role: condition, row or step) as views of the memories."""
    inputs = tuple(_bind(value.name, role, config) for value in graph.inputs)
    return inputs, tuple(_bind(value.name, role, config) for value in graph.outputs)


def _bind(name: str, role: str, config: PriorConfig) -> Binding:
    base, _, index = name.partition(".")
    if base.endswith("_above") and index:  # codes_above.a: a = 0 is the farthest of the rows above
        rows = config.reach if base == "codes_above" else config.kernel - 1
        return Binding(name, base.removesuffix("_above"), "above", back=rows - int(index))
    if base.startswith("finished_"):
        return Binding(name, f"{base.removeprefix('finished_')}.{index}", "row")
    if base.endswith("_next"):
        return Binding(name, base.removesuffix("_next") + (f".{index}" if index else ""), "column")
    if base in ("keys", "values"):
        return Binding(name, name, "entries")
    if name == "code":
        return Binding(name, "codes", "column")
    if name in ("codes", "residual", "hidden"):
        return Binding(name, name, "window")
    if role == "row" and name in ("row", "condition"):
        return Binding(name, name, "row")
    per_column = {"input_above", "conv1_above", "conv2_above", "mix_above", "background", "column"}
    if role == "step" and name in per_column | {"uniform", "forced", "logits"}:
        return Binding(name, name, "column")
    return Binding(name, name, "all")
