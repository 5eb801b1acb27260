"""The C++ reader of bundles, with random and hostile manifests: it accepts what Python's reader accepts, and refuses
the rest with the same text.
"""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corrupted_bundles import edit_manifest, mutated_manifests, read_manifest
from embedded_bundles import Reader, Refused, comparable, python_error
from example_counts import FACTOR

from latentloop.errors import short_repr

BUFFERS = ("levels", 0, "prior", "memories")


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may corrupt."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


# ---- Random manifests.


def test_mutated_manifests_are_refused_with_the_same_text(bundle: Path, reader: Reader) -> None:
    original = (bundle / "manifest.json").read_text(encoding="utf-8")
    accepted, texts, differences = 0, set(), []
    for seed, _, text in mutated_manifests(original, 500 * FACTOR):
        (bundle / "manifest.json").write_text(text, encoding="utf-8")
        expected, found = python_error(bundle), reader.open(bundle)
        assert (found is None) == (expected is None), f"seed {seed}: Python: {expected}; C++: {found}"
        if expected is None or found is None:
            accepted += 1
            continue
        texts.add(re.sub(r"\d+", "", expected))
        if comparable(found) != comparable(expected):
            differences.append((seed, expected, found))
    assert not differences
    assert accepted > 50 * FACTOR
    assert len(texts) > 60


def test_damaged_texts_are_refused_by_both_or_accepted_by_both(bundle: Path, reader: Reader) -> None:
    manifest = read_manifest(bundle)
    manifest["levels"] = manifest["levels"][:1]
    manifest["provenance"] = {"é": [0.5, -1e-7, 12345678901234567890, "\u20ac\n", True, None, {}], "x\ty": "a/b\\c"}
    content = json.dumps(manifest, ensure_ascii=False).encode()
    tokens = [b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"\xff", b"\xc3", b"\0", b"\xed\xa0\x80", b"1", b"-"]
    tokens += [b"NaN", b"-Infinity", b"1e999", b" ", b"\n", b"e", b".", b"0", b"\\u00e9", b"9" * 300, b"/", b"'"]
    outcomes = {True: 0, False: 0}
    for seed in range(300 * FACTOR):
        rng = random.Random(seed)
        begin = rng.randrange(len(content))
        end = begin + rng.choice([0, 0, 1, 1, 2, 50])
        (bundle / "manifest.json").write_bytes(content[:begin] + rng.choice([*tokens, b""]) + content[end:])
        expected, found = python_error(bundle), reader.open(bundle)
        assert (found is None) == (expected is None), f"seed {seed}: Python: {expected}; C++: {found}"
        if expected is not None and found is not None:
            # Of several faults Python names those of the syntax first, C++ the first one.
            if "not readable as JSON" in expected:
                assert found.startswith(str(bundle / "manifest.json"))
            else:
                assert comparable(found) == comparable(expected), seed
        outcomes[expected is not None] += 1
    assert outcomes[True] > 100 * FACTOR


NUMBERS = [0, -1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**39, 10**40, 10**307, 0.5, -0.0, 1e16, 1e15, 1 / 3]
NUMBERS += [123456789.125, 1e-4, 1e-5, 1e22, 1.7976931348623157e308, 5e-324, 100.0, -2.5e-7]
TEXTS = ["", "'", '"', "'\"", "\\", "\n\r\t", "\x00\x1f\x7f\x85\xa0\xad", "é€😀", "\u200b\u202e\ufeff", "\ue000\uffff"]
TEXTS += ["x" * length for length in (57, 58, 59, 60, 61, 1000)]
TEXTS += ["é" * 61, "😀" * 200, "\n" * 40, "'" * 70, "\x7f" * 20]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, [], {}, list(range(10)), list(range(11)), {"b": 1, "a": 2}, dict.fromkeys("edcba", 1)),
        *([[[[[[[[1]]]]]]]], {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}, [[[[[[[]]]]]]], NUMBERS, TEXTS),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_values_are_shown_as_by_python(value: Any, tmp_path: Path, reader: Reader) -> None:
    items = value if value in (NUMBERS, TEXTS) else [value]
    for item in items:
        (tmp_path / "value.json").write_text(json.dumps(item, ensure_ascii=False), encoding="utf-8")
        assert reader.ask("show", tmp_path / "value.json") == (None, short_repr(item))


# ---- Hostile manifests.


