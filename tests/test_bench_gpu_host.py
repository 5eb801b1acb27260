"""The bench's parts for sampling on a GPU, on one that the host plays."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bench_gpu_host import PlayedGraphs
from gpu_machines import play, with_engines
from stand_in.driver import FakeDriver
from stand_in.tensorrt_module import tensorrt_module

from latentloop import Bundle, Sampler
from latentloop.bench.gpu import onnx_operators as gpu_onnx_operators
from latentloop.bench.gpu.check import backends as gpu_sampling_backends
from latentloop.bench.gpu.check import driver as gpu_sampling_driver
from latentloop.bench.gpu.check import host as gpu_sampling_host
from latentloop.bench.gpu.check.parity import wrong_draws
from latentloop.bench.gpu.check.part import Finding, Findings
from latentloop.bench.gpu.interpreter import Address, interpreting_sampler
from latentloop.export.tensorrt.builder import TensorRtBuilder


class Found(Findings):
    """What was found, as it will be read."""

    def all(self, kind: str) -> list[Finding]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [finding for finding in map(json.loads, lines) if finding["kind"] == kind]


@pytest.fixture
def found(tmp_path: Path) -> Found:
    return Found(tmp_path / "findings")


def played_host(monkeypatch: pytest.MonkeyPatch, bundle: Path) -> FakeDriver:
    """The part of the host, on a GPU that the host plays."""
    driver = FakeDriver()
    monkeypatch.setattr(gpu_sampling_host, "open_driver", lambda: driver)
    monkeypatch.setattr(gpu_sampling_host, "TorchGraphs", partial(PlayedGraphs, driver=driver))
    monkeypatch.setattr(Bundle, "default", staticmethod(lambda: Bundle.open(bundle)))
    return driver


def test_host_is_right_and_timed(found: Found, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = played_host(monkeypatch, small_bundle)
    monkeypatch.setattr(gpu_sampling_host, "BATCHES", (1, 2))
    gpu_sampling_host.run(found, str(small_bundle), 1.0)
    driver.finish()
    assert not found.all("error")
    checks = found.all("check")
    assert all(check["passed"] for check in checks)
    assert {check["way"] for check in checks} == {gpu_sampling_host.PLAIN, gpu_sampling_host.CAPTURED}
    assert {check["against"] for check in checks} == {"golden vectors", "cpu"}
    assert {check["name"].split(":")[0] for check in checks} == {"encode", "decode", "classify", "top", "bottom"}
    assert driver.launched.count("replay") > 100
    timings = found.all("timing")
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


def test_a_wrong_host_is_found(found: Found, small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played_host(monkeypatch, small_bundle)
    right = gpu_onnx_operators.OPERATORS["Elu"]
    monkeypatch.setitem(gpu_onnx_operators.OPERATORS, "Elu", lambda x, a: 1.01 * right(x, a))  # type: ignore[operator]
    gpu_sampling_host.run(found, None, 0.01)
    wrong = {(check["against"], check["name"]) for check in found.all("check") if not check["passed"]}
    assert ("golden vectors", "bottom: logits, of max(1, max |logit|)") in wrong
    assert ("cpu", "bottom: logits, of max(1, max |logit|)") in wrong


def test_an_error_of_one_way_leaves_the_other(
    found: Found, small_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = played_host(monkeypatch, small_bundle)
    monkeypatch.setattr(driver, "capture", lambda stream: 1 / 0)
    gpu_sampling_host.run(found, None, 0.01)
    (error,) = found.all("error")
    assert error["name"] == "host with PyTorch's kernels, captured"
    assert "ZeroDivisionError" in error["error"] or "division by zero" in error["error"]
    assert {check["against"] for check in found.all("check")} == {"golden vectors", "cpu"}


def test_backends_that_open_are_checked_and_others_listed(
    found: Found, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_engines(small_bundle, tmp_path / "engines", ("float32", "float16"), max_batch=4)
    play(monkeypatch, FakeDriver(capability=(9, 0)), providers=False)
    monkeypatch.setattr(Bundle, "default", staticmethod(lambda: Bundle.open(folder)))
    monkeypatch.setattr(gpu_sampling_backends, "_build_engines", lambda *_: None)
    monkeypatch.setattr(gpu_sampling_backends, "BATCHES", (1, 3))
    gpu_sampling_backends.run(found, None, 0.5)
    assert not found.all("error")
    checks = found.all("check")
    assert all(check["passed"] for check in checks if check["type"] == "float32")
    assert {(check["backend"], check["type"], check["against"]) for check in checks} == {
        ("tensorrt", "float32", "golden vectors"),
        ("tensorrt", "float32", "cpu"),
        ("tensorrt", "float16", "golden vectors"),
    }
    assert [missing["name"] for missing in found.all("missing")] == [
        "cuda, float32, default",
        "onnxruntime-tensorrt, float32, default",
    ]
    assert all("has no" in missing["why"] for missing in found.all("missing"))
    assert {(t["batch"], t["type"]) for t in found.all("timing") if t["name"] == "level"} == {
        (batch, kind) for batch in (1, 3) for kind in ("float32", "float16")
    }


@pytest.mark.parametrize("capability", [(9, 0), (8, 9)])
def test_engines_are_built_for_the_gpu_that_is_here(
    capability: tuple[int, int], found: Found, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "copy"
    shutil.copytree(small_bundle, path)
    gpu_sampling_backends._build_engines(found, path)
    assert [missing["name"] for missing in found.all("missing")] == ["engines of copy"]  # no GPU
    driver = FakeDriver(capability=(9, 0))
    flavour = TensorRtBuilder(tensorrt_module(driver))
    monkeypatch.setattr(gpu_sampling_backends, "open_gpu", lambda: FakeDriver(capability=capability))
    monkeypatch.setattr("latentloop.export.tensorrt.builder.open_flavour", lambda _: flavour)
    monkeypatch.setattr("latentloop.export.tensorrt.builder.open_driver", lambda: driver)
    gpu_sampling_backends._build_engines(found, path)
    if capability == (9, 0):
        assert [timing["precision"] for timing in found.all("timing")] == ["float32", "float16"]
        assert len(list((path / "engines").glob("*/manifest.json"))) == 2
    else:
        assert found.all("missing")[-1]["why"].endswith("cannot build for sm89")


def test_drivers_are_checked(found: Found, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu_sampling_driver.run(found)
    assert [missing["name"] for missing in found.all("missing")] == list(gpu_sampling_driver.DRIVERS)
    gpu_sampling_driver.check_driver(found, FakeDriver(pageable=True), 1 << 12)
    checks = found.all("check")
    assert len(checks) > 12
    assert all(check["passed"] for check in checks)

    class Late(FakeDriver):
        def zero(self, pointer: int, size: int, stream: Any) -> None:
            super().zero(pointer, size - 1, stream)

    gpu_sampling_driver.check_driver(found, Late(pageable=True), 1 << 12)
    later = found.all("check")[len(checks) :]
    wrong = [check for check in later if not check["passed"]]
    assert 0 < len(wrong) < len(later)
    assert "fake: copies" in {check["name"] for check in wrong}


def test_the_interpreter_is_a_device_of_its_own(small_bundle: Path) -> None:
    driver = FakeDriver()
    bundle = Bundle.open(small_bundle)
    graphs = PlayedGraphs(bundle, 0, capturable=True, driver=driver)
    sampler = interpreting_sampler(bundle, graphs, driver, 0)
    assert (sampler.device, sampler.device_reason) == ("pytorch:0", f"PyTorch {torch.__version__}")
    assert Sampler(bundle).device == "cpu"  # nothing of it is left behind
    codes = sampler.sample(2, labels=0, seeds=3).codes
    expected = Sampler(bundle).sample(2, labels=0, seeds=3).codes
    for name, values in expected.items():
        np.testing.assert_array_equal(codes[name], values)


def test_addresses_are_what_pytorch_adopts() -> None:
    from latentloop.backends.gpu.device_graph import Tensor

    interface = Address(Tensor(0x7000, "int64", (2, 3))).__cuda_array_interface__
    assert interface == {"shape": (2, 3), "typestr": np.dtype(np.int64).str, "data": (0x7000, False), "version": 2}


def test_draws_may_differ_at_an_edge_alone() -> None:
    logits = np.log(np.array([0.25, 0.25, 0.5]))[None, None, None].repeat(3, 2)  # one row of three codes
    expected = np.array([[[0, 1, 2]]])

    def wrong(found: list[int], *u: float) -> int:
        return wrong_draws(np.array([[found]]), expected, logits, np.array([[u]]))

    assert wrong([0, 1, 2], 0.9, 0.0, 0.0) == 0
    assert wrong([0, 2, 0], 0.1, 0.5 + 5e-5, 0.9) == 0  # u at the edge of 1 and 2; what follows is free
    assert wrong([0, 2, 2], 0.1, 0.5 - 2e-4, 0.9) == 1
    assert wrong([2, 1, 2], 0.5, 0.3, 0.9) == 1  # not neighbours
    assert wrong([1, 1, 2], 0.25, 0.3, 0.9) == 0
