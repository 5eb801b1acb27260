"""The bench's interpreted graphs on a GPU that the host plays: each run is done when its turn comes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stand_in.driver import FakeDriver, Range

from latentloop import Bundle
from latentloop.backends.gpu.device_graph import Tensor
from latentloop.bench.gpu.interpreter import TorchGraph, TorchGraphs
from latentloop.bench.gpu.program import Program
from latentloop.kernels.driver import Stream


class PlayedGraph(TorchGraph):
    def __init__(self, name: str, program: Program, driver: FakeDriver, *, capturable: bool) -> None:
        super().__init__(name, program, 0, None, capturable=capturable)
        self._driver = driver

    def enqueue(self, tensors: Mapping[str, Tensor], stream: Stream) -> None:
        given, outputs = dict(tensors), set(self._program.outputs)
        touched = [Range(name, t.pointer, t.size, name in outputs) for name, t in given.items()]
        self._driver.enqueue(
            self.name, stream, lambda: self.run({name: _adopted(t) for name, t in given.items()}), touched
        )


class PlayedGraphs(TorchGraphs):
    def __init__(self, bundle: Bundle, number: int, *, capturable: bool, driver: FakeDriver) -> None:
        super().__init__(bundle, number, capturable=capturable)
        self._driver = driver

    def load(self, file: str, batch: int, stream: Stream) -> PlayedGraph:
        program = Program(self._bundle.path / file, "cpu")
        return PlayedGraph(file, program, self._driver, capturable=self._capturable)


def _adopted(tensor: Tensor) -> torch.Tensor:
    raw: Any = (ctypes.c_uint8 * tensor.size).from_address(tensor.pointer)
    return torch.from_numpy(np.ctypeslib.as_array(raw).view(tensor.dtype).reshape(tensor.shape))
