"""The request that the command line of ``latentloop sample`` describes, checked against the bundle."""

from __future__ import annotations

import argparse
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from latentloop.draws.settings import SETTINGS
from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late, so that --help is fast
    from latentloop.bundles.manifest import Manifest
    from latentloop.cli.given_codes import GivenCodes
    from latentloop.cli.image_output import ImageOutput
    from latentloop.sampling.sample_request import SampleRequest

DEFAULT_COUNT = 16


@dataclass(frozen=True)
class SampleJob:
    """A validated request, the seed of its first image, the given codes, and the levels that are drawn."""

    request: SampleRequest
    seed: int
    given: GivenCodes | None
    drawn_levels: tuple[str, ...]

    def recorded(self, precision: str) -> dict[str, dict[str, Any]]:
        """Returns the settings of each drawn level as files of codes record them."""
        return {
            level: {"precision": precision, **self.request.settings[level].recorded()} for level in self.drawn_levels
        }


def plan_sampling(arguments: argparse.Namespace, manifest: Manifest, output: ImageOutput) -> SampleJob:
    """Returns the job, checked against the bundle. Raises InputError."""
    from latentloop.sampling.sample_request import SampleRequest

    # 1. What to draw.
    given = _given_codes(arguments, manifest)
    given_count = given.count if given else 1
    n, labels = _count_and_labels(arguments, manifest, given_count)
    if given_count not in (1, n):
        raise InputError(
            f"{arguments.given} holds codes of {given_count} images, expected {n} as requested, or one for all"
        )
    output.check_size(n, manifest.image, arguments.per_class)
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    # 2. Validate it.
    request = SampleRequest.validated(
        manifest,
        n,
        labels=given.labels(manifest, n) if given and labels is None else labels,
        seeds=seed,
        given={} if given is None else {name: each.repeat(n // given_count, 0) for name, each in given.codes.items()},
        settings={name: getattr(arguments, name) for name in SETTINGS},
    )
    drawn_levels = tuple(level.name for level in manifest.levels) if given is None else given.drawn_levels
    return SampleJob(request, seed, given, drawn_levels)


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
