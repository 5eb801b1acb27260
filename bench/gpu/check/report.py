"""The findings of all parts as text, with bounds and image times, and the failures among them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from latentloop.bench.gpu.check.findings import Finding
from latentloop.bench.machine.peaks import Peaks
from latentloop.bench.workload.bounds import level_bound
from latentloop.export.models.presets import PRESETS

Parts = list[dict[str, Any]]  # of each part: name, seconds, error, findings
Case = tuple[str, str, int]  # preset, type, batch

CHECKING = ("driver", "backends", "host")  # parts in which an error is a failure, because it prevents checks
COLUMNS = (1, 2)  # per step: in PyTorch's baselines, and in LatentLoop's graphs


def failures(parts: Parts) -> list[str]:
    """Returns why the whole check has failed; empty if it has passed."""
    checks = _of_kind(parts, "check")
    reasons = [_line(check) for check in checks if not check["passed"]]
    for part in parts:
        if part["name"] in CHECKING:
            reasons += [_line(finding) for finding in part["findings"] if finding["kind"] == "error"]
            reasons += [f"{part['name']}: {part['error']}"] if part["error"] else []
    if not checks:
        reasons.append("no check was made")
    if not any("backend" in check for check in checks):
        reasons.append("no GPU backend of LatentLoop ran here; see the findings that are missing")
    return reasons


def level_bounds(parts: Parts) -> list[dict[str, Any]]:
    """Returns the roofline bounds of all timed levels of presets, if the GPU's rates were measured."""
    rates = [Peaks.of_gpu(fact) for fact in _of_kind(parts, "fact") if fact["name"] == "rates"]
    bounds = []
    for preset, level, kind, batch in _timed_levels(parts) if rates else ():
        names = PRESETS[preset].vqvae.level_names
        config = PRESETS[preset].priors[names.index(level)]
        for columns in COLUMNS:
            bound = level_bound(config, rates[0], batch, columns, kind=kind)
            case = {"preset": preset, "level": level, "type": kind, "batch": batch, "columns": columns}
            bounds.append({**case, "seconds": {"step": bound.step, "row graph": bound.row, "level": bound.level}})
    return bounds


def image_times(parts: Parts) -> list[dict[str, Any]]:
    """Returns seconds of a batch, decoding included, and images per second.

    Samplers time whole images. Baselines time levels and the decoder, whose sum is returned if every level was timed,
    with a ``note`` on the levels of which not every row was.
    """
    decoding: dict[Case, float] = {}
    levels: dict[tuple[str, Case], dict[str, float]] = {}
    notes: dict[tuple[str, Case], list[str]] = {}
    images = []
    for timing in _of_kind(parts, "timing"):
        if timing["name"] == "decode":
            decoding[timing["preset"], timing["type"], timing["batch"]] = timing["seconds"]["decode"]
        elif timing["name"] == "images":
            case = {"way": timing["way"], "preset": timing["bundle"], "type": timing["type"], "batch": timing["batch"]}
            images.append({**case, "seconds": timing["seconds"]["images"], "images a second": timing["a_second"]})
        elif timing["name"] == "level" and "preset" in timing:
            key = timing["way"], (timing["preset"], timing["type"], timing["batch"])
            levels.setdefault(key, {})[timing["level"]] = timing["seconds"]["level"]
            notes.setdefault(key, []).extend(filter(None, [timing.get("note")]))
    for (way, (preset, kind, batch)), by_level in levels.items():
        if by_level.keys() == set(PRESETS[preset].vqvae.level_names) and (preset, kind, batch) in decoding:
            seconds = sum(by_level.values()) + decoding[preset, kind, batch]
            case = {"way": way, "preset": preset, "type": kind, "batch": batch}
            note = "; ".join(notes[way, (preset, kind, batch)])
            images.append({**case, "seconds": seconds, "images a second": batch / seconds, "note": note})
    return images


def describe(parts: Parts) -> str:
    """Returns all findings, one line each, then bounds and image times."""
    lines = []
    for part in parts:
        lines.append(f"== {part['name']}, {part['seconds']:.0f} s ==")
        lines += map(_line, part["findings"])
        lines += [f"did not finish: {part['error']}"] if part["error"] else []
    lines += ["== roofline bounds on this GPU ==", *map(_values, level_bounds(parts))]
    return "\n".join([*lines, "== whole images, decoding included ==", *map(_values, image_times(parts))])


def _timed_levels(parts: Parts) -> list[tuple[str, str, str, int]]:
    """Returns preset, level, type and batch of all timed levels of presets."""
    levels: dict[tuple[str, str, str, int], None] = {}  # a set that keeps its order
    for timing in _of_kind(parts, "timing"):
        preset = timing.get("preset", timing.get("bundle"))
        if timing["name"] == "level" and preset in PRESETS:
            levels[preset, timing["level"], timing["type"], timing["batch"]] = None
    return list(levels)


def _of_kind(parts: Parts, kind: str) -> list[Finding]:
    return [finding for part in parts for finding in part["findings"] if finding["kind"] == kind]


def _line(finding: Finding) -> str:
    kind = finding["kind"]
    if kind == "check":
        kind = "check passed" if finding["passed"] else "check failed"
    rest = {name: value for name, value in finding.items() if name not in ("kind", "name", "passed")}
    return f"{kind}: {finding['name']}: {_values(rest)}" if rest else f"{kind}: {finding['name']}"


def _values(values: dict[str, Any]) -> str:
    return ", ".join(_value_texts(values))


def _value_texts(values: dict[str, Any]) -> Iterator[str]:
    """Yields strings and types unchanged, seconds as milliseconds, and other numbers with four digits."""
    for name, value in values.items():
        if name == "seconds":
            times = value if isinstance(value, dict) else {"batch": value}
            yield ", ".join(f"{what} {1e3 * time:.4g} ms" for what, time in times.items())
        elif isinstance(value, dict):
            yield f"{name} " + ", ".join(f"{what} {_number(number)}" for what, number in value.items())
        elif value not in ("", None):
            yield f"{name} {_number(value)}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
