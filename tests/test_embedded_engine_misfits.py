"""Sets of engines that cannot be used, in C++: liblatentloop refuses what Python refuses, with the same text."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from corrupted_bundles import edit_manifest, mutated_manifests, read_manifest, replace_file, value_at, write_manifest
from embedded_bundles import Reader
from embedded_engines import Search, compare, copy_with_engines, searches
from example_counts import FACTOR
from test_engines import INVALID, SM90, folder

from latentloop import Bundle
from latentloop.engines.engine_set import EngineSet
from latentloop.io.file_names import ENGINES, MANIFEST

PRIOR = ("levels", 0, "prior")


@pytest.fixture
def find(reader: Reader) -> Search:
    return searches(reader)


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a bundle with a set of engines, for changes."""
    return copy_with_engines(small_bundle, tmp_path, tmp_path_factory)


# ---- Sets that do not fit.


@pytest.mark.parametrize(("keys", "value", "text"), INVALID)
def test_an_invalid_set(bundle: Path, keys: Any, value: Any, text: str, find: Search) -> None:
    edit_manifest(folder(bundle), *keys, value=value)
    assert re.search(text, str(find(bundle)))


@pytest.mark.parametrize(
    ("keys", "value", "text"),
    [
        (("profiles", 0, "minimum"), 0, r"profiles\[0\].minimum is 0, expected an integer from 1 to"),
        (("profiles", 1, "minimum"), 5, r"profiles\[1\].optimum is 4, expected an integer from 5 to"),
        (("levels", 0, "name"), "upper", r"levels\[0\] is \('upper', "),
        (("levels", 0, "width"), 12, r"levels\[0\] is \('top', 4, 12, .*expected \('top', 4, 6, "),
        (("levels", 0, "codebook_size"), 12, r"levels\[0\] is .* 12, \(None, .*expected .* 11, \(None, "),
        (("levels", 0, "prior"), None, r"levels\[0\] is \('top', 4, 6, 11, None\), expected"),
        ((*PRIOR, "classes"), False, r"\(None, False, 2\)\), expected .*\(None, True, 2\)"),
        ((*PRIOR, "columns_per_step"), 1, r"\(None, True, 1\)\), expected .*\(None, True, 2\)"),
        (("sources", "x"), "y", "is stale: built from another bundle"),
        (("sources", "x"), 1, "sources.x is 1, expected a string"),
        (("encoder", "inputs", 0, "dtype"), "float16", "dtype is 'float16', expected one of float32, int64, uint8"),
        (("encoder", "inputs", 0, "shape"), ["N", 32, 48, 3], "encoder: inputs and outputs are not the bundle's"),
        ((*PRIOR, "memories", 0, "shape"), ["N", 4], "expected at most 8 sizes, of which at most one is 'batch'"),
        ((*PRIOR, "graphs", "row", "inputs", 0, "shape"), ["N", 1], r"inputs: .*shape=\('N', 1\).*, expected Binding"),
        ((*PRIOR, "graphs", "row", "inputs", 0, "dtype"), None, r"inputs: .*dtype=None.*, expected Binding"),
    ],
)
def test_other_invalid_values(bundle: Path, keys: Any, value: Any, text: str, find: Search) -> None:
    edit_manifest(folder(bundle), *keys, value=value)
    assert re.search(text, str(find(bundle)))


def test_engines_have_fixed_views(bundle: Path, find: Search) -> None:
    manifest = read_manifest(folder(bundle))
    inputs = value_at(manifest, (*PRIOR, "graphs", "step", "inputs"))
    keys = next(binding for binding in inputs if binding["name"] == "keys.0")
    keys["view"] = "entries"
    write_manifest(folder(bundle), manifest)
    assert "view='entries', back=0, first=0, count=0" in str(find(bundle))


