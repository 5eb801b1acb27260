"""Engines of bundles, built with TensorRT for RTX, which needs no GPU for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from command_line import run
from random_models import plain_weights, random_prior, random_vqvae

from latentloop import Bundle
from latentloop.bundles.codec import Tensor
from latentloop.engines.engine_set import PRECISIONS, EngineSet, Profile
from latentloop.engines.finding import find_engines
from latentloop.errors import BundleError
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.tensorrt.buffer_precision import MOVES
from latentloop.export.tensorrt.builder import open_builder
from latentloop.export.tensorrt.engine_sets import RewrittenBundle, rewritten_bundle

tensorrt = pytest.importorskip("tensorrt_rtx")

ARCHITECTURES = ("sm80", "sm86", "sm89", "sm120")
REDUCED = {"float16": tensorrt.DataType.HALF, "bfloat16": tensorrt.DataType.BF16}


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = Bundle.default()
    path = tmp_path_factory.mktemp("bundles") / "default"
    path.mkdir()
    for file in ("manifest.json", *bundle.manifest.files):
        shutil.copy(bundle.path / file, path / file)
    return path


def source(weights: str = "float32") -> BundleSource:
    """Like rosinality-256, with 32 channels, two layers per block and smaller grids."""
    width: dict[str, Any] = {"codebook_size": 64, "channels": 32, "residual_channels": 32, "residual_blocks": 2}
    codes: dict[str, Any] = {"condition_codes": 64, "condition_channels": 32, "condition_blocks": 3}
    priors = [PriorConfig(8, 8, **width), PriorConfig(16, 16, attention=False, **codes, **width)]
    vqvae = VqvaeConfig(channels=32, residual_channels=32, codebook_size=64)
    checkpoints = [
        Checkpoint(c, {n: v.astype(np.float32) for n, v in plain_weights(random_prior(c)).items()}) for c in priors
    ]
    return BundleSource(Checkpoint(vqvae, plain_weights(random_vqvae(vqvae))), checkpoints, weights=weights)


@pytest.fixture(scope="module")
def rosinality(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle shaped like rosinality-256."""
    path = tmp_path_factory.mktemp("bundles") / "rosinality"
    write_bundle(path, source())
    return path


def build(bundle: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[dict[str, Any]]:
    assert run("build-engines", bundle, "--flavour", "tensorrt_rtx", "--json", *options) == 0
    sets: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["sets"]
    return sets


def check(bundle: Path, outcome: dict[str, Any]) -> EngineSet:
    """Checks that the set is found, and that its plans have a plausible size."""
    key = {"architecture": outcome["architecture"], "precision": outcome["precision"]}
    engines = find_engines(Bundle.open(bundle), flavour="tensorrt_rtx", library=tensorrt.__version__, **key)
    assert isinstance(engines, EngineSet)
    graphs = [graph for level in engines.levels if level.prior for graph in level.prior.graphs]
    assert len(engines.files) == 2 + len(graphs)
    assert min(record.size for record in engines.files.values()) > 10_000
    return engines


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_engines_of_the_default_bundle(default: Path, architecture: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--arch", architecture, "--precision", "float32", "--max-batch", "4")
    (outcome,) = build(default, capsys, *options)
    assert outcome["state"] == "built"
    engines = check(default, outcome)
    assert [level.name for level in engines.levels] == ["top", "bottom"]
    (again,) = build(default, capsys, *options)
    assert again["state"] == "up to date"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "precisions"),
    [("sm80", ("float32",)), ("sm86", ("float16",)), ("sm89", ("bfloat16",)), ("sm120", ("float32", "int8"))],
)
def test_engines_shaped_like_rosinality_256(
    rosinality: Path, architecture: str, precisions: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--arch", architecture, "--precision", ",".join(precisions), "--max-batch", "1")
    outcomes = build(rosinality, capsys, *options)
    assert [outcome["precision"] for outcome in outcomes] == list(precisions)
    for outcome in outcomes:
        engines = check(rosinality, outcome)
        assert [(profile.minimum, profile.maximum) for profile in engines.profiles] == [(1, 1)]


@pytest.mark.slow
def test_weights_stored_in_float16_do_not_change_the_precision(
    rosinality: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "float16", source("float16"))
    precisions, sizes = ("float32", "float16"), []
    for bundle in (rosinality, tmp_path / "float16"):
        outcomes = build(bundle, capsys, "--arch", "sm89", "--precision", ",".join(precisions), "--max-batch", "1")
        for outcome in outcomes:
            check(bundle, outcome)
        sizes.append([outcome["size"] for outcome in outcomes])
    for expected, size in zip(*sizes, strict=True):
        assert abs(size - expected) < 0.05 * expected
    assert sizes[1][0] > 1.1 * sizes[1][1]  # float32 plans hold float32 weights; most of a small plan is code


@pytest.fixture(scope="module", params=PRECISIONS)
def graphs(request: pytest.FixtureRequest, rosinality: Path) -> Iterator[tuple[str, RewrittenBundle]]:
    with rewritten_bundle(Bundle.open(rosinality), request.param) as rewritten:
        yield request.param, rewritten


def parse(graph: Path) -> tuple[Any, ...]:
    """Returns the network, and the objects that it refers to."""
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(graph))
    return network, parser, builder, logger


def test_the_parser_keeps_every_input_output_and_node(graphs: tuple[str, RewrittenBundle]) -> None:
    for source in graphs[1].sources:
        network, *_ = parse(source.graph)
        model = onnx.load(source.graph, load_external_data=False).graph
        inputs = {network.get_input(index).name for index in range(network.num_inputs)}
        outputs = {network.get_output(index).name for index in range(network.num_outputs)}
        assert inputs == {value.name for value in model.input}
        assert outputs == {value.name for value in model.output}
        layers = [network.get_layer(index) for index in range(network.num_layers)]
        assert len(layers) >= len(model.node)
        assert {node.name for node in model.node} <= {layer.name for layer in layers}
        values = {layer.get_output(index).name for layer in layers for index in range(layer.num_outputs)}
        assert {value for node in model.node for value in node.output} <= values


def test_16_bit_values_are_only_cast_and_moved(graphs: tuple[str, RewrittenBundle]) -> None:
    precision, rewritten = graphs
    kinds: set[str] = set()
    for source in rewritten.sources:
        network, *_ = parse(source.graph)
        operators = {node.name: node.op_type for node in onnx.load(source.graph, load_external_data=False).graph.node}
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            operator = operators.get(layer.name)
            for result in [layer.get_output(output) for output in range(layer.num_outputs)]:
                assert result.dtype != tensorrt.DataType.FLOAT or not result.name.endswith(f".{precision}")
                if operator is not None and operator not in (*MOVES, "Cast"):
                    assert result.dtype != REDUCED.get(precision)
                    kinds.add(operator)
    assert {"Softmax", "CumSum", "Exp", "MatMul", "Conv", "ConvTranspose", "TopK"} <= kinds


def test_the_error_names_a_graph_that_the_parser_refuses_and_its_node(default: Path, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Hardly", ["x"], ["y"], name="the_node")
    x, y = (onnx.helper.make_tensor_value_info(name, 1, ["batch"]) for name in "xy")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y]))
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    tensors = [Tensor(name, "float32", ("batch",)) for name in "xy"]
    with pytest.raises(BundleError, match=r"tensorrt_rtx .* cannot read g.onnx: .*Hardly"):
        open_builder("tensorrt_rtx").build(tmp_path / "g.onnx", tensors[:1], tensors[1:], [Profile(1, 1, 1)], "sm80")
