"""Hyper-parameters of the three kinds of network, checked on construction.

Sizes are counts of channels, codes or positions; grids are (height, width) in codes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from latentloop.errors import ConfigurationError

LARGEST_SIZE = 2**20  # of channels, codes, classes and grids
MAX_LAYERS = 4096
HEADS, CONDITION_BLOCKS = 8, 3  # of priors, the defaults of the common PyTorch implementation

Configuration = TypeVar("Configuration", bound="AnyConfig")


def level_names(levels: int) -> tuple[str, ...]:
    """Returns the names of the levels, coarsest first: ("top", "middle", "bottom") for three."""
    if levels == 1:
        return ("top",)
    middles = ["middle"] if levels == 3 else [f"middle{n}" for n in range(1, levels - 1)]
    return ("top", *middles, "bottom")


@dataclass(frozen=True, kw_only=True)
class VqvaeConfig:
    """The hierarchical VQ-VAE (VQ-VAE-2, section 3.1 and table 1). Defaults are the paper's for 256 x 256.

    ``inplace``: the first ReLU of every residual block overwrites the block's input, so the skip connection carries
    relu(x), as in the common PyTorch implementation until January 2021.
    """

    levels: int = 2
    bottom_stride: int = 4
    image_channels: int = 3
    channels: int = 128
    residual_channels: int = 64
    residual_layers: int = 2
    code_channels: int = 64
    codebook_size: int = 512
    ema_decay: float = 0.99
    commitment: float = 0.25
    inplace: bool = False

    def __post_init__(self) -> None:
        _require_at_least(1, self, "levels")
        _require(self, "bottom_stride", self.bottom_stride in (2, 4, 8, 16), "2, 4, 8 or 16")
        _require_at_least(1, self, "image_channels", "residual_channels", "code_channels", "codebook_size")
        _require_at_least(0, self, "residual_layers")
        _require(self, "channels", self.channels >= 2 and self.channels % 2 == 0, "even, at least 2")
        _check_sizes(self)
        _require(self, "levels", self.levels <= 8, "at most 8")
        _require(self, "ema_decay", 0 < self.ema_decay < 1, "between 0 and 1")
        _require_at_least(0, self, "commitment")

    @property
    def level_names(self) -> tuple[str, ...]:
        """Coarsest first."""
        return level_names(self.levels)

    def stride(self, level: int) -> int:
        """Returns the pixels per code along one axis, for a level counted from the top."""
        return self.bottom_stride << (self.levels - 1 - level)


@dataclass(frozen=True)
class PriorConfig:
    """One level's PixelSNAIL prior (VQ-VAE-2, section 3.2 and appendix; PixelSNAIL, arXiv 1712.09763).

    ``condition_codes``: the codebook size of the level above, 0 for a prior without a condition. ``classes``: 0 for a
    prior without labels. ``inplace``: the first ELU of every gated block overwrites the block's input, so the skip
    connection and the attention's key see ELU(x), as in the common PyTorch implementation until July 2020.
    """

    height: int
    width: int
    codebook_size: int = 512
    channels: int = 256
    residual_channels: int = 256
    kernel: int = 5
    blocks: int = 4
    residual_blocks: int = 4
    attention: bool = True
    heads: int = HEADS
    output_blocks: int = 0
    condition_codes: int = 0
    condition_channels: int = 0
    condition_blocks: int = 0
    condition_kernel: int = 3
    classes: int = 0
    class_channels: int = 0
    dropout: float = 0.1
    inplace: bool = False

    def __post_init__(self) -> None:
        _require_at_least(1, self, "height", "width", "codebook_size", "channels", "residual_channels", "blocks")
        _require_at_least(1, self, "residual_blocks", "heads")
        _require_at_least(0, self, "output_blocks", "condition_codes", "condition_blocks", "classes")
        _require(self, "kernel", 3 <= self.kernel <= 31 and self.kernel % 2 == 1, "odd, 3 to 31")  # as the operators
        _require(self, "condition_kernel", self.condition_kernel >= 1 and self.condition_kernel % 2 == 1, "odd")
        _check_sizes(self)
        _require(self, "layers", self.layers <= MAX_LAYERS, f"at most {MAX_LAYERS}")
        _require(self, "dropout", 0 <= self.dropout < 1, "in [0, 1)")
        if self.attention:
            fits = self.channels % (2 * self.heads) == 0
            _require(self, "channels", fits, f"a multiple of {2 * self.heads} (two per attention head)")
        for name, source in (("condition_channels", "condition_codes"), ("class_channels", "classes")):
            agree = (getattr(self, name) > 0) == (getattr(self, source) > 0)
            _require(self, name, agree, f"positive exactly if {source} is")

    @property
    def reach(self) -> int:
        """Columns to either side, and rows above in the input stage, that one convolution sees."""
        return self.kernel // 2

    @property
    def layers(self) -> int:
        """The total number of causal gated residual blocks."""
        return self.blocks * self.residual_blocks

    @property
    def attention_channels(self) -> int:
        """Width of queries, keys and values of all heads together."""
        return self.channels // 2

    @property
    def condition_grid(self) -> tuple[int, int]:
        """Height and width of the level above."""
        return (self.height + 1) // 2, (self.width + 1) // 2


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """The classifier for rejection sampling (VQ-VAE-2, section 3.3): a residual network of ``stages``.

    The first stage has ``channels`` at half the image's size; each further stage has half the size and twice the
    channels of the previous one.
    """

    height: int
    width: int
    classes: int
    image_channels: int = 3
    channels: int = 16
    stages: int = 4
    residual_blocks: int = 1
    groups: int = 8

    def __post_init__(self) -> None:
        _require_at_least(8, self, "height", "width")
        _require_at_least(1, self, "image_channels", "channels", "stages", "residual_blocks", "groups")
        _require_at_least(2, self, "classes")
        _check_sizes(self)
        _require(self, "stages", self.stages <= 8, "at most 8")
        _require(self, "channels", self.channels % self.groups == 0, f"a multiple of groups ({self.groups})")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every stage."""
        return tuple(self.channels << stage for stage in range(self.stages))

    @property
    def features(self) -> int:
        """Channels of the last stage, whose means over the image are the features."""
        return self.widths[-1]


