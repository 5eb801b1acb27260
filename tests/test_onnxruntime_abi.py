"""The declarations of ONNX Runtime's C ABI in the kernels equal those of the official header."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from nearest_grid import KERNELS, compile_native, compiler

OURS = KERNELS / "operators" / "onnxruntime" / "abi.h"
ENUMERATORS = {
    "kUndefined": "ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED",
    "kFloat": "ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT",
    "kFloat16": "ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16",
    "kUint8": "ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8",
    "kInt8": "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8",
    "kInt64": "ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64",
    "kRequired": "INPUT_OUTPUT_REQUIRED",
    "kOptional": "INPUT_OUTPUT_OPTIONAL",
    "kVariadic": "INPUT_OUTPUT_VARIADIC",
    "kFail": "ORT_FAIL",
    "kInvalidArgument": "ORT_INVALID_ARGUMENT",
    "kFatal": "ORT_LOGGING_LEVEL_FATAL",
    "kDeviceAllocator": "OrtDeviceAllocator",
    "kDefaultMemory": "OrtMemTypeDefault",
}


@pytest.mark.skipif(compiler() is None, reason="no C++ compiler")
def test_abi_equals_the_official_header(tmp_path: Path) -> None:
    include = os.environ.get("ONNXRUNTIME_INCLUDE")
    if not include:
        pytest.skip("ONNXRUNTIME_INCLUDE does not name a folder with onnxruntime_c_api.h")

    # 1. The positions, fields and values that our header declares.
    ours = OURS.read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", (Path(include) / "onnxruntime_c_api.h").read_text(encoding="utf-8")))
    official = {word.replace("_", "").lower(): word for word in words if "_" in word}  # KernelContext_GetInput
    positions = re.findall(r"using (\w+) = Function<(\d+),", ours)
    table = re.search(r"struct OrtCustomOp \{(.*?)\n\};", ours, re.DOTALL)
    assert table is not None
    fields = ["version", *re.findall(r"\(\*(\w+)\)\(", table[1])]
    values = dict(re.findall(r"\b(k\w+) = (\d+)", ours))
    version = re.search(r"kApiVersion\{(\d+)\}", ours)
    assert version is not None
    assert len(positions) == ours.count("= Function<")
    assert len(fields) == len(table[1].strip().splitlines())
    assert values.keys() == ENUMERATORS.keys()

    # 2. Static assertions of them.
    entries = [
        f"static_assert(offsetof(OrtApi, {official.get(name.lower(), name)}) == {position} * sizeof(void*));"
        for name, position in positions
    ]
    custom = [f"static_assert(offsetof(OrtCustomOp, {name}) == {i} * sizeof(void*));" for i, name in enumerate(fields)]
    numbers = [f"static_assert({ENUMERATORS[name]} == {value});" for name, value in values.items()]
    numbers.append(f"static_assert({version[1]} <= ORT_API_VERSION);")
    base = ["static_assert(offsetof(OrtApiBase, GetApi) == 0);"]

    # 3. Compile them with each header; the two cannot be included together.
    for name, header, lines in (
        ("official", f"{include}/onnxruntime_c_api.h", [*entries, *custom, *base, *numbers]),
        ("ours", str(OURS), [*custom, *base]),
    ):
        source = tmp_path / f"{name}.cpp"
        source.write_text("\n".join(["#include <cstddef>", f'#include "{header}"', *lines, ""]), encoding="utf-8")
        compile_native([source], tmp_path / f"{name}.o", ["-fsyntax-only"])
