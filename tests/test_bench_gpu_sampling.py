"""The check of sampling on a GPU as a whole: its parts, its report, and when it fails."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from latentloop.bench.gpu.check import sampling
from latentloop.bench.gpu.check.baselines import COMPILED
from latentloop.bench.gpu.check.driver import check_drivers
from latentloop.bench.gpu.check.host import check_host
from latentloop.bench.gpu.check.process import Outcome
from latentloop.bench.gpu.check.rates import record_rates
from latentloop.bench.gpu.check.report import describe, failures, image_times, level_bounds
from latentloop.bench.gpu.check.sampling import Part, all_parts, main, run_parts

PASSED = {"kind": "check", "name": "logits", "passed": True, "backend": "tensorrt", "error": 1e-6, "bound": 1e-4}
FAILED = {**PASSED, "passed": False, "error": 0.5}
RATES = {"kind": "fact", "name": "rates", "flops": {"float32": 5e13, "float16": 5e14}, "read": {"1000": 3e12}}


def part(*findings: dict[str, Any], name: str = "backends", error: str | None = None) -> dict[str, Any]:
    return {"name": name, "seconds": 1.5, "error": error, "findings": list(findings)}


def level(name: str, seconds: float, batch: int = 1, **values: Any) -> dict[str, Any]:
    times = {"step": seconds / 1000, "row": seconds / 32, "level": seconds}
    case = {"way": "eager", "preset": "rosinality-256", "type": "float32", "level": name, "batch": batch}
    return {"kind": "timing", "name": "level", "seconds": times, **case, **values}


def of_sampler(timing: dict[str, Any]) -> dict[str, Any]:
    """Returns the timing of a sampler, which names the preset's bundle instead of the preset."""
    return {("bundle" if name == "preset" else name): value for name, value in timing.items()}


def decode(batch: int = 1) -> dict[str, Any]:
    case = {"preset": "rosinality-256", "type": "float32", "batch": batch, "seconds": {"decode": 0.25}}
    return {"kind": "timing", "name": "decode", **case}


def test_every_function_accepts_its_arguments() -> None:
    parts = all_parts("/folder/rosinality-256")
    for each in parts:
        inspect.signature(each.function).bind(None, **each.arguments)
        json.dumps(each.arguments)
    names = [each.name for each in parts]
    assert names.index("bundle") < names.index("backends")
    assert {each.arguments.get("preset") for each in parts} >= {"rosinality-256", "paper-256"}
    methods = {method for each in parts for method in each.arguments.get("methods", ())}
    assert methods == {"naive", "eager", *COMPILED}


def test_the_check_passes_if_a_backend_passed() -> None:
    baselines = part({"kind": "error", "name": "compiled", "error": "no compiler"}, name="baselines", error="late")
    assert failures([part(PASSED), baselines]) == []


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([part(PASSED, FAILED)], ["check failed: logits: backend tensorrt, error 0.5, bound 0.0001"]),
        ([part(PASSED), part(name="driver", error="exit status 1")], ["driver: exit status 1"]),
        (
            [part(PASSED, {"kind": "error", "name": "cuda", "error": "BundleError: refused"})],
            ["error: cuda: error BundleError: refused"],
        ),
        (
            [part({"kind": "missing", "name": "cuda", "why": "no GPU"})],
            ["no check was made", "no GPU backend of LatentLoop ran here; see the findings that are missing"],
        ),
        (
            [part({"kind": "check", "name": "copies", "passed": True}, name="driver")],
            ["no GPU backend of LatentLoop ran here; see the findings that are missing"],
        ),
    ],
)
def test_the_check_fails(parts: list[dict[str, Any]], expected: list[str]) -> None:
    assert failures(parts) == expected


def test_image_times_need_every_level_and_the_decoder() -> None:
    two = [level("top", 0.25), level("bottom", 0.5), decode()]
    (times,) = image_times([part(*two, level("top", 1.0, batch=16), decode(16), level("bottom", 1.0, batch=4))])
    assert times["seconds"] == 1.0
    assert times["images a second"] == 1.0
    assert (times["way"], times["batch"]) == ("eager", 1)
    assert times["note"] == ""
    (times,) = image_times([part({**two[0], "note": "3 of 32 rows timed"}, *two[1:])])
    assert times["note"] == "3 of 32 rows timed"
    assert image_times([part(*two[:2])]) == []
    sampler = [of_sampler(level(name, 1.0)) for name in ("top", "bottom")]
    assert image_times([part(*sampler, decode())]) == []  # a sampler times whole images, decoding included
    whole = {**sampler[0], "name": "images", "seconds": {"images": 2.0, "two batches": 3.0}, "a_second": 0.7}
    (times,) = image_times([part(whole, *sampler, decode())])
    assert (times["preset"], times["seconds"], times["images a second"]) == ("rosinality-256", 2.0, 0.7)


def test_bounds_are_reported_for_timed_levels() -> None:
    sampler = of_sampler(level("bottom", 1.0, batch=16))
    timed = part(level("top", 1.0), level("top", 2.0), sampler, {**sampler, "bundle": "default"})
    assert level_bounds([timed]) == []
    bounds = level_bounds([part(RATES), timed])
    assert [(bound["level"], bound["batch"], bound["columns"]) for bound in bounds] == [
        ("top", 1, 1),
        ("top", 1, 2),
        ("bottom", 16, 1),
        ("bottom", 16, 2),
    ]
    assert all(bound["seconds"]["level"] > bound["seconds"]["row graph"] > 0 for bound in bounds)
    assert bounds[0]["seconds"]["level"] > bounds[1]["seconds"]["level"]


