"""Engines in liblatentloop: on the simulated GPU, and on machines where something is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from embedded import installed_library
from engine_library import build_folder, for_rtx
from fake_engines import RTX, TENSORRT, engines_folder
from gpu_machines import with_engines
from made_once import made_once

from latentloop.environment.c_library import onnxruntime_library

TESTS = Path(__file__).parent
DEFAULT = TESTS.parent / "runtime" / "data" / "planets"
CHILDREN = [str(path) for path in sorted(TESTS.glob("embedded_*_child.py"))]
FIXTURES = "embedded_engine_samplers"
VERSIONS = {TENSORRT: "10.14.1.48", RTX: "1.7.1.116"}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_folder(tmp_path_factory) / "liblatentloop.so"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the simulated driver and TensorRT."""
    return engines_folder(tmp_path_factory)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default bundle with engines of TensorRT and of TensorRT for RTX."""

    def make(folder: Path) -> None:
        precisions = ("float32", "float16", "int8")
        first = with_engines(DEFAULT, folder.with_name("engines_of_one"), precisions, version=VERSIONS[TENSORRT])
        with_engines(first, folder, precisions, library="tensorrt_rtx", version=VERSIONS[RTX])

    return made_once(tmp_path_factory, "embedded_engines", make)


def environment(simulated: Path | None, **others: str) -> dict[str, str]:
    """Returns the environment of a process on a machine with the simulated GPU, or None: without any."""
    libraries = {} if simulated is None else {"LD_LIBRARY_PATH": str(simulated)}
    variables = {"LATENTLOOP_TEST_CAPABILITY": "9.0", "LATENTLOOP_ONNXRUNTIME": str(onnxruntime_library())}
    return {**os.environ, **variables, **libraries, **others}


def run_child(library: Path, bundle: Path, simulated: Path, tensorrt: str, *options: str, **others: str) -> str:
    """Runs the tests of the child process, and returns its output; fails unless it succeeds."""
    variables = {
        "LATENTLOOP_TEST_LIBRARY": str(library),
        "LATENTLOOP_TEST_BUNDLE": str(bundle),
        "LATENTLOOP_TEST_TENSORRT": str(simulated / tensorrt),
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        "-p",
        FIXTURES,
        *CHILDREN,
    ]
    done = subprocess.run(
        [*command, *options],
        cwd=TESTS,
        env=environment(simulated, **variables, **others),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_on_the_simulated_gpu(library: Path, bundle: Path, simulated: Path) -> None:
    assert " passed" in run_child(library, bundle, simulated, TENSORRT, "-m", "not slow")


@pytest.mark.slow
def test_on_a_gpu_that_works_as_soon_as_it_can(library: Path, bundle: Path, simulated: Path) -> None:
    """Copies then overwrite what the host should have read, and work reads what is not there yet."""
    eager = {"LATENTLOOP_TEST_EAGER": "1"}
    assert " passed" in run_child(library, bundle, simulated, TENSORRT, "-m", "not slow", **eager)


@pytest.mark.slow
def test_failures_of_the_driver(library: Path, bundle: Path, simulated: Path) -> None:
    assert " passed" in run_child(library, bundle, simulated, TENSORRT, "-m", "slow")


@pytest.mark.slow
def test_tensorrt_for_rtx(
    tmp_path_factory: pytest.TempPathFactory, library: Path, bundle: Path, simulated: Path
) -> None:
    """The headers are those of TensorRT with the additions that the documentation of TensorRT for RTX names."""
    tests = ("-k", "samples_are_the_cpus or encoder_decoder or captured_once")
    capability = {"LATENTLOOP_TEST_CAPABILITY": "12.0"}
    assert " passed" in run_child(for_rtx(tmp_path_factory), bundle, simulated, RTX, *tests, **capability)


def create(library: Path, bundle: Path, device: str | None, environment: dict[str, str]) -> dict[str, str]:
    """Creates a sampler in another process. Returns its device, or the status and the text, and the log."""
    program = """
import ctypes, json, sys
from pathlib import Path
from embedded import EmbeddedError, Library, LogFunction
library = Library(Path(sys.argv[1]))
log = []
keep = LogFunction(lambda level, text, user: log.append(text.decode()))
library.functions.ll_set_log(keep, None)
try:
    sampler = library.open(sys.argv[2]).sampler(device=sys.argv[3] or None)
    result = {"device": library.functions.ll_sampler_device(sampler.handle).decode()}
    sampler.sample(1)
    sampler.destroy()
except EmbeddedError as error:
    result = {"status": error.status, "text": error.text}
