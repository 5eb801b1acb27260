"""Weights stored in float16: rounded once, half the bytes, and the same results as the rounded weights in float32."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from random_models import CLASSES, NATIVE, SMALL, plain_weights, random_prior, random_vqvae
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import save_file

from latentloop import Bundle, CheckpointError, InputError, Sampler
from latentloop.cli.program import main
from latentloop.engines.engine_set import PRECISIONS
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.bundle.checks import check_source
from latentloop.export.checkpoints.checkpoint import FORMAT, Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.graphs.builder import SMALLEST, WEIGHTS_FILE
from latentloop.export.rounding import exact_float16, round_weights
from latentloop.export.tensorrt.rewriting import rewrite_codec, rewrite_prior
from latentloop.sampling.verification import verify

EVERY_FLOAT16 = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
FINITE = EVERY_FLOAT16[np.isfinite(EVERY_FLOAT16)]
CODES: dict[str, Any] = {"condition_codes": 64, "condition_channels": 16, "condition_blocks": 1}
VQVAE = VqvaeConfig(channels=32, residual_channels=16, code_channels=32, codebook_size=64)


def checkpoint(config: VqvaeConfig | PriorConfig) -> Checkpoint:
    model = random_vqvae(config) if isinstance(config, VqvaeConfig) else random_prior(config)
    weights = {name: value.astype(np.float32) for name, value in plain_weights(model).items()}
    return Checkpoint(config, weights, {"made": ["by a test", 1]})


def source(weights: str) -> BundleSource:
    sizes = SMALL | CLASSES | {"codebook_size": 64, "channels": 32}
    priors = [PriorConfig(4, 4, output_blocks=1, **sizes), PriorConfig(8, 8, attention=False, **CODES, **sizes)]
    return BundleSource(checkpoint(VQVAE), [checkpoint(config) for config in priors], weights=weights)


@pytest.fixture(scope="module")
def float16_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that stores float16."""
    path = tmp_path_factory.mktemp("bundles") / "float16"
    write_bundle(path, source("float16"))
    return path


