"""Checkpoints of older releases of the common implementation, whose residual blocks worked in place."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import run
from common_layout import prior_logits, vqvae_decode, vqvae_encode
from common_layout_files import PriorSizes, as_float64, random_prior, random_vqvae, save
from tiny_training import PRIOR, parse, write_blobs

from latentloop import Bundle, InputError, Sampler
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from latentloop.export.commands.export_source import prior_variants
from latentloop.export.configuration import PriorConfig, VqvaeConfig, to_json
from latentloop.export.inplace.variant import with_inplace
from latentloop.export.layouts.reading import read_vqvae
from latentloop.export.train.prior import train_prior
from latentloop.sampling.verification import verify

TOP = PriorSizes(4, 4, 3, codes=9, channels=16, output_blocks=1)
BOTTOM = PriorSizes(8, 8, 5, codes=9, channels=16, attention=False, upper_codes=9, output_blocks=1)
STATES = {"vqvae": random_vqvae(), "top": random_prior(TOP), "bottom": random_prior(BOTTOM, seed=1)}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """A model's files in the common layout."""
    return {
        name: save(tmp_path / f"{name}.pt", state, dropout=0.1) if name != "vqvae" else save(tmp_path / "v.pt", state)
        for name, state in STATES.items()
    }


def export(files: dict[str, Path], out: Path, *options: object) -> Sampler:
    inputs = [part for name, file in files.items() for part in (f"--{name}", file)]
    assert run("export", *inputs, "--out", out, *options) == 0
    return Sampler(Bundle.open(out))


def log_likelihood(codes: dict[str, np.ndarray], level: str, *, inplace: bool) -> np.ndarray:
    """The reference [N, h, w], computed by plain loops."""
    upper = codes["top"] if level == "bottom" else [None] * len(codes["top"])
    result = []
    for own, above in zip(codes[level], upper, strict=True):
        logits = prior_logits(as_float64(STATES[level]), own, above, inplace=inplace)
        below = logits - logits.max(2, keepdims=True)
        log = below - np.log(np.exp(below).sum(2, keepdims=True))
        result.append(np.take_along_axis(log, own[:, :, None], 2)[:, :, 0])
    return np.stack(result)


@pytest.mark.parametrize(
    ("options", "vqvae", "priors"),
    [
        ([], False, {}),
        (["--vqvae-inplace"], True, {}),
        (["--no-vqvae-inplace", "--priors-inplace"], False, {"top": True, "bottom": True}),
        (["--vqvae-inplace", "--priors-inplace", "bottom", "--no-priors-inplace", "top"], True, {"bottom": True}),
    ],
)
def test_the_bundle_is_the_model_of_the_named_variant(
    files: dict[str, Path], tmp_path: Path, options: list[str], vqvae: bool, priors: dict[str, bool]
) -> None:
    sampler = export(files, tmp_path / "bundle", *options)
    assert all(check.passed for check in verify(sampler))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    codes = sampler.encode(images)
    decoded = sampler.decode(codes)
    for n, image in enumerate(images):
        expected = vqvae_encode(as_float64(STATES["vqvae"]), image / 127.5 - 1, inplace=vqvae)
        for level, level_codes in zip(("top", "bottom"), expected, strict=True):
            np.testing.assert_array_equal(codes[level][n], level_codes)
        pixels = vqvae_decode(as_float64(STATES["vqvae"]), *expected, inplace=vqvae)
        np.testing.assert_allclose(decoded[n], np.clip(np.rint((pixels + 1) * 127.5), 0, 255), atol=1)
    rng = np.random.default_rng(1)
    drawn = {"top": rng.integers(0, 9, (2, 4, 4)), "bottom": rng.integers(0, 9, (2, 8, 8))}
    likelihoods = sampler.log_likelihood(drawn)
    for level in drawn:
        expected_log = log_likelihood(drawn, level, inplace=priors.get(level, False))
        np.testing.assert_allclose(likelihoods[level], expected_log, atol=1e-3)
    models = sampler.bundle.manifest.provenance["models"]
    variants = {name: model["configuration"].get("inplace", False) for name, model in models.items()}
    assert variants == {"vqvae": vqvae, "top": priors.get("top", False), "bottom": priors.get("bottom", False)}


def test_a_library_with_the_current_operators_only_does_not_run_older_blocks(
    files: dict[str, Path], tmp_path: Path
) -> None:
    """Operators replace the graphs' functions by name; earlier releases have the names of the current variant only."""
    kinds: dict[bool, set[str]] = {}
    for inplace in (False, True):
        out = tmp_path / f"bundle-{inplace}"
        export(files, out, *["--priors-inplace"] * inplace)
        models = [onnx.load(file, load_external_data=False) for file in out.glob("*step*.onnx")]
        assert models
        kinds[inplace] = {function.name for model in models for function in model.functions}
    both = kinds[False] & kinds[True]
    assert both == {"CausalLeftElu", "CausalLeftGated", "DrawCode"}
    assert kinds[True] - both == {
        *("MixChainInplace", "AttentionBlockInplace", "AttentionBlockInplaceAfter1", "OutputStackInplace"),
        "PriorStepInplace",
    }


