"""Detection of the variant of residual blocks (in place or not) that checkpoints were trained in.

``trained/`` holds a VQ-VAE and two priors of each variant, trained for 3000 and 1500 steps on `latentloop data planets`
at 32 x 32.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from latentloop import InputError
from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from latentloop.export.configuration import PriorConfig
from latentloop.export.data.datasets import Data, load_data
from latentloop.export.inplace.check import Measurement, check_against_data, check_reconstruction
from latentloop.export.inplace.hint import inplace_hint
from latentloop.export.inplace.variant import with_inplace

TRAINED = Path(__file__).parent / "trained"
VARIANTS = {"current": False, "older": True}
OPTIONS = {"current": "--no-{}-inplace", "older": "--{}-inplace"}


@pytest.fixture(scope="module")
def planets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "planets"
    assert run("data", "planets", "--train", 1, "--test", 4, "--seed", 7, "--processes", 1, "--out", folder) == 0
    return folder


@pytest.fixture(scope="module")
def data(planets: Path) -> Data:
    return load_data(planets, 32)


def checkpoints(variant: str) -> tuple[Checkpoint, dict[str, Checkpoint]]:
    vqvae, top, bottom = (
        load_checkpoint(TRAINED / f"{variant}-{part}.safetensors") for part in ("vqvae", "top", "bottom")
    )
    return vqvae, {"top": top, "bottom": bottom}


def error_of(vqvae: Checkpoint, priors: dict[str, Checkpoint], data: Data, named: Collection[str] = ()) -> str:
    error = check_against_data(vqvae, priors, data, named).error
    assert error is not None
    return error


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_right_variant_is_confirmed(variant: str, data: Data) -> None:
    vqvae, priors = checkpoints(variant)
    report = check_against_data(vqvae, priors, data, ())
    assert (report.error, report.warnings) == (None, [])
    assert [line.partition(":")[2].split(":")[0] for line in report.lines] == [
        " reconstruction",
        " top prior",
        " bottom prior",
    ]
    assert inplace_hint(vqvae) is None


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_other_variant_is_an_error_unless_the_user_named_it(variant: str, data: Data) -> None:
    vqvae, priors = checkpoints(variant)
    wrong = with_inplace(vqvae, not VARIANTS[variant])
    assert "are recovered" in (inplace_hint(wrong) or "")
    error = error_of(wrong, priors, data)
    assert "reconstruction: " in error
    assert f"pass {OPTIONS[variant].format('vqvae')}, or" in error
    report = check_against_data(wrong, priors, data, {"vqvae"})
    assert any("probably not trained in the variant that was named" in warning for warning in report.warnings)

    others = {name: with_inplace(prior, not VARIANTS[variant]) for name, prior in priors.items()}
    error = error_of(wrong, others, data)
    assert "bottom prior: " in error
    for part in ("vqvae", "priors"):
        assert OPTIONS[variant].format(part) in error
    error = error_of(vqvae, others, data, {"vqvae", "top"})
    assert "bottom prior: " in error
    assert f"pass {OPTIONS[variant].format('priors')} bottom, or" in error
    report = check_against_data(vqvae, others, data, {"top", "bottom"})
    assert ["bottom prior" in warning for warning in report.warnings] == [True]


def test_priors_decide_if_both_variants_reconstruct_equally(data: Data) -> None:
    """If both variants of the VQ-VAE reconstruct well, the priors show which variant's codes they were trained on."""
    vqvae, priors = checkpoints("older")
    wrong = with_inplace(vqvae, False)
    unchanged = {name: value for name, value in wrong.weights.items() if not name.startswith("decoder.up.1")}
    zeros = {name: np.zeros_like(wrong.weights[name]) for name in wrong.weights.keys() - unchanged.keys()}
    error = error_of(replace(wrong, weights={**unchanged, **zeros}), priors, data)
    assert "the priors on the VQ-VAE's codes: " in error
    assert "pass --vqvae-inplace, or" in error


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prior_of_another_vqvae_causes_a_warning(variant: str, data: Data) -> None:
    """A prior that is worse than guessing shows neither its own variant nor the VQ-VAE's."""
    vqvae, priors = checkpoints(variant)
    names = [name for name in vqvae.weights if name.startswith("codebooks.")]
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(64)
        other = replace(vqvae, weights={**vqvae.weights, **{name: vqvae.weights[name][order] for name in names}})
        report = check_against_data(other, priors, data, ())
        assert report.error is None
        assert [warning.split()[1] for warning in report.warnings] == ["top", "bottom"]
        assert all("another VQ-VAE" in warning for warning in report.warnings)
    _, other_priors = checkpoints("older" if variant == "current" else "current")
    for named in ((), ("vqvae",)):
        report = check_against_data(vqvae, other_priors, data, named)
        assert report.error is None
        assert report.warnings
        assert not any("variant that was named" in warning for warning in report.warnings)


