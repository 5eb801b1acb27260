"""The classifier as an ONNX graph, layer by layer like ``latentloop.export.models.classifier``."""

from __future__ import annotations

import numpy as np

from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.configuration import ClassifierConfig
from latentloop.export.graphs.builder import FLOAT, GraphBuilder, WeightStore
from latentloop.export.graphs.layers import NetworkGraph
from latentloop.export.models.classifier import EPSILON


def classifier_graph(config: ClassifierConfig, weights: Weights, store: WeightStore) -> GraphBuilder:
    """Builds the graph.

    Input: ``images`` [B, H, W, channels] uint8. Outputs: ``probabilities`` [B, classes] and ``features`` [B, F],
    float32.
    """
    g = _ClassifierGraph("classifier", store, "classifier", weights)
    x = g.conv("stem", g.images(config.height, config.width, config.image_channels), stride=2)
    for stage in range(config.stages):
        for block in range(config.residual_blocks):
            x = g.block(f"stages.{stage}.{block}", x, config.groups, stride=2 if stage and not block else 1)
    x = g.op("ReduceMean", g.norm_relu("norm", x, config.groups), g.constant([2, 3]), keepdims=0)
    logits = g.op("Gemm", x, *g.parameters("logits"), transB=1)
    g.output("probabilities", g.op("Softmax", logits, axis=1), FLOAT, ["batch", config.classes])
    g.output("features", x, FLOAT, ["batch", config.features])
    return g


class _ClassifierGraph(NetworkGraph):
    """The layers of the classifier."""

    def block(self, name: str, x: str, groups: int, stride: int) -> str:
        inner = self.conv(f"{name}.conv1", self.norm_relu(f"{name}.norm1", x, groups), stride)
        out = self.conv(f"{name}.conv2", self.norm_relu(f"{name}.norm2", inner, groups))
        skip = self.conv(f"{name}.skip", x, stride) if f"{name}.skip.weight" in self.values else x
        return self.op("Add", out, skip)

    def norm_relu(self, name: str, x: str, groups: int) -> str:
        """Group normalisation and ReLU.

        Opset 18's GroupNormalization has one scale per group. This is InstanceNormalization over groups, and a scale
        per channel.
        """
        grouped = self.reshape(x, [0, groups, -1])
        unit = (self.constant(np.full(groups, value, np.float32)) for value in (1, 0))  # scale and bias
        plain = self.op("InstanceNormalization", grouped, *unit, epsilon=EPSILON)
        shaped = self.op("Reshape", plain, self.op("Shape", x))
        scale, bias = (self.op("Unsqueeze", part, self.constant([1, 2])) for part in self.parameters(name))
        return self.op("Relu", self.op("Add", self.op("Mul", shaped, scale), bias))
