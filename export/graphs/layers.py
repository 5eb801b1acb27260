"""Layers that the graphs of the VQ-VAE and of the classifier share, by the names of the model's modules."""

from __future__ import annotations

from latentloop.export.checkpoints.checkpoint import Weights
from latentloop.export.graphs.builder import FLOAT, UINT8, GraphBuilder


class Layers:
    """The layers of one network; the bundle stores its weights under ``network``, a dot and their own names."""

    def __init__(self, g: GraphBuilder, network: str, weights: Weights) -> None:
        self.g, self.network, self.weights = g, network, weights

    def images(self, height: int, width: int, channels: int) -> str:
        """Declares the input ``images`` [B, H, W, C] uint8; returns it as [B, C, H, W] float32 in [-1, 1]."""
        g = self.g
        images = g.input("images", UINT8, ["batch", height, width, channels])
        scaled = g.op("Div", g.op("Cast", images, to=FLOAT), g.constant(127.5))
        return g.op("Transpose", g.op("Sub", scaled, g.constant(1.0)), perm=[0, 3, 1, 2])

    def conv(self, name: str, x: str, stride: int = 1) -> str:
        """Adds a convolution with the model's padding: 4 x 4 at stride 2 pads 1, 3 x 3 pads 1, 1 x 1 none."""
        pads = [(self.weights[f"{name}.weight"].shape[-1] - 1) // 2] * 4
        return self.g.op("Conv", x, *self.parameters(name), strides=[stride] * 2, pads=pads)

    def parameters(self, name: str) -> tuple[str, str]:
        """Adds the weight and the bias of a module."""
        return self.weight(f"{name}.weight"), self.weight(f"{name}.bias")

    def weight(self, name: str) -> str:
        """Adds a weight."""
        return self.g.weight(f"{self.network}.{name}", self.weights[name])
