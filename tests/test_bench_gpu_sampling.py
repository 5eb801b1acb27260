"""The check of sampling on a GPU as a whole: what it runs, what it says, and when it fails."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentloop.bench.gpu.check import sampling as gpu_sampling
from latentloop.bench.gpu.check.baselines import COMPILED
from latentloop.bench.gpu.check.report import describe, floors, images, reasons
from latentloop.bench.gpu.check.sampling import Part, main, plan, run_parts

RIGHT = {"kind": "check", "name": "logits", "passed": True, "backend": "tensorrt", "error": 1e-6, "bound": 1e-4}
WRONG = {**RIGHT, "passed": False, "error": 0.5}
RATES = {"kind": "fact", "name": "rates", "flops": {"float32": 5e13, "float16": 5e14}, "read": {"1000": 3e12}}


def part(*findings: dict[str, Any], name: str = "gpu.check.backends", error: str | None = None) -> dict[str, Any]:
    return {"name": name, "seconds": 1.5, "error": error, "findings": list(findings)}


def level(name: str, seconds: float, batch: int = 1, **values: Any) -> dict[str, Any]:
    times = {"step": seconds / 1000, "row": seconds / 32, "level": seconds}
    case = {"way": "eager", "preset": "rosinality-256", "type": "float32", "level": name, "batch": batch}
    return {"kind": "timing", "name": "level", "seconds": times, **case, **values}


def of_sampler(timing: dict[str, Any]) -> dict[str, Any]:
    """Of a preset's bundle, not of the preset."""
    return {("bundle" if name == "preset" else name): value for name, value in timing.items()}


def decode(batch: int = 1) -> dict[str, Any]:
    case = {"preset": "rosinality-256", "type": "float32", "batch": batch, "seconds": {"decode": 0.25}}
    return {"kind": "timing", "name": "decode", **case}


def test_every_part_takes_its_arguments() -> None:
    parts = plan("/there/rosinality-256")
    for made in parts:
        run = import_module(f"latentloop.bench.{made.module}").run
        inspect.signature(run).bind(None, **made.arguments)
        json.dumps(made.arguments)
    names = [made.module for made in parts]
    assert names.index("gpu.check.bundle") < names.index("gpu.check.backends")
    assert {made.arguments.get("preset") for made in parts} >= {"rosinality-256", "paper-256"}
    assert {way for made in parts for way in made.arguments.get("ways", ())} == {"naive", "eager", *COMPILED}


def test_all_is_right_where_a_backend_was_right() -> None:
    peers = part(
        {"kind": "error", "name": "compiled", "error": "no compiler"}, name="gpu.check.baselines", error="late"
    )
    assert reasons([part(RIGHT), peers]) == []


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([part(RIGHT, WRONG)], ["WRONG: logits: backend tensorrt, error 0.5, bound 0.0001"]),
        (
            [part(RIGHT), part(name="gpu.check.driver", error="exit status 1")],
            ["gpu.check.driver: exit status 1"],
        ),
        (
            [part(RIGHT, {"kind": "error", "name": "cuda", "error": "BundleError: refused"})],
            ["error: cuda: error BundleError: refused"],
        ),
        (
            [part({"kind": "missing", "name": "cuda", "why": "no GPU"})],
            ["no check was made", "no backend of LatentLoop ran here; what each misses is listed"],
        ),
        (
            [part({"kind": "check", "name": "copies", "passed": True}, name="gpu.check.driver")],
            ["no backend of LatentLoop ran here; what each misses is listed"],
        ),
    ],
)
def test_the_check_fails(parts: list[dict[str, Any]], expected: list[str]) -> None:
    assert reasons(parts) == expected


def test_whole_images_need_every_level_and_the_decoder() -> None:
    two = [level("top", 0.25), level("bottom", 0.5), decode()]
    (found,) = images([part(*two, level("top", 1.0, batch=16), decode(16), level("bottom", 1.0, batch=4))])
    assert found["seconds"] == 1.0
    assert found["images a second"] == 1.0
    assert (found["way"], found["batch"]) == ("eager", 1)
    assert images([part(*two[:2])]) == []
    sampler = [of_sampler(level(name, 1.0)) for name in ("top", "bottom")]
    assert images([part(*sampler, decode())]) == []  # a sampler decodes by itself
    whole = {**sampler[0], "name": "images", "seconds": {"images": 2.0, "two batches": 3.0}, "a_second": 0.7}
    (found,) = images([part(whole, *sampler, decode())])
    assert (found["preset"], found["seconds"], found["images a second"]) == ("rosinality-256", 2.0, 0.7)


def test_floors_are_of_what_was_timed() -> None:
    sampler = of_sampler(level("bottom", 1.0, batch=16))
    timed = part(level("top", 1.0), level("top", 2.0), sampler, {**sampler, "bundle": "default"})
    assert floors([timed]) == []
    found = floors([part(RATES), timed])
    assert [(f["level"], f["batch"], f["columns"]) for f in found] == [
        ("top", 1, 1),
        ("top", 1, 2),
        ("bottom", 16, 1),
        ("bottom", 16, 2),
    ]
    assert all(f["seconds"]["level"] > f["seconds"]["row graph"] > 0 for f in found)
    assert found[0]["seconds"]["level"] > found[1]["seconds"]["level"]


