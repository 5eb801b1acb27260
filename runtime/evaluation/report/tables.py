"""The figures of an evaluation as tables of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentloop.errors import printable
from latentloop.evaluation.evaluation import Evaluation

NO_FIGURE = "–"
COST = "of the codes under the priors, not a likelihood of the pixels"


@dataclass(frozen=True)
class Table:
    """A table; the first column has names, the others figures. Nothing is escaped."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def text(self) -> str:
        """Returns the table in aligned columns, for a terminal."""
        rows = [tuple(map(printable, row)) for row in (self.header, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(pairs))
            for pairs in (list(zip(row, widths, strict=True)) for row in rows)
        ]
        return "\n".join(line.rstrip() for line in lines)


def code_table(evaluation: Evaluation) -> Table:
    """Returns the figures of the codes, a row for each level and one for all."""
    rows = [
        (
            level.name,
            f"{level.height} x {level.width}",
            f"{level.codes_used} of {level.codebook_size}",
            f"{level.perplexity:.1f}",
            _number(level.bits_per_code, 3),
            _number(level.bits_per_image, 1),
            _number(_per_dimension(level.bits_per_image, evaluation), 4),
        )
        for level in evaluation.levels
    ]
    bits = evaluation.bits_per_image
    rows.append(("all", "", "", "", "", _number(bits, 1), _number(evaluation.bits_per_dimension, 4)))
    header = ("level", "codes", "used", "perplexity", "bits per code", "bits per image", "bits per dimension")
    return Table(header, rows)


def image_table(evaluation: Evaluation) -> Table:
    """Returns the figures of the images and reconstructions, a row for each class with images and one for all."""
    means = evaluation.to_json()
    figures = [*(evaluation.by_class() or {}).items(), ("all", means)]
    rows = [
        (
            name,
            str(of_class["images"]),
            _number(of_class["bits_per_image"], 1),
            _number(of_class["mean_psnr_db"], 2),
            _number(of_class["ssim"], 4),
            _number(of_class["ms_ssim"], 4),
            _share(of_class["accuracy"]),
            _share(of_class["accuracy_of_reconstructions"]),
        )
        for name, of_class in figures
    ]
    header = ("class", "images", "bits", "PSNR, dB", "SSIM", "MS-SSIM", "images right", "reconstructions right")
    return Table(header, rows)


def remarks(evaluation: Evaluation) -> list[str]:
    """Returns lines on what the figures are, and why some are missing."""
    names = {"bits": "bits", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "accuracy": "accuracy", "classes": "classes"}
    lines = [f"No {names[figure]}: {reason}." for figure, reason in evaluation.missing.items()]
    if evaluation.labels is not None and not evaluation.labels_are_given:
        lines.append("The bits are those with the classes that the classifier finds in the reconstructions.")
    if any(level.bits is not None for level in evaluation.levels):
        lines.insert(0, f"Bits: the cost {COST}.")
    return lines


def _per_dimension(bits: float | None, evaluation: Evaluation) -> float | None:
    return None if bits is None else bits / math.prod(evaluation.image_shape)


def _number(value: float | None, digits: int) -> str:
    return NO_FIGURE if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return NO_FIGURE if value is None else f"{value:.2%}"
