"""Figures from records: whole images, steps, and how near each graph comes to its own bound."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from latentloop.bench.baselines.baseline import Scale, Timing, level_seconds
from latentloop.bench.machine.arithmetic import (
    DIRECT,
    FLOAT,
    Form,
    Work,
    condition_work,
    forward_flops,
    level_work,
    native_form,
    parameters,
    row_work,
    step_work,
)
from latentloop.bench.machine.roofline import Peaks, bound
from latentloop.bench.report.figures import Figure, percentile
from latentloop.bench.sampling.codec import codec_flops, image_size
from latentloop.bench.sampling.parts import Part, TimedLevel
from latentloop.bench.sampling.records import Record
from latentloop.export.configuration import PriorConfig, to_json
from latentloop.export.graphs.bindings import columns_per_step
from latentloop.kernels.library import operators


def summarise(
    parts: Sequence[Part], records: Mapping[str, Record], batches: Sequence[int], roofline: dict[str, Any]
) -> dict[str, Any]:
    """The result's figures as plain JSON types."""
    levels = [level for part in parts for level in part.levels]
    peaks = Peaks.of(roofline)
    return {
        "levels": [{"name": v.name, "reduced": v.reduction, "config": to_json(v.full)} for v in levels],
        "parameters": sum(parameters(level.full) for level in levels),
        "random_weights": parts[0].same_weights,
        "bounds": image_bounds(levels, peaks),
        "codec_flops": codec_flops(parts[0].vqvae, image_size(parts[0])),
        "peers": {kind: _peer(kind, record, levels, batches, peaks) for kind, record in records.items()},
    }


def image_bounds(levels: Sequence[TimedLevel], peaks: Peaks) -> dict[str, Any]:
    """The least seconds for the priors of one image, batch 1: of the direct form, and of what is really done."""
    found = {}
    for kind in ("direct", "float32", "int8"):
        forms = [form_of(kind, level.full) for level in levels]
        work, bounds = [], []
        for level, form in zip(levels, forms, strict=True):
            columns = 1 if kind == "direct" else columns_per_step(level.full)
            work.append(level_work(level.full, 1, form, columns))
            bounds.append(_level_bound(level.full, peaks, form, columns))
        found[kind] = {
            "form": forms[0].name,
            "flops": sum(w.flops for w in work),
            "weight_bytes": sum(w.weight_bytes for w in work),
            "seconds": sum(bounds),
            "arithmetic_seconds": sum(w.flops for w in work) / peaks.flops,
        }
    return found


def form_of(kind: str, c: PriorConfig) -> Form:
    """How a peer computes rows and steps: LatentLoop by its native operators where they are built, others directly."""
    native = kind in ("float32", "int8") and operators() is not None
    return native_form(c.kernel, kind) if native else DIRECT


def works(c: PriorConfig, batch: int = 1, columns: int = 1, form: Form = DIRECT) -> dict[str, Work]:
    """One run of each graph; a step's at the middle of the grid."""
    return {
        "condition": condition_work(c, batch),
        "row": row_work(c, batch, form),
        "step": step_work(c, batch, (c.height * c.width - 1) / 2, columns, form),
    }


def scale_of(kind: str, level: TimedLevel, batch: int, peaks: Peaks) -> Scale:
    """How the level's full depth is inferred from the depth that was timed: by the graphs' own bounds."""
    if not level.reduction:
        return Scale()
    if kind == "naive":
        ratio = forward_flops(level.full) / forward_flops(level.config)
        return Scale(_ratio(level, "condition", batch, peaks), 1.0, ratio, f"{level.reduction} timed, scaled by FLOPs")
    condition, row, step = (_ratio(level, role, batch, peaks) for role in ("condition", "row", "step"))
    return Scale(condition, row, step, f"{level.reduction} timed, graphs scaled by their bounds")


def _ratio(level: TimedLevel, role: str, batch: int, peaks: Peaks) -> float:
    full, timed = (bound(works(c, batch)[role], peaks).seconds for c in (level.full, level.config))
    return full / timed if timed else 1.0


def _level_bound(c: PriorConfig, peaks: Peaks, form: Form, columns: int) -> float:
    found = {role: bound(work, peaks).seconds for role, work in works(c, 1, columns, form).items()}
    return found["condition"] + c.height * found["row"] + c.height * c.width / columns * found["step"]


def _peer(
    kind: str, record: Record, levels: Sequence[TimedLevel], batches: Sequence[int], peaks: Peaks
) -> dict[str, Any]:
    if record.reason:
        return {"name": record.name, "available": False, "reason": record.reason}
    images = {}
    for batch in batches:
        if all((level.name, batch) in record.timings for level in levels):
            images[str(batch)] = _image(kind, record, levels, batch, peaks)
    graphs = {level.name: _graphs(kind, record, level, batches[0], peaks) for level in levels}
    best = max(images, key=lambda batch: images[batch]["images_per_second"])
    return {
        "name": record.name,
        "available": True,
        "load_seconds": record.load,
        "compile_seconds": record.compile_seconds,
        "peak_memory": record.peak,
        "difference": record.difference,
        "images": images,
        "best_batch": int(best),
        "first_row_seconds": _first_row(record, levels[0], batches[0]),
        "steps": {level.name: _steps(kind, record, level, batches, peaks) for level in levels},
        "graphs": graphs,
        "bound_by": _bound_by(record, levels, batches[0], graphs),
        "codec": {
            name: {str(count): count / statistics.median(taken) for count, taken in samples.items()}
            for name, samples in (("decode", record.decode), ("encode", record.encode))
        },
    }