def test_everything_is_told() -> None:
    missing = {"kind": "missing", "name": "cuda, float32, default", "why": "no CUDAExecutionProvider"}
    text = describe(
        [
            part(RATES, name="gpu.check.bound"),
            part(missing, WRONG),
            part(level("top", 0.032), level("bottom", 0.5), decode(), name="gpu.check.baselines", error="took long"),
        ]
    )
    for line in (
        "== gpu.check.backends, 2 s ==",
        "missing: cuda, float32, default: why no CUDAExecutionProvider",
        "WRONG: logits: backend tensorrt, error 0.5, bound 0.0001",
        "timing: level: step 0.032 ms, row 1 ms, level 32 ms, way eager, preset rosinality-256, type float32, "
        "level top, batch 1",
        "did not come to its end: took long",
        "fact: rates: flops float32 5e+13, float16 5e+14, read 1000 3e+12",
        "way eager, preset rosinality-256, type float32, batch 1, batch 782 ms, images a second 1.279",
    ):
        assert line in text.splitlines()


def test_parts_share_the_time_and_know_what_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, asked = [0.0], list[tuple[str, float, Any]]()

    def run_part(module: str, limit: float, arguments: dict[str, Any]) -> dict[str, Any]:
        asked.append((module, limit, arguments))
        now[0] += 40
        (tmp_path / "bundle").mkdir(exist_ok=True)
        return part(name=module)

    monkeypatch.setattr(gpu_sampling, "run_part", run_part)
    monkeypatch.setattr("latentloop.bench.gpu.check.sampling.time", SimpleNamespace(monotonic=lambda: now[0]))
    bundle = str(tmp_path / "bundle")
    parts = [Part(name, 60, {"bundle": bundle, "preset": "p"}) for name in ("a", "b", "c", "d")]
    found = run_parts(parts, 100)
    assert asked == [
        ("a", 60, {"bundle": None, "preset": "p"}),
        ("b", 60, {"bundle": bundle, "preset": "p"}),
        ("c", 20, {"bundle": bundle, "preset": "p"}),
    ]
    assert [outcome["error"] for outcome in found] == [None, None, None, "no time was left for it"]
    assert found[0]["arguments"] == parts[0].arguments


@pytest.mark.parametrize(("finding", "status"), [(RIGHT, 0), (WRONG, 1), (None, 1)])
def test_the_result_is_written_whatever_it_is(
    finding: dict[str, Any] | None,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_part(module: str, limit: float, arguments: dict[str, Any]) -> dict[str, Any]:
        return part(finding) if finding else part(error="exit status 1: no GPU")

    monkeypatch.setattr(gpu_sampling, "run_part", run_part)
    for _ in range(2):  # again in the same folder
        assert main(["--out", str(tmp_path / "results"), "--commit", "abc", "--minutes", "1"]) == status
    value = json.loads((tmp_path / "results" / "gpu-sampling.json").read_text())
    assert (value["kind"], value["environment"]["commit"]) == ("gpu-sampling", "abc")
    assert {"gpu", "torch", "onnxruntime", "tensorrt", "command"} <= value["environment"].keys()
    assert len(value["parts"]) == len(plan(""))
    assert bool(value["failures"]) == bool(status)
    out = capsys.readouterr().out
    assert ("FAILED: " in out) == bool(status)


def test_what_a_machine_without_a_gpu_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", tests)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    sizes = {"device": "cpu", "gemm_size": 32, "read_sizes": [4096]}
    monkeypatch.setattr(
        gpu_sampling,
        "plan",
        lambda bundle: [
            Part("gpu.check.driver", 60, {}),
            Part("gpu.check.bound", 60, sizes),
            Part("gpu.check.host", 60, {"bundle": bundle, "budget": 1}),
        ],
    )
    assert main(["--out", str(tmp_path)]) == 1
    value = json.loads((tmp_path / "gpu-sampling.json").read_text())
    driver, rates, host = value["parts"]
    assert [finding["kind"] for finding in driver["findings"]] == ["missing", "missing"]
    assert rates["error"] is None
    assert rates["findings"][0]["name"] == "rates"
    assert "no package here can drive a GPU" in host["error"]
    assert value["failures"][-1] == "no backend of LatentLoop ran here; what each misses is listed"


def test_pytorch_and_a_driver_are_enough(tmp_path: Path) -> None:
    """Modules that must load without what a machine with PyTorch and CUDA may lack."""
    program = """
        import importlib, sys
        for name in ("onnx", "onnxruntime", "safetensors", "tqdm", "PIL", "cuda", "pycuda", "tensorrt"):
            sys.modules[name] = None
        for name in sys.argv[1:]:
            importlib.import_module(f"latentloop.bench.{name}")
    """
    names = {"gpu.check.sampling", "gpu.program", *(made.module for made in plan(""))}
    subprocess.run([sys.executable, "-c", textwrap.dedent(program), *sorted(names)], check=True)
