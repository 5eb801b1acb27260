"""The functions and numbers of CUDA's driver that liblatentloop declares, compared with NVIDIA's header.

The header is in the folder of the environment variable CUDA_INCLUDE_DIR, in CUDA's toolkit, or in the Python package
nvidia-cuda-runtime.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from test_embedding_package import required

SOURCES = Path(__file__).parents[1] / "runtime" / "cpp"
DECLARED = re.findall(r'Function<[^;]*?> (\w+)\{library,\s*"(\w+)"\}', (SOURCES / "cuda" / "driver.h").read_text())
NUMBERS = {
    "kSuccess": "CUDA_SUCCESS",
    "kInvalidValue": "CUDA_ERROR_INVALID_VALUE",
    "kOutOfMemory": "CUDA_ERROR_OUT_OF_MEMORY",
    "kCapabilityMajor": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
    "kCapabilityMinor": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
    "kContextOf": "CU_POINTER_ATTRIBUTE_CONTEXT",
    "kMemoryType": "CU_POINTER_ATTRIBUTE_MEMORY_TYPE",
    "kDeviceOrdinal": "CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL",
    "kHostMemory": "CU_MEMORYTYPE_HOST",
    "kDeviceMemory": "CU_MEMORYTYPE_DEVICE",
    "kNonBlocking": "CU_STREAM_NON_BLOCKING",
    "kDisableTiming": "CU_EVENT_DISABLE_TIMING",
    "kCaptureThreadLocal": "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL",
    "kCaptureRelaxed": "CU_STREAM_CAPTURE_MODE_RELAXED",
}
PROGRAM = """
#include <cuda.h>

#include <string_view>
#include <type_traits>

#include "cuda/driver.h"

using latentloop::cuda::Driver;
using latentloop::cuda::Function;

// Whether a parameter is passed in the same way.
template <typename A, typename B>
constexpr bool same = std::is_pointer_v<A> == std::is_pointer_v<B> && sizeof(A) == sizeof(B);

template <typename... Ours, typename... Theirs>
constexpr bool agree(const Function<Ours...> Driver::*, CUresult(CUDAAPI*)(Theirs...)) {
  if constexpr (sizeof...(Ours) != sizeof...(Theirs)) {
    return false;
  } else {
    return (same<Ours, Theirs> && ...);
  }
}

#define AS_TEXT(name) #name
#define SYMBOL(name) std::string_view(AS_TEXT(name))
"""


def headers() -> Iterator[Path]:
    yield Path(os.environ.get("CUDA_INCLUDE_DIR", ""))
    yield Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "include"
    nvidia = find_spec("nvidia")
    for folder in (nvidia and nvidia.submodule_search_locations) or ():
        yield from sorted(Path(folder).glob("*/include"))


def compiled(lines: list[str], folder: Path) -> str:
    """Compiles the program with lines at its end, and returns the compiler's errors."""
    required("c++")
    header = next((path for path in headers() if (path / "cuda.h").exists()), None)
    if header is None:
        pytest.skip("no cuda.h: pip install nvidia-cuda-runtime, or set CUDA_INCLUDE_DIR")
    source = folder / "declarations.cpp"
    source.write_text("\n".join([PROGRAM, *lines, ""]), encoding="utf-8")
    includes = [f"-isystem{header}", f"-I{SOURCES}", f"-I{SOURCES / 'include'}"]
    command = ["c++", "-std=c++17", "-fsyntax-only", *includes, str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120).stderr


def test_functions_and_numbers_are_those_of_the_header(tmp_path: Path) -> None:
    declared = set(re.findall(r"\b(k[A-Z]\w+)\s*=\s*\d", (SOURCES / "cuda" / "driver.h").read_text()))
    assert declared == NUMBERS.keys()
    assert len(DECLARED) > 30
    lines = [f"static_assert(latentloop::cuda::{ours} == int{{{theirs}}});" for ours, theirs in NUMBERS.items()]
    for member, symbol in DECLARED:
        name = symbol.removesuffix("_v2")
        lines.append(f'static_assert(agree(&Driver::{member}, &{name}) && SYMBOL({name}) == "{symbol}");')
    assert compiled(lines, tmp_path) == ""


@pytest.mark.parametrize(
    "line",
    [
        'static_assert(SYMBOL(cuCtxPushCurrent) == "cuCtxPushCurrent");',
        "static_assert(agree(&Driver::allocate, &cuMemFreeAsync));",
        "static_assert(agree(&Driver::copy_in, &cuMemcpyDtoHAsync));",
    ],
)
def test_other_declarations_are_refused(tmp_path: Path, line: str) -> None:
    assert "static assertion failed" in compiled([line], tmp_path)
