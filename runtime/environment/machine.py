"""The processor and the versions of installed packages, for bug reports and benchmark results."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm", "sve")
CGROUP_LIMITS = "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"  # versions 2 and 1


def package_version(package: str) -> str | None:
    """Returns the version of an installed distribution, without importing it; None if it is not installed."""
    from importlib import metadata  # late: takes 30 ms

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> dict[str, Any]:
    """Returns the processor's ``name`` and its vector ``instructions``, as plain JSON types."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            fields.setdefault(name.strip(), value.strip())
    except OSError:
        pass  # not Linux
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "name": fields.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
    }


def available_threads() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_limit() -> int | None:
    """Returns the bytes of memory that this process may use: the machine's, or a container's. None if not known."""
    limits = []
    for file in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # no container, or "max"
            limits.append(int(Path(file).read_text(encoding="ascii")))
    with suppress(OSError, ValueError):
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return min((limit for limit in limits if limit > 0), default=None)
