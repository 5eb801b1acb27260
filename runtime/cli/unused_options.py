"""What `latentloop sample` was asked for and cannot heed: refused where it is a mistake, else told in a line."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from latentloop.bundles.manifest import Manifest
from latentloop.cli.given import Given
from latentloop.cli.options import plural
from latentloop.errors import InputError
from latentloop.sampling.validation import check_labels

SETTINGS = ("temperature", "top_k", "top_p")


def check_drawn(arguments: argparse.Namespace, given: Given, n: int, manifest: Manifest) -> None:
    """Raises InputError where nothing is left to draw, but for one image, or a setting names a level that is given."""
    path = given.file.path
    if not given.drawn and n > 1:
        upper = [level.name for level in manifest.levels[:-1]]
        able = upper and all(level.prior is not None for level in manifest.levels[len(upper) :])
        rest = f"--keep {','.join(upper)} draws the rest, " if able else ""
        raise InputError(
            f"{path} gives every code of every level, so nothing is left to draw: {rest}`latentloop decode` gives the "
            "images themselves"
        )
    for name in SETTINGS:
        value = getattr(arguments, name)
        for level in value if isinstance(value, Mapping) else ():
            if level in given.codes and level not in given.drawn:
                raise InputError(
                    f"{_option(name)} names {level}, of which {path} gives every code: leave it out, or choose other "
                    "levels with --keep"
                )


def notes(
    arguments: argparse.Namespace,
    given: Given | None,
    labels: list[int | str] | None,
    n: int,
    settings: Mapping[str, Mapping[str, Any]],
    manifest: Manifest,
) -> Iterator[str]:
    """A line for everything that has no effect. ``labels`` [n] are those that were asked for, ``settings`` this run's
    by level that is drawn, as files of codes hold them.
    """
    if given is not None:
        yield from _given_notes(arguments, given, labels, settings, manifest)
    greedy = [level for level, each in settings.items() if each["top_k"] == 1]
    if greedy:
        idle = [name for name in ("temperature", "top_p") if any(_named(arguments, name, level) for level in greedy)]
        idle += ["seed"] if arguments.seed is not None and len(greedy) == len(settings) else []
        if idle:
            where = "" if len(greedy) == len(settings) else f" in {', '.join(greedy)}"
            yield f"--top-k 1 takes the most probable code, so {_options(idle)} without effect{where}"
    if arguments.best == 1:
        yield "--best 1 keeps every candidate, so nothing is chosen"
    if arguments.label and not arguments.per_class:
        asked = [
            name.strip()
            for text in arguments.label
            for name in ([text] if text in manifest.classes else text.split(","))
        ]
        if len(asked) > n:
            yield f"--label names {len(asked)} classes for {n} {plural(n, 'image')}, without {', '.join(asked[n:])}"


def _given_notes(
    arguments: argparse.Namespace,
    given: Given,
    labels: list[int | str] | None,
    settings: Mapping[str, Mapping[str, Any]],
    manifest: Manifest,
) -> Iterator[str]:
    file = given.file
    if other := file.other_bundle(manifest.digest(), given.codes):
        yield other
    chosen = "label" if arguments.label else "per_class" if arguments.per_class else ""
    if not given.drawn:
        names = [*SETTINGS, "seed", "batch_size"]
        idle = [name for name in names if getattr(arguments, name) is not None]
        idle += ["precision"] if arguments.precision != "float32" else []
        yield (
            f"nothing is drawn: {file.path} gives every code"
            + (f", so {_options(idle)} without effect" if idle else "")
            + (f"; {_option(chosen)} only names what is written" if chosen else "")
        )
        return
    priors = {level.name: level.prior for level in manifest.levels}
    heeding = [name for name in given.drawn if (prior := priors[name]) is not None and prior.classes]
    if chosen and not heeding and manifest.classes:
        yield (
            f"{_option(chosen)} only names what is written: no level that is drawn ({', '.join(given.drawn)}) heeds "
            "classes"
        )
    elif "labels" in file.beside and not manifest.classes:
        yield f"the labels of {file.path} are not used: the bundle has no classes"
    elif "labels" in file.beside and labels is not None and not _same_labels(given, labels, manifest):
        yield f"{_option(chosen)} decides the classes, not the labels of {file.path}"
    differing = list(_differing_settings(given, settings))
    if any(each["top_k"] != 1 for each in settings.values()):
        differing += _differing_seeds(given, arguments.seed)
    if differing:
        before, now = (", ".join(shown) for shown in zip(*differing, strict=True))
        yield f"{file.path} was drawn with {before}; this run draws with {now}"


def _differing_settings(given: Given, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Settings of the file's last draw of what this run draws, and this run's, as they are shown."""
    last = {level: made[-1] for level in settings if (made := given.file.made(level))}
    for name in (*SETTINGS, "precision"):
        before = {level: each[name] for level, each in last.items() if name in each}
        now = {level: settings[level][name] for level in before}
        if before != now:
            setting = name.replace("_", "-")
            yield f"{setting} {_shown(before)}", f"{setting} {_shown(now)}"


def _differing_seeds(given: Given, seed: int | None) -> Iterator[tuple[str, str]]:
    """The file's seeds, and this run's, which begins with ``seed``."""
    seeds = given.file.seeds(given.count)
    if seeds and (seed is None or seeds != list(range(seed, seed + len(seeds)))):
        before = f"seeds {seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"seed {seeds[0]}"
        yield before, "fresh seeds" if seed is None else f"seeds from {seed}"


def _same_labels(given: Given, labels: list[int | str], manifest: Manifest) -> bool:
    try:
        own = given.labels(manifest, len(labels))
    except InputError:  # of a class that this bundle does not have
        return False
    asked, found = (check_labels(each, len(labels), manifest) for each in (labels, own))
    return asked is not None and found is not None and bool((asked == found).all())


def _named(arguments: argparse.Namespace, name: str, level: str) -> bool:
    value = getattr(arguments, name)
    return value is not None and (not isinstance(value, Mapping) or level in value)


def _shown(values: Mapping[str, object]) -> str:
    return ", ".join(f"{level}={'none' if value is None else value}" for level, value in values.items())


def _options(names: list[str]) -> str:
    shown = [_option(name) for name in names]
    return f"{shown[0]} is" if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]} are"


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
