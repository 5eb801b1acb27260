"""The parts of the check of sampling on a GPU, on a simulated GPU."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_simulated_gpu import SimulatedGraphs
from fake_gpu.driver import FakeDriver
from fake_gpu.tensorrt_module import tensorrt_module
from gpu_machines import simulate_machine, with_engines

from latentloop import Bundle, Sampler
from latentloop.backends.gpu.device_graph import Tensor
from latentloop.bench.gpu import interpreter, onnx_operators
from latentloop.bench.gpu.check import backends, host
from latentloop.bench.gpu.check.driver import DRIVERS, check_driver, check_drivers
from latentloop.bench.gpu.check.findings import Finding, Findings, read_findings
from latentloop.bench.gpu.check.parity import wrong_draws
from latentloop.bench.gpu.interpreter import InterfaceTensor, interpreting_sampler
from latentloop.export.tensorrt.builder import TensorRtBuilder
from latentloop.kernels.driver.borrowed_array import borrow
from latentloop.kernels.driver.stream import LEGACY
from latentloop.kernels.element_types import INT64


class ReadableFindings(Findings):
    def all(self, kind: str) -> list[Finding]:
        return [finding for finding in read_findings(self._path) if finding["kind"] == kind]


@pytest.fixture
def findings(tmp_path: Path) -> ReadableFindings:
    return ReadableFindings(tmp_path / "findings")


def simulate_gpu(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> FakeDriver:
    """Makes the part of the host run on a simulated GPU, with another default bundle."""
    driver = FakeDriver()
    monkeypatch.setattr(host, "open_driver", lambda: driver)
    monkeypatch.setattr(interpreter, "TorchGraphs", partial(SimulatedGraphs, driver=driver))
    monkeypatch.setattr(Bundle, "default", staticmethod(lambda: Bundle.open(bundle)))
    return driver


def test_the_host_is_checked_and_timed(
    findings: ReadableFindings, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = simulate_gpu(monkeypatch, small_bundle)
    monkeypatch.setattr(host, "BATCHES", (1, 2))
    host.check_host(findings, str(small_bundle), 1.0)
    driver.finish()
    assert not findings.all("error")
    checks = findings.all("check")
    assert all(check["passed"] for check in checks)
    assert {check["way"] for check in checks} == {host.PLAIN, host.CAPTURED}
    assert {check["against"] for check in checks} == {"golden vectors", "cpu"}
    assert {check["name"].split(":")[0] for check in checks} == {"encode", "decode", "classify", "top", "bottom"}
    assert driver.launched.count("replay") > 100
    timings = findings.all("timing")
    assert {(t.get("level"), t["batch"], t["bundle"]) for t in timings if t["name"] == "level"} == {
        *(("top", batch, small_bundle.name) for batch in (1, 2)),
        *(("bottom", batch, small_bundle.name) for batch in (1, 2)),
        *((level, 1, "default") for level in ("top", "bottom")),
    }
    for timing in timings:
        assert all(seconds > 0 for seconds in timing["seconds"].values())
    row = next(t for t in timings if t.get("level") == "bottom")["seconds"]
    assert row["row"] == pytest.approx(6 * row["step"])
    assert row["level"] == pytest.approx(8 * row["row"])


def test_a_wrong_operator_fails_the_checks(
    findings: ReadableFindings, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulate_gpu(monkeypatch, small_bundle)
    elu = onnx_operators.OPERATORS["Elu"]
    monkeypatch.setitem(onnx_operators.OPERATORS, "Elu", lambda x, a: 1.01 * elu(x, a))
    host.check_host(findings, None, 0.01)
    wrong = {(check["against"], check["name"]) for check in findings.all("check") if not check["passed"]}
    assert ("golden vectors", "bottom: logits, of max(1, max |logit|)") in wrong
    assert ("cpu", "bottom: logits, of max(1, max |logit|)") in wrong


def test_an_error_with_captures_does_not_stop_the_checks_without(
    findings: ReadableFindings, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = simulate_gpu(monkeypatch, small_bundle)
    monkeypatch.setattr(driver, "capture", lambda stream: 1 / 0)
    host.check_host(findings, None, 0.01)
    (error,) = findings.all("error")
    assert error["name"] == "host with PyTorch's kernels, captured"
    assert "ZeroDivisionError" in error["error"] or "division by zero" in error["error"]
    assert {check["against"] for check in findings.all("check")} == {"golden vectors", "cpu"}


def test_the_host_needs_onnx(findings: ReadableFindings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    host.check_host(findings, None, 0.01)
    (missing,) = findings.all("missing")
    assert missing["name"] == host.PLAIN
    assert missing["why"] == 'interpreting graphs needs onnx: pip install "latentloop[export]"'


def test_backends_that_open_are_checked_and_others_listed(
    findings: ReadableFindings, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_engines(small_bundle, tmp_path / "engines", ("float32", "float16"), max_batch=4)
    simulate_machine(monkeypatch, FakeDriver(capability=(9, 0)), providers=False)
    monkeypatch.setattr(Bundle, "default", staticmethod(lambda: Bundle.open(folder)))
    monkeypatch.setattr(backends, "_build_engines", lambda *_: None)
    monkeypatch.setattr(backends, "BATCHES", (1, 3))
    backends.check_backends(findings, None, 0.5)
    assert not findings.all("error")
    checks = findings.all("check")
    assert all(check["passed"] for check in checks if check["type"] == "float32")
    assert {(check["backend"], check["type"], check["against"]) for check in checks} == {
        ("tensorrt", "float32", "golden vectors"),
        ("tensorrt", "float32", "cpu"),
        ("tensorrt", "float16", "golden vectors"),
    }
    assert [missing["name"] for missing in findings.all("missing")] == [
        "cuda, float32, default",
        "onnxruntime-tensorrt, float32, default",
    ]
    assert all("has no" in missing["why"] for missing in findings.all("missing"))
    assert {(t["batch"], t["type"]) for t in findings.all("timing") if t["name"] == "level"} == {
        (batch, kind) for batch in (1, 3) for kind in ("float32", "float16")
    }


@pytest.mark.parametrize("capability", [(9, 0), (8, 9)])
def test_engines_are_built_for_the_machines_gpu(
    capability: tuple[int, int],
    findings: ReadableFindings,
    small_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / "copy"
    shutil.copytree(small_bundle, path)
    backends._build_engines(findings, path)
    assert [missing["name"] for missing in findings.all("missing")] == ["engines of copy"]  # no GPU
    driver = FakeDriver(capability=(9, 0))
    builder = TensorRtBuilder(tensorrt_module(driver))
    monkeypatch.setattr(backends, "open_gpu", lambda: FakeDriver(capability=capability))
    monkeypatch.setattr("latentloop.export.tensorrt.builder.open_builder", lambda _: builder)
    monkeypatch.setattr("latentloop.export.tensorrt.builder.open_driver", lambda: driver)
    backends._build_engines(findings, path)
    if capability == (9, 0):
        assert [timing["precision"] for timing in findings.all("timing")] == ["float32", "float16"]
        assert len(list((path / "engines").glob("*/manifest.json"))) == 2
    else:
        assert findings.all("missing")[-1]["why"].endswith("cannot build for sm89")


def test_drivers_are_checked(findings: ReadableFindings) -> None:
    check_drivers(findings)
    assert [missing["name"] for missing in findings.all("missing")] == list(DRIVERS)
    check_driver(findings, FakeDriver(pageable=True), 1 << 12)
    checks = findings.all("check")
    assert len(checks) > 12
    assert all(check["passed"] for check in checks)

    class ZeroesOneByteLess(FakeDriver):
        def zero(self, pointer: int, size: int, stream: Any) -> None:
            super().zero(pointer, size - 1, stream)

    check_driver(findings, ZeroesOneByteLess(pageable=True), 1 << 12)
    later = findings.all("check")[len(checks) :]
    wrong = [check for check in later if not check["passed"]]
    assert 0 < len(wrong) < len(later)
    assert "fake: copies" in {check["name"] for check in wrong}


def test_the_interpreter_draws_the_same_codes(small_bundle: Path) -> None:
    driver = FakeDriver()
    bundle = Bundle.open(small_bundle)
    graphs = SimulatedGraphs(bundle, 0, capturable=True, driver=driver)
    sampler = interpreting_sampler(bundle, graphs, driver, 0)
    assert (sampler.device, sampler.device_reason) == ("pytorch:0", f"PyTorch {torch.__version__}")
    assert Sampler(bundle).device == "cpu"  # samplers made later are not affected
    codes = sampler.sample(2, labels=0, seeds=3).codes
    expected = Sampler(bundle).sample(2, labels=0, seeds=3).codes
    for name, values in expected.items():
        np.testing.assert_array_equal(codes[name], values)


def test_other_libraries_import_the_interpreters_tensors() -> None:
    driver = FakeDriver()
    tensor = Tensor(driver.put(np.zeros((2, 3), np.int64)), "int64", (2, 3))
    array = borrow(InterfaceTensor(tensor), "tensor", driver, LEGACY, (INT64,))
    assert (array.pointer, array.dtype.name, array.shape) == (tensor.pointer, tensor.dtype, tensor.shape)


def test_draws_can_differ_only_at_a_boundary() -> None:
    logits = np.log(np.array([0.25, 0.25, 0.5]))[None, None, None].repeat(3, 2)  # one row of three codes
    expected = np.array([[[0, 1, 2]]])

    def wrong(drawn: list[int], *u: float) -> int:
        return wrong_draws(np.array([[drawn]]), expected, logits, np.array([[u]]))

    assert wrong([0, 1, 2], 0.9, 0.0, 0.0) == 0
    assert wrong([0, 2, 0], 0.1, 0.5 + 5e-5, 0.9) == 0  # u at the boundary of 1 and 2; later codes are not compared
    assert wrong([0, 2, 2], 0.1, 0.5 - 2e-4, 0.9) == 1
    assert wrong([2, 1, 2], 0.5, 0.3, 0.9) == 1  # not neighbours
    assert wrong([1, 1, 2], 0.25, 0.3, 0.9) == 0
