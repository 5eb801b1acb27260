"""What the words in tables mean, so that a table can be read without its program."""

from __future__ import annotations

import re
from collections.abc import Iterable

from latentloop.bench.figures.figure import Figure

TERMS = {
    # the caveats of ``Figure``, which stand in brackets after a number
    "extrapolated": "not every row and layer was timed; a line through the timed rows gives the others, and the layers "
    "left out count in proportion to their arithmetic or to the bytes that they read",
    "poor fit": "that line misses a timed row by more than 10 %, or goes through fewer than three: a rough estimate",
    "fewer layers": "measured on a smaller model, and not scaled to the whole one",
    "unstable": "the spread of the rounds is above 10 %",
    "spread": "(largest - smallest) / median",
    # columns of implementations
    "one image": "a batch of 1, from the first row to pixels",
    "images/s, best batch": "at the batch size with the most images per second, of those measured",
    "first row": "from the call to the first row of the top level",
    "peak memory": "the most resident memory while some rows of each level are drawn and an image is decoded, in a "
    "process of its own",
    "with loading": "this system does not tell the memory of drawing from that of loading",
    "load": "reading the files and building the model, once",
    "row and step": "the algorithm of LatentLoop, written in PyTorch",
    # columns of steps and graphs
    "steps timed": "the steps of all rounds, of which the two percentiles are taken",
    "bound": "the time that the graph's arithmetic takes at this machine's best measured rate, or that reading its "
    "weights takes, whichever is longer",
    "share of the bound reached": "bound / time, 100% for a graph that is as fast as the machine allows",
    "overhead": "what neither arithmetic nor reading weights explains: starting operators, small operators, waiting",
}


def caveats(*figures: Figure, known: Iterable[str] = ()) -> str:
    """Returns for example `` (extrapolated, unstable)``, what is true of any figure and not yet ``known``; or ""."""
    holding = {name for figure in figures for name in figure.caveats} - set(known)
    return f" ({', '.join(sorted(holding, key=list(TERMS).index))})" if holding else ""


def definitions(text: str, above: str = "") -> str:
    """Returns the meaning of every term in ``text``, and of every term in these meanings, as one paragraph.

    Terms that the text ``above`` it has defined are left out.
    """
    used: list[str] = []
    for name in TERMS:  # a meaning uses no term above it
        if any(re.search(rf"\b{name}\b", place) for place in (text, *(TERMS[other] for other in used))):
            used.append(name)
    return " ".join(f"*{name}*: {TERMS[name]}." for name in used if f"*{name}*: " not in above)
