"""Layers that the graphs of the VQ-VAE and of the classifier share, by the names of the model's modules."""

from __future__ import annotations

from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.graphs.builder import FLOAT, UINT8, GraphBuilder, WeightStore


class NetworkGraph(GraphBuilder):
    """A graph of one network; the bundle stores its weights under ``network``, a dot and their own names."""

    def __init__(self, name: str, store: WeightStore, network: str, values: Weights) -> None:
        super().__init__(name, store)
        self.network, self.values = network, values

    def images(self, height: int, width: int, channels: int) -> str:
        """Declares the input ``images`` [B, H, W, C] uint8; returns it as [B, C, H, W] float32 in [-1, 1]."""
        images = self.input("images", UINT8, ["batch", height, width, channels])
        scaled = self.op("Div", self.op("Cast", images, to=FLOAT), self.constant(127.5))
        return self.op("Transpose", self.op("Sub", scaled, self.constant(1.0)), perm=[0, 3, 1, 2])

    def conv(self, name: str, x: str, stride: int = 1) -> str:
        """Adds a convolution with the model's padding: 4 x 4 at stride 2 pads 1, 3 x 3 pads 1, 1 x 1 none."""
        pads = [(self.values[f"{name}.weight"].shape[-1] - 1) // 2] * 4
        return self.op("Conv", x, *self.parameters(name), strides=[stride] * 2, pads=pads)

    def parameters(self, name: str) -> tuple[str, str]:
        """Adds the weight and the bias of a module."""
        return self.own_weight(f"{name}.weight"), self.own_weight(f"{name}.bias")

    def own_weight(self, name: str) -> str:
        """Adds a weight of the network."""
        return self.weight(f"{self.network}.{name}", self.values[name])