def _image(kind: str, record: Record, levels: Sequence[TimedLevel], batch: int, peaks: Peaks) -> dict[str, Any]:
    """Seconds of a batch of whole images, decoding included, a sample per round."""
    rounds = len(record.timings[levels[0].name, batch])
    largest = max(record.decode)
    count = 1 if batch == 1 else largest
    decode = statistics.median(record.decode[count]) / count * batch
    samples, notes, host = [], {}, 0.0
    for number in range(rounds):
        seconds = decode
        for level in levels:
            timing = record.timings[level.name, batch][number]
            taken, note = level_seconds(timing, level.full.height, scale_of(kind, level, batch, peaks))
            seconds += taken
            notes[level.name] = note
            host += sum(timing.host(row) for row in timing.rows) / max(1, len(timing.rows)) * level.full.height
        samples.append(seconds)
    text = "; ".join(f"{level}: {note}" for level, note in notes.items() if note)
    figure = Figure(tuple(samples), "s", text)
    return {
        "seconds": figure.to_json(),
        "images_per_second": batch / figure.median,
        "decode_seconds": decode,
        "host_share": host / rounds / figure.median,
    }


def _first_row(record: Record, level: TimedLevel, batch: int) -> dict[str, Any]:
    """Seconds from the call to the first level's first row; not scaled to a full depth."""
    timings = record.timings[level.name, batch]
    note = f"{level.reduction} timed, not scaled" if level.reduction else ""
    return Figure(tuple(t.condition + t.rows[0] for t in timings), "s", note).to_json()


def _steps(
    kind: str, record: Record, level: TimedLevel, batches: Sequence[int], peaks: Peaks
) -> dict[str, dict[str, Any]]:
    """Milliseconds a column by batch, over every step of every round, and the bytes of weights that a step reads."""
    found = {}
    for batch in batches:
        timings = record.timings.get((level.name, batch), [])
        scale = scale_of(kind, level, batch, peaks).step
        columns = timings[0].columns(level.config.width) if timings else 1
        taken = [scale * step * 1e3 / columns for t in timings for row in t.steps.values() for step in row]
        if taken:
            found[str(batch)] = {
                "p50_ms": percentile(taken, 50),
                "p95_ms": percentile(taken, 95),
                "count": len(taken),
                "columns_per_step": columns,
                "weight_bytes": _step_bytes(kind, level),
                "scaled": scale,
            }
    return found


def _step_bytes(kind: str, level: TimedLevel) -> float:
    if kind == "naive":
        return FLOAT * float(parameters(level.full))
    return works(level.full, form=form_of(kind, level.full))["step"].weight_bytes


def _graphs(kind: str, record: Record, level: TimedLevel, batch: int, peaks: Peaks) -> dict[str, dict[str, Any]]:
    """Each graph as it was timed (a reduced level stays reduced here), against its own bound."""
    timings = record.timings[level.name, batch]
    columns = timings[0].columns(level.config.width)
    if kind == "naive":
        forward = [(row, steps[0]) for t in timings for row, steps in t.steps.items()]
        rows = max(row for row, _ in forward)
        work = {"forward": Work(forward_flops(level.config, rows + 1), FLOAT * float(parameters(level.config)))}
        taken = {"forward": [seconds for row, seconds in forward if row == rows]}
    else:
        work = works(level.config, batch, columns, form_of(kind, level.config))
        taken = _taken(timings)
    found = {}
    for role, samples in taken.items():
        if samples and min(samples) > 0 and work[role].flops > 0:
            least, median = bound(work[role], peaks), statistics.median(samples)
            found[role] = {
                "ms": median * 1e3,
                "p95_ms": percentile(samples, 95) * 1e3,
                "flops": work[role].flops,
                "read_bytes": work[role].read_bytes,
                "bound_ms": least.seconds * 1e3,
                "share": least.seconds / median,
                "verdict": least.verdict(median),
            }
    return found


def _bound_by(
    record: Record, levels: Sequence[TimedLevel], batch: int, graphs: dict[str, dict[str, dict[str, Any]]]
) -> str:
    """The graph that takes the largest share of the time in graphs, and what bounds it."""
    totals = {}
    for level in levels:
        c, columns = level.config, record.timings[level.name, batch][0].columns(level.config.width)
        steps = c.height * c.width / columns
        counts = {"condition": 1, "row": c.height, "step": steps, "forward": steps / 2}  # over half of the rows
        for role, graph in graphs[level.name].items():
            totals[level.name, role] = counts[role] * graph["ms"]
    name, role = max(totals, key=lambda key: totals[key])
    share = totals[name, role] / sum(totals.values())
    return f"{name} {role} takes {share:.0%} of the time in graphs, {graphs[name][role]['verdict']}"


def _taken(timings: Sequence[Timing]) -> dict[str, list[float]]:
    return {
        "condition": [t.condition for t in timings],
        "row": [seconds for t in timings for seconds in t.row_graph.values()],
        "step": [seconds for t in timings for row in t.steps.values() for seconds in row],
    }
