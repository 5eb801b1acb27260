"""Export of checkpoints to a bundle that reproduces the model: layouts, options, and checkpoints that do not fit."""

from __future__ import annotations

import dataclasses
import hashlib
import resource
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import vqvae_checkpoint
from random_models import CLASSES, SMALL, full_forward, plain_weights, random_prior, random_vqvae
from safetensors.numpy import save_file

from latentloop import Bundle, CheckpointError, InputError, Sampler
from latentloop.cli.program import main
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.bundle.checks import check_class_names, check_source
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.commands.export_source import recorded_classes, recorded_licence
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig
from latentloop.export.layouts.reading import read_prior
from latentloop.export.models.build import build_prior
from latentloop.sampling.verification import verify

REAL = Path(__file__).parents[2] / "shared" / "checkpoints"  # trained files; not every checkout has them
CONDITION: dict[str, Any] = {"condition_codes": 16, "condition_channels": 4, "condition_blocks": 1}


def prior_checkpoint(config: PriorConfig) -> Checkpoint:
    weights = plain_weights(random_prior(config))
    return Checkpoint(config, {name: value.astype(np.float32) for name, value in weights.items()})


def three_levels() -> tuple[Checkpoint, list[Checkpoint]]:
    config = VqvaeConfig(levels=3, channels=8, residual_channels=4, code_channels=4, codebook_size=16)
    small = SMALL | {"codebook_size": 16, "kernel": 3}
    priors = [
        PriorConfig(2, 3, **small),
        PriorConfig(4, 6, **small, **CONDITION),
        PriorConfig(8, 12, attention=False, **small, **CONDITION),
    ]
    return Checkpoint(config, plain_weights(random_vqvae(config))), [prior_checkpoint(config) for config in priors]


def test_three_levels(tmp_path: Path) -> None:
    vqvae, priors = three_levels()
    write_bundle(tmp_path / "bundle", BundleSource(vqvae, priors))
    bundle = Bundle.open(tmp_path / "bundle")
    assert [level.name for level in bundle.manifest.levels] == ["top", "middle", "bottom"]
    assert bundle.manifest.image == (32, 48, 3)
    sampler = Sampler(bundle)
    assert all(check.passed for check in verify(sampler))
    samples = sampler.sample(2, seeds=1)
    assert samples.images.shape == (2, 32, 48, 3)
    for index, name in enumerate(("top", "middle", "bottom")):
        model = build_prior(priors[index], name).double()
        upper = samples.codes[("top", "middle")[index - 1]] if index else None
        logits, _ = full_forward(model, samples.codes[name], upper, None)
        log = torch.log_softmax(torch.from_numpy(logits), 3).numpy()
        expected = np.take_along_axis(log, samples.codes[name][..., None], 3)[..., 0]
        np.testing.assert_allclose(sampler.log_likelihood(samples.codes)[name], expected, atol=1e-3)


def test_every_weight_is_stored_once(small_bundle: Path) -> None:
    """The weights file is hardly larger than the weights that the models use, although several graphs read each."""
    size = (small_bundle / "weights.safetensors").stat().st_size
    models = [onnx.load(file, load_external_data=False) for file in small_bundle.glob("*.onnx")]
    in_graphs = sum(len(tensor.raw_data) for model in models for tensor in model.graph.initializer)
    live = 0
    for name in ("top", "bottom"):
        config = Bundle.open(small_bundle).manifest.provenance["models"][name]["configuration"]
        for key, value in plain_weights(random_prior(PriorConfig(**config))).items():
            causal = ".residual." in key and key.startswith("blocks") and value.ndim == 4 and value.shape[-1] > 1
            taps = config["kernel"] * (config["kernel"] - 1) + config["kernel"] // 2
            live += value[:, :, 0, 0].size * taps if causal else value.size
    live += sum(value.size for value in vqvae_checkpoint(3).weights.values())
    assert size < 1.1 * 4 * live
    assert in_graphs < 0.05 * size


def test_the_command_on_own_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vqvae, priors = three_levels()
    files = [tmp_path / f"{name}.safetensors" for name in ("vqvae", "top", "middle", "bottom")]
    for file, checkpoint in zip(files, [vqvae, *priors], strict=True):
        save_checkpoint(file, checkpoint)
        loaded = load_checkpoint(file)
        assert loaded.config == checkpoint.config
        assert all(np.array_equal(loaded.weights[name], value) for name, value in checkpoint.weights.items())
    out = tmp_path / "bundle"
    options = [f"--{file.stem}={file}" for file in files[:3]] + [f"--prior=bottom={files[3]}", f"--out={out}"]
    assert main(["export", *options, "--licence=CC0"]) == 0
    assert Bundle.open(out).manifest.licence == "CC0"
    assert main(["export", *options]) == 1  # exists
    assert "--force" in capsys.readouterr().err
    assert main(["export", *options, "--force"]) == 0
    assert main(["verify", str(out)]) == 0


