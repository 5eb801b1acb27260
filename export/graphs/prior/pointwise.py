"""Matrix products of one column: linear layers and gated 1 x 1 blocks."""

from __future__ import annotations

from collections.abc import Sequence

from latentloop.export.graphs.builder import GraphBuilder
from latentloop.export.graphs.function import Function, operator_name
from latentloop.export.specification.rowstep_weights import Pointwise


def linear(f: Function, name: str, x: str) -> str:
    """Returns x @ weight + bias, for the weight [in, out] ``name`` and the bias ``name_bias``.

    The weight is a two-dimensional constant, which ONNX Runtime packs once.
    """
    return f.op("Add", f.op("MatMul", x, f.weight(name)), f"{name}_bias")


def add_pointwise(
    f: Function, name: str, x: str, label: str | None, auxiliary: str | None = None, *, inplace: bool
) -> str:
    """Adds a gated 1 x 1 block on x [B, width]; label [B, 2 width], auxiliary [B, attention channels]."""
    active = f.op("Elu", x)
    inner = linear(f, f"{name}.conv1", active)
    if auxiliary is not None:
        inner = f.op("Add", inner, f.op("MatMul", f.op("Elu", auxiliary), f.weight(f"{name}.auxiliary")))
    out = linear(f, f"{name}.conv2", f.op("Elu", inner))
    if label is not None:
        out = f.op("Add", out, label)
    return f.op("Add", active if inplace else x, f.glu(out, 1))


def output_stack(
    g: GraphBuilder, level: str, x: str, stages: Sequence[Pointwise], labels: Sequence[str], *, inplace: bool
) -> str:
    """Adds the gated 1 x 1 blocks between the last block and the logits, x [B, C] -> [B, C].

    ``labels``: a label term for each of the ``stages``, or none.
    """
    if not stages:
        return x
    names = [f"stage.{s}" for s in range(len(stages))]
    terms = [f"{name}.label" for name in names[: len(labels)]]
    weights = [f"{name}.{part}" for name in names for part in ("conv1", "conv1_bias", "conv2", "conv2_bias")]
    f = Function(operator_name("OutputStack", inplace=inplace), ["x", *terms, *weights], g.bits)
    out = "x"
    for s, name in enumerate(names):
        out = add_pointwise(f, name, out, terms[s] if terms else None, inplace=inplace)
    constants = [w for s, stage in enumerate(stages) for w in pointwise_weights(g, f"{level}.output.{s}", stage)]
    return f.call(g, [x, *labels, *constants], [out], labels=int(bool(labels)))[0]


def pointwise_weights(g: GraphBuilder, name: str, block: Pointwise) -> list[str]:
    """Adds the block's weights to ``g``; returns conv1, its bias, auxiliary (if there is one), conv2, its bias."""
    parts = {"conv1": block.conv1, "conv1_bias": block.conv1_bias}
    parts |= {} if block.auxiliary is None else {"auxiliary": block.auxiliary}
    parts |= {"conv2": block.conv2, "conv2_bias": block.conv2_bias}
    return [g.weight(f"{name}.{part}", value) for part, value in parts.items()]
