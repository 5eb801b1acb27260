"""Invalid manifests: a field that is missing, has a wrong type or contradicts other fields is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from corrupted_bundles import Keys, edit_manifest, error_of, mutated_manifests, read_manifest, scalars, value_at
from embedded_bundles import Refused
from example_counts import FACTOR
from random_models import plain_weights, random_vqvae

from latentloop.bundles import manifest_checks
from latentloop.bundles.bundle import Bundle
from latentloop.bundles.manifest_reading import from_json
from latentloop.errors import BundleError, LatentLoopError
from latentloop.export.bundle import BundleSource, write_bundle
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.configuration import VqvaeConfig
from latentloop.io.json_reading import read_versioned
from latentloop.sampling.sampler import Sampler


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may corrupt."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


ALLOWED = ((None, "condition_level"), (None, "classifier"), (None, "codes_sha256"), (-1, "first"), (-1, "fill"))


@pytest.mark.parametrize(
    "wrong", [None, True, -1, 1.5, 10**400, "\ud800", [], [[]], {}], ids=lambda value: repr(value)[:9]
)
def test_every_field_of_a_wrong_type_is_named(small_bundle: Path, wrong: Any) -> None:
    manifest = read_manifest(small_bundle)
    # One item of each list suffices, because all are read alike.
    fields = {
        (*(key for key in keys if isinstance(key, str)), type(value)): (keys, value)
        for keys, value in scalars(manifest)
    }
    failures, count = [], 0
    for keys, value in fields.values():
        is_same_type = any(isinstance(value, kind) and isinstance(wrong, kind) for kind in (str, bool))
        if is_same_type or (wrong, keys[-1]) in ALLOWED:
            continue
        value_at(manifest, keys[:-1])[keys[-1]] = wrong
        name = next(key for key in reversed(keys) if isinstance(key, str))
        try:
            from_json(manifest, "manifest.json")
            failures.append(f"{keys}: accepted")
        except BundleError as error:
            if "manifest.json" not in str(error) or name not in str(error) or len(str(error)) > 400:
                failures.append(f"{keys}: {error}")
        value_at(manifest, keys[:-1])[keys[-1]] = value
        count += 1
    assert not failures
    assert count > 50


def test_every_required_field_is_named_when_missing(small_bundle: Path) -> None:
    manifest = read_manifest(small_bundle)
    optional = {"licence", "provenance", "classifier", "codes_sha256"}
    for keys in [
        *((key,) for key in manifest if key not in optional),
        *(("levels", 1, key) for key in manifest["levels"][1] if key != "prior"),
        *(("levels", 1, "prior", key) for key in manifest["levels"][1]["prior"] if key != "condition_level"),
        *(("levels", 1, "prior", "memories", 0, key) for key in manifest["levels"][1]["prior"]["memories"][0]),
        ("levels", 0, "prior", "graphs", "step"),
        ("levels", 1, "prior", "graphs", "step_filtered_int8"),
        ("files", "golden.npz"),
        ("files", "golden.npz", "sha256"),
    ]:
        incomplete = json.loads(json.dumps(manifest))
        del value_at(incomplete, keys[:-1])[keys[-1]]
        with pytest.raises(BundleError, match=str(keys[-1])):
            from_json(incomplete, "manifest.json")


def test_mutated_manifests_work_or_raise_a_latentloop_error(bundle: Path) -> None:
    original = (bundle / "manifest.json").read_text(encoding="utf-8")
    outcomes = {"worked": 0, "rejected when opened": 0, "rejected when used": 0}
    for seed, rng, text in mutated_manifests(original, 100 * FACTOR):
        (bundle / "manifest.json").write_text(text, encoding="utf-8")
        outcome = "rejected when opened"
        try:
            opened = Bundle.open(bundle)
            outcome = "rejected when used"
            Sampler(opened, threads=1).sample(1, seeds=seed, top_k=rng.choice([None, 3]))
            outcome = "worked"
        except LatentLoopError:
            pass
        outcomes[outcome] += 1
    assert all(outcomes.values()), outcomes


BUFFERS = ("levels", 0, "prior", "memories")
STEP = ("levels", 0, "prior", "graphs", "step", "inputs", 0)
ROW = ("levels", 0, "prior", "graphs", "row", "inputs", 0)
BYTES = {"name": "bytes", "dtype": "uint8", "shape": [1], "ring": False, "padding": 0}


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("version",), 1, "version is 1, this LatentLoop reads 3 to 6: use a matching release, or export"),
        (("format",), "other", "format is 'other'"),
        (("undrawn_codeword",), None, "undrawn_codeword is missing, expected one of checkpoint, data, equal"),
        (("undrawn_codeword",), "guess", "undrawn_codeword is 'guess', expected one of checkpoint, data, equal"),
        (("precisions",), ["float32", "int3"], "precisions has 'int3', expected some of float32, int8"),
        (("precisions",), ["int8"], "precisions: 'float32' is missing"),
        (("precisions",), ["float32", "float32"], "precisions: the name 'float32' occurs twice"),
        (("precisions",), ["float32"], "graphs.row_int8 is unknown, expected one of condition, row, step"),
        (("levels", 0, "height"), 5, "top has the grid 5 x 6, expected 4 x 6"),
        (("levels", 1, "width"), 11, "bottom has the grid 8 x 11, expected 8 x 12"),
        (("image",), [32, 64, 3], "bottom has the grid 8 x 12"),
        (("image",), [36, 48, 3], "bottom"),
        (("image",), [32, 48], "image"),
        (("image",), [2**20, 2**20, 3], "image"),
        (("levels",), [], "levels is empty"),
        (("levels", 0, "name"), "bottom", "the name 'bottom' occurs twice"),
        (("levels", 1, "prior", "condition_level"), "bottom", "condition_level of bottom is 'bottom', expected 'top'"),
        (("levels", 0, "prior", "condition_level"), "top", "condition_level of top is 'top', expected none"),
        (("levels", 0, "prior", "columns_per_step"), 3, "columns_per_step is 3"),
        (("levels", 0, "prior", "graphs", "jump"), {"file": "x", "inputs": [], "outputs": []}, "jump"),
        (("levels", 0, "prior", "graphs", "row", "file"), "absent.onnx", "does not list absent.onnx"),
        (("classes",), [], "classes is empty"),
        (("classes",), ["bag", "bag", "boot"], "manifest.json.classes: the name 'bag' occurs twice"),
        (("classes", 1), "", "manifest.json.classes[1] is '', expected a name"),
        (("weights",), "decoder.onnx", "'decoder.onnx' has two roles, expected different files for the encoder"),
        (("encoder",), "decoder.onnx", "'decoder.onnx' has two roles"),
        (("golden",), "weights.safetensors", "'weights.safetensors' has two roles"),
        (("classifier",), "top.step.onnx", "'top.step.onnx' has two roles"),
        (("levels", 0, "prior", "classes"), False, "levels[0].prior.memories has 'labels', but classes is false"),
        (("levels", 1, "prior", "condition_level"), None, "memories has 'upper', but condition_level is null"),
        ((*BUFFERS, 13, "name"), "minimum", "'min_p' is missing"),
        *(
            (("levels", 0, "name"), name, f"levels[0].name is {name!r}, expected a name, and none of files, seeds, ")
            for name in ("", "seeds", "labels", "files", "file", "allow_pickle", "images", "decoded")
        ),
        ((*BUFFERS, 0, "name"), "kodes", "'codes' is missing"),
        ((*BUFFERS, 1, "name"), "codes", "the name 'codes' occurs twice"),
        ((*BUFFERS, 6, "name"), "raw", "'row' is missing"),
        ((*BUFFERS, 14, "shape"), [6, "batch", 12], "'logits' is float32 [6, 'batch', 12]"),
        ((*BUFFERS, 13, "dtype"), "int64", "'min_p' is int64 ['batch'] filled with 0, expected float32 ['batch'] fi"),
        ((*BUFFERS, 1, "shape", 0), 2**40, "values for one sample"),
        ((*BUFFERS, 1, "shape", 1), 11, "'residual' is [4, 11"),
        ((*BUFFERS, 1, "shape", 2), "columns", "shape"),
        ((*BUFFERS, 1, "shape"), [4, 12] + [1] * 60, "shape"),
        ((*BUFFERS, 1, "padding"), 4, "'residual'"),
        ((*BUFFERS, 1, "dtype"), "float16", "memories[1].dtype is 'float16', expected one of float32, int64, uint8"),
        ((*BUFFERS, 1, "fill"), 2**31, "memories[1].fill is 2147483648, expected 'index' or an integer from -1 to "),
        ((*BUFFERS, 1, "fill"), "indices", "memories[1].fill is 'indices', expected 'index' or an integer from -1 to"),
        ((*BUFFERS, 1, "fill"), "index", "memories[1].fill is 'index', expected an integer, except for int64 with a"),
        ((*BUFFERS, 6, "fill"), 0, "'row' is int64 [4, 1] filled with 0, expected int64 [4, 1] filled with 'index'"),
        ((*BUFFERS, 6, "padding"), 1, "'row' is int64 [4, 1] filled with 'index', padded by 1, expected int64 [4, 1]"),
        ((*BUFFERS, 9, "fill"), 0, "'forced' is int64 [6, 'batch'] filled with 0, expected int64 [6, 'batch'] filled"),
        ((*BUFFERS, 11, "fill"), 0, "'top_k' is int64 ['batch'] filled with 0, expected int64 ['batch'] filled with 1"),
        ((*BUFFERS, 0, "fill"), 0, "'codes' is a ring of int64 [4, 10, 'batch'] filled with 0, padded by 2, expected"),
        ((*BUFFERS, 1), {**BYTES, "fill": 256}, "memories[1].fill is 256, expected an integer from 0 to 255"),
        ((*BUFFERS, 1), {**BYTES, "fill": -1}, "memories[1].fill is -1, expected an integer from 0 to 255"),
        ((*ROW, "memory"), "nothing", "names the memory 'nothing'"),
        ((*ROW, "view"), "sideways", "view is 'sideways'"),
        ((*ROW, "view"), "span", "is not a ring"),
        ((*STEP, "count"), 0, "count 0, which is not inside"),
        ((*STEP, "count"), 9, "not inside 'residual'"),
        ((*STEP, "first"), -4, "not inside 'residual'"),
        ((*BUFFERS, 4, "shape", 0), 3, "'conv1_above'"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_rejected(
    bundle: Path, keys: Keys, value: Any, expected: str, refused: Refused
) -> None:
    edit_manifest(bundle, *keys, value=value)
    text = refused(bundle)
    assert str(bundle / "manifest.json") in text
    assert expected in text


@pytest.mark.parametrize("names", [("top_p", "min_p"), ("uniform", "temperature")], ids=str)
def test_inputs_of_a_loops_name_must_be_bound_to_its_buffer(bundle: Path, names: tuple[str, str]) -> None:
    other = dict(zip(names, reversed(names), strict=True))
    manifest = read_manifest(bundle)
    for level in manifest["levels"]:
        for graph in level["prior"]["graphs"].values():
            for binding in graph["inputs"]:
                binding["memory"] = other.get(binding["memory"], binding["memory"])
    text = error_of(lambda: from_json(manifest, "manifest.json"))
    assert re.search(rf"binding '({'|'.join(names)})' names the memory '\w+', expected '\1'", text)


def test_the_order_of_fields_does_not_matter(small_bundle: Path) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in reversed(value)}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    manifest = read_manifest(small_bundle)
    assert from_json(shuffled(manifest), "manifest.json") == from_json(manifest, "manifest.json")


@pytest.mark.parametrize("version", [2, 3, 5, 6])
def test_versions_from_the_oldest_to_the_newest_are_read(version: int) -> None:
    value = {"format": "some", "version": version}
    if version in (3, 5):
        assert read_versioned(value, "x.json", "some", 3, 5) == value
    else:
        text = error_of(lambda: read_versioned(value, "x.json", "some", 3, 5, ": update"))
        assert text == f"x.json.version is {version}, this LatentLoop reads 3 to 5: update"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
def test_numbers_that_json_does_not_have_are_named(bundle: Path, number: str, refused: Refused) -> None:
    manifest = read_manifest(bundle)
    manifest["provenance"]["models"] = {"vqvae": [{"file": 0.25}]}
    (bundle / "manifest.json").write_text(json.dumps(manifest).replace("0.25", number))
    text = refused(bundle)
    value = "-inf" if number.startswith("-") else "nan" if number == "NaN" else "inf"
    assert text.endswith(f"manifest.json.provenance.models.vqvae[0].file is {value}, expected a finite number")


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ('{"format"', '{"classes": ["a", "b", "c"], "format"', "classes"),
        ('"back": 0,', '"back": 0, "back": 1,', "back"),
    ],
)
def test_keys_that_occur_twice_are_named(bundle: Path, before: str, after: str, name: str, refused: Refused) -> None:
    text = json.dumps(read_manifest(bundle))
    assert before in text
    (bundle / "manifest.json").write_text(text.replace(before, after, 1))
    assert refused(bundle).endswith(f"manifest.json: '{name}' occurs twice in an object")


def test_a_manifest_that_could_not_be_read_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_checks, "LARGEST_IMAGE", 100)
    config = VqvaeConfig(channels=8, residual_channels=4, code_channels=4, codebook_size=11)
    vqvae = Checkpoint(config, plain_weights(random_vqvae(config)))
    with pytest.raises(
        BundleError, match=r"bundle/manifest\.json\.image is \[32, 32, 3\], expected at most 100 values"
    ):
        write_bundle(tmp_path / "bundle", BundleSource(vqvae, image=(32, 32)))
    assert not list(tmp_path.iterdir())
