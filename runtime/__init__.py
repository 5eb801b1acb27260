"""LatentLoop samples images from a trained VQ-VAE-2, without PyTorch.

from latentloop import Bundle, Sampler

sampler = Sampler(Bundle.default())
samples = sampler.sample(16, seeds=1)  # samples.images: uint8 [16, 64, 64, 3]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from latentloop._version import __version__
from latentloop.errors import (
    BundleError,
    CheckpointError,
    DeviceError,
    InputError,
    LatentLoopError,
    MissingError,
    OutputError,
)

if TYPE_CHECKING:
    from latentloop.bundles.bundle import Bundle, LevelInfo
    from latentloop.evaluation.evaluation import Evaluation
    from latentloop.evaluation.evaluator import evaluate
    from latentloop.evaluation.level_figures import LevelEvaluation
    from latentloop.kernels.driver import DeviceArray
    from latentloop.sampling.kept_codes import keep_rows
    from latentloop.sampling.rejection import Selection, sample_best
    from latentloop.sampling.results import Classification, Progress, Samples
    from latentloop.sampling.sampler import Sampler

__all__ = [
    "Bundle",
    "BundleError",
    "CheckpointError",
    "Classification",
    "DeviceArray",
    "DeviceError",
    "Evaluation",
    "InputError",
    "LatentLoopError",
    "LevelEvaluation",
    "LevelInfo",
    "MissingError",
    "OutputError",
    "Progress",
    "Sampler",
    "Samples",
    "Selection",
    "__version__",
    "evaluate",
    "keep_rows",
    "sample_best",
]

# Modules of names that are imported on first access: `latentloop --help` must not wait for NumPy and ONNX Runtime.
_LAZY = {
    "Bundle": "latentloop.bundles.bundle",
    "Classification": "latentloop.sampling.results",
    "DeviceArray": "latentloop.kernels.driver",
    "Evaluation": "latentloop.evaluation.evaluation",
    "LevelEvaluation": "latentloop.evaluation.level_figures",
    "LevelInfo": "latentloop.bundles.bundle",
    "Progress": "latentloop.sampling.results",
    "Sampler": "latentloop.sampling.sampler",
    "Samples": "latentloop.sampling.results",
    "Selection": "latentloop.sampling.rejection",
    "evaluate": "latentloop.evaluation.evaluator",
    "keep_rows": "latentloop.sampling.kept_codes",
    "sample_best": "latentloop.sampling.rejection",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'latentloop' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
