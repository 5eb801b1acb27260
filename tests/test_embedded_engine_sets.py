"""Sets of engines in C++: liblatentloop finds those that Python finds, or says with the same text why there is none."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from corrupted_bundles import edit_manifest, read_manifest, write_manifest
from embedded_bundles import BAD_BUNDLE, INVALID_ARGUMENT, Reader
from embedded_engines import Search, copy_with_engines, fields, searches
from every_bundle import NAMES, bundle_folder
from test_engines import SM90, FakeBuilder, build, folder

from latentloop import Bundle
from latentloop.engines.engine_set import PRECISIONS, EngineSet, graph_precision
from latentloop.engines.finding import find_engines
from latentloop.errors import short_repr
from latentloop.io.file_names import ENGINES, MANIFEST

FAST = ("default", "in place", "a top without a prior")  # bundles


@pytest.fixture
def find(reader: Reader) -> Search:
    return searches(reader)


@pytest.fixture
def bundle(small_bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of a bundle with a set of engines, for changes."""
    return copy_with_engines(small_bundle, tmp_path, tmp_path_factory)


# ---- Sets that are found.


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in FAST else pytest.mark.slow) for name in NAMES])
def test_the_same_sets_are_found(
    name: str, small_bundle: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, find: Search
) -> None:
    source = bundle_folder(name, small_bundle, tmp_path_factory)
    path = Path(shutil.copytree(source, tmp_path / "bundle"))
    available = Bundle.open(path).precisions
    precisions = [precision for precision in PRECISIONS if graph_precision(precision) in available]
    build(path, FakeBuilder("tensorrt_rtx", "1.7.1.116"), precisions=precisions, max_batch=7)
    for precision in precisions:
        found = find(path, flavour="tensorrt_rtx", library="1.7.1.116", architecture="sm120", precision=precision)
        assert isinstance(found, EngineSet)
        types = {buffer.dtype for level in found.levels if level.prior for buffer in level.prior.memories}
        assert (precision in types) == (precision != "int8")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_sets_of_the_simulated_tensorrt_are_found(small_engines: Path, precision: str, find: Search) -> None:
    found = find(small_engines, library="11.4.0.106", precision=precision)
    assert isinstance(found, EngineSet)


def test_a_set_without_priors(grey_bundle: Path, tmp_path: Path, find: Search) -> None:
    path = Path(shutil.copytree(grey_bundle, tmp_path / "grey"))
    build(path)
    assert isinstance(find(path), EngineSet)


def test_a_set_of_the_version_without_initial_values(bundle: Path, find: Search) -> None:
    manifest = read_manifest(folder(bundle))
    expected = find(bundle)
    manifest["version"] = 1
    for level in manifest["levels"]:
        for buffer in level["prior"]["memories"]:
            if buffer["name"] != "codes":
                buffer["fill"] = 0
    write_manifest(folder(bundle), manifest)
    assert find(bundle) == expected
    manifest["version"] = 2
    write_manifest(folder(bundle), manifest)
    assert re.search("memories: 'row' is .* filled with 0, expected .* filled with 'index'", str(find(bundle)))


def test_a_set_of_a_bundle_without_a_setting(bundle: Path, find: Search) -> None:
    """Earlier bundles lack the state buffer of min_p; a set must have it if its bundle does."""
    for path in (folder(bundle), bundle):
        manifest = read_manifest(path)
        manifest["version"] = {2: 2, 6: 3}[manifest["version"]]
        for level in manifest["levels"]:
            prior = level["prior"]
            prior["memories"] = [buffer for buffer in prior["memories"] if buffer["name"] != "min_p"]
            for graph in prior["graphs"].values():
                graph["inputs"] = [binding for binding in graph["inputs"] if binding["name"] != "min_p"]
        write_manifest(path, manifest)
        assert isinstance(find(bundle), str if path != bundle else EngineSet)


def test_fields_that_are_not_known_are_ignored(bundle: Path, find: Search) -> None:
    expected = find(bundle)
    prior = ("levels", 0, "prior")
    inside = (
        (),
        ("profiles", 0),
        ("encoder",),
        prior,
        (*prior, "memories", 0),
        (*prior, "graphs", "step", "inputs", 0),
    )
    for keys in inside:
        edit_manifest(folder(bundle), *keys, "remark", value={"a": [1]})
    assert find(bundle) == expected


@pytest.mark.parametrize("library", ["10.14.1.48", "10.14.1.48.post1"])
def test_the_version_of_the_python_module_may_say_more(
    small_bundle: Path, tmp_path: Path, library: str, reader: Reader
) -> None:
    path = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    for other in ("10.14.1.480", "10.14.1.4", library):
        build(path, FakeBuilder("tensorrt", other))
    build(path, FakeBuilder("tensorrt", "10.14.1.48.post1"), precisions=("int8",))
    reader.ask("keep", path)
    found = reader.json("engines", "tensorrt", "10.14.1.48", "sm90", "float16")
    assert found == fields(set_of(path, library=library))


