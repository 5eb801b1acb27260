"""The classifier as an ONNX graph, layer by layer like ``latentloop.export.models.classifier``."""

from __future__ import annotations

import numpy as np

from latentloop.export.checkpoints.checkpoint import Weights
from latentloop.export.configuration import ClassifierConfig
from latentloop.export.graphs.builder import FLOAT, UINT8, GraphBuilder, WeightStore
from latentloop.export.models.classifier import EPSILON


def classifier_graph(config: ClassifierConfig, weights: Weights, store: WeightStore) -> GraphBuilder:
    """Builds the graph.

    Input: ``images`` [B, H, W, channels] uint8. Outputs: ``probabilities`` [B, classes] and ``features`` [B, F],
    float32.
    """
    g = GraphBuilder("classifier", store)
    layers = _Layers(g, config, weights)
    images = g.input("images", UINT8, ["batch", config.height, config.width, config.image_channels])
    scaled = g.op("Div", g.op("Cast", images, to=FLOAT), g.constant(127.5))
    x = g.op("Transpose", g.op("Sub", scaled, g.constant(1.0)), perm=[0, 3, 1, 2])
    x = layers.conv("stem", x, stride=2)
    for stage in range(config.stages):
        for block in range(config.residual_blocks):
            x = layers.block(f"stages.{stage}.{block}", x, stride=2 if stage and not block else 1)
    x = g.op("ReduceMean", layers.norm_relu("norm", x), g.constant([2, 3]), keepdims=0)
    logits = g.op("Gemm", x, *layers.parameters("logits"), transB=1)
    g.output("probabilities", g.op("Softmax", logits, axis=1), FLOAT, ["batch", config.classes])
    g.output("features", x, FLOAT, ["batch", config.features])
    return g


class _Layers:
    """The layers, by the names of the model's modules."""

    def __init__(self, g: GraphBuilder, config: ClassifierConfig, weights: Weights) -> None:
        self.g, self.config, self.weights = g, config, weights

    def block(self, name: str, x: str, stride: int) -> str:
        inner = self.conv(f"{name}.conv1", self.norm_relu(f"{name}.norm1", x), stride)
        out = self.conv(f"{name}.conv2", self.norm_relu(f"{name}.norm2", inner))
        skip = self.conv(f"{name}.skip", x, stride) if f"{name}.skip.weight" in self.weights else x
        return self.g.op("Add", out, skip)

    def conv(self, name: str, x: str, stride: int = 1) -> str:
        pads = [self.weights[f"{name}.weight"].shape[-1] // 2] * 4
        return self.g.op("Conv", x, *self.parameters(name), strides=[stride] * 2, pads=pads)

    def norm_relu(self, name: str, x: str) -> str:
        """Group normalisation and ReLU.

        Opset 18's GroupNormalization has one scale per group. This is InstanceNormalization over groups, and a scale
        per channel.
        """
        g, ones = self.g, np.ones(self.config.groups, np.float32)
        grouped = g.reshape(x, [0, self.config.groups, -1])
        plain = g.op("InstanceNormalization", grouped, g.constant(ones), g.constant(0 * ones), epsilon=EPSILON)
        shaped = g.op("Reshape", plain, g.op("Shape", x))
        scale, bias = (g.op("Unsqueeze", part, g.constant([1, 2])) for part in self.parameters(name))
        return g.op("Relu", g.op("Add", g.op("Mul", shaped, scale), bias))

    def parameters(self, name: str) -> tuple[str, str]:
        both = (f"{name}.weight", f"{name}.bias")
        weight, bias = (self.g.weight(f"classifier.{part}", self.weights[part]) for part in both)
        return weight, bias
