"""Memory of this process."""

from __future__ import annotations

import re
import resource
import sys
from contextlib import suppress
from pathlib import Path


def reset_peak() -> bool:
    """Sets the peak back to what is resident now; returns False if the system does not support it."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak() -> int:
    """Returns the largest number of resident bytes since ``reset_peak``."""
    if found := _status("VmHWM"):
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def of_files() -> int:
    """Returns the resident bytes that are pages of files, which processes share; 0 if the system does not tell it."""
    return _status("RssFile")


def _status(name: str) -> int:
    """Returns the bytes of a line of Linux's description of the process; 0 if there is none."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        if match := re.search(rf"{name}:\s+(\d+) kB", status):
            return int(match[1]) * 1024
    return 0