def test_another_version_that_begins_alike_is_foreign(bundle: Path, find: Search) -> None:
    build(bundle, FakeBuilder("tensorrt", "10.14.1.480"))
    assert "is built by tensorrt 10.14.1.480, not by tensorrt 10.14.1.48: " in str(find(bundle, library="10.14.1.48"))


def test_the_same_version_is_preferred_to_one_that_says_more(
    small_bundle: Path, tmp_path: Path, reader: Reader
) -> None:
    path = Path(shutil.copytree(small_bundle, tmp_path / "bundle"))
    for library in ("11.0.post1", "11.0"):
        build(path, FakeBuilder("tensorrt", library))
    reader.ask("keep", path)
    assert reader.json("engines", "tensorrt", "11.0", "sm90", "float16")["library"] == "11.0"
    edit_manifest(folder(path), "version", value=3)  # even if it cannot be used
    error, _ = reader.ask("engines", "tensorrt", "11.0", "sm90", "float16", refusal=BAD_BUNDLE)
    assert error == f"{folder(path) / MANIFEST}.version is 3, this LatentLoop reads 1 to 2"


def set_of(bundle: Path, **key: str) -> EngineSet:
    found = find_engines(Bundle.open(bundle), **{**SM90, **key})
    assert isinstance(found, EngineSet)
    return found


# ---- Sets that are not there, or of other settings.


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ({"architecture": "sm89"}, "is for sm90, not for sm89: latentloop build-engines"),
        ({"library": "10.3"}, "is built by tensorrt 11.0, not by tensorrt 10.3: latentloop build-engines"),
        ({"flavour": "tensorrt_rtx"}, "is built by tensorrt 11.0, not by tensorrt_rtx 11.0"),
        ({"precision": "int8"}, "is of the precision float16, not int8"),
        ({"precision": "bfloat16", "architecture": "sm120", "library": "1"}, "for sm90, not for sm120, built by"),
    ],
)
def test_sets_of_other_settings(bundle: Path, key: dict[str, str], text: str, find: Search) -> None:
    assert text in str(find(bundle, **key))


def test_the_nearest_set_is_named(bundle: Path, find: Search) -> None:
    build(bundle, FakeBuilder("tensorrt_rtx", "1.7"), precisions=("float32",))
    names = ["sm90_tensorrt-11.0", "sm90_trt-1_float16", "_tensorrt-11.0_float16", "sm90_tensorrt-_int8"]
    names += ["SM90_tensorrt-1_a", "sm90_tensorrt-9-a b_x", "sm90_tensorrt-11.0_float16_2", "sm90_tensorrt_rtx-1_"]
    names += ["sm80_tensorrt-1.8_Float", "tensorrt-1_a", "é_tensorrt-1_a", "sm90_tensorrt-11.0_é"]
    for name in names:
        (bundle / ENGINES / name).mkdir(exist_ok=True)
    (bundle / ENGINES / "sm1_tensorrt-1_float16").write_text("no folder")
    requests = [("sm120", "1.7"), ("sm80", "1.8"), ("sm90", "9"), ("sm1", "1"), ("sm90", "11.1")]
    named = {str(find(bundle, architecture=a, library=b, precision=c)) for a, b in requests for c in PRECISIONS}
    assert len({line.split(" is ")[0] for line in named}) >= 3


def test_a_bundle_without_sets_or_graphs(small_bundle: Path, bundle: Path, find: Search) -> None:
    assert str(find(small_bundle)).startswith(f"{small_bundle} has no engines: latentloop build-engines")
    shutil.rmtree(bundle / ENGINES)
    (bundle / ENGINES).write_text("no folder")
    assert "has no engines" in str(find(bundle))


def test_a_precision_that_the_bundle_lacks(grey_bundle: Path, tmp_path: Path, find: Search, reader: Reader) -> None:
    path = Path(shutil.copytree(grey_bundle, tmp_path / "grey"))
    edit_manifest(path, "precisions", value=["float32"])
    assert "has no graphs of the precision int8: it has float32" in str(find(path, precision="int8"))
    for precision, shown in (("fp16", "'fp16'"), (" ", "' '"), ("x" * 100, short_repr("x" * 100))):
        error, _ = reader.ask("engines", "tensorrt", "11.0", "sm90", precision, refusal=INVALID_ARGUMENT)
        assert error == f"precision is {shown}, expected one of float32, float16, bfloat16, int8"
