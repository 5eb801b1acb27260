"""The prior at int8: comparison with the float64 forward with rounded weights, seeds, and the commands."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command_line import codes as read_codes
from command_line import run
from corrupted_bundles import edit_manifest, read_manifest, replace_file, scale_weight
from cpu_sessions import cpu_session
from embedded_bundles import Refused
from exported_priors import exported, prior_of
from random_models import NATIVE, PRIORS, full_forward, random_inputs

from latentloop import Bundle, InputError, Sampler
from latentloop.backends.cpu.loop import PriorLoop
from latentloop.bundles.manifest import GRAPHS, Level
from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.level_inputs import LevelInputs
from latentloop.export.configuration import PriorConfig
from latentloop.sampling.verification import verify

TOLERANCE = 1e-4  # float32 against float64, of max(1, max |expected|)


def rounded(weight: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """Rounds to 8 signed bits, with one scale for the values along ``axes``."""
    unit = torch.clamp(weight.float().abs().amax(axes, keepdim=True) / 127, min=1e-30)
    return (torch.round(weight.float() / unit) * unit).to(weight.dtype)


def round_weights(model: torch.nn.Module) -> None:
    """Rounds in place the weights that the operators round: each matrix with a scale per output."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            part = name.removesuffix(".weight").rpartition(".")[2]
            if ".residual." in name and name.startswith("blocks") and weight.ndim == 4 and weight.shape[-1] > 1:
                reach = weight.shape[-1] // 2
                weight[:, :, :-1] = rounded(weight[:, :, :-1], (1, 2, 3))  # the rows above
                weight[:, :, -1, :reach] = rounded(weight[:, :, -1, :reach], (1, 2))  # the columns to the left
            elif name == "logits.weight":
                weight[:] = rounded(weight, (1, 2, 3))
            elif part == "mix":
                channels = weight.shape[0]
                weight[:, :channels] = rounded(weight[:, :channels], (1, 2, 3))  # the others read the coordinates
            elif (
                name.startswith(("blocks", "output"))
                and name.endswith("weight")
                and ".residual." not in name
                and part != "label"
            ):
                weight[:] = rounded(weight, tuple(range(1, weight.ndim)))


def int8_logits(config: PriorConfig, inputs: dict[str, Any], folder: Path, native: Path | None) -> Any:
    """Teacher-forced logits [N, H, W, K] of both step graphs, in the loop."""
    prior = exported(config, folder)
    level = Level("level", config.height, config.width, config.codebook_size, prior)
    batch = len(inputs["codes"])
    loop = PriorLoop(level, prior.at("int8"), lambda file: cpu_session(folder / file, 2, native), batch)
    results = []
    for filters in ({}, {"top_k": 2}):
        level_inputs = LevelInputs(
            uniform=np.zeros((config.height, config.width, batch), np.float32),
            forced=inputs["codes"].transpose(1, 2, 0),
            settings=DrawSettings.of(batch, **filters).arrays(config.codebook_size),
            upper=inputs["upper"],
            labels=inputs["labels"],
        )
        results.append(np.stack([row.logits.copy() for row in loop.rows(level_inputs)]).transpose(2, 0, 1, 3))
    return results


@pytest.mark.parametrize("native", [NATIVE, pytest.param(None, id="standard")])
@pytest.mark.parametrize("name", PRIORS)
def test_equals_the_full_forward_with_rounded_weights(name: str, native: Path | None, tmp_path: Path) -> None:
    config = PRIORS[name]
    model, inputs = deepcopy(prior_of(config)), random_inputs(config, 2)
    plain, filtered = int8_logits(config, inputs, tmp_path, native)
    exact, _ = full_forward(model, **inputs)
    round_weights(model)
    expected, _ = full_forward(model, **inputs)
    bound = TOLERANCE * max(1.0, float(np.abs(expected).max()))
    effect = float(np.abs(exact - expected).max())  # of rounding to 8 bits
    assert effect > 10 * bound
    if native:  # transformed weights have two bytes: a much smaller error than 8 bits, but larger than float32
        bound = max(bound, 0.02 * effect)
    assert np.abs(plain - expected).max() <= bound
    np.testing.assert_array_equal(filtered, plain)


@pytest.fixture(scope="module")
def sampler(small_bundle: Path) -> Sampler:
    return Sampler(Bundle.open(small_bundle), threads=1, precision="int8")


def draw(sampler: Sampler, seeds: list[int], **settings: Any) -> Any:
    return sampler.sample(len(seeds), seeds=seeds, labels=1, batch_size=4, **settings)


def test_a_sample_does_not_depend_on_the_other_samples_of_its_batch(sampler: Sampler) -> None:
    together = draw(sampler, [70, 71, 72, 73])
    others = [draw(sampler, [71]), draw(sampler, [5, 71]), draw(sampler, [1, 2, 3, 4, 71, 6])]
    others.append(draw(sampler, [8, 71], top_k=[2, 11]))  # with the filtered graphs
    for samples in others:
        index = samples.seeds.tolist().index(71)
        for name, codes in together.codes.items():
            np.testing.assert_array_equal(samples.codes[name][index], codes[1])
        np.testing.assert_array_equal(samples.images[index], together.images[1])


