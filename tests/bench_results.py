"""Parts of results of ``latentloop bench`` for tests: a made-up machine, and a small hierarchy."""

from __future__ import annotations

from typing import Any

from random_models import SMALL

from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.presets import Preset

MACHINE: dict[str, Any] = {
    "threads": 1,
    "last_level_cache_bytes": 4 * 2**20,
    "gemm": {"float32": {"PyTorch": 80.0, "NumPy": 100.0}, "int8": {"ONNX Runtime": 400.0, "PyTorch": "not available"}},
    "bandwidth": [
        {"pages": "ordinary", "bytes": 2**20, "gb_s": 50.0, "by": "torch sum"},
        {"pages": "ordinary", "bytes": 2**24, "gb_s": 10.0, "by": "torch sum"},
        {"pages": "huge", "bytes": 2**20, "gb_s": 40.0, "by": "torch sum"},
        {"pages": "huge", "bytes": 2**24, "gb_s": 20.0, "by": "torch sum"},
    ],
}

TINY = Preset(
    VqvaeConfig(channels=8, residual_channels=4, code_channels=4, codebook_size=11),
    (
        PriorConfig(4, 4, kernel=3, **SMALL),
        PriorConfig(8, 8, kernel=3, attention=False, condition_codes=11, condition_channels=4, **SMALL),
    ),
)


def environment(threads: int = 1) -> dict[str, Any]:
    """Returns a made-up environment."""
    names = "processor python system commit date latentloop numpy onnxruntime torch command"
    return {**dict.fromkeys(names.split(), "test"), "threads": threads}