print(json.dumps({**result, "log": "; ".join(log)}))
"""
    command = [sys.executable, "-c", program, str(library), str(bundle), device or ""]
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    result: dict[str, str] = json.loads(done.stdout)
    return result


def test_a_machine_without_a_driver(library: Path, bundle: Path, tmp_path: Path) -> None:
    here = environment(None, LATENTLOOP_TENSORRT=str(tmp_path))
    result = create(library, bundle, "tensorrt", here)
    assert result["status"] == "missing"
    assert result["text"].startswith("no NVIDIA driver here: libcuda.so.1")
    result = create(library, bundle, None, here)
    assert result["device"] == "cpu"
    assert "device cpu, because engines cannot be used: no NVIDIA driver here: libcuda.so.1" in result["log"]


def test_a_machine_without_tensorrt(library: Path, bundle: Path, simulated: Path, tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").symlink_to(simulated / "libcuda.so.1")
    remedy = "call ll_set_tensorrt, or set LATENTLOOP_TENSORRT to the file or folder of libnvinfer.so of TensorRT 10.14"
    result = create(library, bundle, "tensorrt", environment(tmp_path))
    assert result["status"] == "missing"
    assert result["text"].startswith("TensorRT cannot be loaded: libnvinfer.so.10: cannot open shared object file")
    assert result["text"].endswith(f": {remedy}")
    result = create(library, bundle, "tensorrt", environment(tmp_path, LATENTLOOP_TENSORRT=str(tmp_path)))
    assert result["text"] == f"{tmp_path} has no libnvinfer.so: {remedy}"
    (tmp_path / "file").write_text("text")
    result = create(library, bundle, "tensorrt", environment(tmp_path, LATENTLOOP_TENSORRT=str(tmp_path / "file")))
    assert result["text"].startswith(f"TensorRT cannot be loaded: {tmp_path}/file: not a shared library of this system")
    other = str(simulated / "libcuda.so.1")
    result = create(library, bundle, "tensorrt", environment(tmp_path, LATENTLOOP_TENSORRT=other))
    assert result["text"].startswith(f"TensorRT cannot be loaded: {other} is not TensorRT's library, or is older than")


def test_tensorrt_found_by_the_loader(library: Path, bundle: Path, simulated: Path) -> None:
    result = create(library, bundle, None, environment(simulated))
    assert result["device"] == "tensorrt:0"
    assert f"TensorRT {VERSIONS[TENSORRT]}: libnvinfer.so.10" in result["log"]
    result = create(library, bundle, None, environment(simulated, LATENTLOOP_TENSORRT=str(simulated)))
    assert f"TensorRT {VERSIONS[TENSORRT]}: {simulated}/libnvinfer.so.10" in result["log"]


@pytest.mark.parametrize("version", ["11.4.0.106", "10.13.9.1", "9.14.1.48"])
def test_another_version_of_tensorrt(library: Path, bundle: Path, simulated: Path, version: str) -> None:
    result = create(library, bundle, "tensorrt", environment(simulated, LATENTLOOP_TEST_TENSORRT_VERSION=version))
    assert result["status"] == "missing"
    assert f"libnvinfer.so.10 is version {version}, but this library was built for TensorRT 10.14" in result["text"]


def test_a_newer_minor_version_needs_its_own_engines(library: Path, bundle: Path, simulated: Path) -> None:
    result = create(library, bundle, "tensorrt", environment(simulated, LATENTLOOP_TEST_TENSORRT_VERSION="10.15.0.3"))
    assert result["status"] == "missing"
    assert "built by tensorrt 10.14.1.48, not by tensorrt 10.15.0.3" in result["text"]
    assert "latentloop build-engines" in result["text"]


REAL = {"tensorrt_rtx_libs": "libtensorrt_rtx.so.1", "tensorrt_lean_libs": "libnvinfer_lean.so.11"}


@pytest.mark.parametrize("package", REAL)
def test_real_libraries_of_another_version(library: Path, bundle: Path, simulated: Path, package: str) -> None:
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    file = Path(found.submodule_search_locations[0]) / REAL[package]
    result = create(library, bundle, "tensorrt", environment(simulated, LATENTLOOP_TENSORRT=str(file)))
    assert result["status"] == "missing"
    assert f"{file} is version " in result["text"]
    assert "but this library was built for TensorRT 10.14" in result["text"]


def test_the_wheels_library_has_no_engines(bundle: Path, simulated: Path) -> None:
    built = installed_library()
    result = create(built, bundle, "tensorrt", environment(simulated))
    assert result["status"] == "device not usable"
    assert result["text"].startswith("device is 'tensorrt', but this library was built without TensorRT")
    assert create(built, bundle, None, environment(simulated))["device"] == "cpu"
