"""The C++ reader of bundles accepts what Python's reader accepts, reads the same, and refuses the rest with the same
text. Tests of bundles that are refused in other files compare the two readers, too (the fixture ``refused``).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from changed_bundles import CHANGED, CHANGES, change_byte, deploy, touch
from corrupted_bundles import read_manifest
from embedded_bundles import Reader, Refused, python_error
from linked_bundles import LAYOUTS, Layout, mounted

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.views import buffer_shape, offset_and_shape, view_index


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path) -> Path:
    """A copy that a test may corrupt."""
    return shutil.copytree(small_bundle, tmp_path / "copy")


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


def test_no_other_file_uses_the_parser_of_json() -> None:
    folder = Path(__file__).parents[1] / "runtime" / "cpp"
    sources = [path for path in folder.rglob("*") if path.suffix in (".h", ".cpp")]
    assert [path.name for path in sources if "nlohmann" in path.read_text()] == ["json_reading.cpp"]
