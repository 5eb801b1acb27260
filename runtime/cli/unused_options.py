"""Options of ``sample`` and ``complete`` without effect: refused if that is a clear mistake, otherwise noted."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from latentloop.cli.given_codes import GivenCodes
from latentloop.cli.messages import note
from latentloop.cli.sample_job import SampleJob, chosen_labels
from latentloop.draws.settings import SETTINGS
from latentloop.errors import InputError, plural
from latentloop.sampling.validation import check_labels


def note_unused_options(arguments: argparse.Namespace, job: SampleJob) -> None:
    """Prints a note on each option that has no effect. Raises InputError for a clear mistake."""
    if job.given:
        _check_given(arguments, job, job.given)
    for text in _notes(arguments, job):
        note(text)


def _check_given(arguments: argparse.Namespace, job: SampleJob, given: GivenCodes) -> None:
    """Raises InputError if nothing is left to draw for several images, or if a setting names a level that is given."""
    path, drawn_levels = given.file.path, job.request.drawn_levels
    if not drawn_levels and job.request.n > 1:
        *upper, bottom = job.request.manifest.levels
        kept = ",".join(level.name for level in upper)
        remedy = f"use --keep {kept} to draw the rest, or " if upper and bottom.prior is not None else "use "
        other = "decode` for the images of these codes"
        if given.images is not None:
            other = "complete --rows` to keep a part of it and draw the rest"
        raise InputError(
            f"{path} gives every code of every level, so nothing is left to draw: {remedy}`latentloop {other}"
        )
    for name in SETTINGS:
        value = getattr(arguments, name)
        for level in value if isinstance(value, Mapping) else ():
            if level in given.codes and level not in drawn_levels:
                others = "choose other levels with --keep" if "keep" in arguments else "keep fewer codes of it"
                raise InputError(
                    f"{_option(name)} names {level}, but {path} gives every code of it: leave it out, or {others}"
                )


def _notes(arguments: argparse.Namespace, job: SampleJob) -> Iterator[str]:
    """Yields a line for each option that has no effect."""
    settings = job.recorded()
    if job.given is not None:
        yield from _notes_on_given(arguments, job, job.given)
    greedy = {level: name for level, of_level in settings.items() if (name := _greedy(of_level))}
    for setting in dict.fromkeys(greedy.values()):
        levels = [level for level, name in greedy.items() if name == setting]
        others = [name for name in SETTINGS if name != setting]
        unused = [name for name in others if any(_is_set(arguments, name, level) for level in levels)]
        unused += ["seed"] if arguments.seed is not None and len(levels) == len(settings) else []
        if unused:
            where = "" if len(levels) == len(settings) else f" in {', '.join(levels)}"
            yield f"{_option(setting)} 1 draws the most probable code, so {_without_effect(unused)}{where}"
    if job.best == 1:
        yield "--best 1 keeps every candidate, so nothing is chosen"
    if arguments.label and not getattr(arguments, "per_class", None):
        names, n = chosen_labels(arguments.label, job.request.manifest.classes), job.request.n
        if len(names) > n:
            rest = f"{', '.join(names[n:])} {'is' if len(names) == n + 1 else 'are'} not used"
            yield f"--label names {len(names)} classes for {n} {plural(n, 'image')}: {rest}"


def _notes_on_given(arguments: argparse.Namespace, job: SampleJob, given: GivenCodes) -> Iterator[str]:
    file, manifest, drawn_levels = given.file, job.request.manifest, job.request.drawn_levels
    if unknown_origin := file.check_origin(manifest.origin(), given.codes):
        yield unknown_origin
    if job.classified:
        yield job.classified
    per_class = getattr(arguments, "per_class", None)  # only `sample` has it
    label_option = "label" if arguments.label else "per_class" if per_class else ""
    if not drawn_levels:
        names = [*SETTINGS, "seed", "batch_size"]
        unused = [name for name in names if getattr(arguments, name) is not None]
        unused += ["precision"] if arguments.precision != "float32" else []
        yield (
            f"nothing is drawn: {file.path} gives every code"
            + (f", so {_without_effect(unused)}" if unused else "")
            + (f"; {_option(label_option)} only sets the labels that are written" if label_option else "")
        )
        return
    priors = {level.name: level.prior for level in manifest.levels}
    conditional = [name for name in drawn_levels if (prior := priors[name]) is not None and prior.classes]
    if label_option and not conditional and manifest.classes:
        yield (
            f"{_option(label_option)} only sets the labels that are written: no level that is drawn "
            f"({', '.join(drawn_levels)}) depends on the class"
        )
    elif "labels" in file.per_image and not manifest.classes:
        yield f"the labels of {file.path} are not used: the bundle has no classes"
    elif "labels" in file.per_image and label_option and not _same_labels(job, given):
        yield f"{_option(label_option)} overrides the labels of {file.path}"
    settings = job.recorded()
    differences = list(_different_settings(given, settings))
    if not all(map(_greedy, settings.values())):
        differences += _different_seeds(given, arguments.seed)
    if differences:
        before, now = (", ".join(shown) for shown in zip(*differences, strict=True))
        yield f"{file.path} was drawn with {before}; this run draws with {now}"


def _different_settings(given: GivenCodes, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yields, as text, settings with which the file's codes of the drawn levels were drawn last, and this run's."""
    last = {level: _complete(origins[-1]) for level in settings if (origins := given.file.origins.get(level))}
    for name in (*SETTINGS, "precision"):
        before = {level: origin[name] for level, origin in last.items() if name in origin}
        now = {level: settings[level][name] for level in before}
        if before != now:
            setting = name.replace("_", "-")
            yield f"{setting} {_shown(before)}", f"{setting} {_shown(now)}"


def _greedy(settings: Mapping[str, Any]) -> str:
    """Returns the filter that allows the most probable code only; empty if none does."""
    return next((name for name in ("top_k", "min_p") if settings[name] == 1), "")


def _complete(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an origin of drawn codes with the settings that did not exist yet when it was recorded."""
    if "temperature" not in origin:  # the codes were encoded
        return dict(origin)
    return {name: setting.recorded(setting.default) for name, setting in SETTINGS.items()} | dict(origin)


def _different_seeds(given: GivenCodes, seed: int | None) -> Iterator[tuple[str, str]]:
    """Yields, as text, the file's seeds and this run's, which start at ``seed``, if they differ."""
    seeds = given.file.seeds(given.count)
    if seeds and (seed is None or seeds != list(range(seed, seed + len(seeds)))):
        before = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        yield before, "fresh seeds" if seed is None else f"seeds from {seed}"


def _same_labels(job: SampleJob, given: GivenCodes) -> bool:
    request, manifest = job.request, job.request.manifest
    try:
        of_file = check_labels(given.labels(manifest, request.n), request.n, manifest)
    except InputError:  # the bundle does not have one of the classes
        return False
    return request.labels is not None and of_file is not None and bool((request.labels == of_file).all())


def _is_set(arguments: argparse.Namespace, name: str, level: str) -> bool:
    value = getattr(arguments, name)
    return value is not None and (not isinstance(value, Mapping) or level in value)


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(f"{level}={'none' if value is None else str(value)[:60]}" for level, value in values.items())


def _without_effect(names: list[str]) -> str:
    *others, last = map(_option, names)
    return f"{', '.join(others)} and {last} have no effect" if others else f"{last} has no effect"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