AnyConfig = VqvaeConfig | PriorConfig | ClassifierConfig


def to_json(config: AnyConfig) -> dict[str, Any]:
    """Returns the configuration as JSON types; ``inplace`` only if it is true, because earlier releases refuse it."""
    values = asdict(config)
    if not values.get("inplace"):
        values.pop("inplace", None)
    return values


def from_json(kind: type[Configuration], values: dict[str, Any], source: str) -> Configuration:
    """Builds a configuration from JSON values; ``source`` names the file in errors.

    Raises ConfigurationError for unknown, missing or ill-typed fields.
    """
    known = {field.name: field for field in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigurationError(f"{source}: unknown field {', '.join(unknown)}; known: {', '.join(known)}")
    for name, value in values.items():
        expected = {"int": (int,), "float": (int, float), "bool": (bool,)}[str(known[name].type)]
        if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
            raise ConfigurationError(f"{source}: {name} is {value!r}, expected {known[name].type}")
    try:
        return kind(**values)
    except (TypeError, ConfigurationError) as error:
        raise ConfigurationError(f"{source}: {error}") from error


def _check_sizes(config: AnyConfig) -> None:
    """Raises ConfigurationError for sizes far above those of any real model, which are a mistake or an attack."""
    for size in fields(config):
        value = getattr(config, size.name)
        if not isinstance(value, float | bool):
            most = MAX_LAYERS if "blocks" in size.name or "layers" in size.name else LARGEST_SIZE
            _require(config, size.name, value <= most, f"at most {most}")


def _require_at_least(least: int, config: object, *names: str) -> None:
    for name in names:
        _require(config, name, getattr(config, name) >= least, f"at least {least}")


def _require(config: object, name: str, holds: bool, expected: str) -> None:
    if not holds:
        value = getattr(config, name)
        raise ConfigurationError(f"{type(config).__name__}.{name} is {value!r}, expected {expected}")