@pytest.mark.parametrize("variant", VARIANTS)
def test_training_does_not_start_on_a_vqvae_of_the_wrong_variant(variant: str, data: Data) -> None:
    vqvae, _ = checkpoints(variant)
    check_reconstruction(with_inplace(vqvae, not VARIANTS[variant]), data)  # LatentLoop's own: not measured
    foreign = replace(vqvae, provenance={"layout": "the common one"})
    check_reconstruction(foreign, data)
    with pytest.raises(InputError, match=f"pass {OPTIONS[variant].format('vqvae')}, or"):
        check_reconstruction(with_inplace(foreign, not VARIANTS[variant]), data)


def test_labels_are_matched_by_the_class_names_of_the_prior(data: Data) -> None:
    vqvae, priors = checkpoints("current")
    plain_config = priors["top"].config
    assert isinstance(plain_config, PriorConfig)
    config = replace(plain_config, classes=8, class_channels=8)
    generator = np.random.default_rng(0)
    weights = {**priors["top"].weights, "label_embedding.weight": np.eye(8, dtype=np.float32)}
    for name, value in priors["top"].weights.items():
        if name.endswith("conv2.weight") and not name.startswith("condition"):
            label_matrix = generator.normal(size=(len(value), 8)).astype(np.float32)
            weights[name.replace("conv2.weight", "label.weight")] = label_matrix

    def prior_line(names: list[str]) -> str:
        prior = Checkpoint(config, weights, {"classes": names})
        return next(line for line in check_against_data(vqvae, {"top": prior}, data, ("top",)).lines if "prior" in line)

    reordered = [data.classes[n] for n in np.roll(np.arange(8), 1)]
    index_of = {name: data.classes.index(name) for name in reordered}
    embedding = weights["label_embedding.weight"]
    expected = prior_line(list(data.classes))
    assert prior_line(reordered) != expected
    weights["label_embedding.weight"] = embedding[[index_of[name] for name in reordered]]
    assert prior_line(reordered) == expected
    assert "not measured" in prior_line([f"class {n}" for n in range(8)])


def test_export_measures_if_data_is_given(planets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [part for name in ("top", "bottom") for part in (f"--{name}", TRAINED / f"older-{name}.safetensors")]
    command = ["export", "--vqvae", TRAINED / "older-vqvae.safetensors", *files, "--data", planets, "--out"]
    assert run(*command, tmp_path / "right") == 0
    assert capsys.readouterr().out.count(" bits per code in the older forward (in place), ") == 2
    assert run(*command, tmp_path / "named", "--no-priors-inplace", "bottom") == 0
    assert "warning: bottom prior: " in capsys.readouterr().err
    assert (tmp_path / "named").is_dir()
    assert run("export", "--vqvae", TRAINED / "current-vqvae.safetensors", "--image", 32, "--out", tmp_path / "x") == 0
    assert "hint" not in capsys.readouterr().err


def test_figures_that_are_not_finite_show_no_variant() -> None:
    for own, other in ((math.nan, 1.0), (1.0, math.nan), (math.inf, math.inf)):
        for unit in ("dB", "bits per code"):
            assert not Measurement("top", False, unit, own, other).is_other_better
    assert Measurement("top", False, "bits per code", math.nan, math.nan, 6.0).is_worse_than_guessing


def test_a_collapsed_codebook_gives_no_hint() -> None:
    vqvae, _ = checkpoints("older")
    names = [name for name in vqvae.weights if name.startswith("codebooks.")]
    flat = {name: np.zeros_like(vqvae.weights[name]) for name in names}
    wrong = with_inplace(replace(vqvae, weights={**vqvae.weights, **flat}), False)
    assert inplace_hint(wrong) is None
