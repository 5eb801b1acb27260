"""The base class of what describes and loads the graphs that a GPU runs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from latentloop.backends.gpu.device_graph import DeviceGraph
from latentloop.bundles.codec import CodecGraph
from latentloop.bundles.manifest import Prior
from latentloop.kernels.driver import Stream


class GraphProvider(ABC):
    """Describes and loads the graphs that a GPU runs: TensorRT engines, or a bundle's ONNX files."""

    def __init__(
        self, encoder: CodecGraph, decoder: CodecGraph, priors: Mapping[str, Prior], largest_batch: int
    ) -> None:
        """``priors`` are those of the levels that have one, at the requested precision. ``largest_batch`` is the
        largest batch size that the graphs accept.
        """
        self.encoder, self.decoder, self.priors, self.largest_batch = encoder, decoder, priors, largest_batch

    @abstractmethod
    def load(self, file: str, batch: int, stream: Stream) -> DeviceGraph:
        """Loads a graph for one batch size and one stream. Every call returns a new object."""
