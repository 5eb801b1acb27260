"""Steps copy no state: the memory that a step allocates, except attention scores, does not grow with the grid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from random_models import PRIORS, plain_weights, random_prior

from latentloop.export.bundle.files import write_graphs
from latentloop.export.configuration import PriorConfig
from latentloop.export.graphs.builder import GraphBuilder, WeightStore
from latentloop.export.graphs.prior.step import step_graph
from latentloop.export.specification.rowstep_weights import arrange


def step_allocations(config: PriorConfig, folder: Path, finished: int) -> dict[str, int]:
    """Returns the bytes of each node's outputs in one step, in the graph that ONNX Runtime has optimised."""
    folder.mkdir()
    store = WeightStore()
    graphs: dict[str, GraphBuilder] = {
        "step.onnx": step_graph(
            arrange(config, plain_weights(random_prior(config)), np.float32), store, "level", filtered=False
        )
    }
    write_graphs(folder, graphs, store)
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(folder / "step.onnx", options, providers=["CPUExecutionProvider"])
    sizes = {"batch": 1, "finished": finished}
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    inputs = {
        i.name: np.zeros([sizes.get(size, size) for size in i.shape], types[i.type]) for i in session.get_inputs()
    }
    session.run(None, inputs)
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event for event in events if event.get("cat") == "Node" and "output_size" in event.get("args", {})]
    assert nodes
    views = ("Reshape", "Squeeze", "Unsqueeze")  # their outputs share the memory of their inputs
    return {e["name"]: int(e["args"]["output_size"]) for e in nodes if e["args"]["op_name"] not in views}


@pytest.mark.parametrize("name", ["top-k5", "bottom-k3-classes"])
def test_allocations_do_not_grow_with_the_grid(name: str, tmp_path: Path) -> None:
    config = replace(PRIORS[name], channels=64)  # 4 channels per head: a copy of the keys is 4 times as large as scores
    # 8 rows more and 3 times the columns: about 200 positions instead of 30.
    larger = replace(config, height=config.height + 8, width=3 * config.width)
    small = step_allocations(config, tmp_path / "small", config.height)
    large = step_allocations(larger, tmp_path / "large", larger.height)
    grown = {node: size for node, size in large.items() if size > small.get(node, 0)}
    # In bytes: one float32 per head and position, and one more for the second column of the step.
    scores = 4 * config.heads * ((larger.height + 1) * larger.width + 1)
    assert bool(grown) == config.attention, grown
    assert max(grown.values(), default=0) <= scores, grown
