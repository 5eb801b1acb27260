"""The least FLOPs and weight bytes of the condition, row and step graphs, computed from the configuration alone.

Matrix products are counted: unmasked taps of every causal convolution, every 1 x 1 convolution, attention, logits. A
multiply-add is 2 FLOPs. Not counted, because they are under 1 %: biases, activations, the table look-ups of the input
stage, and the draw. Taps that lie in the padding count too, because every implementation computes them.

A ``Form`` describes how an implementation computes the products: Winograd's F(m, k) along the columns computes m
outputs of k taps with m + k - 1 products instead of m k, and weights can be stored in fewer bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from latentloop.export.configuration import PriorConfig

FLOAT = 4  # bytes


@dataclass(frozen=True)
class Work:
    """One run of a graph: FLOPs, bytes of weights (read once), and bytes of cached keys and values."""

    flops: float
    weight_bytes: float
    state_bytes: float = 0.0

    @property
    def read_bytes(self) -> float:
        """Bytes of weights, keys and values together."""
        return self.weight_bytes + self.state_bytes

    def __add__(self, other: Work) -> Work:
        return Work(
            self.flops + other.flops, self.weight_bytes + other.weight_bytes, self.state_bytes + other.state_bytes
        )

    def times(self, count: float) -> Work:
        """Returns the work of ``count`` runs."""
        return Work(self.flops * count, self.weight_bytes * count, self.state_bytes * count)


@dataclass(frozen=True)
class Form:
    """How rows and steps are computed, relative to direct convolutions in float32.

    ``row_products``: multiplications of a row per multiplication of the direct form; ``row_bytes`` and ``step_bytes``:
    bytes that a row and a step read per weight of the direct form.
    """

    name: str
    row_products: float = 1.0
    row_bytes: float = FLOAT
    step_bytes: float = FLOAT


DIRECT = Form("direct")


def native_form(kernel: int, precision: str = "float32") -> Form:
    """Returns the form of the native operators (docs/design.md). int8: 2 bytes per weight of a row, 1 of a step."""
    row_bytes, step_bytes = (2, 1) if precision == "int8" else (FLOAT, 3)
    outputs = {3: 4, 5: 4, 7: 2}.get(kernel)
    if outputs is None:
        return Form("direct", 1.0, row_bytes, step_bytes)
    points = outputs + kernel - 1
    products, weights = points / (outputs * kernel), points / kernel
    if kernel != 5:
        return Form(f"F({outputs}, {kernel})", products, row_bytes * weights, step_bytes)
    pairs = 6 / 8  # two rows share 3 of their 4 row taps: F(2, 3) needs 4 products for these, not 6
    return Form(f"F({outputs}, 5), pairs of rows", products * pairs, row_bytes * weights * pairs, step_bytes)


def condition_work(c: PriorConfig, batch: int = 1) -> Work:
    """Returns the work of the condition graph, which runs once per image."""
    height, width = c.condition_grid
    taps = c.condition_kernel**2
    stack = taps * c.condition_channels * (c.condition_codes + 3 * c.condition_blocks * c.condition_channels)
    labels = c.class_channels * (2 * c.channels * c.layers + sum(2 * size for size, _, _ in _pointwise(c)))
    return Work(2 * batch * (height * width * stack + labels), FLOAT * (stack + labels))


def row_work(c: PriorConfig, batch: int = 1, form: Form = DIRECT) -> Work:
    """Returns the work of the row graph: the taps in the k - 1 rows above, and the condition's 1 x 1 convolution, whose
    grid has half of the columns.
    """
    above = c.layers * c.kernel * (c.kernel - 1) * _gated(c.channels, c.residual_channels)
    condition = c.condition_channels * c.layers * 2 * c.channels
    products = above * c.width * form.row_products + condition * c.condition_grid[1]
    return Work(2 * batch * products, form.row_bytes * above + FLOAT * condition)


def step_work(c: PriorConfig, batch: int = 1, position: float = 0, columns: int = 1, form: Form = DIRECT) -> Work:
    """Returns the work of one step of ``columns`` columns, which share its weights.

    ``position`` codes precede the first of these columns.
    """
    matrices = c.layers * c.reach * _gated(c.channels, c.residual_channels)
    matrices += sum(_gated(size, inner) + auxiliary * inner for size, inner, auxiliary in _pointwise(c))
    matrices += c.channels * c.codebook_size
    attended = 0.0
    if c.attention:
        matrices += c.blocks * c.attention_channels * (c.channels + 2 + 2 * (2 * c.channels + 2))
        attended = c.blocks * 2 * position * c.attention_channels  # keys, then values
    else:
        matrices += c.blocks * c.channels**2
    return Work(2 * batch * columns * (matrices + attended), form.step_bytes * matrices, FLOAT * batch * attended)


def graph_works(c: PriorConfig, batch: int = 1, columns: int = 1, form: Form = DIRECT) -> dict[str, Work]:
    """Returns the work of one run of each graph; of the step graph at the middle of the grid, which is its mean."""
    return {
        "condition": condition_work(c, batch),
        "row": row_work(c, batch, form),
        "step": step_work(c, batch, (c.height * c.width - 1) / 2, columns, form),  # linear in the position
    }


def level_work(c: PriorConfig, batch: int = 1, form: Form = DIRECT, columns: int = 1) -> Work:
    """Returns the work of all runs of one level for a batch of images; every run reads its weights again."""
    works = graph_works(c, batch, columns, form)
    return works["condition"] + works["row"].times(c.height) + works["step"].times(c.height * c.width / columns)


def forward_flops(c: PriorConfig, rows: int | None = None) -> float:
    """Returns FLOPs of one parallel forward over the first ``rows`` (default: all), batch 1.

    Masked taps and the condition stack are not counted.
    """
    rows = rows or c.height
    row, step = row_work(c), step_work(c)
    # A full forward computes the scores of all pairs, masked or not.
    attended = 4 * c.blocks * (rows * c.width) ** 2 * c.attention_channels if c.attention else 0
    return rows * (row.flops + c.width * step.flops) + attended


def parameters(c: PriorConfig) -> int:
    """Returns the number of weights in a checkpoint: masked taps included, biases not."""
    causal = c.layers * c.kernel**2 * _gated(c.channels, c.residual_channels)
    embedding = c.classes * c.class_channels
    inner = step_work(c).weight_bytes / FLOAT - c.layers * c.reach * _gated(c.channels, c.residual_channels)
    condition = c.condition_channels * c.layers * 2 * c.channels
    tables = c.codebook_size * c.channels * (c.reach * c.kernel + (c.reach + 1) * c.reach)
    return int(causal + inner + condition + tables + embedding + condition_work(c).weight_bytes / FLOAT)


def _gated(size: int, inner: int) -> int:
    """Returns the weights of one tap of a gated block: conv1 [size, inner] and conv2 [inner, 2 size]."""
    return 3 * size * inner


def _pointwise(c: PriorConfig) -> list[tuple[int, int, int]]:
    """Returns every 1 x 1 gated block of a step: its size, inner size, and auxiliary input's size or 0."""
    per_block = [
        (2 * c.channels + 2, c.channels, 0),  # key
        (c.channels + 2, c.channels, 0),  # query
        (c.channels, c.channels, c.attention_channels),  # out
    ]
    attention = per_block * c.blocks if c.attention else []
    return [*attention, *[(c.channels, c.residual_channels, 0)] * c.output_blocks]
