"""The C++ reader of bundles accepts what Python's reader accepts, reads the same, and refuses the rest with the same
text. Tests of bundles that are refused in other files compare the two readers, too (the fixture ``refused``).
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from corrupted_bundles import edit_manifest, read_manifest
from embedded_bundles import Reader, Refused, comparable
from example_counts import FACTOR
from linked_bundles import LAYOUTS, Layout, mounted
from test_changed_bundles import CHANGED, CHANGES, change_byte, deploy, touch
from test_manifest import mutate

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.views import buffer_shape, offset_and_shape, view_index
from latentloop.errors import BundleError, short_repr

BUFFERS = ("levels", 0, "prior", "memories")


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may corrupt."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


def python_error(bundle: Path) -> str | None:
    try:
        Bundle.open(bundle)
    except BundleError as error:
        return str(error)
    return None


def manifest_of(bundle: Bundle) -> Any:
    """Returns the contents of a manifest that the C++ reader keeps."""
    manifest = json.loads(json.dumps(asdict(bundle.manifest)))
    for name in ("exporter", "opset", "licence", "provenance", "codes_sha256"):
        del manifest[name]
    for level in manifest["levels"]:
        prior = level["prior"]
        if prior is None:
            continue
        names = [buffer["name"] for buffer in prior["memories"]]
        for graph in prior["graphs"].values():
            for binding in (*graph["inputs"], *graph["outputs"]):
                binding["buffer"] = names.index(binding["memory"])
                del binding["dtype"], binding["shape"]
    return {**manifest, "version": read_manifest(bundle.path)["version"]}


@pytest.mark.parametrize("name", ["small_bundle", "grey_bundle", "default"])
def test_reads_the_same_manifest(name: str, request: pytest.FixtureRequest, reader: Reader) -> None:
    opened = Bundle.default() if name == "default" else Bundle.open(request.getfixturevalue(name))
    assert reader.json("manifest", opened.path) == manifest_of(opened)


@pytest.mark.parametrize("version", [3, 4])
def test_reads_earlier_versions_with_the_initial_values_of_today(bundle: Path, version: int, reader: Reader) -> None:
    manifest = read_manifest(bundle)
    manifest["version"] = version
    for level in manifest["levels"]:
        prior = level["prior"]
        for buffer in prior["memories"]:
            buffer["fill"] = buffer["fill"] if buffer["name"] == "codes" else 0
        if version == 3:
            prior["memories"] = [buffer for buffer in prior["memories"] if buffer["name"] != "min_p"]
            for graph in prior["graphs"].values():
                graph["inputs"] = [binding for binding in graph["inputs"] if binding["memory"] != "min_p"]
    del manifest["codes_sha256"], manifest["licence"]
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    found = reader.json("manifest", bundle)
    assert found == manifest_of(Bundle.open(bundle))
    fills = {buffer["name"]: buffer["fill"] for buffer in found["levels"][1]["prior"]["memories"]}
    assert [fills[name] for name in ("row", "forced", "temperature", "top_k")] == ["index", -1, 1, 11]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", ["small_bundle", "default"])
def test_views_are_the_same(name: str, batch: int, request: pytest.FixtureRequest, reader: Reader) -> None:
    opened = Bundle.default() if name == "default" else Bundle.open(request.getfixturevalue(name))
    expected = []
    for level in opened.manifest.levels:
        assert level.prior is not None
        buffers = {buffer.name: buffer for buffer in level.prior.memories}
        for _, graph in sorted(level.prior.graphs.items()):
            bindings = [(binding, buffers[binding.memory]) for binding in (*graph.inputs, *graph.outputs)]
            for i in range(level.height):
                for j in range(0, level.width, level.prior.columns_per_step):
                    for binding, buffer in bindings:
                        index = view_index(binding, buffer, i, j)
                        offset, shape = offset_and_shape(index, buffer_shape(buffer, batch))
                        expected.append([offset, {"float32": 4, "int64": 8, "uint8": 1}[buffer.dtype], list(shape)])
    assert reader.json("extents", opened.path, batch) == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bundles_of_links_are_opened(layout: Layout, small_bundle: Path, tmp_path: Path, reader: Reader) -> None:
    assert reader.open(layout(small_bundle, tmp_path)) is None


@pytest.mark.parametrize("name", [b"with space", "ünïcode".encode(), b"\xff\xfe", b"a'b"])
def test_names_of_folders_are_bytes(name: bytes, bundle: Path, reader: Reader, refused: Refused) -> None:
    path = Path(os.fsdecode(os.fsencode(bundle.parent) + b"/" + name))
    bundle.rename(path)
    assert reader.open(path) is None
    (path / "decoder.onnx").unlink()
    assert refused(path).startswith(f"{path}/decoder.onnx is missing")


def test_paths_are_written_as_by_python(bundle: Path, reader: Reader) -> None:
    text = json.dumps({"format": "other"})
    (bundle / "manifest.json").write_text(text)
    relative = os.path.relpath(bundle)
    for path in (f"{bundle}/", f"{bundle}//.", f"{bundle.parent}/./{bundle.name}", f"/{bundle}", relative, "", "."):
        found = reader.open(path)
        if path.startswith("//"):  # Python keeps two slashes, which some systems treat as a network's name
            path = path[1:]
        assert found == python_error(Path(path))


# ---- Files that change after the bundle was opened.


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["decoder.onnx", "weights.safetensors", "golden.npz"])
def test_a_changed_file_is_detected(bundle: Path, name: str, change: Callable[[Path], object], reader: Reader) -> None:
    assert reader.ask("keep", bundle)[0] is None
    change(bundle / name)
    for _ in range(2):
        assert reader.ask("check", name)[0] == f"{bundle / name} {CHANGED}"
    assert reader.ask("check", "encoder.onnx")[0] is None


def test_the_same_version_deployed_again_is_used(small_bundle: Path, tmp_path: Path, reader: Reader) -> None:
    path = mounted(small_bundle, tmp_path)
    assert reader.ask("keep", path)[0] is None
    deploy(path, touch)
    for _ in range(2):
        assert reader.ask("check", "top.row.onnx")[0] is None
    shutil.rmtree(path / "..2024_01_01")
    (path / "..new").symlink_to("..2024_01_03")
    shutil.copytree(path / "..2024_01_02", path / "..2024_01_03")
    change_byte(path / "..2024_01_03" / "top.row.onnx")
    (path / "..new").rename(path / "..data")
    assert reader.ask("check", "top.row.onnx")[0] == f"{path / 'top.row.onnx'} {CHANGED}"


def test_a_bundle_opened_by_a_relative_path_is_found_from_another_folder(bundle: Path, reader: Reader) -> None:
    assert reader.ask("keep", os.path.relpath(bundle))[0] is None
    (bundle / "decoder.onnx").unlink()
    assert reader.ask("check", "decoder.onnx")[0] == f"{Path.cwd() / os.path.relpath(bundle)}/decoder.onnx {CHANGED}"


# ---- Random manifests.


def test_mutated_manifests_are_refused_with_the_same_text(bundle: Path, reader: Reader) -> None:
    original = (bundle / "manifest.json").read_text(encoding="utf-8")
    accepted, texts, differences = 0, set(), []
    for seed in range(500 * FACTOR):
        rng, manifest = random.Random(seed), json.loads(original)
        mutate(manifest, rng)
        try:
            text = json.dumps(manifest)
        except ValueError:  # a list or object now contains itself
            continue
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
    return json.dumps({"format": "latentloop-bundle", "version": 5, "image": [1, 1, 1], "levels": [level]})


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


def test_no_other_file_uses_the_parser_of_json() -> None:
    folder = Path(__file__).parents[1] / "runtime" / "cpp"
    assert [path.name for path in folder.rglob("*.*") if "nlohmann" in path.read_text()] == ["json_reading.cpp"]
