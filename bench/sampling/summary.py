"""Figures computed from records: whole images, steps, and each graph's share of its roofline bound."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from latentloop.bench.baselines.timing import Scale, Timing, level_seconds
from latentloop.bench.figures.figure import NOT_SCALED, Figure, percentile
from latentloop.bench.figures.fits import worst_note
from latentloop.bench.machine.peaks import Peaks
from latentloop.bench.sampling.records import Record
from latentloop.bench.workload.arithmetic import (
    DIRECT,
    FLOAT,
    Form,
    Work,
    forward_flops,
    graph_works,
    level_work,
    native_form,
    parameters,
)
from latentloop.bench.workload.bounds import bound, level_bound
from latentloop.bench.workload.codec import codec_flops, image_size
from latentloop.bench.workload.part import Part, TimedLevel
from latentloop.export.configuration import PriorConfig, to_json
from latentloop.export.graphs.prior.bindings import columns_per_step
from latentloop.kernels.library import operators


def summarise(
    parts: Sequence[Part], records: Mapping[str, Record], batches: Sequence[int], roofline: dict[str, Any]
) -> dict[str, Any]:
    """Returns the result's figures as plain JSON types."""
    levels = [level for part in parts for level in part.levels]
    peaks = Peaks.of(roofline)
    return {
        "levels": [{"name": v.name, "reduced": v.reduction, "config": to_json(v.full)} for v in levels],
        "parameters": sum(parameters(level.full) for level in levels),
        "random_weights": parts[0].same_weights,
        "bounds": image_bounds(levels, peaks),
        "codec_flops": codec_flops(parts[0].vqvae, image_size(parts[0])),
        "peers": {name: _implementation(name, record, levels, batches, peaks) for name, record in records.items()},
    }


def image_bounds(levels: Sequence[TimedLevel], peaks: Peaks) -> dict[str, Any]:
    """Returns the roofline bounds of one image's priors, batch 1: of direct convolutions, and of LatentLoop's forms."""
    by_form = {}
    for name in ("direct", "float32", "int8"):
        forms = [form_of(name, level.full) for level in levels]
        work, bounds = [], []
        for level, form in zip(levels, forms, strict=True):
            columns = 1 if name == "direct" else columns_per_step(level.full)
            work.append(level_work(level.full, 1, form, columns))
            bounds.append(level_bound(level.full, peaks, 1, columns, form).level)
        by_form[name] = {
            "form": forms[0].name,
            "flops": sum(w.flops for w in work),
            "weight_bytes": sum(w.weight_bytes for w in work),
            "seconds": sum(bounds),
            "arithmetic_seconds": sum(w.flops for w in work) / peaks.flops,
        }
    return by_form


def form_of(name: str, c: PriorConfig) -> Form:
    """Returns how an implementation computes rows and steps: LatentLoop by its native operators if they are built,
    all others directly.
    """
    native = name in ("float32", "int8") and operators() is not None
    return native_form(c.kernel, name) if native else DIRECT


def scale_of(name: str, level: TimedLevel, batch: int, peaks: Peaks) -> Scale:
    """Returns the factors from the timed depth of a level to its full depth: the ratios of the graphs' bounds."""
    if not level.reduction:
        return Scale()
    if name == "naive":
        ratio = forward_flops(level.full) / forward_flops(level.config)
        return Scale(_ratio(level, "condition", batch, peaks), 1.0, ratio, f"{level.reduction} timed, scaled by FLOPs")
    condition, row, step = (_ratio(level, role, batch, peaks) for role in ("condition", "row", "step"))
    return Scale(condition, row, step, f"{level.reduction} timed, graphs scaled by their bounds")


def _ratio(level: TimedLevel, role: str, batch: int, peaks: Peaks) -> float:
    full, timed = (bound(graph_works(c, batch)[role], peaks).seconds for c in (level.full, level.config))
    return full / timed if timed else 1.0


def _implementation(
    name: str, record: Record, levels: Sequence[TimedLevel], batches: Sequence[int], peaks: Peaks
) -> dict[str, Any]:
    if record.unavailable:
        return {"name": record.title, "available": False, "reason": record.unavailable}
    images = {}
    for batch in batches:
        if all((level.name, batch) in record.timings for level in levels):
            images[str(batch)] = _images(name, record, levels, batch, peaks)
    graphs = {level.name: _graphs(name, record, level, batches[0], peaks) for level in levels}
    best = max(images, key=lambda batch: images[batch]["images_per_second"])
    return {
        "name": record.title,
        "available": True,
        "load_seconds": record.load,
        "compile_seconds": record.compile_seconds,
        "peak_memory": record.peak,
        "difference": record.difference,
        "images": images,
        "best_batch": int(best),
        "first_row_seconds": _first_row(record, levels[0], batches[0]),
        "steps": {level.name: _steps(name, record, level, batches, peaks) for level in levels},
        "graphs": graphs,
        "bound_by": _bound_by(record, levels, batches[0], graphs),
        "codec": {
            direction: {str(count): count / statistics.median(seconds) for count, seconds in by_count.items()}
            for direction, by_count in (("decode", record.decode), ("encode", record.encode))
        },
    }


