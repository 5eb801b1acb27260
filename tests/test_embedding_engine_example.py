"""Programs that are built against an installed library with engines, on the simulated GPU: the example, and a test of
the C++ wrapper.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cuda_build import tensorrt_headers
from engine_library import build_folder
from made_once import made_once
from nearest_grid import NATIVE
from test_embedded_engines import DEFAULT, bundle, environment, simulated
from test_embedding_docs import PAGE, block
from test_embedding_package import FLAGS, ROOT, read, required, run

from latentloop import Bundle, Sampler
from latentloop.environment.c_library import onnxruntime_library

__all__ = ["bundle", "simulated"]  # fixtures
COUNT, SEED = 3, 4


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `cmake --install` wrote."""
    return build_folder(tmp_path_factory) / "installed"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, installed: Path, simulated: Path) -> Path:
    """examples/engines.cpp, built by the CMake file of the examples."""

    def make(folder: Path) -> None:
        toolkit = [f"-DCMAKE_MODULE_PATH={NATIVE / 'cuda_toolkit'}", f"-DFAKE_CUDA={simulated}"]
        package = f"-Dlatentloop_DIR={installed / 'lib' / 'cmake' / 'latentloop'}"
        run("cmake", "-S", ROOT / "examples", "-B", folder, package, *toolkit, *FLAGS)
        run("cmake", "--build", folder, "--target", "engines")

    return made_once(tmp_path_factory, "engine_example", make) / "engines"


def expected_rows() -> list[np.ndarray]:
    """Returns what the example draws, drawn on the CPU: two rows of images [COUNT, height, width, 3]."""
    sampler = Sampler(Bundle.open(DEFAULT), "cpu")
    labels = range(COUNT)
    first = sampler.sample(COUNT, labels=labels, seeds=SEED)
    second = sampler.sample(COUNT, labels=labels, seeds=SEED + COUNT, given={"top": first.codes["top"]})
    return [first.images, second.images]


@pytest.mark.slow
def test_the_example_draws_the_images_of_the_cpu(program: Path, bundle: Path, simulated: Path, tmp_path: Path) -> None:
    picture = tmp_path / "images.ppm"
    traced = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": str(tmp_path / "loaded")}
    output = run(program, bundle, COUNT, SEED, picture, **environment(simulated, **traced))
    assert output == ""
    expected = np.concatenate([np.concatenate([*images], axis=1) for images in expected_rows()])
    actual = read(picture)
    assert actual.shape == expected.shape
    assert np.abs(actual.astype(int) - expected).max() <= 1  # up to rounding
    # Of the process only the fake TensorRT, which runs its graphs there, loads ONNX Runtime.
    (log,) = tmp_path.glob("loaded.*")
    name = re.escape(onnxruntime_library().name)
    loaders = re.findall(rf"file=\S*{name} \[0\];  dynamically loaded by (\S+)", log.read_text(encoding="utf-8"))
    assert loaders
    assert {Path(loader).name for loader in loaders} == {"libnvinfer.so.10"}