def test_a_codec_alone_has_the_image_size_of_its_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = dataclasses.replace(vqvae_checkpoint(1), provenance={"size": 24, "licence": "CC0"})
    save_checkpoint(tmp_path / "v.safetensors", trained)
    command = ["export", f"--vqvae={tmp_path / 'v.safetensors'}"]
    assert main([*command, f"--out={tmp_path / 'a b'}"]) == 0
    streams = capsys.readouterr()
    assert streams.out.endswith(f"try: latentloop verify '{tmp_path / 'a b'}'\n")
    assert "trained on" not in streams.err
    manifest = Bundle.open(tmp_path / "a b").manifest
    assert (manifest.image, manifest.licence) == ((24, 24, 1), "CC0")
    assert main([*command, "--image=16x32", "--licence=", f"--out={tmp_path / 'other'}"]) == 0
    assert "the bundle is for images of 16 x 32, the VQ-VAE was trained on 24 x 24" in capsys.readouterr().err
    manifest = Bundle.open(tmp_path / "other").manifest
    assert (manifest.image, manifest.licence) == ((16, 32, 1), "")


def test_the_priors_grids_precede_the_image_size_of_the_vqvae(tmp_path: Path) -> None:
    vqvae, priors = three_levels()
    source = BundleSource(dataclasses.replace(vqvae, provenance={"size": 64}), priors)
    assert check_source(source).image == (32, 48)


def test_class_names_and_licence_are_those_of_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, priors = three_levels()
    assert isinstance(priors[0].config, PriorConfig)
    config = dataclasses.replace(priors[0].config, **CLASSES)
    top = prior_checkpoint(config)
    names = {"classes": ["x", "y", "z"], "licence": "MIT"}
    classifier = Checkpoint(ClassifierConfig(height=32, width=48, classes=3), {}, names)
    assert recorded_classes([top, None], classifier) == ("x", "y", "z")
    assert recorded_classes([None, None], classifier) == ()
    assert recorded_classes([dataclasses.replace(top, provenance={"classes": ["a", "b", "c"]})], classifier) == (
        "a",
        "b",
        "c",
    )
    assert recorded_licence([top, classifier, classifier]) == "MIT"
    assert capsys.readouterr().err == ""
    assert recorded_licence([classifier, dataclasses.replace(top, provenance={"licence": "CC0"})]) == ""
    assert "different licences, so the bundle states none; pass --licence: CC0; MIT" in capsys.readouterr().err


def test_a_codec_alone_needs_the_image_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_checkpoint(tmp_path / "v.safetensors", vqvae_checkpoint(1))
    command = ["export", f"--vqvae={tmp_path / 'v.safetensors'}", f"--out={tmp_path / 'codec'}"]
    assert main(command) == 2
    assert "file does not state it; pass it (--image HEIGHTxWIDTH)" in capsys.readouterr().err
    assert main([*command, "--image=20x20"]) == 2
    assert "multiples of 8" in capsys.readouterr().err
    assert main([*command, "--image=24x16"]) == 0
    images = np.zeros((1, 24, 16, 1), np.uint8)
    assert Sampler(Bundle.open(tmp_path / "codec")).encode(images)["bottom"].shape == (1, 6, 4)


def changed_source(change: dict[str, Any], level: int = 1) -> BundleSource:
    vqvae, priors = three_levels()
    config = priors[level].config
    assert isinstance(config, PriorConfig)
    priors[level] = prior_checkpoint(dataclasses.replace(config, **change))
    return BundleSource(vqvae, priors)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (changed_source({"height": 6}), "middle prior has the grid 6 x 6"),
        (changed_source({"codebook_size": 9}), "middle prior has 9 codes"),
        (changed_source({"condition_codes": 9}), "conditioned on 9 codes"),
        (changed_source({"condition_codes": 16, "condition_channels": 4}, level=0), "swapped"),
        (changed_source(CLASSES), None),
        (dataclasses.replace(changed_source({}), classes=("a", "b")), "2 class names"),
        (
            dataclasses.replace(changed_source({}), classes=("a", "b", "a")),
            "class names are 'a', 'b', 'a', expected diff",
        ),
        (
            dataclasses.replace(changed_source({}), classes=("a", "", "b")),
            "class names are 'a', '', 'b', expected diff",
        ),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(source: BundleSource, message: str | None, tmp_path: Path) -> None:
    if message is None:  # classes in one prior only are allowed
        write_bundle(tmp_path / "bundle", source)
        assert Bundle.open(tmp_path / "bundle").manifest.classes == ("0", "1", "2")
        return
    with pytest.raises(InputError, match=message):
        write_bundle(tmp_path / "bundle", source)
    assert not list(tmp_path.iterdir())


