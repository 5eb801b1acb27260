"""Engine sets: building, finding, stale and foreign sets, and the command's output."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from command_line import run
from corrupted_bundles import edit_manifest, read_manifest, replace_file, value_at

from latentloop import Bundle, BundleError
from latentloop.engines import engine_set_checks
from latentloop.engines.engine_set import EngineSet, Profile, source_digests, to_json
from latentloop.engines.engine_set_reading import read_engines
from latentloop.engines.finding import find_engines
from latentloop.export.tensorrt import builder as flavours
from latentloop.export.tensorrt.builder import Plan, TensorRtBuilder
from latentloop.export.tensorrt.engine_sets import Outcome, build_sets
from latentloop.io.file_names import MANIFEST

SM90 = {"flavour": "tensorrt", "library": "11.0", "architecture": "sm90", "precision": "float16"}


class FakeBuilder(TensorRtBuilder):
    """A builder whose plans are descriptions of their inputs."""

    def __init__(self, name: str = "tensorrt", version: str = "11.0") -> None:
        self.name, self.version, self.times_kernels = name, version, name == "tensorrt"
        self.timing_caches: list[bytes | None] = []

    def architectures(self) -> tuple[str, ...]:
        return ("sm90",) if self.times_kernels else ("sm80", "sm120")

    def build(
        self,
        graph: Path,
        inputs: Any,
        outputs: Any,
        profiles: Sequence[Profile],
        architecture: str,
        timings: bytes | None = None,
    ) -> Plan:
        self.timing_caches.append(timings)
        text = f"{graph.name} for {architecture} by {self.version}: {len(inputs)} inputs, {profiles}"
        return Plan(text.encode(), (timings or b"") + b"." if self.times_kernels else None)


def build(bundle: Path, flavour: TensorRtBuilder | None = None, **options: Any) -> list[Outcome]:
    settings: dict[str, Any] = {"max_batch": 4, **options}
    precisions = settings.pop("precisions", ("float16",))
    builder = flavour or FakeBuilder()
    return list(build_sets(Bundle.open(bundle), builder, builder.architectures(), precisions, **settings))


def find(bundle: Path, **key: str) -> EngineSet | str:
    return find_engines(Bundle.open(bundle), **{**SM90, **key})


def reason(bundle: Path, **key: str) -> str:
    """Returns the message for a set that cannot be used, which must be one line."""
    message = find(bundle, **key)
    assert isinstance(message, str)
    assert "\n" not in message
    return message


@pytest.fixture(scope="module")
def built(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("engines") / "bundle"
    shutil.copytree(small_bundle, path)
    assert [outcome.state for outcome in build(path)] == ["built"]
    return path


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """A copy, for changes."""
    return Path(shutil.copytree(built, tmp_path / "bundle"))


def folder(bundle: Path) -> Path:
    return bundle / "engines" / "sm90_tensorrt-11.0_float16"


def test_a_matching_set_is_found(built: Path) -> None:
    found = find(built)
    assert isinstance(found, EngineSet)
    assert found.folder == folder(built)
    assert found.profiles == (Profile(1, 1, 1), Profile(1, 4, 4))
    assert found.sources == source_digests(Bundle.open(built).manifest, "float16")
    assert {file.name for file in folder(built).iterdir()} == {MANIFEST, *found.plans()}
    assert set(found.plans()) == set(found.files)
    assert len(found.files) == 10
    manifest = json.loads((folder(built) / MANIFEST).read_text(encoding="utf-8"))
    assert manifest == json.loads(json.dumps(to_json(found)))


def test_the_manifest_describes_tensors_and_state_buffers(built: Path) -> None:
    manifest = read_manifest(folder(built))
    assert [tensor["name"] for tensor in manifest["encoder"]["outputs"]] == ["top", "bottom"]
    assert manifest["decoder"]["outputs"][0] == {"name": "images", "dtype": "uint8", "shape": ["batch", 32, 48, 3]}
    top = manifest["levels"][0]
    assert (top["name"], top["height"], top["width"], top["codebook_size"]) == ("top", 4, 6, 11)
    prior = top["prior"]
    assert (prior["condition_level"], prior["classes"], prior["columns_per_step"]) == (None, True, 2)
    memories = {memory["name"]: memory for memory in prior["memories"]}
    assert memories["keys.0"]["dtype"] == "float16"
    assert memories["logits"]["dtype"] == "float32"
    step = prior["graphs"]["step"]
    assert step["file"] == "top.step.plan"
    residual = next(binding for binding in step["inputs"] if binding["name"] == "residual")
    assert residual == {
        "name": "residual",
        "memory": "residual",
        "view": "columns",
        "back": 0,
        "first": -3,
        "count": 3,
        "dtype": "float16",
        "shape": [3, 4, "batch", 16],
    }
    keys = next(binding for binding in step["inputs"] if binding["name"] == "keys.0")
    assert (keys["view"], keys["shape"]) == ("all", memories["keys.0"]["shape"])


def test_a_second_call_builds_nothing(bundle: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in folder(bundle).iterdir()}
    flavour = FakeBuilder()
    (outcome,) = build(bundle, flavour)
    assert (outcome.state, outcome.why) == ("up to date", "")
    assert flavour.timing_caches == []
    assert {file: file.stat().st_mtime_ns for file in folder(bundle).iterdir()} == before
    assert [outcome.state for outcome in build(bundle, max_batch=2)] == ["up to date"]


def test_the_timing_cache_is_reused_by_later_engines_and_runs(bundle: Path) -> None:
    flavour = FakeBuilder()
    build(bundle, flavour, force=True)
    assert flavour.timing_caches[:2] == [b"." * 10, b"." * 11]
    assert (bundle / "engines" / "sm90_tensorrt-11.0.timings").read_bytes() == b"." * 20


def test_each_architecture_and_precision_has_a_set_of_its_own(bundle: Path) -> None:
    outcomes = build(bundle, FakeBuilder("tensorrt_rtx", "1.7"), precisions=("float32", "int8"))
    assert [(outcome.architecture, outcome.precision, outcome.state) for outcome in outcomes] == [
        ("sm80", "float32", "built"),
        ("sm120", "float32", "built"),
        ("sm80", "int8", "built"),
        ("sm120", "int8", "built"),
    ]
    for outcome in outcomes:
        key = {"architecture": outcome.architecture, "precision": outcome.precision}
        found = find(bundle, flavour="tensorrt_rtx", library="1.7", **key)
        assert isinstance(found, EngineSet)
        assert found.folder == outcome.folder
        assert not list((bundle / "engines").glob("*rtx*.timings"))
        text = (outcome.folder / "top.row.plan").read_text(encoding="utf-8")
        assert text.startswith(f"top.row{'_int8' * (outcome.precision == 'int8')}.onnx for {outcome.architecture}")


def test_messages_for_sets_that_do_not_match(built: Path, small_bundle: Path) -> None:
    command = f"latentloop build-engines {built} --precision"
    assert reason(built, architecture="sm89").endswith(f"is for sm90, not for sm89: {command} float16")
    assert "is built by tensorrt 11.0, not by tensorrt 10.3: latentloop" in reason(built, library="10.3")
    assert "is built by tensorrt 11.0, not by tensorrt_rtx 11.0" in reason(built, flavour="tensorrt_rtx")
    assert f"is of the precision float16, not int8: {command} int8" in reason(built, precision="int8")
    assert reason(small_bundle).startswith(f"{small_bundle} has no engines: latentloop build-engines")


def test_engines_of_another_bundle_are_rebuilt(bundle: Path) -> None:
    name = "bottom.row.onnx"
    content = (bundle / name).read_bytes() + b"\x32\x00"  # an empty doc string, which changes nothing but the hash
    replace_file(bundle, name, content)
    assert reason(bundle) == f"{folder(bundle)} is stale: built from another bundle"
    (outcome,) = build(bundle)
    assert (outcome.state, outcome.why) == ("rebuilt", f"{folder(bundle)} is stale: built from another bundle")
    assert isinstance(find(bundle), EngineSet)


def test_copied_folders_are_foreign(bundle: Path) -> None:
    source = folder(bundle)
    for key, text in (
        ({"architecture": "sm89"}, "is for sm90, not for sm89"),
        ({"library": "10.3"}, "is built by tensorrt 11.0, not by tensorrt 10.3"),
        ({"precision": "bfloat16"}, "is of the precision float16, not bfloat16"),
    ):
        parts = {**SM90, **key}
        name = f"{parts['architecture']}_tensorrt-{parts['library']}_{parts['precision']}"
        shutil.copytree(source, source.parent / name)
        assert reason(bundle, **key) == f"{source.parent / name} {text}"


def test_larger_batches_and_force_cause_a_rebuild(bundle: Path) -> None:
    (outcome,) = build(bundle, max_batch=8)
    assert outcome.why == f"{folder(bundle)} is for batches up to 4, not up to 8"
    (outcome,) = build(bundle, max_batch=1, force=True)
    assert (outcome.state, outcome.why) == ("rebuilt", "requested")
    found = find(bundle)
    assert isinstance(found, EngineSet)
    assert found.profiles == (Profile(1, 1, 1),)


INVALID: list[tuple[Any, Any, str]] = [  # a field of the set's manifest, its value, and a part of the message
    (("format",), "latentloop-bundle", "format is 'latentloop-bundle', expected one of latentloop-engines"),
    (("version",), 3, "version is 3, this LatentLoop reads 1 to 2"),
    (("flavour",), "trt", "flavour is 'trt', expected one of tensorrt, tensorrt_rtx"),
    (("profiles",), [], "profiles is empty"),
    (("profiles", 1, "maximum"), 1, r"profiles\[1\].maximum is 1, expected an integer from 4"),
    (("image",), [32, 48], r"image is \[32, 48\], expected \[height, width, channels\]"),
    (("image",), [32, 32, 3], r"image is \[32, 32, 3\], expected \[32, 48, 3\]"),
    (("levels",), [], "levels has 0 levels, expected 2"),
    (("levels", 0, "height"), 5, r"levels\[0\] is \('top', 5, .*expected \('top', 4,"),
    (("levels", 1, "prior", "condition_level"), None, r"levels\[1\] is .*None, True.*expected .*'top', True"),
    (
        ("levels", 0, "prior", "memories", 0, "dtype"),
        "float16",
        "'codes' is a ring of float16 .*, expected a ring of int64",
    ),
    (("levels", 0, "prior", "memories", 1, "fill"), 1, r"memories: StateBuffer\(name='residual'.*not the bundle's"),
    (("levels", 0, "prior", "memories", 1, "dtype"), "half", r"dtype is 'half', expected one of float32"),
    (
        ("levels", 0, "prior", "memories", 1, "shape", 1),
        99,
        r"memories: the ring 'residual' is \[\d+, 99",
    ),
    (
        ("levels", 0, "prior", "graphs", "step", "inputs", 0, "shape"),
        [1],
        r"graphs.step.inputs: .*expected Binding",
    ),
    (("levels", 0, "prior", "graphs", "step", "outputs", 0, "name"), "x", "outputs: 'x' of .* is not the bundle's"),
    (("levels", 0, "prior", "graphs", "row", "inputs", 0, "view"), "some", "view is 'some', expected one of all"),
    (("encoder", "file"), "other.plan", "files does not list other.plan"),
    (("decoder", "outputs", 0, "shape"), ["batch", 1, 1, 1], "decoder: inputs and outputs are not the bundle's"),
    (("encoder", "inputs"), [], "encoder: inputs and outputs are not the bundle's"),
    (("files", "top.row.plan", "size"), 3, r"top.row.plan has \d+ bytes, .* says 3"),
    (("files", "top.row.plan", "sha256"), "ab", r"SHA-256 .* says ab…: corrupt or tampered with"),
    (("files", "../manifest.json"), {"size": 1, "sha256": ""}, "is not a plain file name"),
    (
        ("levels", 0, "prior", "graphs", "step", "inputs", 3),
        {"name": "residual", "memory": "temperature", "view": "all", "back": 0, "first": 0, "count": 0},
        "step.inputs: 'residual' of 'temperature' is not the bundle's",
    ),
]


@pytest.mark.parametrize(("keys", "value", "text"), INVALID)
def test_an_invalid_set_is_refused(bundle: Path, keys: Any, value: Any, text: str) -> None:
    edit_manifest(folder(bundle), *keys, value=value)
    assert re.search(text, reason(bundle))


@pytest.mark.parametrize("name", ["uniform", "forced", "temperature", "min_p", "logits"])
def test_what_the_loop_writes_and_reads_is_required_at_full_precision(bundle: Path, name: str) -> None:
    original = (folder(bundle) / MANIFEST).read_text()

    def prior_with(change: Callable[[Any, list[Any]], object]) -> str:
        manifest = json.loads(original)
        prior = manifest["levels"][0]["prior"]
        bindings = [graph[side] for graph in prior["graphs"].values() for side in ("inputs", "outputs")]
        change(prior["memories"], bindings)
        (folder(bundle) / MANIFEST).write_text(json.dumps(manifest))
        return reason(bundle)

    def unbind(memories: list[Any], bindings: list[list[Any]]) -> None:
        for side in bindings:
            side[:] = [binding for binding in side if binding["memory"] != name]

    def remove(memories: list[Any], bindings: list[list[Any]]) -> None:
        unbind(memories, bindings)
        memories[:] = [buffer for buffer in memories if buffer["name"] != name]

    def narrow(memories: list[Any], bindings: list[list[Any]]) -> None:
        for each in [*memories, *(binding for side in bindings for binding in side)]:
            if each["name"] == name:
                each["dtype"] = "float16"

    assert f"{name!r} is missing, which the loop writes or reads" in prior_with(unbind)
    assert f"memories: {name!r} is missing" in prior_with(remove)
    assert f"the name {name!r} occurs twice" in prior_with(
        lambda memories, _: memories.append(next(buffer for buffer in memories if buffer["name"] == name))
    )
    assert f"memories: {name!r} is float16" in prior_with(narrow)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("version",), 99),
        (("levels", 0, "prior", "graphs", "row", "inputs", 0, "view"), "some"),
        (("files", "top.row.plan", "sha256"), "ab"),
    ],
)
def test_an_invalid_set_is_rebuilt(bundle: Path, keys: Any, value: Any) -> None:
    edit_manifest(folder(bundle), *keys, value=value)
    assert [outcome.state for outcome in build(bundle)] == ["rebuilt"]
    assert isinstance(find(bundle), EngineSet)


def test_missing_graphs_and_files_are_reported(bundle: Path) -> None:
    manifest = read_manifest(folder(bundle))
    graphs = value_at(manifest, ("levels", 0, "prior", "graphs"))
    del graphs["row"]
    (folder(bundle) / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    assert "prior.graphs has ['condition', 'step', 'step_filtered'], expected" in reason(bundle)
    (folder(bundle) / MANIFEST).write_text("{", encoding="utf-8")
    assert "not readable as JSON" in reason(bundle)
    (folder(bundle) / MANIFEST).unlink()
    assert reason(bundle).endswith("manifest.json is missing")
    with pytest.raises(BundleError, match="is missing"):
        read_engines(folder(bundle))


def test_a_failed_build_keeps_the_earlier_set(bundle: Path) -> None:
    class FailingBuilder(FakeBuilder):
        def build(self, graph: Path, *arguments: Any, **options: Any) -> Plan:
            if graph.name == "top.step.onnx":
                raise BundleError("no")
            return super().build(graph, *arguments, **options)

    before = {file.name: file.read_bytes() for file in folder(bundle).iterdir()}
    with pytest.raises(BundleError, match="no"):
        build(bundle, FailingBuilder(), force=True)
    assert {file.name: file.read_bytes() for file in folder(bundle).iterdir()} == before
    assert sorted(entry.name for entry in (bundle / "engines").iterdir()) == [
        "sm90_tensorrt-11.0.timings",
        "sm90_tensorrt-11.0_float16",
    ]


def test_a_set_that_could_not_be_read_is_not_written(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(bundle / "engines")
    monkeypatch.setattr(engine_set_checks, "NARROW", ())
    with pytest.raises(
        BundleError, match=r"manifest\.json\.levels\[0\]\.prior\.memories.*dtype is 'float16', expected"
    ):
        build(bundle)
    assert not (bundle / "engines" / folder(bundle).name).exists()


def test_a_bundle_without_priors_or_int8(grey_bundle: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(grey_bundle, tmp_path / "grey"))
    build(path)
    found = find(path)
    assert isinstance(found, EngineSet)
    assert list(found.plans()) == ["encoder.plan", "decoder.plan"]
    edit_manifest(path, "precisions", value=["float32"])
    assert "has no graphs of the precision int8: it has float32" in reason(path, precision="int8")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> FakeBuilder:
    """A fake TensorRT installation."""
    made = FakeBuilder()
    monkeypatch.setattr(flavours, "open_builder", lambda name: made)
    return made


def test_the_command_reports_the_outcome_of_each_set(
    bundle: Path, installed: FakeBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("build-engines", bundle, "--max-batch", 4) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("sm90_tensorrt-11.0_float32 (0.0 MB, ")
    assert first.endswith(" s): built")
    assert second == "sm90_tensorrt-11.0_float16 (0.0 MB): up to date"
    assert run("build-engines", bundle, "--precision", "float16", "--max-batch", 5, "--json") == 0
    (engine_set,) = json.loads(capsys.readouterr().out)["sets"]
    assert (engine_set["state"], engine_set["architecture"]) == ("rebuilt", "sm90")
    assert engine_set["why"].endswith("is for batches up to 4, not up to 5")


def test_invalid_options(bundle: Path, installed: FakeBuilder, fails: Callable[..., str]) -> None:
    assert "--arch is 'sm89', expected some of sm90" in fails(2, "build-engines", bundle, "--arch", "sm90,sm89")
    assert "--precision is 'fp16', expected some of float32, float16, bfloat16, int8" in fails(
        2, "build-engines", bundle, "--precision", "fp16"
    )


def test_the_error_names_the_missing_package(bundle: Path, fails: Callable[..., str], monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", None)
    message = fails(1, "build-engines", bundle)
    assert "building engines needs tensorrt or tensorrt_rtx: pip install " in message
    assert 'pip install "latentloop[trt]" or pip install "latentloop[rtx]"' in message
    assert 'needs tensorrt_rtx: pip install "latentloop[rtx]"' in fails(
        1, "build-engines", bundle, "--flavour", "tensorrt_rtx"
    )