def failure(program: Path, *arguments: object, environment: dict[str, str]) -> str:
    words = [str(program), *map(str, arguments)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stdout == ""
    return done.stderr


@pytest.mark.slow
def test_the_example_says_what_is_missing(program: Path, bundle: Path, simulated: Path, tmp_path: Path) -> None:
    here = environment(simulated)
    picture = tmp_path / "images.ppm"
    assert failure(program, environment=here) == "usage: engines BUNDLE COUNT SEED OUT.ppm [PRECISION]\n"
    without = failure(program, DEFAULT, 1, 1, picture, environment=here)
    assert without.startswith(f"{DEFAULT} has no engines: latentloop build-engines {DEFAULT} --precision float32")
    others = failure(program, bundle, 1, 1, picture, "bfloat16", environment=here)
    assert re.search(r"is of the precision \w+, not bfloat16: latentloop build-engines", others)
    (tmp_path / "libcuda.so.1").symlink_to(simulated / "libcuda.so.1")
    lonely = failure(program, bundle, 1, 1, picture, environment=environment(tmp_path))
    assert lonely.startswith("TensorRT cannot be loaded: libnvinfer.so.10: cannot open shared object file")
    unwritable = failure(program, bundle, 1, 1, tmp_path, environment=here)
    assert unwritable == f"{tmp_path}: cannot write\n"
    assert not picture.exists()


def build_program(source: Path, installed: Path, simulated: Path) -> Path:
    """Compiles a program for the simulated GPU, and returns its path."""
    includes = [installed / "include", NATIVE / "cuda_toolkit", NATIVE / "fake_libcuda"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", *(f"-I{folder}" for folder in includes)]
    libraries = [installed / "lib" / "liblatentloop.so", simulated / "libcuda.so.1", f"-Wl,-rpath,{installed / 'lib'}"]
    run("c++", *flags, source, *libraries, "-o", source.with_suffix(""))
    return source.with_suffix("")


@pytest.mark.slow
def test_the_wrapper_on_the_simulated_gpu(installed: Path, bundle: Path, simulated: Path, tmp_path: Path) -> None:
    source = Path(shutil.copy(NATIVE / "embedding" / "wrapper_on_gpu.cpp", tmp_path))
    assert run(build_program(source, installed, simulated), bundle, **environment(simulated)) == "passed\n"


@pytest.mark.slow
def test_the_lines_of_the_page_run(installed: Path, bundle: Path, simulated: Path, tmp_path: Path) -> None:
    program = """
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>
#include <latentloop/latentloop.hpp>

void* allocate(size_t bytes) {
  void* array = nullptr;
  if (cudaMalloc(&array, bytes) != cudaSuccess) std::abort();
  return array;
}

int main() {
  cudaStream_t stream{};
  if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) != cudaSuccess) std::abort();
  const size_t bytes = 4 * 64 * 64 * 3;
  auto* images = static_cast<uint8_t*>(allocate(bytes));
  auto* top = static_cast<int64_t*>(allocate(4 * 8 * 8 * 8));
  auto* bottom = static_cast<int64_t*>(allocate(4 * 16 * 16 * 8));
  std::vector<uint8_t> copied(bytes);
  {
LINES
    cudaMemcpyAsync(copied.data(), images, bytes, cudaMemcpyDeviceToHost, stream);
    cudaStreamSynchronize(stream);
    std::fwrite(samples.images.pixels.data(), 1, bytes, stdout);
    std::fwrite(copied.data(), 1, bytes, stdout);
  }
  for (void* array : {static_cast<void*>(images), static_cast<void*>(top), static_cast<void*>(bottom)}) cudaFree(array);
  cudaStreamDestroy(stream);
}
"""
    source = tmp_path / "page.cpp"
    source.write_text(
        program.replace("LINES", block("c\\+\\+").replace("path/to/bundle", str(bundle))), encoding="utf-8"
    )
    built = build_program(source, installed, simulated)
    done = subprocess.run([built], env=environment(simulated), stdout=subprocess.PIPE, check=True, timeout=60)
    drawn = np.frombuffer(done.stdout, np.uint8).reshape(2, 4, 64, 64, 3)
    expected = Sampler(Bundle.open(DEFAULT), "cpu").sample(4, seeds=0).images
    assert np.abs(drawn.astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_the_commands_of_the_page_configure_a_build_with_engines(tmp_path: Path) -> None:
    required("cmake")
    headers = tensorrt_headers()
    if headers is None:
        pytest.skip("no headers of TensorRT: pip install kernel-lens, or set NVINFER_INCLUDE")
    (commands,) = re.findall(r"```sh\n(cmake -S runtime/cpp -B build/engines .*?)```", PAGE, re.DOTALL)
    configure, build, install = commands.replace("\\\n", "").strip().splitlines()
    assert (build.split()[:3], install.split()[:3]) == (
        ["cmake", "--build", "build/engines"],
        ["cmake", "--install", "build/engines"],
    )
    places = {"runtime/cpp": ROOT / "runtime" / "cpp", "build/engines": tmp_path, "path/to/TensorRT/include": headers}
    places["path/to/cuda/include"] = NATIVE / "cuda_types"
    for place, path in places.items():
        configure = configure.replace(place, str(path))
    run(*configure.split())
    found = (tmp_path / "CMakeCache.txt").read_text(encoding="utf-8")
    for line in ("LATENTLOOP_TENSORRT:BOOL=ON", f"NVINFER_INCLUDE:PATH={headers}"):
        assert line in found
    targets = run("cmake", "--build", tmp_path, "--target", "help")
    assert "tensorrt/library" in targets
