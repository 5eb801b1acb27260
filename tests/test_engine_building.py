"""Engines of whole bundles, really built: TensorRT for RTX needs no GPU for that."""

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
from latentloop.engines.engine_set import PRECISIONS, EngineSet, Profile, Tensor
from latentloop.engines.finding import find_engines
from latentloop.errors import BundleError
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.tensorrt.builder import open_flavour
from latentloop.export.tensorrt.engine_sets import Prepared, prepared
from latentloop.export.tensorrt.narrow_memories import MOVES

tensorrt = pytest.importorskip("tensorrt_rtx")

ARCHITECTURES = ("sm80", "sm86", "sm89", "sm120")
NARROW = {"float16": tensorrt.DataType.HALF, "bfloat16": tensorrt.DataType.BF16}


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = Bundle.default()
    path = tmp_path_factory.mktemp("bundles") / "default"
    path.mkdir()
    for file in ("manifest.json", *bundle.manifest.files):
        shutil.copy(bundle.path / file, path / file)
    return path


def source(weights: str = "float32") -> BundleSource:
    """The preset's kernels, blocks, heads and conditions, with 32 channels, two layers a block and smaller grids."""
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
    """The set is found, and its plans are of a plausible size."""
    key = {"architecture": outcome["architecture"], "precision": outcome["precision"]}
    found = find_engines(Bundle.open(bundle), flavour="tensorrt_rtx", library=tensorrt.__version__, **key)
    assert isinstance(found, EngineSet)
    graphs = [graph for level in found.levels if level.prior for graph in level.prior.graphs]
    assert len(found.files) == 2 + len(graphs)
    assert min(record.size for record in found.files.values()) > 10_000
    return found


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_default_bundle_s_engines(default: Path, architecture: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--arch", architecture, "--precision", "float32", "--max-batch", "4")
    (outcome,) = build(default, capsys, *options)
    assert outcome["state"] == "built"
    found = check(default, outcome)
    assert [level.name for level in found.levels] == ["top", "bottom"]
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
        found = check(rosinality, outcome)
        assert [(profile.minimum, profile.maximum) for profile in found.profiles] == [(1, 1)]


@pytest.mark.slow
def test_weights_stored_in_float16_leave_an_engine_its_precision(
    rosinality: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path / "narrow", source("float16"))
    precisions, sizes = ("float32", "float16"), []
    for bundle in (rosinality, tmp_path / "narrow"):
        outcomes = build(bundle, capsys, "--arch", "sm89", "--precision", ",".join(precisions), "--max-batch", "1")
        for outcome in outcomes:
            check(bundle, outcome)
        sizes.append([outcome["size"] for outcome in outcomes])
    for wide, narrow in zip(*sizes, strict=True):
        assert abs(narrow - wide) < 0.05 * wide
    assert sizes[1][0] > 1.1 * sizes[1][1]  # float32 plans hold float32; most of a small plan is code


@pytest.fixture(scope="module", params=PRECISIONS)
def graphs(request: pytest.FixtureRequest, rosinality: Path) -> Iterator[tuple[str, Prepared]]:
    with prepared(Bundle.open(rosinality), request.param) as found:
        yield request.param, found


def parse(graph: Path) -> tuple[Any, ...]:
    """The network, and what must live as long as it does."""
    logger = tensorrt.Logger(tensorrt.Logger.ERROR)
    builder = tensorrt.Builder(logger)
    network = builder.create_network(0)
    parser = tensorrt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(graph))
    return network, parser, builder, logger


def test_the_parser_takes_every_input_output_and_node(graphs: tuple[str, Prepared]) -> None:
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
        made = {layer.get_output(index).name for layer in layers for index in range(layer.num_outputs)}
        assert {value for node in model.node for value in node.output} <= made


def test_16_bits_are_only_cast_and_moved(graphs: tuple[str, Prepared]) -> None:
    precision, found = graphs
    kinds: set[str] = set()
    for source in found.sources:
        network, *_ = parse(source.graph)
        operators = {node.name: node.op_type for node in onnx.load(source.graph, load_external_data=False).graph.node}
        for index in range(network.num_layers):
            layer = network.get_layer(index)
            operator = operators.get(layer.name)
            for result in [layer.get_output(place) for place in range(layer.num_outputs)]:
                assert result.dtype != tensorrt.DataType.FLOAT or not result.name.endswith(f".{precision}")
                if operator is not None and operator not in (*MOVES, "Cast"):
                    assert result.dtype != NARROW.get(precision)
                    kinds.add(operator)
    assert {"Softmax", "CumSum", "Exp", "MatMul", "Conv", "ConvTranspose", "TopK"} <= kinds


def test_a_graph_that_the_parser_refuses_is_named_with_its_node(default: Path, tmp_path: Path) -> None:
    node = onnx.helper.make_node("Hardly", ["x"], ["y"], name="the_node")
    x, y = (onnx.helper.make_tensor_value_info(name, 1, ["batch"]) for name in "xy")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", [x], [y]))
    (tmp_path / "g.onnx").write_bytes(model.SerializeToString())
    tensors = [Tensor(name, "float32", ("batch",)) for name in "xy"]
    with pytest.raises(BundleError, match=r"tensorrt_rtx .* cannot read g.onnx: .*Hardly"):
        open_flavour("tensorrt_rtx").build(tmp_path / "g.onnx", tensors[:1], tensors[1:], [Profile(1, 1, 1)], "sm80")
