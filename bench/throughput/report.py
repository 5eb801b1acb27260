"""Images a second and memory as Markdown: a table per precision, and the best settings as options to copy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from latentloop.bench.figures.figure import Figure
from latentloop.bench.figures.terms import caveats, definitions
from latentloop.bench.figures.text import markdown_table
from latentloop.bench.throughput.best import NEARLY, Entry, fastest, find, leanest, memory, rate

LEGEND = (
    "*images/s*: batches after the first of a process, drawn and decoded, with the images in memory; of several "
    "processes at once the sum. *MiB*: the most resident memory of the process, from its start; of several processes "
    "the sum, with the pages of files that they share (libraries, weights) counted once."
)


def table(result: dict[str, Any]) -> str:
    """Returns a table per precision, the comparison of the hosts, and the best settings."""
    env, settings, entries = result["environment"], result["settings"], result["runs"]
    size = " × ".join(map(str, result["bundle"]["image"]))
    rounds = f"medians of {settings['rounds']} rounds" if settings["rounds"] > 1 else "one round"
    heading = (
        f"`{env['command']}`: images a second of the bundle {result['bundle']['name']}, {size}, on {settings['device']}"
        f", {env['processor']}, ONNX Runtime {env['onnxruntime']}, {env['date']}, commit {env['commit']}. Every "
        f"setting draws whole batches for at least {settings['seconds']:g} s per round, in processes of its own; "
        f"{rounds}."
    )
    sections = [heading, *(f"Not measured: {name}: {reason}" for name, reason in result["left_out"].items())]
    for precision in _values(entries, "precision"):
        of_precision = find(entries, precision=precision)
        sections += [f"Priors in {precision}, images/s and memory by batch size:", _rates(of_precision)]
        sections += _hosts_compared(of_precision)
    sections += _codes(result)
    unstable = sum(Figure.from_json(entry["images_per_second"]).unstable for entry in entries)
    if unstable:
        sections.append(
            f"{unstable} of {len(entries)} settings are unstable, so what follows is uncertain: measure on a machine "
            "that does nothing else."
        )
    sections += ["\n".join(_best_settings(result)), LEGEND]
    text = "\n\n".join(sections)
    return f"{text} {definitions(text)}".rstrip()


def _rates(entries: Sequence[Entry]) -> str:
    """Returns the table of one precision."""
    columns = {(entry["parallel"], entry["host"]): f"{entry['host']}, {entry['parallel']}" for entry in entries}
    rows = []
    for batch in _values(entries, "batch"):
        by_column = {(entry["parallel"], entry["host"]): entry for entry in find(entries, batch=batch)}
        rows.append([str(batch), *(_cell(by_column[column]) for column in columns)])
    return markdown_table(["batch", *columns.values()], rows)


def _cell(entry: Entry) -> str:
    figure, needed = (Figure.from_json(entry[name]) for name in ("images_per_second", "memory"))
    return f"{_number(figure.median)}{caveats(figure)}, {needed.median:.0f} MiB{caveats(needed)}"


def _hosts_compared(entries: Sequence[Entry]) -> list[str]:
    """Returns a sentence on C++ : Python, of the rates in the same round at the same setting; none with one host."""
    ratios = []
    for python in find(entries, host="Python"):
        same = {name: python[name] for name in ("batch", "threads", "processes")}
        for other in find(entries, host="C++", **same):
            samples = (entry["images_per_second"]["samples"] for entry in (other, python))
            ratios.append(median(c / p for c, p in zip(*samples, strict=True)))
    if not ratios:
        return []
    return [
        f"C++ : Python, at the same setting in the same round: {min(ratios):.2f} to {max(ratios):.2f} times as many "
        f"images/s, the median {median(ratios):.2f}."
    ]


def _codes(result: dict[str, Any]) -> list[str]:
    if result["differing_codes"]:
        return [f"DIFFERENT codes were drawn at the same setting: {'; '.join(result['differing_codes'])}."]
    same = len(_values(result["runs"], "host")) > 1
    return ["Both hosts drew the same codes at every setting."] if same else []


def _best_settings(result: dict[str, Any]) -> list[str]:
    """Returns Markdown: the fastest setting of all, then a list per precision and host."""
    entries, default, device = result["runs"], result["default"], result["settings"]["device"]
    best = fastest(entries)
    name = f"{best['precision']}, {best['host']}, {best['parallel']}, batch {best['batch']}"
    lines = [f"The most images/s: {name}: {_figures(best)}."]
    for precision in _values(entries, "precision"):
        for host in _values(entries, "host"):
            group = find(entries, precision=precision, host=host)
            reference = next(iter(find(entries, host=host, **default)), None)
            lines += ["", f"Priors in {precision}, {host}:", "", *_list(group, reference, device)]
    if not find(entries, **default):
        name = f"{default['precision']}, batch {default['batch']}, {default['threads']} threads"
        lines += ["", f"The default setting ({name}) was not measured."]
    return lines


def _list(group: Sequence[Entry], default: Entry | None, device: str) -> list[str]:
    """Returns what is best for one process and for several, of one precision and host, as the items of a list."""
    items = []
    for several in (False, True):
        choice = [entry for entry in group if (entry["processes"] > 1) == several]
        if not choice:
            continue
        best, least = fastest(choice), leanest(choice)
        items.append(f"- {_how(best, device)}: {_figures(best)}{_compared(best, default)}")
        if least:
            items.append(
                f"  - within {1 - NEARLY:.0%} of it, with the least memory: {_how(least, device)}: {_figures(least)}"
            )
    return items


def _how(entry: Entry, device: str) -> str:
    """Returns what sets a setting: the options of ``latentloop sample``, or the parameters of the C interface."""
    batch, threads, precision = entry["batch"], entry["threads"], entry["precision"]
    if entry["host"] == "Python":
        other = "" if device == "cpu" else f" --device {device}"
        text = f"`--batch-size {batch} --threads {threads} --precision {precision}{other}`"
    else:
        other = "" if device == "cpu" else f', device = "{device}"'
        sampler = f'`ll_sampler_params` with `threads = {threads}, precision = "{precision}"{other}`'
        text = f"{sampler} and `ll_sample_params` with `batch = {batch}`"
    return text if entry["processes"] == 1 else f"{entry['processes']} processes at once, each with {text}"


def _figures(entry: Entry) -> str:
    figure = Figure.from_json(entry["images_per_second"])
    return f"{_number(rate(entry))} images/s{caveats(figure)}, {memory(entry):.0f} MiB"


def _compared(entry: Entry, default: Entry | None) -> str:
    """Returns how much faster than the default setting of the same host an entry is, if that was measured."""
    if default is None:
        return ""
    if entry is default:
        return ", the default setting"
    return f", {rate(entry) / rate(default):.2f} times the default setting's ({_figures(default)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _values(entries: Sequence[Entry], name: str) -> list[Any]:
    """Returns the different values of a field, in their order."""
    return list(dict.fromkeys(entry[name] for entry in entries))