@pytest.mark.parametrize("depth", [900, 1001, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "1", "}")], ids=["lists", "objects"])
def test_deep_values(bundle: Path, depth: int, brackets: tuple[str, ...], reader: Reader) -> None:
    manifest = json.dumps({**read_manifest(bundle), "provenance": {"deep": 0.125}})
    deep = brackets[0] * depth + "".join(brackets[1:-1]) + brackets[-1] * depth
    (bundle / "manifest.json").write_text(manifest.replace("0.125", deep))
    found = reader.open(bundle)
    if depth == 900:
        assert found is None
    else:
        assert found is not None
        assert found.endswith("manifest.json: not readable as JSON: values are nested more than 1000 deep")
        assert python_error(bundle) is not None


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("image",), [2**53, 2**53, 3]),
        (("image",), [2**53, 2**53, 2**53]),
        (("levels", 0, "height"), 2**53),
        (("levels", 1, "width"), 2**53),
        (("levels", 0, "codebook_size"), 2**53),
        ((*BUFFERS, 0, "padding"), 2**53),
        ((*BUFFERS, 1, "padding"), 2**53),
        ((*BUFFERS, 1, "shape"), [2**53] * 7 + ["batch"]),
        ((*BUFFERS, 1, "shape"), [2**53] * 2),
        ((*BUFFERS, 1, "shape"), [2**53] * 9),
        ((*BUFFERS, 1, "shape"), []),
        ((*BUFFERS, 0, "shape"), []),
        ((*BUFFERS, 1, "name"), "x" * 100),
        (("levels", 0, "prior", "graphs", "row", "inputs", 0, "back"), 2**53),
        (("levels", 0, "name"), "\u202e" * 70),
        (("classes",), ["a"] * 100_000),
        (("files", "a", "size"), 2**53 + 1),
        (("version",), 2**64),
        (("opset",), 10**400),
    ],
    ids=lambda value: None if isinstance(value, tuple) else short_repr(value)[:30],
)
def test_extreme_values(bundle: Path, keys: tuple[str | int, ...], value: Any, refused: Refused) -> None:
    if "files" in keys:
        edit_manifest(bundle, "files", "a", value={"size": 0, "sha256": ""})
    edit_manifest(bundle, *keys, value=value)
    refused(bundle)


def _rows_that_are_no_power_of_two(manifest: Any) -> None:
    manifest["image"] = [24, 36, 3]


def _rows_of_the_image_itself(manifest: Any) -> None:
    manifest["image"] = [8, 12, 3]


def _labels_without_classes(manifest: Any) -> None:
    manifest["classes"] = []
    del manifest["classifier"]


def _steps_that_do_not_fit(manifest: Any) -> None:
    manifest["image"] = [32, 36, 3]
    manifest["levels"] = manifest["levels"][1:]
    manifest["levels"][0]["width"] = 9
    manifest["levels"][0]["prior"]["condition_level"] = None


def _exchanged_inputs(manifest: Any) -> None:
    for binding in manifest["levels"][1]["prior"]["graphs"]["step_filtered"]["inputs"]:
        if binding["name"] in ("top_p", "min_p"):
            binding["memory"] = {"top_p": "min_p", "min_p": "top_p"}[binding["memory"]]


def _view_of_another_size(manifest: Any) -> None:
    manifest["levels"][1]["prior"]["graphs"]["row"]["inputs"][0].update(memory="uniform", view="row", name="x")


def _no_min_p(manifest: Any) -> None:
    manifest["version"] = 4
    for buffer in manifest["levels"][0]["prior"]["memories"]:
        buffer["name"] = "other" if buffer["name"] == "min_p" else buffer["name"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_rows_that_are_no_power_of_two, "bottom has 8 rows for images of 24 x 36, expected the height divided by a"),
        (_rows_of_the_image_itself, "bottom has 8 rows for images of 8 x 12, expected the height divided by a"),
        (_labels_without_classes, "classes is empty, but the prior of top is conditioned on classes"),
        (_steps_that_do_not_fit, "levels[0].prior.columns_per_step is 2, which does not divide 9 columns"),
        (_exchanged_inputs, "graphs.step_filtered: binding 'top_p' names the memory 'min_p', expected 'top_p'"),
        (_view_of_another_size, "'x' has the view row, but 'uniform' is [12, 'batch'], expected [8, ...]"),
        (_no_min_p, "levels[0].prior.memories: 'min_p' is missing"),
    ],
)
def test_contradictions_of_several_fields(
    bundle: Path, change: Callable[[Any], None], expected: str, refused: Refused
) -> None:
    manifest = read_manifest(bundle)
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert expected in refused(bundle)


@pytest.mark.parametrize("text", ['"\\ud800"', '"\\udc00\\ud800"'])
def test_texts_that_utf8_does_not_have_are_refused(bundle: Path, text: str, reader: Reader) -> None:
    manifest = json.dumps({**read_manifest(bundle), "classes": [0.125, "b", "c"]})
    (bundle / "manifest.json").write_text(manifest.replace("0.125", text))
    found = reader.open(bundle)  # Python's texts can contain them, the C interface's cannot
    assert found is not None
    assert "manifest.json: not readable as JSON: not UTF-8 at line 1, byte " in found


def _with_a_long_location() -> str:
    binding = {"name": "", "memory": "", "view": "all", "back": 0, "first": 0, "count": 0}
    graph = {"file": "", "inputs": [binding] * 20_000, "outputs": []}
    prior = {"classes": False, "columns_per_step": 1, "memories": [], "graphs": {"y" * 10**7: graph}}
    level = {"name": "", "height": 1, "width": 1, "codebook_size": 1, "prior": prior}
    return json.dumps({"format": "latentloop-bundle", "version": 6, "image": [1, 1, 1], "levels": [level]})


HOSTILE = {
    "keys": lambda: json.dumps({"files": dict.fromkeys(map(str, range(10**6)))}),
    "equal-keys": lambda: "{" + ",".join(['"a":1'] * 10**6) + "}",
    "empty-lists": lambda: "[" + "[],[[]]," * 10**6 + "1]",
    "long-location": _with_a_long_location,
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_large_manifests_are_refused_quickly(bundle: Path, make: Callable[[], str], reader: Reader) -> None:
    (bundle / "manifest.json").write_text(make())
    begin = time.monotonic()
    text = reader.open(bundle)
    assert text is not None
    assert text.startswith(str(bundle / "manifest.json"))
    assert time.monotonic() - begin < 60  # under the sanitizers, seconds; quadratic work would take hours
