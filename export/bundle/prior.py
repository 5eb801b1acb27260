"""One level's prior in a bundle: its graphs, and their description for the manifest."""

from __future__ import annotations

import numpy as np

from latentloop.bundles.manifest import PRECISIONS, STEPS, GraphFile, Prior, graph_name
from latentloop.export.bundle.source import prior_config
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.graphs.builder import GraphBuilder, WeightStore
from latentloop.export.graphs.prior.bindings import columns_per_step, state_buffers
from latentloop.export.graphs.prior.condition import condition_graph
from latentloop.export.graphs.prior.graph import PriorGraph
from latentloop.export.graphs.prior.row import row_graph
from latentloop.export.graphs.prior.step import step_graph
from latentloop.export.specification.rowstep_weights import arrange

BITS = {"float32": 32, "int8": 8}  # of a weight, by precision


def export_prior(
    level: str, checkpoint: Checkpoint, store: WeightStore, upper: str | None
) -> tuple[Prior, dict[str, GraphBuilder]]:
    """Builds the graphs of one level's prior over weights in ``store``; ``upper`` is the name of the level above.

    Returns the prior's part of the manifest, and the graphs by file name. Raises InputError for a checkpoint of another
    kind.
    """
    config = prior_config(checkpoint)
    weights = arrange(config, checkpoint.weights, np.float32, lazy=True)
    graphs: dict[str, GraphBuilder] = {}
    described: dict[str, GraphFile] = {}

    def add(graph: PriorGraph, precision: str = "float32") -> None:
        name = graph_name(graph.role, precision)
        file = f"{level}.{name}.onnx"
        graphs[file] = graph
        described[name] = graph.description(file)

    condition = condition_graph(weights, store, level)
    if condition is not None:
        add(condition)
    for precision in PRECISIONS:  # all read the same float32 weights: int8 graphs round them when they are loaded
        bits = BITS[precision]
        add(row_graph(weights, store, level, bits=bits), precision)
        for filtered in STEPS:
            add(step_graph(weights, store, level, filtered=filtered, bits=bits), precision)
    prior = Prior(
        condition_level=upper if config.condition_codes else None,
        classes=config.classes > 0,
        columns_per_step=columns_per_step(config),
        memories=state_buffers(config, weights.labels_width),
        graphs=described,
    )
    return prior, graphs