def test_saved_checkpoints_keep_their_variant(
    files: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved"
    options = ["--vqvae-inplace", "--priors-inplace", "top", "--save-checkpoints", saved]
    first = export(files, tmp_path / "first", *options)
    again = {name: saved / f"{name}.safetensors" for name in files}
    second = export(again, tmp_path / "second")
    assert (tmp_path / "first" / "golden.npz").read_bytes() == (tmp_path / "second" / "golden.npz").read_bytes()
    variants = {name: getattr(load_checkpoint(file).config, "inplace", None) for name, file in again.items()}
    assert variants == {"vqvae": True, "top": True, "bottom": False}
    # Earlier releases refuse this field, so it is written only if they would compute the model wrongly.
    assert ["inplace" in to_json(load_checkpoint(file).config) for file in again.values()] == [True, True, False]
    for sampler in (first, second):
        capsys.readouterr()
        assert run("info", "--bundle", sampler.bundle.path, "--json") == 0
        described = json.loads(capsys.readouterr().out)["bundle"]["checkpoints"]
        assert {name: each["inplace"] for name, each in described.items()} == variants
        assert run("info", "--bundle", sampler.bundle.path) == 0
        assert capsys.readouterr().out.count("the older forward") == 2
    # An option corrects files that were saved with the wrong variant.
    corrected = export(again, tmp_path / "third", "--no-vqvae-inplace", "--no-priors-inplace")
    plain = export(files, tmp_path / "plain")
    codes = {name: golden for name, golden in plain.bundle.golden().items() if "codes" in name}
    assert codes
    for name, expected in codes.items():
        np.testing.assert_array_equal(corrected.bundle.golden()[name], expected)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            {"priors_inplace": ["middle"]},
            "--priors-inplace names the level 'middle'; priors are given for: top, bottom",
        ),
        ({"no_priors_inplace": ["top", "middle"]}, "--no-priors-inplace names the level 'middle'"),
        ({"priors_inplace": [""], "no_priors_inplace": ["top"]}, "both name the level 'top'"),
    ],
)
def test_levels_that_are_missing_or_named_twice(options: dict[str, list[str]], reason: str) -> None:
    none = {"priors_inplace": None, "no_priors_inplace": None}
    with pytest.raises(InputError, match=reason):
        prior_variants(argparse.Namespace(**none | options), ("top", "bottom"))


def test_levels_are_named_in_one_option_or_several() -> None:
    for texts in (["top,bottom"], ["top", " bottom,"], [""], ["top", ""]):
        arguments = argparse.Namespace(priors_inplace=texts, no_priors_inplace=None)
        assert prior_variants(arguments, ("top", "bottom")) == {"top": True, "bottom": True}
    arguments = argparse.Namespace(priors_inplace=["top"], no_priors_inplace=["bottom"])
    assert prior_variants(arguments, ("top", "bottom")) == {"top": True, "bottom": False}


def test_options_for_missing_priors_are_refused(
    files: dict[str, Path], tmp_path: Path, fails: Callable[..., str]
) -> None:
    command = ["export", "--vqvae", files["vqvae"], "--image", 32, "--out", tmp_path / "bundle"]
    assert "says how priors were trained, but no prior is given" in fails(2, *command, "--priors-inplace")
    top = [*command, "--top", files["top"]]
    assert "priors are given for: top" in fails(2, *top, "--priors-inplace", "bottom")
    assert "not allowed with argument" in fails(2, *command, "--vqvae-inplace", "--no-vqvae-inplace")


def test_a_variant_that_contradicts_an_own_checkpoint_causes_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = Path(__file__).parent / "trained" / "current-vqvae.safetensors"
    command = ["export", "--vqvae", file, "--image", 32, "--out", tmp_path / "bundle"]
    assert run(*command, "--vqvae-inplace") == 0
    assert f"warning: {file} says that it was trained in the current forward; as requested" in capsys.readouterr().err


def test_a_prior_on_an_older_vqvae_is_exported_with_that_variant_only(
    tmp_path: Path, fails: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The prior's checkpoint records which codes it was trained on."""
    vqvae, data = save(tmp_path / "v.pt", random_vqvae(images=1)), write_blobs(tmp_path / "data")
    older = tmp_path / "older.safetensors"
    train_prior(parse(f"{PRIOR} --steps 2 --level top --size 16 --vqvae-inplace", data=data, vqvae=vqvae, out=older))
    config = load_checkpoint(older).config
    assert isinstance(config, PriorConfig)
    assert not config.inplace  # the trainer's own variant, which does not depend on the VQ-VAE's
    capsys.readouterr()
    message = fails(2, "export", "--vqvae", vqvae, "--top", older, "--out", tmp_path / "bundle")
    assert "in the older forward (in place): pass --vqvae-inplace" in message
    assert run("export", "--vqvae", vqvae, "--vqvae-inplace", "--top", older, "--out", tmp_path / "bundle") == 0


def test_training_from_an_older_prior_continues_in_its_variant(tmp_path: Path) -> None:
    vqvae, data = save(tmp_path / "v.pt", random_vqvae(images=1)), write_blobs(tmp_path / "data")
    command = f"{PRIOR} --steps 2 --level top --size 16"
    first, start, second = (tmp_path / f"{name}.safetensors" for name in ("first", "start", "second"))
    train_prior(parse(command, data=data, vqvae=vqvae, out=first))
    save_checkpoint(start, with_inplace(load_checkpoint(first), True))
    train_prior(parse(command, data=data, vqvae=vqvae, out=second, **{"from": start}))
    config = load_checkpoint(second).config
    assert isinstance(config, PriorConfig)
    assert config.inplace


def test_the_digest_of_codes_depends_on_the_variant(tmp_path: Path) -> None:
    plain = read_vqvae(save(tmp_path / "v.pt", STATES["vqvae"]))
    digests = [with_inplace(plain, inplace).provenance["codes_sha256"] for inplace in (None, False, True)]
    assert digests[0] == digests[1] != digests[2]
    own = Checkpoint(VqvaeConfig(channels=8), {}, {"codes_sha256": "of the current variant"})
    assert "codes_sha256" not in with_inplace(own, True).provenance
    assert with_inplace(own, False).provenance == own.provenance