@pytest.fixture(scope="module")
def float32_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the same rounded weights that stores float32."""
    path = tmp_path_factory.mktemp("bundles") / "float32"
    write_bundle(path, dataclasses.replace(rounded_source(), weights="float32"))
    return path


def rounded_source() -> BundleSource:
    return check_source(source("float16")).rounded().source


def rounded(values: list[float]) -> np.ndarray:
    original = Checkpoint(VQVAE, {"w": np.array(values, np.float32)})
    return round_weights(original, "float16").weights["w"]


def test_weights_are_rounded_to_the_nearest_float16() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal(300) * 10.0 ** rng.integers(-9, 4, 300)).astype(np.float32).tolist()
    results = rounded(values)
    assert results.dtype == np.float32
    distances = np.abs(FINITE[None].astype(np.float64) - np.array(values)[:, None])
    np.testing.assert_array_equal(np.abs(results.astype(np.float64) - values), distances.min(1))
    ties = [1 + 2.0**-11, 1 + 3 * 2.0**-11, 2.0**-25, 3 * 2.0**-25]  # to even, among subnormals too
    assert rounded(ties).tolist() == [1, 1 + 2 * 2.0**-10, 0, 2 * 2.0**-24]


def test_a_weight_beyond_float16_is_refused() -> None:
    assert rounded([65519.0, -65504.0]).tolist() == [65504, -65504]
    with pytest.raises(InputError, match=r"the vqvae's w holds 65520, beyond float16's range \(65504\)"):
        rounded([1.0, -65520.0])


def test_only_exact_values_are_stored_as_float16() -> None:
    stored = exact_float16(EVERY_FLOAT16)
    assert stored is not None
    assert stored.dtype == np.float16
    np.testing.assert_array_equal(stored.view(np.uint16), np.arange(2**16))
    for value in (1 + 2.0**-11, 65520.0, 2.0**-25, np.pi):
        assert exact_float16(np.array([1, value], np.float32)) is None


def test_half_the_bytes_of_the_same_weights(float16_bundle: Path, float32_bundle: Path) -> None:
    stored, float32 = load_file(float16_bundle / WEIGHTS_FILE), load_file(float32_bundle / WEIGHTS_FILE)
    assert stored.keys() == float32.keys()
    for name, values in stored.items():
        np.testing.assert_array_equal(values.astype(np.float32), float32[name])
        assert float32[name].dtype == np.float32
        is_reduced = exact_float16(float32[name]) is not None and values.size >= SMALLEST
        assert values.dtype == (np.float16 if is_reduced else np.float32), name
    large = {name for name, values in stored.items() if values.dtype == np.float32 and values.size >= SMALLEST}
    assert large == {"top.above_table", "bottom.above_table"}  # sums of two weights
    sums = sum(float32[name].nbytes for name in large)
    sizes = [(folder / WEIGHTS_FILE).stat().st_size - sums for folder in (float16_bundle, float32_bundle)]
    assert sizes[0] < 0.6 * sizes[1]


def test_the_default_is_float32(tmp_path: Path) -> None:
    """Weights that float16 could represent are stored as float32."""
    codec = dataclasses.replace(rounded_source(), priors=(), image=(32, 32), weights="float32")
    write_bundle(tmp_path / "b", codec)
    assert BundleSource(checkpoint(VQVAE)).weights == "float32"
    assert {values.dtype for values in load_file(tmp_path / "b" / WEIGHTS_FILE).values()} == {np.dtype(np.float32)}
    for file in (tmp_path / "b").glob("*.onnx"):
        graph = onnx.load(file, load_external_data=False).graph
        assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in graph.initializer}


@pytest.mark.parametrize("native", [NATIVE, pytest.param(None, id="bodies")])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_all_outputs_are_those_of_the_float32_bundle(
    float16_bundle: Path, float32_bundle: Path, precision: str, native: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are bit-identical: after loading, both run the same graphs. The native operators refuse unfolded casts."""
    monkeypatch.setattr("latentloop.backends.cpu.session.operators", lambda: native)
    assert (float16_bundle / "golden.npz").read_bytes() == (float32_bundle / "golden.npz").read_bytes()
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    results = []
    for folder in (float16_bundle, float32_bundle):
        sampler = Sampler(Bundle.open(folder), precision=precision)
        assert all(check.passed for check in verify(sampler))
        samples = sampler.sample(3, seeds=7, labels=[0, 1, 2], top_k=50)
        likelihoods = sampler.log_likelihood(samples.codes, samples.labels)
        encoded = sampler.encode(images)
        results.append([samples.images, *samples.codes.values(), *likelihoods.values(), *encoded.values()])
    for values, expected in zip(*results, strict=True):
        np.testing.assert_array_equal(values, expected)


def test_loading_folds_every_cast_of_a_weight(float16_bundle: Path, tmp_path: Path) -> None:
    """So the float16 weights do not stay in memory, and ONNX Runtime packs the float32 weights as usual."""
    for file in float16_bundle.glob("*.onnx"):
        before = onnx.load(file, load_external_data=False).graph
        assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in before.initializer)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.optimized_model_filepath = str(tmp_path / file.name)
        onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        after = onnx.load(tmp_path / file.name, load_external_data=False).graph
        assert onnx.TensorProto.FLOAT16 not in {tensor.data_type for tensor in after.initializer}
        stored = {tensor.name for tensor in before.initializer}
        assert not [node for node in after.node if stored.intersection(node.input) and node.op_type == "Cast"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_graphs_of_engines_are_those_of_the_float32_bundle(
    float16_bundle: Path, float32_bundle: Path, precision: str
) -> None:
    """The storage type of the weights does not change the precision of an engine."""
    rewritten = []
    for folder in (float16_bundle, float32_bundle):
        manifest = Bundle.open(folder).manifest
        weights = np.memmap(folder / WEIGHTS_FILE, np.uint8, "r")
        graphs = {name: rewrite_codec(folder / f"{name}.onnx", weights, precision) for name in ("encoder", "decoder")}
        for level in manifest.levels:
            assert level.prior is not None
            _, priors = rewrite_prior(folder, level.name, level.prior, weights, precision)
            graphs |= {f"{level.name}.{role}": graph for role, graph in priors.items()}
        rewritten.append(graphs)
    for name, graph in rewritten[0].items():
        other = rewritten[1][name]
        assert [list(node.input) for node in graph.nodes] == [list(node.input) for node in other.nodes]
        assert [node.op_type for node in graph.nodes] == [node.op_type for node in other.nodes]
        assert graph.constants.keys() == other.constants.keys()
        for key, constant in graph.constants.items():
            assert constant.element == other.constants[key].element
            np.testing.assert_array_equal(constant.stored(key), other.constants[key].stored(key))


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}


