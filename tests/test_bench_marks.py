"""Tables of measurements: what is extrapolated or unstable says so, columns have headings, marks have meanings."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.terms import TERMS, caveats, definitions
from latentloop.bench.figures.text import markdown_table
from latentloop.bench.nearest import cpu as nearest
from latentloop.bench.report import comparison, markdown, readme
from latentloop.bench.sampling import cold_start, growth
from latentloop.bench.throughput import throughput

RESULTS = Path(__file__).parents[1] / "bench" / "results"
TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "cpu-rosinality-256": markdown.report,
    "cpu-paper-256": markdown.report,
    "cpu-growth": growth.table,
    "cpu-cold-start": cold_start.table,
    "cpu-nearest": nearest.table,
    "cpu-throughput": throughput.table,
}
FIT = "{} of 64 rows timed, linear fit with a residual of {}%"
TWO_ROWS = f"top: {FIT.format(8, '65.2')}; bottom: {FIT.format(2, '0.0')}"
SECONDS = {  # by implementation and batch: samples and how they were extrapolated, as a run of November 2026 had them
    "naive": {"1": ((9258.5, 9117.2, 9095.6), FIT.format(4, "28.7"))},
    "eager": {"1": ((16.56, 17.27, 18.06), FIT.format(44, "20.3")), "16": ((126.1, 143.1, 130.8), TWO_ROWS)},
    "compiled": {"1": ((19.16, 17.71, 20.83), FIT.format(37, "10.6"))},
    "float32": {"1": ((4.69, 4.44, 5.95), ""), "16": ((28.6, 24.2, 24.6), TWO_ROWS)},
    "int8": {"1": ((3.1, 3.03, 3.1), ""), "16": ((23.2, 22.9, 22.9), FIT.format(8, "9.0"))},
}
MARKS = ("extrapolated", "poor fit", "fewer layers", "unstable", "with loading")


def result(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return value


def partly_timed() -> dict[str, Any]:
    """A sampling result of which much was extrapolated: ``SECONDS`` in place of the measured times."""
    value = result("cpu-rosinality-256")
    for name, by_batch in SECONDS.items():
        peer = value["peers"][name]
        peer["images"] = {
            batch: {**peer["images"]["1"], **rate(int(batch), *seconds)} for batch, seconds in by_batch.items()
        }
        peer["best_batch"] = int(list(by_batch)[-1])
    value["settings"]["rounds"] = 3
    value["peers"]["naive"]["first_row_seconds"] = Figure((5.29,), "s").to_json()
    return value


def rate(batch: int, samples: tuple[float, ...], note: str) -> dict[str, Any]:
    figure = Figure(samples, "s", note)
    return {"seconds": figure.to_json(), "images_per_second": batch / figure.median}


def unstable_imports() -> dict[str, Any]:
    value = result("cpu-cold-start")
    value["phases"]["imports"] = Figure((0.1, 0.137, 0.15), "s").to_json()
    return value


def cells(table: str) -> list[dict[str, str]]:
    """The rows of a Markdown table by heading, without the caveats of the headings."""
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    return [dict(zip((name.split(" (")[0] for name in header), row, strict=True)) for row in rows]


def marks(text: str) -> list[str]:
    """The marks in the brackets at the end of a cell."""
    brackets = re.search(r"\(([a-z, ]+)\)$", text)
    return brackets[1].split(", ") if brackets else []


@pytest.mark.parametrize("name", ["", "cpu-rosinality-256", "cpu-paper-256"])
def test_every_extrapolated_figure_is_marked(name: str) -> None:
    measured = result(name) if name else partly_timed()
    by_batch = cells(markdown.batches_table(measured))
    for row, batches, peer in zip(
        cells(markdown.implementations_table(measured)), by_batch, measured["peers"].values(), strict=True
    ):
        images = {batch: Figure.from_json(value["seconds"]) for batch, value in peer["images"].items()}
        assert tuple(marks(row["one image"])) == images["1"].caveats
        best = images[str(peer["best_batch"])]
        assert tuple(marks(row["images/s, best batch"])) == best.caveats
        assert f"at batch {peer['best_batch']}" in row["images/s, best batch"]
        assert ("extrapolated" in best.caveats) == bool(best.extrapolated)
        for batch, figure in images.items():
            assert tuple(marks(batches[f"batch {batch}"])) == figure.caveats


def test_known_figures_are_marked() -> None:
    rows = {row["implementation"]: row for row in cells(markdown.implementations_table(partly_timed()))}
    latentloop, eager = rows["LatentLoop, float32"], rows["PyTorch eager, row and step"]
    naive = rows["PyTorch, the whole network for every code"]
    assert latentloop["one image"] == "4.69 s (unstable)"
    assert latentloop["images/s, best batch"] == "0.65 at batch 16 (extrapolated, poor fit, unstable)"  # 65 % residual
    assert eager["one image"] == "17.3 s (extrapolated, poor fit)"
    assert naive["first row"] == "5.29 s (extrapolated)"  # one of its forwards was timed
    assert latentloop["faster than the same algorithm in PyTorch eager"] == "3.68 × (unstable)"
    assert latentloop["faster than naive sampling"] == "1,940 × (unstable)"
    assert naive["faster than naive sampling"] == "the baseline"
    assert naive["faster than the same algorithm in PyTorch eager"].startswith("528 × slower")


def test_a_ratio_has_the_caveats_of_both_figures() -> None:
    measured = partly_timed()
    heading = "faster than the same algorithm in PyTorch eager (extrapolated, poor fit) |"
    assert heading in markdown.implementations_table(measured)
    whole = copy.deepcopy(measured)
    whole["peers"]["eager"]["images"]["1"]["seconds"]["extrapolated"] = ""
    assert heading not in markdown.implementations_table(whole)
    (compiled,) = (row for row in cells(markdown.implementations_table(whole)) if "compile" in row["implementation"])
    ratio = compiled["faster than the same algorithm in PyTorch eager"]
    assert marks(ratio) == ["extrapolated", "poor fit", "unstable"]  # now its own
    del whole["peers"]["eager"], whole["peers"]["naive"]
    assert "faster" not in markdown.implementations_table(whole)


@pytest.mark.parametrize("name", TABLES)
def test_every_mark_and_heading_is_explained_below(name: str) -> None:
    text = TABLES[name](partly_timed() if name == "cpu-rosinality-256" else result(name))
    tables = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    used = {term for term in TERMS if re.search(rf"\b{term}\b", tables)}
    legend = text.rpartition("|")[2]
    assert [term for term in used if f"*{term}*: " not in legend] == []
    brackets = re.findall(r"\(([a-z, ]+)\) \|", tables)  # at the end of a cell or of a heading
    assert {mark for names in brackets for mark in names.split(", ")} <= used
    assert "spread" not in text or "*spread*: (largest - smallest) / median" in legend


def test_the_readme_explains_its_marks_once() -> None:
    text = readme.generated([partly_timed(), unstable_imports()])
    for term in ("extrapolated", "poor fit", "unstable", "spread", "first row", "peak memory", "load", "row and step"):
        assert text.count(f"*{term}*: ") == 1
    assert "Times are medians of 3 rounds." in text
    alone = readme.generated([unstable_imports()])
    assert "imports 137 ms (unstable)" in alone
    assert "*unstable*: " in alone


def test_a_comparison_marks_its_verdicts() -> None:
    measured = result("cpu-growth")
    measured["series"][0]["points"][0]["seconds"] = Figure((1.0,), "s", FIT.format(8, "65.2")).to_json()
    text = comparison.table(comparison.compare(measured, measured))
    assert "within the spread (extrapolated, poor fit) |" in text
    assert "*poor fit*: " in text


def test_every_caveat_has_a_meaning() -> None:
    note = "2 of 9 rows timed, linear fit with a residual of 0.0%"
    figures = [Figure((1.0, 2.0), "s", note), Figure((1.0,), "s", "1 of 2 blocks timed, not scaled")]
    assert set(MARKS) >= {name for figure in figures for name in figure.caveats}
    assert caveats(*figures) == " (extrapolated, poor fit, fewer layers, unstable)"
    assert caveats(figures[0], known=["extrapolated", "poor fit"]) == " (unstable)"
    assert caveats(Figure((1.0, 1.0), "s")) == ""
    assert set(MARKS) <= set(TERMS)
    assert definitions("1 s (unstable)") == f"*unstable*: {TERMS['unstable']}. *spread*: {TERMS['spread']}."
    assert definitions("graph loading") == ""


def test_a_column_needs_a_heading() -> None:
    assert markdown_table(["a", "b"], [["1", ""]]) == "| a | b |\n|---|---|\n| 1 |  |"
    with pytest.raises(ValueError, match="a column without a heading"):
        markdown_table(["a", ""], [])
