"""Engine graphs of random priors, run by ONNX Runtime according to their manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from exported_priors import exported
from onnx import TensorProto, helper

from latentloop.bundles.codec import Tensor
from latentloop.bundles.manifest import Prior
from latentloop.bundles.views import initial_values, view_index
from latentloop.engines.engine_set import NARROW
from latentloop.export.configuration import PriorConfig
from latentloop.export.graphs.builder import WEIGHTS_FILE
from latentloop.export.tensorrt.inlined_graph import ELEMENTS, InlinedGraph
from latentloop.export.tensorrt.rewriting import rewrite_prior


def rewritten(config: PriorConfig, folder: Path, precision: str) -> tuple[Prior, dict[str, InlinedGraph]]:
    """Exports a random prior's graphs and rewrites them for engines."""
    prior = exported(config, folder)
    weights = np.memmap(folder / WEIGHTS_FILE, np.uint8, "r")
    return rewrite_prior(folder, "level", prior, weights, precision)


def session(graph: InlinedGraph, folder: Path) -> onnxruntime.InferenceSession:
    """Returns a session without graph optimisation, which would round the other factor of int8 weights."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    model_folder = folder / f"run-{graph.name}"
    model_folder.mkdir()
    return onnxruntime.InferenceSession(graph.write(model_folder), options, providers=["CPUExecutionProvider"])


def logits(
    config: PriorConfig, prior: Prior, graphs: dict[str, InlinedGraph], asked: dict[str, Any], folder: Path
) -> np.ndarray:
    """Returns teacher-forced logits [N, H, W, K] of codes [N, H, W], upper [N, H', W'] or None, labels [N] or None."""
    codes = asked["codes"]
    sessions = {}
    for role, graph in graphs.items():
        _widen(graph)
        sessions[role] = session(graph, folder)
    memories = {memory.name: memory for memory in prior.memories}
    arrays = {
        name: initial_values(replace(memory, dtype="float32") if memory.dtype in NARROW else memory, len(codes))
        for name, memory in memories.items()
    }
    if asked["upper"] is not None:
        arrays["upper"][:] = asked["upper"].transpose(1, 2, 0)
    if asked["labels"] is not None:
        arrays["labels"][:] = asked["labels"]

    def run(role: str, i: int, j: int) -> None:
        engine = prior.graphs[role]
        feeds = {b.name: arrays[b.memory][view_index(b, memories[b.memory], i, j)] for b in engine.inputs}
        results = sessions[role].run([b.name for b in engine.outputs], feeds)
        for b, result in zip(engine.outputs, results, strict=True):
            arrays[b.memory][view_index(b, memories[b.memory], i, j)] = result

    rows = []
    if "condition" in sessions:
        run("condition", 0, 0)
    for i in range(config.height):
        arrays["forced"][:] = codes[:, i].T
        run("row", i, 0)
        for j in range(0, config.width, prior.columns_per_step):
            run("step", i, j)
        rows.append(arrays["logits"].copy())
    return np.stack(rows).transpose(2, 0, 1, 3)


def _widen(graph: InlinedGraph) -> None:
    """Changes 16-bit inputs and outputs to float32 with a cast, because NumPy has no bfloat16."""
    for name, tensor in list(graph.inputs.items()):
        if tensor.dtype in NARROW:
            graph.replace({name: f"{name}.narrow"})
            cast = helper.make_node("Cast", [name], [f"{name}.narrow"], to=ELEMENTS[tensor.dtype])
            graph.nodes.insert(0, cast)
            graph.inputs[name] = Tensor(name, "float32", tensor.shape)
    for name, tensor in list(graph.outputs.items()):
        if tensor.dtype in NARROW:
            graph.replace({name: f"{name}.narrow"})
            producer = graph.producers()[name]
            producer.output[list(producer.output).index(name)] = f"{name}.narrow"
            graph.nodes.append(helper.make_node("Cast", [f"{name}.narrow"], [name], to=TensorProto.FLOAT))
            graph.outputs[name] = Tensor(name, "float32", tensor.shape)
