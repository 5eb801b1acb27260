"""The comparison of the two hosts as Markdown."""

from __future__ import annotations

from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.terms import caveats, definitions
from latentloop.bench.figures.text import duration, markdown_table
from latentloop.bench.hosts.processes import PHASES

LEGEND = (
    "*first image*: from the start of a process to its first image, loading included. *whole process*: to its end. "
    "*resident memory*: the most of that process. *outside graphs*: the share of an image's time outside ONNX "
    "Runtime's runs, measured in processes of their own. *step*: one run of a step graph. *ratios*: C++ : Python in "
    "the same round, the median."
)


def table(result: dict[str, Any]) -> str:
    """Returns the figures of both hosts, their ratios, and where the time of the first image goes."""
    env, rounds = result["environment"], result["settings"]["rounds"]
    times = f"medians of {rounds} rounds" if rounds > 1 else "timed once"
    heading = (
        f"`{env['command']}`: {env['threads']} threads, {env['processor']}, ONNX Runtime {env['onnxruntime']}, "
        f"{env['date']}, commit {env['commit']}. One image at a time, {times}."
    )
    sections = [heading, _hosts(result), "C++ : Python", _ratios(result), "The first image:", _phases(result), LEGEND]
    text = "\n\n".join(sections)
    return f"{text} {definitions(text)}".rstrip()


def _hosts(result: dict[str, Any]) -> str:
    header = ["bundle", "priors", "host", "time of an image", "images/s", "steps/s", "first image", "whole process"]
    rows = []
    for comparison in result["comparisons"]:
        for host, values in comparison["hosts"].items():
            names = ("image", "first_image", "process", "memory", "outside")
            image, *others, memory, outside = (Figure.from_json(values[name]) for name in names)
            rates = (f"{count / image.median:.3g}" for count in (1, comparison["steps_per_image"]))
            times = (duration(figure.median) + caveats(figure) for figure in others)
            cells = [comparison["preset"], comparison["precision"], host, duration(image.median) + caveats(image)]
            cells += [*rates, *times, f"{memory.median:.0f} MiB{caveats(memory)}"]
            rows.append([*cells, f"{outside.median:.1%}{caveats(outside)}"])
    return markdown_table([*header, "resident memory", "outside graphs"], rows)


def _ratios(result: dict[str, Any]) -> str:
    rows = []
    for comparison in result["comparisons"]:
        figures = [Figure.from_json(ratio) for ratio in comparison["ratios"].values()]
        cells = [f"{figure.median:.3g}, {_range(figure)}{caveats(figure)}" for figure in figures]
        same = "the same" if comparison["same_codes"] else "DIFFERENT"
        rows.append([comparison["preset"], comparison["precision"], *cells, same])
    names = list(result["comparisons"][0]["ratios"])
    return markdown_table(["bundle", "priors", *names, "codes of both hosts"], rows)


def _range(figure: Figure) -> str:
    return f"{min(figure.samples):.3g} to {max(figure.samples):.3g}"


def _phases(result: dict[str, Any]) -> str:
    rows = []
    for comparison in result["comparisons"]:
        for host, values in comparison["hosts"].items():
            cells = [comparison["preset"], comparison["precision"], host]
            for phase in PHASES:
                figure = Figure.from_json(values["phases"][phase]) if phase in values["phases"] else None
                cells.append("none" if figure is None else duration(figure.median) + caveats(figure))
            rows.append(cells)
    return markdown_table(["bundle", "priors", "host", *PHASES], rows)
