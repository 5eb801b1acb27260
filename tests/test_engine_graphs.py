"""The graphs that engines are built from: their results at each precision, which values they hold in 16 or 8 bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from engine_loop import logits, rewritten, session
from exported_priors import exported, prior_of
from onnx import TensorProto, helper
from random_models import PRIORS, full_forward, random_inputs
from test_int8 import int8_logits

from latentloop import Bundle, BundleError, InputError
from latentloop.backends.cpu.session import bundle_session
from latentloop.bundles.codec import Tensor
from latentloop.bundles.manifest import BATCH, Binding, GraphFile
from latentloop.engines.engine_set import PRECISIONS
from latentloop.export.graphs.builder import WEIGHTS_FILE
from latentloop.export.tensorrt.buffer_precision import MOVES, PRODUCTS, reduced_buffers
from latentloop.export.tensorrt.constant_folding import fold_constants
from latentloop.export.tensorrt.inlined_graph import Constant, InlinedGraph, read_graph
from latentloop.export.tensorrt.int8 import quantize
from latentloop.export.tensorrt.rewriting import rewrite_codec, rewrite_prior

# Tolerances of results, relative to max(1, max |expected|); expected is computed in float64.
FLOAT32 = 1e-4  # as for the bundle's own graphs
# A 16-bit product rounds its factors and its result: an error of up to 1.5 epsilon. The longest paths to a logit have
# about 25 products, whose errors sum to 37 epsilons if none is amplified and none cancels.
SIXTEEN_BITS = {"float16": 37 * 2.0**-11, "bfloat16": 37 * 2.0**-8}
ELEMENT = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}


def map_weights(bundle: Path) -> np.ndarray:
    return np.memmap(bundle / WEIGHTS_FILE, np.uint8, "r")


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", PRIORS)
def test_equals_the_full_forward(name: str, precision: str, tmp_path: Path) -> None:
    config = PRIORS[name]
    inputs = random_inputs(config, 2)
    expected, _ = full_forward(prior_of(config), **inputs)
    results = logits(config, *rewritten(config, tmp_path, precision), inputs, tmp_path)
    error = float(np.abs(results - expected).max()) / max(1.0, float(np.abs(expected).max()))
    assert error <= SIXTEEN_BITS.get(precision, FLOAT32)
    if precision in SIXTEEN_BITS:
        assert error > SIXTEEN_BITS[precision] / 200  # so the products are rounded


@pytest.mark.parametrize("name", PRIORS)
def test_int8_equals_the_int8_of_the_bundle(name: str, tmp_path: Path) -> None:
    config = PRIORS[name]
    inputs = random_inputs(config, 2)
    (tmp_path / "bundle").mkdir()
    expected = int8_logits(config, inputs, tmp_path / "bundle", None)[0]
    results = logits(config, *rewritten(config, tmp_path, "int8"), inputs, tmp_path)
    assert np.abs(results - expected).max() <= FLOAT32 / 10 * max(1.0, float(np.abs(expected).max()))


def test_buffers_that_only_16_bit_products_read_hold_16_bits(tmp_path: Path) -> None:
    described, graphs = rewritten(PRIORS["middle-attention-k5"], tmp_path, "float16")
    reduced = {memory.name for memory in described.memories if memory.dtype == "float16"}
    blocks = {f"{name}.{b}" for name in ("keys", "values", "row_keys", "row_values") for b in range(2)}
    assert reduced == {"residual", "hidden", "condition"} | blocks
    for role, engine in described.graphs.items():
        for side, tensors in ((engine.inputs, graphs[role].inputs), (engine.outputs, graphs[role].outputs)):
            assert [binding.name for binding in side] == list(tensors)
            for binding in side:
                assert tensors[binding.name].dtype == binding.dtype
                assert (binding.dtype == "float16") == (binding.memory in reduced)


def test_buffers_that_the_host_writes_keep_their_type() -> None:
    nodes = [
        helper.make_node("MatMul", ["host", "state"], ["y"]),
        helper.make_node("MatMul", ["y", "y"], ["state_next"]),
    ]
    names = {"host": "host", "state": "state", "state_next": "state"}
    tensors = {name: Tensor(name, "float32", (2, 2)) for name in names}
    bindings = [Binding(name, memory, "all") for name, memory in names.items()]
    inputs = {name: tensors[name] for name in ("host", "state")}
    graph = InlinedGraph("g", nodes, inputs, {"state_next": tensors["state_next"]}, {})
    assert reduced_buffers([(graph, GraphFile("g", tuple(bindings[:2]), tuple(bindings[2:])))]) == {"state"}


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["top-k5", "middle-attention-k5", "bottom-k3-classes"])
def test_only_products_are_computed_in_16_bits(name: str, precision: str, tmp_path: Path) -> None:
    _, graphs = rewritten(PRIORS[name], tmp_path, precision)
    element = ELEMENT[precision]
    for graph in graphs.values():
        elements, readers, producers = graph.elements(), graph.readers(), graph.producers()
        for node in graph.nodes:
            for value in (*node.input, *node.output):
                assert elements[value] != element or node.op_type in (*MOVES, "Cast")
        # The only product that is not rounded is that of the logits, one for each of the step's columns.
        exact = [
            node for node in graph.nodes if node.op_type in PRODUCTS and not _is_rounded(node, elements, producers)
        ]
        columns = graph.inputs["uniform"].shape[0] if "uniform" in graph.inputs else 0
        assert len(exact) == columns
        for node in exact:
            result = readers[node.output[0]]
            assert [reader.op_type for reader, _ in result] == ["Add"]
            (with_bias,) = result[0][0].output
            assert {reader.op_type for reader, _ in readers[with_bias]} >= {
                "Div",
                "Unsqueeze",
            }  # by temperature; stacked


def _is_rounded(node: onnx.NodeProto, elements: dict[str, int], producers: dict[str, onnx.NodeProto]) -> bool:
    casts = [producers.get(value) for value in node.input[:2]]
    return all(cast is not None and cast.op_type == "Cast" and elements[cast.input[0]] != 1 for cast in casts)


@pytest.mark.parametrize(("precision", "share"), [("float16", 0.5), ("bfloat16", 0.5), ("int8", 0.25)])
def test_weights_are_stored_once_and_in_few_bits(precision: str, share: float, tmp_path: Path) -> None:
    sizes = {}
    for kind in ("float32", precision):
        (tmp_path / kind).mkdir()
        _, graphs = rewritten(PRIORS["top-k5"], tmp_path / kind, kind)
        sizes[kind] = [
            sum(c.stored(n).nbytes for n, c in graphs[role].constants.items() if c.element != 7)
            for role in ("row", "step")
        ]
        if kind == "int8":
            integers = [c.values for c in graphs["step"].constants.values() if c.element == TensorProto.INT8]
            assert integers
            assert all(np.abs(values).max() == 127 for values in integers)
    for float32, reduced in zip(sizes["float32"], sizes[precision], strict=True):
        assert reduced < (share + 0.25) * float32


@pytest.mark.parametrize("name", ["encoder", "decoder"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_encoder_and_decoder_equal_those_of_the_bundle(
    name: str, precision: str, small_bundle: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(small_bundle)
    original = bundle_session(bundle, f"{name}.onnx", 1)
    rng = np.random.default_rng(0)
    if name == "encoder":
        feeds = {"images": rng.integers(0, 256, (3, *bundle.manifest.image), np.uint8)}
    else:
        # -1 and K: codes that are not drawn
        feeds = {v.name: rng.integers(-1, v.codebook_size + 1, (3, v.height, v.width)) for v in bundle.manifest.levels}
    expected = original.run(feeds)
    graph = rewrite_codec(small_bundle / f"{name}.onnx", map_weights(small_bundle), precision)
    assert TensorProto.DOUBLE not in graph.elements().values()  # TensorRT has no float64
    outputs = dict(zip(graph.outputs, session(graph, tmp_path).run(None, feeds), strict=True))
    assert outputs.keys() == expected.keys()
    for key, values in expected.items():
        if values.dtype == np.int64:  # near ties can differ
            assert (outputs[key] == values).mean() > {"float16": 0.97, "bfloat16": 0.8}.get(precision, 0.9999)
        else:
            bound = SIXTEEN_BITS.get(precision, FLOAT32) * max(1.0, float(np.abs(values.astype(np.float64)).max()))
            assert np.abs(outputs[key].astype(np.float64) - values).max() <= (
                max(1.0, bound) if key == "images" else bound
            )


def test_outputs_that_only_return_an_input_are_dropped(tmp_path: Path) -> None:
    prior = exported(PRIORS["bottom-k5"], tmp_path)
    names = {b.name for b in (*prior.graphs["row"].inputs, *prior.graphs["row"].outputs)}
    described, graphs = rewrite_prior(tmp_path, "level", prior, map_weights(tmp_path), "float32")
    engine = described.graphs["row"]
    dropped = names - {b.name for b in (*engine.inputs, *engine.outputs)}
    assert dropped == {f"conv{n}_partial{end}" for n in (1, 2) for end in ("", "_next")}
    memories = {memory.name for memory in described.memories}
    assert {memory.name for memory in prior.memories} - memories == {"conv1_partial", "conv2_partial"}
    for role, graph in graphs.items():
        read = {value for node in graph.nodes for value in node.input}
        assert set(graph.inputs) <= read, role


def test_the_whole_history_is_bound_and_only_the_batch_is_dynamic(tmp_path: Path) -> None:
    config = PRIORS["top-k5"]
    described, graphs = rewritten(config, tmp_path, "float32")
    views = {b.name: b for b in described.graphs["step"].inputs}
    for name in ("keys.0", "values.1", "history_mask"):
        assert views[name].view == "all"
        assert (views[name].shape or ())[0] == config.height
    for graph in graphs.values():
        for tensor in (*graph.inputs.values(), *graph.outputs.values()):
            assert {size for size in tensor.shape if isinstance(size, str)} <= {BATCH}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_written_graphs_are_valid_and_have_unique_node_names(precision: str, tmp_path: Path) -> None:
    _, graphs = rewritten(PRIORS["middle-attention-k5"], tmp_path, precision)
    for role, graph in graphs.items():
        (tmp_path / role).mkdir()
        path = graph.write(tmp_path / role)
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path, load_external_data=False)
        names = [node.name for node in model.graph.node]
        assert len(set(names)) == len(names)
        assert not model.functions
        assert "Identity" not in {node.op_type for node in model.graph.node}


def test_float32_weights_are_not_copied(tmp_path: Path) -> None:
    prior = exported(PRIORS["top-k5"], tmp_path)
    weights = map_weights(tmp_path)
    graph = read_graph(tmp_path / prior.graphs["row"].file, weights)
    views = [c.values for c in graph.constants.values() if np.shares_memory(c.values, weights)]
    assert sum(values.nbytes for values in views) > 0.9 * sum(c.values.nbytes for c in graph.constants.values())


def test_bfloat16_is_rounded_to_nearest_even() -> None:
    exact = np.array([1, -2.5, 0, 3e38, 1e-40], np.float32)
    half = np.float32(2.0**-8)  # half of bfloat16's epsilon, so 1 + half is a tie
    values = np.concatenate([exact, [1 + half, 1 + 3 * half, 1 + half * np.float32(1.001)]]).astype(np.float32)
    stored = Constant(values, TensorProto.BFLOAT16).stored("w").astype(np.uint32) << 16
    rounded = stored.view(np.float32)
    assert rounded[5:].tolist() == [1, 1 + 4 * half, 1 + 2 * half]
    np.testing.assert_allclose(rounded[:4], exact[:4], rtol=2.0**-9)
    assert abs(float(rounded[4])) < 2e-40


def test_a_weight_beyond_float16_is_refused() -> None:
    constant = Constant(np.array([1, -7e4], np.float32), TensorProto.FLOAT16)
    with pytest.raises(InputError, match=r"the weight mix holds 70000, beyond float16's range: use bfloat16"):
        constant.stored("mix")


def rounded_weight_graph(weight: str, unit: str, product: str) -> InlinedGraph:
    """Returns the graph y = x @ (round(weight / unit) * unit). ``weight`` is the constant "w" or the input "v"."""
    nodes = [
        helper.make_node("Div", [weight, unit], ["divided"]),
        helper.make_node("Round", ["divided"], ["rounded"]),
        helper.make_node("Mul", ["rounded", unit], ["weight"]),
        helper.make_node(product, ["x", "weight"], ["y"]),
    ]
    inputs = {"x": Tensor("x", "float32", (2, 3, 4)), "v": Tensor("v", "float32", (3, 4, 4))}
    values = np.random.default_rng(0).standard_normal((3, 4, 4)).astype(np.float32)
    constants = {
        "w": Constant.of(values),
        "unit_of_output": Constant.of(np.abs(values).max(1, keepdims=True) / 127),
    }
    return InlinedGraph("product", nodes, inputs, {"y": Tensor("y", "float32", (2, 3, 4))}, constants)


def test_only_constant_right_hand_sides_of_products_are_stored_as_integers() -> None:
    unchanged = rounded_weight_graph("v", "unit_of_output", "MatMul")
    quantize(unchanged)
    assert [node.op_type for node in unchanged.nodes] == ["Div", "Round", "Mul", "MatMul"]
    quantized = rounded_weight_graph("w", "unit_of_output", "MatMul")
    quantize(quantized)
    assert [node.op_type for node in quantized.nodes] == ["DequantizeLinear", "MatMul", "Mul"]
    with pytest.raises(BundleError, match="the rounded weight of 'y' is not the right-hand side of a product"):
        quantize(rounded_weight_graph("w", "unit_of_output", "Add"))
    with pytest.raises(BundleError, match="'x' must be constant when the engine is built, but it is an input"):
        quantize(rounded_weight_graph("w", "x", "MatMul"))


def test_a_graph_that_does_not_fit_the_manifest_is_refused(tmp_path: Path) -> None:
    prior = exported(PRIORS["bottom-k5"], tmp_path)
    memories = tuple(replace(m, shape=(*m.shape[:-1], 99)) if m.name == "conv2_above" else m for m in prior.memories)
    with pytest.raises(BundleError, match=r"row.onnx: 'conv2_above' is float32 \[.*99\]: export the bundle again"):
        rewrite_prior(tmp_path, "level", replace(prior, memories=memories), map_weights(tmp_path), "float32")


def test_weights_that_are_missing_are_refused(small_bundle: Path, tmp_path: Path) -> None:
    weights = map_weights(small_bundle)
    with pytest.raises(BundleError, match=r"decoder.onnx: the weight 'vqvae.* of a file of 100 bytes: export"):
        read_graph(small_bundle / "decoder.onnx", weights[:100])
    (tmp_path / "no.onnx").write_bytes(b"\x00no")
    with pytest.raises(BundleError, match=r"no.onnx: not readable as ONNX"):
        read_graph(tmp_path / "no.onnx", weights)


def test_folding_leaves_no_node_with_constant_inputs_only(small_bundle: Path) -> None:
    graph = read_graph(small_bundle / "encoder.onnx", map_weights(small_bundle))
    count = len(graph.nodes)
    fold_constants(graph)
    assert len(graph.nodes) < count
    assert all(any(value not in graph.constants for value in node.input) for node in graph.nodes)