def test_a_prior_of_another_vqvae_is_refused(tmp_path: Path) -> None:
    vqvae, priors = three_levels()
    signed = [dataclasses.replace(each, provenance={"codes_sha256": "a" * 64}) for each in (vqvae, *priors)]
    signed[2] = dataclasses.replace(priors[1], provenance={"codes_sha256": "b" * 64})
    with pytest.raises(InputError, match=r"codes of another VQ-VAE: its codes_sha256 is b{12}…, the VQ-VAE's a{12}…"):
        write_bundle(tmp_path / "bundle", BundleSource(signed[0], signed[1:]))
    write_bundle(
        tmp_path / "bundle", BundleSource(signed[0], [signed[1], priors[1], signed[3]])
    )  # a prior without a digest is accepted


def test_a_classifier_of_other_classes_is_refused() -> None:
    config = PriorConfig(2, 2)
    one, two = (Checkpoint(config, {}, {"classes": names}) for names in (["a", "b"], ["b", "a"]))
    check_class_names([one, None, one, Checkpoint(config, {})])
    with pytest.raises(InputError, match="a prior was trained on the classes b, a, a prior on a, b"):
        check_class_names([one, two])


def test_own_checkpoints_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = vqvae_checkpoint(1)
    weights = dict(whole.weights)
    weights["decoder.conv.bias"] = weights["decoder.conv.bias"] * np.float32(np.nan)
    weights["extra"] = np.zeros(3, np.float32)
    del weights["to_code.0.bias"]
    weights["to_code.1.bias"] = np.zeros(5, np.float32)
    save_checkpoint(tmp_path / "v.safetensors", Checkpoint(whole.config, weights))
    assert main(["export", f"--vqvae={tmp_path / 'v.safetensors'}", "--image=16", f"--out={tmp_path / 'b'}"]) == 1
    text = capsys.readouterr().err
    for part in ("decoder.conv.bias", "extra [3] is unknown", "to_code.0.bias is missing", "to_code.1.bias is [5]"):
        assert part in text
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("content", [b"", b"garbage" * 100, b"\xff" * 8 + b"{}"])
def test_unreadable_checkpoints_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "v.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"v\.safetensors"):
        load_checkpoint(tmp_path / "v.safetensors")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"the trained files are not at {REAL}")
def test_trained_files_of_the_common_layout(tmp_path: Path) -> None:
    options = [f"--{name}={REAL / name}.pt" for name in ("vqvae", "top", "bottom")]
    assert main(["export", *options, f"--out={tmp_path / 'bundle'}"]) == 0
    sampler = Sampler(Bundle.open(tmp_path / "bundle"))
    assert all(check.passed for check in verify(sampler))
    with np.load(REAL / "golden_vqvae.npz") as golden:
        arrays = dict(golden)
    codes = sampler.encode(arrays["images"])
    for name in ("top", "bottom"):
        stored = next(value for key, value in arrays.items() if name in key)
        np.testing.assert_array_equal(codes[name], stored)
    for name in ("top", "bottom"):
        with np.load(REAL / f"golden_{name}.npz") as golden:
            arrays = dict(golden)
        levels = {name: arrays["codes"]} | ({"top": arrays["condition"]} if name == "bottom" else {})
        levels.setdefault("bottom", np.zeros((4, 8, 8), np.int64))
        likelihood = sampler.log_likelihood(levels)[name]
        log = torch.log_softmax(torch.from_numpy(arrays["logits"].astype(np.float64)), 3).numpy()
        expected = np.take_along_axis(log, arrays["codes"][..., None].astype(np.int64), 3)[..., 0]
        np.testing.assert_allclose(likelihood, expected, atol=1e-4 * np.abs(arrays["logits"]).max())


def test_export_is_reproducible(tmp_path: Path) -> None:
    vqvae, priors = three_levels()
    digests = []
    for name in ("a", "b"):
        write_bundle(tmp_path / name, BundleSource(vqvae, priors))
        files = sorted((tmp_path / name).iterdir())
        digests.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files})
    assert digests[0] == digests[1]


def test_a_full_disk_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """safetensors reports a full disk by an exception of its own. A limit of the file size simulates the full disk."""
    save_checkpoint(tmp_path / "v.safetensors", vqvae_checkpoint(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        status = main(["export", f"--vqvae={tmp_path / 'v.safetensors'}", "--image=16", f"--out={tmp_path / 'bundle'}"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert status == 1
    assert f"cannot write {tmp_path / 'bundle'}" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["v.safetensors"]


@pytest.mark.parametrize(
    "config",
    ['{"blocks": 100000}', '{"channels": 1125899906842624}', "[" * 5000, '{"height": ' + "9" * 5000 + "}", "[]", '"x"'],
)
def test_malicious_configurations_are_refused(config: str, tmp_path: Path) -> None:
    metadata = {"format": "latentloop-checkpoint-1", "kind": "prior", "config": config}
    if config.startswith("{"):
        metadata["config"] = config.replace("{", '{"width": 4, ' + ("" if "height" in config else '"height": 4, '))
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "p.safetensors", metadata=metadata)
    with pytest.raises(CheckpointError, match=r"p\.safetensors"):
        read_prior(tmp_path / "p.safetensors")