def _images(name: str, record: Record, levels: Sequence[TimedLevel], batch: int, peaks: Peaks) -> dict[str, Any]:
    """Returns the seconds of a batch of whole images, decoding included, one sample per round."""
    rounds = len(record.timings[levels[0].name, batch])
    largest = max(record.decode)
    count = 1 if batch == 1 else largest
    decode = statistics.median(record.decode[count]) / count * batch
    samples, host = [], 0.0
    notes: dict[str, list[str]] = {level.name: [] for level in levels}
    for number in range(rounds):
        seconds = decode
        for level in levels:
            timing = record.timings[level.name, batch][number]
            of_level, note = level_seconds(timing, level.full.height, scale_of(name, level, batch, peaks))
            notes[level.name].append(note)
            seconds += of_level
            host += sum(timing.host(row) for row in timing.rows) / max(1, len(timing.rows)) * level.full.height
        samples.append(seconds)
    worst = {level: worst_note(by_round) for level, by_round in notes.items()}
    text = "; ".join(f"{level}: {note}" for level, note in worst.items() if note)
    figure = Figure(tuple(samples), "s", text)
    return {
        "seconds": figure.to_json(),
        "images_per_second": batch / figure.median,
        "decode_seconds": decode,
        "host_share": host / rounds / figure.median,
    }


def _first_row(record: Record, level: TimedLevel, batch: int) -> dict[str, Any]:
    """Returns the seconds from the call to the first level's first row, not scaled to the full depth."""
    timings = record.timings[level.name, batch]
    note = f"{level.reduction} timed, {NOT_SCALED}" if level.reduction else max(t.note for t in timings)
    return Figure(tuple(t.condition + t.rows[0] for t in timings), "s", note).to_json()


def _steps(
    name: str, record: Record, level: TimedLevel, batches: Sequence[int], peaks: Peaks
) -> dict[str, dict[str, Any]]:
    """Returns by batch the milliseconds per column, over every step of every round, and the weight bytes of a step."""
    by_batch = {}
    for batch in batches:
        timings = record.timings.get((level.name, batch), [])
        scale = scale_of(name, level, batch, peaks).step
        columns = timings[0].columns(level.config.width) if timings else 1
        column_ms = [scale * step * 1e3 / columns for t in timings for row in t.steps.values() for step in row]
        if column_ms:
            by_batch[str(batch)] = {
                "p50_ms": percentile(column_ms, 50),
                "p95_ms": percentile(column_ms, 95),
                "count": sum(t.timed_steps for t in timings),
                "columns_per_step": columns,
                "weight_bytes": _step_bytes(name, level),
                "scaled": scale,
            }
    return by_batch


def _step_bytes(name: str, level: TimedLevel) -> float:
    if name == "naive":
        return FLOAT * float(parameters(level.full))
    return graph_works(level.full, form=form_of(name, level.full))["step"].weight_bytes


def _graphs(name: str, record: Record, level: TimedLevel, batch: int, peaks: Peaks) -> dict[str, dict[str, Any]]:
    """Returns each graph's times as measured (a reduced level is not scaled here), and its bound."""
    timings = record.timings[level.name, batch]
    columns = timings[0].columns(level.config.width)
    if name == "naive":
        forward = [(row, steps[0]) for t in timings for row, steps in t.steps.items()]
        rows = max(row for row, _ in forward)
        work = {"forward": Work(forward_flops(level.config, rows + 1), FLOAT * float(parameters(level.config)))}
        by_role = {"forward": [seconds for row, seconds in forward if row == rows]}
    else:
        work = graph_works(level.config, batch, columns, form_of(name, level.config))
        by_role = _seconds_by_role(timings)
    graphs = {}
    for role, samples in by_role.items():
        if samples and min(samples) > 0 and work[role].flops > 0:
            lower_bound, median = bound(work[role], peaks), statistics.median(samples)
            graphs[role] = {
                "ms": median * 1e3,
                "p95_ms": percentile(samples, 95) * 1e3,
                "flops": work[role].flops,
                "read_bytes": work[role].read_bytes,
                "bound_ms": lower_bound.seconds * 1e3,
                "share": lower_bound.seconds / median,
                "verdict": lower_bound.verdict(median),
            }
    return graphs


def _bound_by(
    record: Record, levels: Sequence[TimedLevel], batch: int, graphs: dict[str, dict[str, dict[str, Any]]]
) -> str:
    """Returns the graph with the largest share of the time in graphs, and what bounds it."""
    totals = {}
    for level in levels:
        c, columns = level.config, record.timings[level.name, batch][0].columns(level.config.width)
        steps = c.height * c.width / columns
        counts = {"condition": 1, "row": c.height, "step": steps, "forward": steps / 2}  # a mean of half the rows
        for role, graph in graphs[level.name].items():
            totals[level.name, role] = counts[role] * graph["ms"]
    name, role = max(totals, key=lambda key: totals[key])
    share = totals[name, role] / sum(totals.values())
    return f"{name} {role} takes {share:.0%} of the time in graphs: {graphs[name][role]['verdict']}"


def _seconds_by_role(timings: Sequence[Timing]) -> dict[str, list[float]]:
    return {
        "condition": [t.condition for t in timings],
        "row": [seconds for t in timings for seconds in t.row_graph.values()],
        "step": [seconds for t in timings for row in t.steps.values() for seconds in row],
    }