def test_saved_checkpoints_give_the_same_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoints = source("float32").checkpoints()
    (tmp_path / "trained").mkdir()
    for name, each in checkpoints.items():
        save_checkpoint(tmp_path / "trained" / f"{name}.safetensors", each)

    def export(folder: str, out: str, *options: str) -> int:
        files = [f"--{name}={tmp_path / folder / name}.safetensors" for name in checkpoints]
        return main(["export", *files, f"--out={tmp_path / out}", "--weights=float16", *options])

    assert export("trained", "a", f"--save-checkpoints={tmp_path / 'saved'}") == 0
    assert export("saved", "b") == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    for name, each in checkpoints.items():
        file = tmp_path / "saved" / f"{name}.safetensors"
        with safe_open(file, framework="numpy") as opened:
            assert {opened.get_slice(key).get_dtype() for key in opened.keys()} == {"F16"}  # noqa: SIM118 (not a dict)
        loaded = load_checkpoint(file)
        read = tmp_path / "trained" / file.name
        origin = {"file": file.name, "sha256": hashlib.sha256(read.read_bytes()).hexdigest()}
        if isinstance(each.config, VqvaeConfig):  # of the weights before they were rounded
            origin["codes_sha256"] = codes_digest(each.config, each.weights)
        assert (loaded.config, loaded.provenance) == (each.config, origin | each.provenance)
        for key, values in round_weights(each, "float16").weights.items():
            assert loaded.weights[key].dtype == np.float32
            np.testing.assert_array_equal(loaded.weights[key], values)
    capsys.readouterr()
    assert export("trained", "c", f"--save-checkpoints={tmp_path / 'saved'}") == 1
    assert "pass --force" in capsys.readouterr().err
    assert export("trained", "c", f"--save-checkpoints={tmp_path / 'trained'}", "--force") == 2
    assert "would replace" in capsys.readouterr().err
    assert export("trained", "c", f"--save-checkpoints={tmp_path / 'c' / 'inside'}") == 2
    assert "is inside --out" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert export("trained", "c", f"--save-checkpoints={tmp_path / 'file'}") == 1
    assert not (tmp_path / "c").exists()


def test_only_rounded_weights_can_be_saved_as_float16(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="is not rounded"):
        save_checkpoint(tmp_path / "v.safetensors", checkpoint(VQVAE), dtype="float16")


@pytest.mark.parametrize(
    ("dtype", "message"), [(torch.float64, "F64"), (torch.bfloat16, "BF16"), (torch.int8, "I8"), (torch.bool, "BOOL")]
)
def test_other_types_of_weights_are_refused(dtype: torch.dtype, message: str, tmp_path: Path) -> None:
    weights = {"good": torch.zeros(3), "bad": torch.zeros(3, dtype=dtype)}
    save_file(weights, tmp_path / "v.safetensors", metadata={"format": FORMAT, "kind": "vqvae", "config": "{}"})
    with pytest.raises(CheckpointError, match=rf"v\.safetensors: bad is {message}; expected float32 or float16"):
        load_checkpoint(tmp_path / "v.safetensors")
