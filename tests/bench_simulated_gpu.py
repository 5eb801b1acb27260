"""The bench's interpreted graphs on a simulated GPU: a graph runs when the fake driver executes its stream."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from fake_gpu.driver import Access, FakeDriver

from latentloop import Bundle
from latentloop.backends.gpu.device_graph import Tensor
from latentloop.bench.gpu.interpreter import TorchGraph, TorchGraphs
from latentloop.bench.gpu.program import Program
from latentloop.kernels.driver import Stream


class SimulatedGraph(TorchGraph):
    def __init__(self, name: str, program: Program, driver: FakeDriver, *, capturable: bool) -> None:
        super().__init__(name, program, 0, None, capturable=capturable)
        self._driver = driver

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        bound, outputs = dict(tensors), set(self._program.outputs)
        accesses = [Access(name, t.pointer, t.size, name in outputs) for name, t in bound.items()]
        self._driver.enqueue(
            self.name, stream, lambda: self.run({name: _shared(t) for name, t in bound.items()}), accesses
        )


class SimulatedGraphs(TorchGraphs):
    def __init__(self, bundle: Bundle, number: int, *, capturable: bool, driver: FakeDriver) -> None:
        super().__init__(bundle, number, capturable=capturable)
        self._driver = driver

    def load(self, file: str, batch: int, stream: Stream) -> SimulatedGraph:
        program = Program(self._bundle.path / file, "cpu")
        return SimulatedGraph(file, program, self._driver, capturable=self._capturable)


def _shared(tensor: Tensor) -> torch.Tensor:
    """Returns a PyTorch tensor over the simulated device's memory."""
    raw: Any = (ctypes.c_uint8 * tensor.size).from_address(tensor.pointer)
    return torch.from_numpy(np.ctypeslib.as_array(raw).view(tensor.dtype).reshape(tensor.shape))
