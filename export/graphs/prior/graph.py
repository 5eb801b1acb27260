"""A builder for the graphs of a prior's loop."""

from __future__ import annotations

from functools import partial

import numpy as np
from onnx import helper

from latentloop.bundles.manifest import GraphFile
from latentloop.engines.engine_set import view_tensor
from latentloop.export.checkpoints.lazy_arrays import LazyArray
from latentloop.export.graphs.builder import Dim, GraphBuilder, WeightStore
from latentloop.export.graphs.nodes import Array
from latentloop.export.graphs.prior.bindings import bind, state_buffers
from latentloop.export.specification.rowstep_weights import RowStepWeights


class PriorGraph(GraphBuilder):
    """A graph of one prior. Inputs and outputs have the types and shapes of the views that they are bound to."""

    def __init__(self, w: RowStepWeights, store: WeightStore, level: str, role: str, bits: int = 32) -> None:
        """``role``: condition, row, step or step_filtered."""
        super().__init__(f"{level}.{role}", store, bits)
        self.w, self.config, self.level, self.role = w, w.config, level, role
        self._bind = partial(bind, role=role, config=w.config)
        self.buffers = {buffer.name: buffer for buffer in state_buffers(w.config, w.labels_width)}

    def read(self, name: str) -> str:
        """Declares the graph input ``name``."""
        return self.input(name, *self._view(name))

    def write(self, name: str, value: str) -> None:
        """Declares ``value`` as the graph output ``name``."""
        self.output(name, value, *self._view(name))

    def own_weight(self, name: str, value: Array | LazyArray) -> str:
        """Adds a weight of this level."""
        return self.weight(f"{self.level}.{name}", value)

    def description(self, file: str) -> GraphFile:
        """Returns the graph's entry in the manifest, with the bindings of its inputs and outputs."""
        inputs, outputs = (tuple(self._bind(value.name) for value in side) for side in (self.inputs, self.outputs))
        return GraphFile(file, inputs, outputs)

    def _view(self, name: str) -> tuple[int, list[Dim]]:
        binding = self._bind(name)
        view = view_tensor(binding, self.buffers[binding.memory])
        shape: list[Dim] = [*view.shape]
        if binding.view == "entries":
            shape[0] = "finished"  # entries of the history
        return helper.np_dtype_to_tensor_dtype(np.dtype(view.dtype)), shape
