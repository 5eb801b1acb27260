"""What the parts found, for people; and whether it is enough."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from latentloop.bench.gpu.bound import Rates, floor
from latentloop.bench.gpu.check.part import Finding
from latentloop.export.models.presets import PRESETS

Parts = list[dict[str, Any]]
Case = tuple[str, str, int]  # preset, type, batch

CHECKING = ("gpu.check.driver", "gpu.check.backends", "gpu.check.host")  # where an error hides a check
COLUMNS = (1, 2)  # that share a step: PyTorch's ways, LatentLoop's graphs


def reasons(parts: Parts) -> list[str]:
    """Why the whole is not right; none where it is."""
    checks = _of(parts, "check")
    found = [_line(check) for check in checks if not check["passed"]]
    for part in parts:
        if part["name"] in CHECKING:
            found += [_line(finding) for finding in part["findings"] if finding["kind"] == "error"]
            found += [f"{part['name']}: {part['error']}"] if part["error"] else []
    if not checks:
        found.append("no check was made")
    if not any("backend" in check for check in checks):
        found.append("no backend of LatentLoop ran here; what each misses is listed")
    return found


def floors(parts: Parts) -> list[dict[str, Any]]:
    """The least seconds of what was timed of presets, where the GPU's rates were measured."""
    rates = [Rates.from_json(fact) for fact in _of(parts, "fact") if fact["name"] == "rates"]
    found = []
    for preset, level, kind, batch in _timed(parts) if rates else ():
        names = PRESETS[preset].vqvae.level_names
        config = PRESETS[preset].priors[names.index(level)]
        for columns in COLUMNS:
            least = floor(config, batch, kind, columns, rates[0])
            case = {"preset": preset, "level": level, "type": kind, "batch": batch, "columns": columns}
            found.append({**case, "seconds": {"step": least.step, "row graph": least.row, "level": least.level}})
    return found


def images(parts: Parts) -> list[dict[str, Any]]:
    """Seconds of a batch, decoding included, and images a second: of samplers, and of peers with all levels timed."""
    decoding: dict[Case, float] = {}
    levels: dict[tuple[str, Case], dict[str, float]] = {}
    found = []
    for timing in _of(parts, "timing"):
        if timing["name"] == "decode":
            decoding[timing["preset"], timing["type"], timing["batch"]] = timing["seconds"]["decode"]
        elif timing["name"] == "images":
            of = {"way": timing["way"], "preset": timing["bundle"], "type": timing["type"], "batch": timing["batch"]}
            found.append({**of, "seconds": timing["seconds"]["images"], "images a second": timing["a_second"]})
        elif timing["name"] == "level" and "preset" in timing:
            case = timing["preset"], timing["type"], timing["batch"]
            levels.setdefault((timing["way"], case), {})[timing["level"]] = timing["seconds"]["level"]
    for (way, case), by_level in levels.items():
        preset, kind, batch = case
        if by_level.keys() == set(PRESETS[preset].vqvae.level_names) and case in decoding:
            seconds = sum(by_level.values()) + decoding[case]
            of = {"way": way, "preset": preset, "type": kind, "batch": batch}
            found.append({**of, "seconds": seconds, "images a second": batch / seconds})
    return found


def describe(parts: Parts) -> str:
    """Everything that was found, a line each."""
    lines = []
    for part in parts:
        lines.append(f"== {part['name']}, {part['seconds']:.0f} s ==")
        lines += map(_line, part["findings"])
        lines += [f"did not come to its end: {part['error']}"] if part["error"] else []
    lines += ["== the least that this GPU's rates leave ==", *map(_values, floors(parts))]
    return "\n".join([*lines, "== whole images, decoding included ==", *map(_values, images(parts))])


def _timed(parts: Parts) -> list[tuple[str, str, str, int]]:
    """Preset, level, type and batch of everything that was timed of a preset."""
    found: dict[tuple[str, str, str, int], None] = {}  # in order
    for timing in _of(parts, "timing"):
        preset = timing.get("preset", timing.get("bundle"))
        if timing["name"] == "level" and preset in PRESETS:
            found[preset, timing["level"], timing["type"], timing["batch"]] = None
    return list(found)


def _of(parts: Parts, kind: str) -> list[Finding]:
    return [finding for part in parts for finding in part["findings"] if finding["kind"] == kind]


def _line(finding: Finding) -> str:
    kind = finding["kind"]
    if kind == "check":
        kind = "right" if finding["passed"] else "WRONG"
    rest = {name: value for name, value in finding.items() if name not in ("kind", "name", "passed")}
    return f"{kind}: {finding['name']}: {_values(rest)}" if rest else f"{kind}: {finding['name']}"


def _values(values: dict[str, Any]) -> str:
    return ", ".join(_parts(values))


def _parts(values: dict[str, Any]) -> Iterator[str]:
    """Texts and types as they are; seconds as milliseconds, and other numbers short."""
    for name, value in values.items():
        if name == "seconds":
            times = value if isinstance(value, dict) else {"batch": value}
            yield ", ".join(f"{what} {1e3 * time:.4g} ms" for what, time in times.items())
        elif isinstance(value, dict):
            yield f"{name} " + ", ".join(f"{what} {_number(of)}" for what, of in value.items())
        elif value not in ("", None):
            yield f"{name} {_number(value)}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