def test_all_findings_are_described() -> None:
    missing = {"kind": "missing", "name": "cuda, float32, default", "why": "no CUDAExecutionProvider"}
    text = describe(
        [
            part(RATES, name="rates"),
            part(missing, FAILED),
            part(level("top", 0.032), level("bottom", 0.5), decode(), name="baselines", error="took long"),
        ]
    )
    for line in (
        "== backends, 2 s ==",
        "missing: cuda, float32, default: why no CUDAExecutionProvider",
        "check failed: logits: backend tensorrt, error 0.5, bound 0.0001",
        "timing: level: step 0.032 ms, row 1 ms, level 32 ms, way eager, preset rosinality-256, type float32, "
        "level top, batch 1",
        "did not finish: took long",
        "fact: rates: flops float32 5e+13, float16 5e+14, read 1000 3e+12",
        "way eager, preset rosinality-256, type float32, batch 1, batch 782 ms, images a second 1.279",
    ):
        assert line in text.splitlines()


def test_parts_share_the_time_and_the_exported_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now = [0.0]

    def run_part(function: Callable[..., None], limit: float, arguments: dict[str, Any]) -> Outcome:
        now[0] += 40
        (tmp_path / "bundle").mkdir(exist_ok=True)
        return Outcome([{"limit": limit, **arguments}], 40, None)

    monkeypatch.setattr(sampling, "run_part", run_part)
    monkeypatch.setattr("latentloop.bench.gpu.check.sampling.time", SimpleNamespace(monotonic=lambda: now[0]))
    bundle = str(tmp_path / "bundle")
    parts = [Part(name, check_host, 60, {"bundle": bundle, "budget": 1}) for name in ("a", "b", "c", "d")]
    outcomes = run_parts(parts, 100)
    assert [outcome["findings"] for outcome in outcomes] == [
        [{"limit": 60, "bundle": None, "budget": 1}],
        [{"limit": 60, "bundle": bundle, "budget": 1}],
        [{"limit": 20, "bundle": bundle, "budget": 1}],
        [],
    ]
    assert [outcome["name"] for outcome in outcomes] == ["a", "b", "c", "d"]
    assert [outcome["error"] for outcome in outcomes] == [None, None, None, "no time was left for it"]
    assert outcomes[0]["arguments"] == parts[0].arguments


@pytest.mark.parametrize(("finding", "status"), [(PASSED, 0), (FAILED, 1), (None, 1)])
def test_the_result_is_written_after_success_and_failure(
    finding: dict[str, Any] | None,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run_part(function: Callable[..., None], limit: float, arguments: dict[str, Any]) -> Outcome:
        return Outcome([finding], 1.5, None) if finding else Outcome([], 1.5, "exit status 1: no GPU")

    monkeypatch.setattr(sampling, "run_part", run_part)
    for _ in range(2):  # the second run replaces the result of the first
        assert main(["--out", str(tmp_path / "results"), "--commit", "abc", "--minutes", "1"]) == status
    value = json.loads((tmp_path / "results" / "gpu-sampling.json").read_text())
    assert (value["kind"], value["environment"]["commit"]) == ("gpu-sampling", "abc")
    assert {"gpu", "torch", "onnxruntime", "tensorrt", "command"} <= value["environment"].keys()
    assert len(value["parts"]) == len(all_parts(""))
    assert bool(value["failures"]) == bool(status)
    out = capsys.readouterr().out
    assert ("FAILED: " in out) == bool(status)


@pytest.mark.slow
def test_a_machine_without_a_gpu_fails_the_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    sizes = {"device": "cpu", "gemm_size": 32, "read_sizes": [4096]}
    monkeypatch.setattr(
        sampling,
        "all_parts",
        lambda bundle: [
            Part("driver", check_drivers, 60, {}),
            Part("rates", record_rates, 60, sizes),
            Part("host", check_host, 60, {"bundle": bundle, "budget": 1}),
        ],
    )
    assert main(["--out", str(tmp_path)]) == 1
    value = json.loads((tmp_path / "gpu-sampling.json").read_text())
    driver, rates, host = value["parts"]
    assert [finding["kind"] for finding in driver["findings"]] == ["missing", "missing"]
    assert rates["error"] is None
    assert rates["findings"][0]["name"] == "rates"
    assert "no installed package can drive a GPU" in host["error"]
    assert value["failures"][-1] == "no GPU backend of LatentLoop ran here; see the findings that are missing"


def test_the_check_runs_with_pytorch_alone(tmp_path: Path) -> None:
    """Every part's function can be imported without packages that a machine with PyTorch and CUDA can lack."""
    program = """
        import sys
        for name in ("onnx", "onnxruntime", "safetensors", "tqdm", "PIL", "cuda", "pycuda", "tensorrt"):
            sys.modules[name] = None
        from latentloop.bench.gpu.check.sampling import all_parts
        assert len(all_parts("")) > 5
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
