"""A report of an evaluation: one page of HTML that holds its pictures, without scripts."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from latentloop._version import __version__
from latentloop.errors import printable
from latentloop.evaluation.evaluation import Evaluation
from latentloop.evaluation.level_figures import LevelEvaluation
from latentloop.evaluation.report.charts import LARGEST, colour_scale, heat_map, picture, usage_chart
from latentloop.evaluation.report.gallery import Gallery, Pair
from latentloop.evaluation.report.tables import COST, Table, code_table, image_table, remarks

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
tbody tr:last-child { font-weight: 600; }
img { image-rendering: pixelated; vertical-align: top; max-width: 100%; }
svg { max-width: 100%; height: auto; }
.note, figcaption { color: #555; font-size: .85rem; }
.row { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; }
figure { margin: 0; max-width: 28rem; break-inside: avoid; overflow-wrap: anywhere; }
.pair { flex: none; width: min-content; max-width: 100%; } .pair div { display: flex; gap: 2px; }
.pair img { max-width: none; }
@media print { body { margin: 0; max-width: none; } h2, h3 { break-after: avoid; } tr { break-inside: avoid; } }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_LEGEND = (
    ("bits per code", "the mean negative log2-likelihood of a code under its prior; guessing one of K needs log2 K"),
    ("bits per dimension", f"the bits of all levels' codes, divided by height x width x channels: the cost {COST}"),
    ("used, perplexity", "how many codes occur, and how many, used equally often, would be as hard to predict"),
    ("PSNR", "the peak signal-to-noise ratio of an image's reconstruction as 8-bit pixels, the mean over images"),
    ("SSIM, MS-SSIM", "structural similarity, at one and at five scales, the mean over images; 1 for equal images"),
    ("right", "the share of the images, and of their reconstructions, whose class the bundle's classifier finds"),
)


@dataclass(frozen=True)
class Facts:
    """What was evaluated: the name of the images, the bundle's, and other facts for the head of the page."""

    images: str
    bundle: str
    others: Sequence[str]


def page(evaluation: Evaluation, facts: Facts, gallery: Gallery) -> str:
    """Returns the page."""
    title = f"{_escaped(facts.bundle)} on {_escaped(facts.images)}"
    count = f"{evaluation.count} {'image' if evaluation.count == 1 else 'images'}"
    shape = " x ".join(map(str, evaluation.image_shape))
    others = [f"{count} of {shape}", *facts.others, f"LatentLoop {__version__}"]
    reduced = f", reduced to {LARGEST} pixels" if max(evaluation.image_shape[:2]) > LARGEST else ""
    sections = [
        f"<h1>{title}</h1>",
        f'<p class="note">{_escaped("; ".join(others))}.</p>',
        "<h2>Codes</h2>",
        _table(code_table(evaluation)),
        *(f'<p class="note">{_escaped(line)}</p>' for line in remarks(evaluation)),
        *map(_level, evaluation.levels),
        "<h2>Images and reconstructions</h2>",
        _table(image_table(evaluation)),
        "<h3>Some images, evenly spaced</h3>",
        f'<p class="note">Each image beside its reconstruction{reduced}.</p>',
        _pairs(gallery.chosen),
        "<h3>The images with the lowest PSNR</h3>",
        _pairs(gallery.worst),
        "<h2>The figures</h2>",
        "<dl>" + "".join(f"<dt>{_escaped(name)}</dt><dd>{_escaped(text)}</dd>" for name, text in _LEGEND) + "</dl>",
    ]
    head = (
        '<meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style>"
    )
    body = "\n".join(sections)
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def _table(table: Table) -> str:
    def row(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{_escaped(cell)}</{tag}>" for cell in cells) + "</tr>"

    rows = "\n".join(row(cells, "td") for cells in table.rows)
    return f"<table>\n<thead>{row(table.header, 'th')}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _level(level: LevelEvaluation) -> str:
    name, most = _escaped(level.name), level.counts.max() / level.counts.sum()
    figures = [
        f"<figure>{usage_chart(level, f'frequencies of the codes of {name}')}<figcaption>"
        f"Frequencies of the {level.codebook_size} codes, from the most frequent ({most:.2%}) on. Dashed: if all were "
        f"used equally ({1 / level.codebook_size:.2%}).</figcaption></figure>"
    ]
    values = level.bits_by_position
    if values is not None:
        figures.append(
            f"<figure>{heat_map(values, f'bits of the codes of {name} by position')}<br>{colour_scale()}<figcaption>"
            f"Bits of each code by its position: {values.min():.2f} (dark) to {values.max():.2f}.</figcaption></figure>"
        )
    return f'<h3>Level {name}</h3>\n<div class="row">{"".join(figures)}</div>'


def _pairs(pairs: Sequence[Pair]) -> str:
    figures = []
    for pair in pairs:
        name = _escaped(pair.name)
        both = picture(pair.image, name) + picture(pair.reconstruction, f"reconstruction of {name}")
        caption = f"{pair.psnr:.1f} dB, {name}"
        figures.append(f'<figure class="pair"><div>{both}</div><figcaption>{caption}</figcaption></figure>')
    return f'<div class="row">{"".join(figures)}</div>'


def _escaped(text: str) -> str:
    return html.escape(printable(text))
