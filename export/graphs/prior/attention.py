"""Attention of a step's columns to all earlier positions: finished rows, this row, and the step's own columns."""

from __future__ import annotations

import numpy as np

from latentloop.export.graphs.builder import FLOAT
from latentloop.export.graphs.function import Function, operator_name
from latentloop.export.graphs.nodes import LAST
from latentloop.export.graphs.prior.graph import PriorGraph
from latentloop.export.graphs.prior.pointwise import add_pointwise, linear, pointwise_weights
from latentloop.export.graphs.prior.residual import add_layers
from latentloop.export.specification.rowstep_weights import Attention

MASKED = -1e30  # finite, so that a softmax over masked positions alone is not NaN

HISTORY = ("keys", "values", "row_keys", "row_values")  # of every block
BLOCKS = ("key", "query", "out")
MAPS = ("attention.query", "attention.key", "attention.value")


class AttentionHistory:
    """The keys and values that a step's columns attend to; each column's own are added when it has been computed."""

    def __init__(self, g: PriorGraph) -> None:
        """Declares the graph's inputs."""
        self.g, self.config = g, g.config
        blocks = range(g.config.blocks)
        for name in (*(f"{kind}.{b}" for b in blocks for kind in HISTORY), "background", "history_mask"):
            g.read(name)
        self.column = g.op("Cast", g.read("column"), to=FLOAT)
        self.own: list[list[tuple[str, str]]] = [[] for _ in blocks]  # (key, value) of the step's columns

    def attend(self, b: int, block: Attention, x: str, gated: str, labels: list[str], column: int) -> tuple[str, str]:
        """Computes block b at the step's next column.

        x [B, C], gated [n, L, B, C] -> the block's output [B, C], and ELU of its layers' inputs [layers, B, C].
        """
        g, c = self.g, self.config
        # 1. The operator's inputs: values of the graph by the names in the function's body.
        operands = {"x": x, "gated": gated, "background": "background", "history_mask": "history_mask"}
        operands |= {name: f"{name}.{b}" for name in HISTORY}
        operands["column"] = self.column
        own = len(self.own[b])
        if own:
            operands["own_keys"] = g.stack([key for key, _ in self.own[b]])
            operands["own_values"] = g.stack([value for _, value in self.own[b]])
        if labels:
            operands |= {f"label.{part}": label for part, label in zip(BLOCKS, labels, strict=True)}

        # 2. Its weights.
        prefix = f"{g.level}.blocks.{b}."
        for part, pointwise in zip(BLOCKS, (block.key, block.query, block.out), strict=True):
            weights = pointwise_weights(g, prefix + part, pointwise)
            operands |= {weight.removeprefix(prefix): weight for weight in weights}
        scale = 1 / np.sqrt(c.attention_channels // c.heads)
        maps = (
            (block.query_map * scale, block.query_bias * scale),
            (block.key_map, block.key_bias),
            (block.value_map, block.value_bias),
        )
        for name, (matrix, bias) in zip(MAPS, maps, strict=True):
            operands[name] = g.weight(prefix + name, matrix)
            operands[f"{name}_bias"] = g.weight(f"{prefix}{name}_bias", bias)

        # 3. The function, and the node that calls it.
        kind = operator_name("AttentionBlock", inplace=c.inplace)
        f = Function(kind if own == 0 else f"{kind}After{own}", list(operands), g.bits)
        outputs = self._body(f, own, labelled=bool(labels))
        attributes = {"column": column, "first_layer": b * c.residual_blocks, "layers": c.residual_blocks}
        attributes["labels"] = int(bool(labels))
        result, activated, key, value = f.call(g, list(operands.values()), outputs, **attributes)
        self.own[b].append((key, value))
        return result, activated

    def output(self) -> None:
        """Declares the columns' keys and values as outputs [n, B, heads * d], for the row's buffers."""
        for b, columns in enumerate(self.own):
            for kind, values in zip(("keys", "values"), zip(*columns, strict=True), strict=True):
                self.g.write(f"row_{kind}_next.{b}", self.g.stack(values))

    def _body(self, f: Function, own: int, *, labelled: bool) -> list[str]:
        """Builds the operator's body; returns its outputs."""
        labels = {part: f"label.{part}" if labelled else None for part in BLOCKS}
        layers, inplace = self.config.residual_blocks, self.config.inplace
        gated, background = f.column("gated"), f.column("background")
        start = f.op("Reshape", f.attribute("first_layer"), f.constant([1]))
        stop = f.op("Add", start, f.constant([layers]))
        block_gated = f.op("Slice", gated, start, stop, f.constant([0]))
        out, activated = add_layers(f, "x", block_gated, layers, inplace=inplace)
        joined = f.op("Concat", out, background, axis=1)
        query = add_pointwise(f, "query", joined, labels["query"], inplace=inplace)
        attended = self._attended(f, own, self._heads(f, linear(f, "attention.query", query)))
        # In place, the first layer's ELU overwrites the block's input before the key reads it.
        x = f.op("Elu", "x") if inplace else "x"
        joined = f.op("Concat", x, out, background, axis=1)
        key = add_pointwise(f, "key", joined, labels["key"], inplace=inplace)
        result = add_pointwise(f, "out", out, labels["out"], attended, inplace=inplace)
        return [result, activated, linear(f, "attention.key", key), linear(f, "attention.value", key)]

    def _heads(self, f: Function, x: str) -> str:
        """[B, heads * d] -> [B, heads, 1, d]."""
        c = self.config
        return f.reshape(x, [-1, c.heads, 1, c.attention_channels // c.heads])

    def _attended(self, f: Function, own: int, query: str) -> str:
        """Attention of query [B, heads, 1, d] to the finished rows and the columns before it -> [B, heads * d]."""
        c = self.config
        d = c.attention_channels // c.heads
        zero, masked = f.constant(0.0), f.constant(MASKED)
        # 1. Scores of the finished rows, of this row, and of the step's earlier columns. Those of the finished rows
        #    [S, B, heads, 1, W] are transposed to [B, heads, 1, S, W]; keys and values are not moved.
        scores = f.op("Add", f.op("MatMul", query, "keys"), "history_mask")
        scores = f.reshape(f.op("Transpose", scores, perm=[1, 2, 3, 0, 4]), [0, c.heads, 1, -1])
        is_earlier = f.op("Less", f.constant(np.arange(c.width, dtype=np.float32)), "column")
        row_keys = f.op("Transpose", f.reshape("row_keys", [c.width, -1, c.heads, d]), perm=[1, 2, 3, 0])
        row_scores = f.op("Add", f.op("MatMul", query, row_keys), f.op("Where", is_earlier, zero, masked))
        own_keys = f.unstack("own_keys", own) if own else []
        own_scores = [
            f.op("ReduceSum", f.op("Mul", query, self._heads(f, key)), f.constant([3]), keepdims=1) for key in own_keys
        ]
        # 2. Their softmax; zeros at the image's first position, which has nothing before it.
        weights = f.op("Softmax", f.op("Concat", scores, row_scores, *own_scores, axis=3), axis=3)
        if not own:
            largest_mask = f.op("ReduceMax", "history_mask", f.constant([0, 1, 2, 3, 4]), keepdims=0)
            has_rows = f.op("GreaterOrEqual", largest_mask, zero)
            has_earlier = f.op("Or", has_rows, f.op("Greater", f.op("Squeeze", "column", f.constant([0])), zero))
            weights = f.op("Mul", weights, f.op("Cast", has_earlier, to=FLOAT))
        # 3. The weighted sum of the values, from the same three parts.
        ends = [-c.width - own, *range(-own, 0), LAST]
        finished = f.reshape(f.slice(weights, 0, ends[0], 3), [0, c.heads, 1, -1, c.width])
        finished = f.op("Transpose", finished, perm=[3, 0, 1, 2, 4])
        total = f.sum_axis(f.op("MatMul", finished, "values"), 0)  # [B, heads, 1, d]
        row_values = f.op("Transpose", f.reshape("row_values", [c.width, -1, c.heads, d]), perm=[1, 2, 0, 3])
        total = f.op("Add", total, f.op("MatMul", f.slice(weights, ends[0], ends[1], 3), row_values))
        own_values = f.unstack("own_values", own) if own else []
        for value, begin, end in zip(own_values, ends[1:], ends[2:], strict=False):
            total = f.op("Add", total, f.op("Mul", f.slice(weights, begin, end, 3), self._heads(f, value)))
        return f.reshape(total, [-1, c.attention_channels])
