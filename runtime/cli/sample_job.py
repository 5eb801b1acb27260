"""The request that the command line of ``latentloop sample`` describes, checked against the bundle."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloop.cli import messages
from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late, so that --help is fast
    from latentloop.bundles.manifest import Manifest
    from latentloop.cli.given_codes import GivenCodes
    from latentloop.cli.image_output import ImageOutput

DEFAULT_COUNT = 16


@dataclass(frozen=True)
class SampleJob:
    """A request for n images: their labels (None for the sampler's default), the first seed, and codes to keep by
    level. ``settings`` are those of each drawn level, as files of codes record them.
    """

    n: int
    labels: list[int | str] | None
    seed: int
    codes: dict[str, Any]
    given: GivenCodes | None
    settings: dict[str, dict[str, Any]]


def plan_sampling(arguments: argparse.Namespace, manifest: Manifest, output: ImageOutput) -> SampleJob:
    """Returns the job, checked against the bundle. Prints notes on options without effect. Raises InputError."""
    given = _given_codes(arguments, manifest)
    given_count = given.count if given else 1
    n, labels = _count_and_labels(arguments, manifest, given_count)
    if given_count not in (1, n):
        raise InputError(
            f"{arguments.given} holds codes of {given_count} images, expected {n} as requested, or one for all"
        )
    output.check_size(n, manifest.image, arguments.per_class)
    drawn_levels = [level.name for level in manifest.levels] if given is None else given.drawn_levels
    settings = _settings(arguments, drawn_levels)
    if given or arguments.label or arguments.top_k or arguments.best:
        from latentloop.cli import unused_options

        if given:
            unused_options.check_given(arguments, given, n, manifest)
        for text in unused_options.notes(arguments, given, labels, n, settings, manifest):
            messages.note(text)
    if given and labels is None:
        labels = given.labels(manifest, n)
    codes = {} if given is None else {name: each.repeat(n // given_count, 0) for name, each in given.codes.items()}
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    return SampleJob(n, labels, seed, codes, given, settings)


def _count_and_labels(
    arguments: argparse.Namespace, manifest: Manifest, given_count: int
) -> tuple[int, list[int | str] | None]:
    """Returns the number of samples, and the label of each; None for the sampler's default."""
    chosen: list[int | str] = []
    for text in arguments.label or ():
        chosen += [text] if text in manifest.classes else [name.strip() for name in text.split(",")]
    if arguments.per_class:
        if not manifest.classes:
            raise InputError("--per-class needs a bundle with classes, this one has none: use --count")
        per_class = [label for label in chosen or range(len(manifest.classes)) for _ in range(arguments.per_class)]
        return len(per_class), per_class
    n = arguments.count or (given_count if given_count > 1 else DEFAULT_COUNT)
    return n, [chosen[index % len(chosen)] for index in range(n)] if chosen else None


def _given_codes(arguments: argparse.Namespace, manifest: Manifest) -> GivenCodes | None:
    """Returns the codes of ``--given``, or None without that option. Raises InputError."""
    if arguments.given is not None and arguments.best is not None:
        raise InputError("--best draws several candidates for each image, --given holds codes of the images: use one")
    if arguments.given is None:
        if arguments.keep is not None:
            raise InputError("--keep chooses levels of --given, which is missing")
        return None
    from latentloop.cli.given_codes import read_given_codes

    return read_given_codes(arguments.given, arguments.keep, manifest)


def _settings(arguments: argparse.Namespace, drawn_levels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Returns the settings of each drawn level, as files of codes record them."""
    settings: dict[str, dict[str, Any]] = {level: {"precision": arguments.precision} for level in drawn_levels}
    for name, default in (("temperature", 1.0), ("top_k", None), ("top_p", 1.0)):
        value = getattr(arguments, name)
        by_level = value if isinstance(value, dict) else dict.fromkeys(drawn_levels, value)
        for level in drawn_levels:
            settings[level][name] = default if by_level.get(level) is None else by_level[level]
    return settings
