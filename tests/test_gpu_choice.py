"""The choice of the device, and the messages for devices that cannot run a bundle."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from corrupted_bundles import read_manifest, replace_file, scale_weight
from fake_gpu import onnxruntime_cuda, tensorrt_running
from gpu_machines import MAX_BATCH, Machines, WatchedDriver, check_same, simulate_machine, with_engines

from latentloop import Bundle, BundleError, InputError, MissingError, Sampler
from latentloop.backends import registry as choice
from latentloop.backends.gpu import availability
from latentloop.draws.level_inputs import LevelInputs
from latentloop.kernels.driver import DriverError, MissingGpuError
from latentloop.sampling.sampler import runs_of

TENSORRT = "tensorrt 11.4.0.106"


@pytest.fixture
def bundle(small_engines: Path) -> Bundle:
    return Bundle.open(small_engines)


@pytest.fixture
def copied(small_engines: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_engines, tmp_path / "copied"))


def error_text(error: type[Exception], action: Callable[[], object]) -> str:
    """Returns the message of the error that the action raises, which must be one line."""
    with pytest.raises(error) as caught:
        action()
    text = str(caught.value)
    assert "\n" not in text
    return text


def working_sampler(bundle: Bundle, device: str) -> Sampler:
    """Returns a sampler after a check of its samples against the CPU's."""
    sampler = Sampler(bundle, device)
    check_same(sampler.sample(1, seeds=3), Sampler(bundle, "cpu").sample(1, seeds=3))
    return sampler


def test_auto_prefers_tensorrt(bundle: Bundle, machines: Machines) -> None:
    machines()
    sampler = working_sampler(bundle, "auto")
    assert (sampler.device, sampler.device_reason) == ("tensorrt:0", f"{TENSORRT}, engines for sm90")


def test_auto_uses_onnx_runtime_without_engines(small_bundle: Path, machines: Machines) -> None:
    machines()
    sampler = working_sampler(Bundle.open(small_bundle), "auto")
    assert sampler.device == "cuda:0"
    assert sampler.device_reason == f"ONNX Runtime {onnxruntime.__version__}, CUDAExecutionProvider"


