"""The memory and the disk space that an export needs, estimated before it starts."""

from __future__ import annotations

import re
from dataclasses import dataclass

from latentloop.export.bundle.source import CheckedSource
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.lazy_arrays import LazyWeights, arrays_of, is_kept
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.specification.golden import SAMPLES

# In bytes:
PROGRAM = 450_000_000  # Python with PyTorch and ONNX
FLOAT32, FLOAT64 = 4, 8
WORTH_SAYING = 1 << 30
COPIES = 5  # of a classifier in ONNX: as it was read, as a graph, to be written, and in a session

_CONV1, _CONV2 = (rf"blocks\.\d+\.residual\.\d+\.{conv}\.weight" for conv in ("conv1", "conv2"))
_CONDITION = r"condition\.residual\.\d+\.conv[12]\.weight"


@dataclass(frozen=True)
class Needs:
    """Bytes of memory, the most at a time, and bytes of the files that are written."""

    memory: int
    disk: int

    def __str__(self) -> str:
        return f"about {self.memory / 1e9:.1f} GB of memory and {self.disk / 1e9:.1f} GB of disk space"


def needs(checked: CheckedSource, *, saves: bool = False, measures: bool = False) -> Needs:
    """Returns what an export needs. ``saves``: the checkpoints are written too. ``measures``: as with ``--data``.

    The memory is for the graphs of all networks in float32, then for the golden vectors, one network after the other
    in float64, always without the weights that stay in their files.
    """
    checkpoints = list(checked.source.checkpoints().values())
    kept = sum(FLOAT32 * _count(each) for each in checkpoints if not isinstance(each.weights, LazyWeights))
    largest = max(FLOAT32 * array.size for each in checkpoints for array in arrays_of(each.weights).values())
    graphs = sum(FLOAT32 * resident(each) for each in checkpoints) + 2 * largest  # a part, and how it is stored
    golden = [_golden_codec(checked.config, checked.image)]
    for each in checkpoints:
        if isinstance(each.config, PriorConfig):
            golden.append(FLOAT64 * resident(each) + _golden_prior(each.config) + 3 * largest)
    modules = [FLOAT32 * _count(each) + 2 * largest for each in checkpoints if measures]
    width = 2 if checked.source.weights == "float16" else FLOAT32
    disk = width * sum(_count(each, masked=False) + (_count(each) if saves else 0) for each in checkpoints)
    attached = 0 if checked.attached is None else checked.attached.nbytes
    return Needs(PROGRAM + kept + COPIES * attached + max(graphs, *golden, *modules), disk + attached)


def _count(checkpoint: Checkpoint, pattern: str = ".*", *, masked: bool = True) -> int:
    """Returns how many weights have a name that matches; without ``masked``, only those that a bundle stores."""
    arrays = arrays_of(checkpoint.weights).items()
    count = sum(array.size for name, array in arrays if re.fullmatch(pattern, name))
    if not masked and isinstance(checkpoint.config, PriorConfig):
        taps, reach = checkpoint.config.kernel**2, checkpoint.config.reach
        causal = _count(checkpoint, f"{_CONV1}|{_CONV2}")
        count -= causal // taps * (reach + 1)  # the centre, and what is to the right of it
    return count


def resident(checkpoint: Checkpoint) -> int:
    """Returns how many weights are in memory when they are arranged: all that a bundle stores, but no lazy ones."""
    count = _count(checkpoint, masked=False)
    if isinstance(checkpoint.config, PriorConfig):
        k = checkpoint.config.kernel
        parts = [_count(checkpoint, conv) // k * (k - 1) for conv in (_CONV1, _CONV2)]  # the rows above
        parts.append(_count(checkpoint, _CONDITION))
        count -= sum(part for part in parts if not is_kept(FLOAT32 * part))
    return count


def _golden_prior(config: PriorConfig) -> int:
    """Returns the bytes of the largest intermediate results: of a row, or of a convolution of the condition."""
    c, (height, width) = config, config.condition_grid
    inputs = max(c.channels, c.residual_channels)
    row = c.width * c.layers * (c.kernel - 1) * inputs * (c.kernel + 1)  # every row, and windows of it
    condition = height * width * max(c.condition_channels, c.condition_codes) * (c.condition_kernel**2 + 10)
    return FLOAT64 * SAMPLES * max(row, condition if c.condition_codes else 0)


def _golden_codec(config: VqvaeConfig, image: tuple[int, int]) -> int:
    """Returns the bytes of the codec's golden vectors, as measured with networks of all strides."""
    pixels = SAMPLES * image[0] * image[1]
    codes = pixels // config.bottom_stride**2 * config.codebook_size
    return 100_000_000 + pixels * config.channels * max(9, 144 // config.bottom_stride**2) + 12 * codes