def changed_priors(manifest: Any, name: str) -> Iterator[Any]:
    """Yields the manifest without a state buffer, without its bindings, with it twice, and with another type."""
    for change in ("unbind", "remove", "repeat", "narrow"):
        copy = json.loads(json.dumps(manifest))
        prior = value_at(copy, PRIOR)
        sides = [graph[side] for graph in prior["graphs"].values() for side in ("inputs", "outputs")]
        buffer = next(buffer for buffer in prior["memories"] if buffer["name"] == name)
        if change == "repeat":
            prior["memories"].append(buffer)
        elif change == "narrow":
            for each in (buffer, *(binding for side in sides for binding in side)):
                if each["name"] == name:
                    each["dtype"] = "float16"
        else:
            for side in sides:
                side[:] = [binding for binding in side if binding["memory"] != name]
            if change == "remove":
                prior["memories"].remove(buffer)
        yield copy


def test_what_may_be_left_out_or_narrow(bundle: Path, reader: Reader) -> None:
    opened = Bundle.open(bundle)
    reader.ask("keep", bundle)
    manifest = read_manifest(folder(bundle))
    names = [buffer["name"] for buffer in value_at(manifest, PRIOR)["memories"]]
    outcomes = {}
    for name in names:
        for index, changed in enumerate(changed_priors(manifest, name)):
            write_manifest(folder(bundle), changed)
            outcomes[name, index] = compare(opened, reader)
    assert "'uniform' is missing, which the loop writes or reads" in str(outcomes["uniform", 0])
    assert "memories: 'logits' is missing" in str(outcomes["logits", 1])
    assert "the name 'residual' occurs twice" in str(outcomes["residual", 2])
    assert "memories: 'temperature' is float16" in str(outcomes["temperature", 3])
    assert isinstance(outcomes["residual", 0], EngineSet)
    assert isinstance(outcomes["residual", 1], EngineSet)
    assert isinstance(outcomes["residual", 3], EngineSet)


def test_graphs_that_are_missing_or_unknown(bundle: Path, find: Search) -> None:
    manifest = read_manifest(folder(bundle))
    graphs = value_at(manifest, (*PRIOR, "graphs"))
    graphs["step_int8"] = graphs["step"]
    write_manifest(folder(bundle), manifest)
    assert "prior.graphs has ['condition', 'row', 'step', 'step_filtered', 'step_int8'], expected" in str(find(bundle))
    del graphs["step_int8"], graphs["row"]
    write_manifest(folder(bundle), manifest)
    assert "prior.graphs has ['condition', 'step', 'step_filtered'], expected" in str(find(bundle))


def test_texts_that_are_no_manifest(bundle: Path, find: Search) -> None:
    path = folder(bundle) / MANIFEST
    for content in ("{", "[]", "null", '"x"', "{}", '{"format": "latentloop-engines"}', '{"a": 1, "a": 2}', "\xff"):
        path.write_text(content, encoding="latin-1")
        assert isinstance(find(bundle), str)
    path.unlink()
    assert str(find(bundle)).endswith("manifest.json is missing")
    path.mkdir()
    assert str(find(bundle)).endswith("manifest.json: not a file")


@pytest.mark.parametrize("most", [100, pytest.param(1500, marks=pytest.mark.slow)])
def test_mutated_manifests_are_refused_with_the_same_text(bundle: Path, most: int, reader: Reader) -> None:
    original = (folder(bundle) / MANIFEST).read_text(encoding="utf-8")
    opened = Bundle.open(bundle)
    reader.ask("keep", bundle)
    accepted, texts = 0, set[str]()
    for seed, _, text in mutated_manifests(original, most * FACTOR):
        (folder(bundle) / MANIFEST).write_text(text, encoding="utf-8")
        try:
            found = compare(opened, reader)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error
        if isinstance(found, str):
            texts.add(re.sub(r"\d+", "", found))
        else:
            accepted += 1
    assert accepted > most / 20
    assert len(texts) > most / 4


# ---- Files.


def test_a_set_of_another_bundle_is_stale(bundle: Path, find: Search) -> None:
    content = (bundle / "bottom.row.onnx").read_bytes() + b"\x32\x00"  # an empty doc string
    replace_file(bundle, "bottom.row.onnx", content)
    assert find(bundle) == f"{folder(bundle)} is stale: built from another bundle"


