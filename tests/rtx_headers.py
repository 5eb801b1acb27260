"""Headers of TensorRT for RTX, as tests need them: those of TensorRT, with the version and run-time config of RTX."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

VERSION = {"MAJOR": 1, "MINOR": 7, "PATCH": 1, "BUILD": 116}

_STRATEGY = """
enum class DynamicShapesKernelSpecializationStrategy : int32_t
{
    kLAZY = 0,
    kEAGER = 1,
    kNONE = 2,
};
"""
_METHODS = """
    void setDynamicShapesKernelSpecializationStrategy(DynamicShapesKernelSpecializationStrategy strategy) noexcept
    {
        return mImpl->setDynamicShapesKernelSpecializationStrategy(strategy);
    }
    DynamicShapesKernelSpecializationStrategy getDynamicShapesKernelSpecializationStrategy() const noexcept
    {
        return mImpl->getDynamicShapesKernelSpecializationStrategy();
    }
"""
_VIRTUALS = """
    virtual void setDynamicShapesKernelSpecializationStrategy(
        DynamicShapesKernelSpecializationStrategy strategy) noexcept = 0;
    virtual DynamicShapesKernelSpecializationStrategy getDynamicShapesKernelSpecializationStrategy() const noexcept = 0;
"""


def patched_headers(source: Path, target: Path) -> None:
    """Copies the headers of TensorRT 10 from ``source`` to the new folder ``target``, changed to TensorRT for RTX."""
    shutil.copytree(source, target)
    version = target / "NvInferVersion.h"
    text = version.read_text()
    for part, number in VERSION.items():
        text = _replace(text, rf"#define TRT_{part}_ENTERPRISE \d+", f"#define TRT_{part}_RTX {number}")
    version.write_text(text.replace("_ENTERPRISE", "_RTX"))

    runtime = target / "NvInferRuntime.h"
    text = runtime.read_text()
    end = r"(ExecutionContextAllocationStrategy getExecutionContextAllocationStrategy\(\) const noexcept\s*\{[^}]*\})"
    runtime.write_text(_replace(text, rf"(class IRuntimeConfig : .*?){end}", rf"\1\2{_METHODS}", re.DOTALL))

    implementation = target / "NvInferImpl.h"
    text = _replace(
        implementation.read_text(),
        r"(class VRuntimeConfig : .*?getExecutionContextAllocationStrategy\(\) const noexcept = 0;)",
        rf"\1{_VIRTUALS}",
        re.DOTALL,
    )
    implementation.write_text(_replace(text, r"(\nenum class ExecutionContextAllocationStrategy)", rf"{_STRATEGY}\1"))


def _replace(text: str, pattern: str, replacement: str, flags: int = 0) -> str:
    changed, count = re.subn(pattern, replacement, text, flags=flags)
    assert count == 1, f"{pattern} occurs {count} times"
    return changed