def test_likelihoods_differ_a_little_between_precisions(sampler: Sampler) -> None:
    codes = draw(sampler, [1, 2]).codes
    rounded = sampler.log_likelihood(codes, labels=1)
    exact = Sampler(sampler.bundle, threads=1).log_likelihood(codes, labels=1)
    for name, values in exact.items():
        assert np.abs(rounded[name] - values).max() > 1e-4
        assert abs(rounded[name].mean() - values.mean()) < 0.05


def test_a_precision_that_the_bundle_lacks_is_refused(small_bundle: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(small_bundle)
    wrong: Any
    for wrong in ("int4", 8, None, ["int8"]):
        with pytest.raises(InputError, match="expected one that the bundle has: float32, int8"):
            Sampler(bundle, precision=wrong)
    plain = without_int8(small_bundle, tmp_path / "plain")
    with pytest.raises(InputError, match=r"precision is 'int8', expected one that the bundle has: float32$"):
        Sampler(Bundle.open(plain), precision="int8")
    assert len(Sampler(Bundle.open(plain)).sample(1, seeds=1).images) == 1


def without_int8(bundle: Path, copy: Path) -> Path:
    """A copy of the bundle with float32 only."""
    shutil.copytree(bundle, copy)
    manifest = read_manifest(copy)
    for level in manifest["levels"]:
        level["prior"]["graphs"] = {k: v for k, v in level["prior"]["graphs"].items() if "int8" not in k}
    manifest["precisions"] = ["float32"]
    for name in [name for name in manifest["files"] if "int8" in name]:
        (copy / name).unlink()
        del manifest["files"][name]
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return copy


def test_a_precision_needs_all_its_graphs_in_every_prior(small_bundle: Path, tmp_path: Path, refused: Refused) -> None:
    plain = without_int8(small_bundle, tmp_path / "plain")
    edit_manifest(plain, "precisions", value=["float32", "int8"])
    assert "levels[0].prior.graphs.row_int8 is missing" in refused(plain)


def test_int8_graphs_read_the_same_weights_as_float32_graphs(small_bundle: Path) -> None:
    for level in ("top", "bottom"):
        for role in GRAPHS:
            used = []
            for name in (role, f"{role}_int8"):
                model = onnx.load(small_bundle / f"{level}.{name}.onnx", load_external_data=False)
                tensors = [tensor for tensor in model.graph.initializer if tensor.external_data]
                used.append({t.name: [(entry.key, entry.value) for entry in t.external_data] for t in tensors})
            assert used[0] == used[1]


def test_sampling_from_the_command_line(
    small_bundle: Path, tmp_path: Path, sampler: Sampler, capsys: pytest.CaptureFixture[str], fails: Callable[..., str]
) -> None:
    common = ("sample", "--bundle", small_bundle, "-n", 2, "--seed", 4, "--threads", 1, "--label", "bag")
    written = tmp_path / "codes.npz"
    assert run(*common, "--precision", "int8", "--out", tmp_path / "a.png", "--codes", written, "--json") == 0
    assert json.loads(capsys.readouterr().out)["precision"] == "int8"
    expected = sampler.sample(2, seeds=4, labels="bag").codes
    for name, codes in expected.items():
        np.testing.assert_array_equal(read_codes(written)[name], codes)
    assert "precision is 'half'" in fails(2, *common, "--precision", "half", "--out", tmp_path / "b.png")
    assert run("info", "--bundle", small_bundle) == 0
    assert re.search(r"^  precisions +float32, int8$", capsys.readouterr().out, re.MULTILINE)


def test_verify_lists_skipped_checks(small_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", small_bundle, "--precision", "int8") == 0
    text = capsys.readouterr().out
    assert "ok    bottom: mean KL divergence from the golden probabilities" in text
    assert "-     bottom: sampled codes that differ from the golden ones: skipped, int8 draws from rounded" in text
    assert "verified on cpu in int8" in text
    assert run("verify", small_bundle, "--precision", "int8", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["checks"]) == 2 + 2 + 2 + 2 * (2 + 1 + 4)
    assert len(report["skipped"]) == 2


@pytest.mark.parametrize(
    ("graph", "weight", "wrong"),
    [
        ("top.step_int8.onnx", "top.logits", "top: mean KL"),
        ("bottom.row_int8.onnx", "bottom.conv1_above.1", "bottom: mean KL"),
        ("bottom.condition.onnx", "bottom.condition.input.weight", "bottom: mean KL"),
    ],
)
def test_a_wrong_weight_fails_its_check(
    small_bundle: Path, tmp_path: Path, graph: str, weight: str, wrong: str
) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "copy"))
    scale_weight(copy, graph, weight, 2.0)
    checks = verify(Sampler(Bundle.open(copy), precision="int8"))
    assert next(check.name for check in checks if not check.passed).startswith(wrong)


def test_a_wrong_draw_fails_its_check(small_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_bundle, tmp_path / "copy"))
    model = onnx.load(copy / "top.step_int8.onnx", load_external_data=False)
    for node in model.graph.node:
        node.input[:] = ["reversed" if name == "uniform" else name for name in node.input]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(1, np.float32), "one"))
    model.graph.node.insert(0, onnx.helper.make_node("Sub", ["one", "uniform"], ["reversed"]))
    replace_file(copy, "top.step_int8.onnx", model.SerializeToString())
    checks = verify(Sampler(Bundle.open(copy), precision="int8"))
    assert [check.name for check in checks if not check.passed] == ["top: draws outside their own logits' CDF interval"]