def test_graphs_of_other_precisions_do_not_make_it_stale(bundle: Path, find: Search) -> None:
    content = (bundle / "bottom.row_int8.onnx").read_bytes() + b"\x32\x00"
    replace_file(bundle, "bottom.row_int8.onnx", content)
    assert isinstance(find(bundle), EngineSet)


def test_copied_folders_are_foreign(bundle: Path, find: Search) -> None:
    for key, text in (
        ({"architecture": "sm89"}, "is for sm90, not for sm89"),
        ({"library": "10.3"}, "is built by tensorrt 11.0, not by tensorrt 10.3"),
        ({"precision": "bfloat16"}, "is of the precision float16, not bfloat16"),
    ):
        parts = {**SM90, **key}
        name = f"{parts['architecture']}_tensorrt-{parts['library']}_{parts['precision']}"
        shutil.copytree(folder(bundle), bundle / ENGINES / name)
        assert find(bundle, **key) == f"{bundle / ENGINES / name} {text}"


def test_plans_are_verified(bundle: Path, find: Search) -> None:
    plan = folder(bundle) / "bottom.step.plan"
    content = plan.read_bytes()
    plan.write_bytes(content[:-1] + b"?")
    assert "has SHA-256" in str(find(bundle))
    plan.write_bytes(content + b"?")
    assert f"has {len(content) + 1} bytes" in str(find(bundle))
    plan.unlink()
    assert str(find(bundle)).startswith(f"{plan} is missing")
    plan.mkdir()
    assert str(find(bundle)).startswith(f"{plan} is not a file")


@pytest.mark.parametrize(
    "part",
    [
        "",
        "sm90_tensorrt-11.0_float16",
        f"sm90_tensorrt-11.0_float16/{MANIFEST}",
        "sm90_tensorrt-11.0_float16/top.row.plan",
    ],
)
def test_links_are_followed(bundle: Path, tmp_path: Path, part: str, find: Search) -> None:
    path, target = bundle / ENGINES / part, tmp_path / "target"
    path.rename(target)
    path.symlink_to(target)
    assert isinstance(find(bundle), EngineSet)
    target.rename(tmp_path / "other")
    assert str(find(bundle)).startswith(f"{path} is a link to {target}, which does not exist: copy bundles with")
    path.unlink()
    path.symlink_to(path.name)
    assert " is a link to " in str(find(bundle))


# ---- Reading plans.


def test_plans_are_read_as_they_were_verified(bundle: Path, find: Search, reader: Reader) -> None:
    found = find(bundle)
    assert isinstance(found, EngineSet)
    for name in found.plans():
        assert reader.ask("plan", name) == (None, (found.folder / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("change", ["byte", "longer", "shorter", "empty"])
def test_a_plan_that_has_changed_is_not_read(bundle: Path, change: str, find: Search, reader: Reader) -> None:
    assert isinstance(find(bundle), EngineSet)
    plan = folder(bundle) / "top.row.plan"
    content = plan.read_bytes()
    changed = {"byte": b"?" + content[1:], "longer": content + b"?", "shorter": content[:-1], "empty": b""}[change]
    plan.write_bytes(changed)
    error, _ = reader.ask("plan", plan.name)
    assert error == f"{plan} has changed since the bundle was opened: open the bundle again"


@pytest.mark.parametrize("change", ["replaced", "removed", "folder", "pipe"])
def test_a_plan_that_is_replaced_is_read_as_it_was(bundle: Path, change: str, find: Search, reader: Reader) -> None:
    assert isinstance(find(bundle), EngineSet)
    plan = folder(bundle) / "top.row.plan"
    content = plan.read_text(encoding="utf-8")
    plan.unlink()
    if change == "folder":
        plan.mkdir()
    elif change == "pipe":
        os.mkfifo(plan)
    elif change == "replaced":
        plan.write_text("another plan", encoding="utf-8")
    assert reader.ask("plan", plan.name) == (None, content)


def test_a_plan_that_was_only_touched_is_read(bundle: Path, find: Search, reader: Reader) -> None:
    assert isinstance(find(bundle), EngineSet)
    plan = folder(bundle) / "top.row.plan"
    os.utime(plan, (0, 0))
    assert reader.ask("plan", plan.name) == (None, plan.read_text(encoding="utf-8"))