def test_auto_uses_the_cpu_if_the_gpu_fails(
    bundle: Bundle, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = machines()

    def fail(device: int) -> None:
        raise DriverError("cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY")

    monkeypatch.setattr(driver, "use", fail)
    sampler = Sampler(bundle, "auto")
    assert sampler.device == "cpu"
    assert "GPU 0: cuDevicePrimaryCtxRetain: CUDA_ERROR_OUT_OF_MEMORY" in sampler.device_reason
    assert choice.usable(bundle)["tensorrt"].startswith("no: GPU 0: cuDevicePrimaryCtxRetain")


def test_auto_uses_the_cpu_without_engines_and_provider(small_bundle: Path, machines: Machines) -> None:
    machines(providers=False)
    sampler = working_sampler(Bundle.open(small_bundle), "auto")
    assert sampler.device == "cpu"
    assert sampler.device_reason == (
        f"tensorrt: {small_bundle} has no engines: latentloop build-engines {small_bundle} --precision float32; cuda: "
        f"ONNX Runtime {onnxruntime.__version__} here has no CUDAExecutionProvider: pip uninstall -y onnxruntime && "
        "pip install onnxruntime-gpu cuda-bindings"
    )


def test_without_a_gpu(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingError("no NVIDIA driver here (libcuda.so.1)")

    monkeypatch.setattr(availability, "open_gpu", missing)
    sampler = working_sampler(bundle, "auto")
    assert (sampler.device, sampler.device_reason) == ("cpu", "no NVIDIA driver here (libcuda.so.1)")
    assert working_sampler(bundle, "cpu").device_reason == "as requested"
    for device in ("cuda", "tensorrt:1", "onnxruntime-tensorrt"):
        assert error_text(MissingError, lambda: Sampler(bundle, device)) == "no NVIDIA driver here (libcuda.so.1)"  # noqa: B023


def test_without_a_driver_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise MissingGpuError("no package here can drive a GPU. cuda-python: not installed")

    monkeypatch.setattr("ctypes.CDLL", lambda name: None)
    monkeypatch.setattr("latentloop.kernels.driver.open_driver", missing)
    assert error_text(MissingError, availability.open_gpu).endswith(
        'cuda-python: not installed: pip install "latentloop[gpu]"'
    )


@pytest.mark.parametrize(
    ("device", "error", "text"),
    [
        ("gpu", InputError, "device is 'gpu', expected auto, cpu, cuda, tensorrt or onnxruntime-tensorrt, for a GPU"),
        ("cuda:", InputError, "device is 'cuda:', expected"),
        ("cuda:-1", InputError, "device is 'cuda:-1', expected"),
        ("cuda:٣", InputError, "device is 'cuda:٣', expected"),
        (
            "cuda:9999",
            InputError,
            "device is 'cuda:9999', expected auto, cpu, cuda, tensorrt or onnxruntime-tensorrt, "
            "for a GPU optionally with its number, 0 to 999, as in cuda:1",
        ),
        ("cpu:0", InputError, "device is 'cpu:0', expected"),
        ("auto:0", InputError, "device is 'auto:0', expected"),
        (0, InputError, "device is 0, expected"),
        ("cuda:2", MissingError, "device cuda:2: there are 2 GPUs, counted from 0"),
        ("tensorrt:99", MissingError, "device tensorrt:99: there are 2 GPUs, counted from 0"),
    ],
)
def test_invalid_devices(bundle: Bundle, machines: Machines, device: Any, error: type[Exception], text: str) -> None:
    machines(devices=2)
    assert error_text(error, lambda: Sampler(bundle, device)).startswith(text)


@pytest.mark.parametrize("kind", ["tensorrt", "cuda"])
def test_the_second_gpu(bundle: Bundle, machines: Machines, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    driver = machines(devices=2)
    deserialise, contexts = tensorrt_running.Runtime.deserialize_cuda_engine, []

    def record(self: tensorrt_running.Runtime, plan: bytes) -> Any:
        contexts.append(driver.context())
        return deserialise(self, plan)

    monkeypatch.setattr(tensorrt_running.Runtime, "deserialize_cuda_engine", record)
    first, second = working_sampler(bundle, f"{kind}:0"), working_sampler(bundle, f"{kind}:1")
    assert [first.device, second.device] == [f"{kind}:0", f"{kind}:1"]
    in_use = [allocation for allocation in driver.allocations if not allocation.host and not allocation.freed]
    assert {allocation.device for allocation in in_use} == {0, 1}
    half = len(contexts) // 2
    assert contexts == [1] * half + [2] * half  # every engine is loaded on both GPUs


@pytest.mark.parametrize(
    ("precision", "text"),
    [
        ("int4", "precision is 'int4', expected one of float32, float16, bfloat16, int8"),
        (16, "precision is 16, expected one of float32, float16, bfloat16, int8"),
    ],
)
def test_invalid_precisions(bundle: Bundle, machines: Machines, precision: Any, text: str) -> None:
    machines()
    assert error_text(InputError, lambda: Sampler(bundle, "tensorrt", precision=precision)) == text


def test_precisions_that_only_engines_have(bundle: Bundle, small_bundle: Path, machines: Machines) -> None:
    machines()
    assert Sampler(bundle, "auto", precision="bfloat16").device == "tensorrt:0"
    text = "precision is 'float16', expected one that the bundle has: float32, int8"
    assert error_text(InputError, lambda: Sampler(bundle, "cuda", precision="float16")) == text
    message = error_text(InputError, lambda: Sampler(Bundle.open(small_bundle), "auto", precision="float16"))
    assert message.startswith(
        f"{text}; tensorrt: {small_bundle} has no engines: latentloop build-engines {small_bundle}"
    )


@pytest.mark.parametrize(
    ("driver", "module", "expected"),
    [
        ({"capability": (8, 6)}, {}, "for sm90, not for sm86"),
        ({}, {"version": "12.0"}, "built by tensorrt 11.4.0.106, not by tensorrt 12.0"),
        ({}, {"library": "tensorrt_rtx"}, "built by tensorrt 11.4.0.106, not by tensorrt_rtx 1.7.1.116"),
    ],
)
def test_engines_for_another_gpu_or_library_are_not_loaded(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, driver: Any, module: Any, expected: str
) -> None:
    simulate_machine(monkeypatch, WatchedDriver(**driver), **module)
    text = error_text(MissingError, lambda: Sampler(bundle, "tensorrt"))
    assert expected in text
    assert text.endswith(f": latentloop build-engines {bundle.path} --precision float32")
    sampler = working_sampler(bundle, "auto")
    assert sampler.device == "cuda:0"


def test_engines_of_tensorrt_for_rtx(small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.open(with_engines(small_bundle, tmp_path / "rtx", library="tensorrt_rtx"))
    driver = WatchedDriver(capability=(12, 0))
    simulate_machine(monkeypatch, driver, library="tensorrt_rtx")
    assert working_sampler(bundle, "auto").device_reason == "tensorrt_rtx 1.7.1.116, engines for sm120"
    driver.finish()


def test_engines_of_another_precision_are_not_loaded(small_bundle: Path, tmp_path: Path, machines: Machines) -> None:
    bundle = Bundle.open(with_engines(small_bundle, tmp_path / "one", ("int8",)))
    machines()
    text = error_text(MissingError, lambda: Sampler(bundle, "tensorrt"))
    assert text == (
        f"{bundle.path}/engines/sm90_tensorrt-11.4.0.106_int8 is of the precision int8, not float32: latentloop "
        f"build-engines {bundle.path} --precision float32"
    )


def test_engines_of_a_bundle_that_has_changed_are_not_loaded(copied: Path, machines: Machines) -> None:
    graph = read_manifest(copied)["levels"][0]["prior"]["graphs"]["step"]["file"]
    scale_weight(copied, graph, "top.logits_bias", 2)
    machines()
    text = error_text(MissingError, lambda: Sampler(Bundle.open(copied), "tensorrt"))
    assert text.startswith(f"{copied}/engines/sm90_tensorrt-11.4.0.106_float32 is stale: built from another bundle")
    assert "latentloop build-engines" in text


def test_a_plan_that_has_changed_is_not_loaded(copied: Path, machines: Machines) -> None:
    plan = engines(copied) / "top.step.plan"
    plan.write_bytes(plan.read_bytes()[:-1] + b"?")
    machines()
    text = error_text(MissingError, lambda: Sampler(Bundle.open(copied), "tensorrt"))
    assert text.startswith(f"{plan} has SHA-256 ")
    assert working_sampler(Bundle.open(copied), "auto").device == "cuda:0"


def test_a_plan_that_tensorrt_cannot_load(copied: Path, machines: Machines) -> None:
    data = bytearray((engines(copied) / "top.step.plan").read_bytes())
    data[-1] ^= 1
    replace_file(engines(copied), "top.step.plan", bytes(data))
    machines()
    sampler = Sampler(Bundle.open(copied), "tensorrt")
    for _ in range(2):
        text = error_text(BundleError, lambda: sampler.sample(1))
        assert text == (
            f"{engines(copied)}/top.step.plan: TensorRT cannot load it: IRuntime::deserializeCudaEngine: Error Code 1: "
            "Serialization assertion magicTag == kPLAN_MAGIC_TAG failed; build it again with `latentloop build-engines "
            "--force`"
        )


def test_a_plan_with_other_bindings(copied: Path, machines: Machines) -> None:
    other = (engines(copied) / "top.row.plan").read_bytes()
    replace_file(engines(copied), "top.step.plan", other)
    machines()
    text = error_text(BundleError, lambda: Sampler(Bundle.open(copied), "tensorrt").sample(1))
    assert text.startswith(f"{engines(copied)}/top.step.plan: inputs and outputs of plan and manifest differ: ")
    names = text.rpartition(": ")[2].split(", ")
    assert {"code", "codes_above.0"} <= set(names)
    assert "column" in names


def test_a_batch_beyond_the_profiles(bundle: Bundle, machines: Machines) -> None:
    machines()
    sampler = Sampler(bundle, "tensorrt")
    assert sampler.default_batch_size == MAX_BATCH
    text = error_text(InputError, lambda: sampler.sample(1, batch_size=MAX_BATCH + 1))
    assert text == f"batch_size is {MAX_BATCH + 1}, expected at most {MAX_BATCH}"
    level = bundle.manifest.levels[0]
    forced = LevelInputs.forcing(np.zeros((MAX_BATCH + 1, level.height, level.width), np.int64), None, None)
    assert error_text(BundleError, lambda: list(runs_of(sampler).rows(level, forced))) == (
        f"{engines(bundle.path)}: built for batches of at most {MAX_BATCH}, requested {MAX_BATCH + 1}: use a smaller "
        "one, or build engines with a larger --max-batch"
    )


def test_a_provider_that_falls_back_to_the_cpu(
    small_bundle: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    machines()
    real = onnxruntime_cuda._CpuSession
    monkeypatch.setattr(
        onnxruntime,
        "InferenceSession",
        lambda path, options, **_: real(path, options, providers=["CPUExecutionProvider"]),
    )
    text = error_text(BundleError, lambda: Sampler(Bundle.open(small_bundle), "cuda").sample(1))
    assert re.fullmatch(
        r".*\.onnx: ONNX Runtime cannot use its CUDAExecutionProvider here, only CPUExecutionProvider", text
    )


def test_what_is_usable(bundle: Bundle, machines: Machines) -> None:
    machines()
    found = choice.usable(bundle)
    assert [found[kind] for kind in ("cpu", "cuda", "tensorrt")] == ["yes"] * 3
    assert found["onnxruntime-tensorrt"].startswith("no: ONNX Runtime")
    assert choice.usable(None)["cuda"] == "no: the bundle cannot be opened"


def engines(bundle: Path) -> Path:
    folder = bundle / "engines" / "sm90_tensorrt-11.4.0.106_float32"
    assert json.loads((folder / "manifest.json").read_text())["precision"] == "float32"
    return folder


@pytest.mark.parametrize("device", ["cuda", "onnxruntime-tensorrt"])
def test_a_broken_onnx_runtime_is_named(
    bundle: Bundle, machines: Machines, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    machines()
    monkeypatch.delitem(sys.modules, "latentloop.backends.onnxruntime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # its import fails
    text = error_text(MissingError, lambda: Sampler(bundle, device))
    assert text.startswith("the installation of onnxruntime is broken")
