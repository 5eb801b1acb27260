"""The request that the command line of ``latentloop sample`` describes, checked against the bundle."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.draws.settings import SETTINGS
from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late, so that --help is fast
    from latentloop.bundles.manifest import Manifest
    from latentloop.cli.given_codes import GivenCodes
    from latentloop.cli.image_output import ImageOutput
    from latentloop.sampling.sample_request import SampleRequest
    from latentloop.sampling.sampler import Sampler

DEFAULT_COUNT = 16


@dataclass(frozen=True, eq=False)
class SampleJob:
    """A validated request with the given codes; how to draw it; and what to write: a grid has ``columns`` by default,
    ``codes`` is the file for codes.
    """

    request: SampleRequest
    given: GivenCodes | None
    precision: str
    batch_size: int | None
    best: float | None  # the share of the candidates to keep
    output: ImageOutput
    columns: int | None
    codes: Path | None
    fresh_seed: bool  # not chosen by the user
    classified: str  # a line on the labels if the classifier found them

    @property
    def seed(self) -> int:
        """The seed of the first image."""
        return int(self.request.seeds[0])

    def recorded(self) -> dict[str, dict[str, Any]]:
        """Returns the settings of each drawn level as files of codes record them."""
        settings = self.request.settings
        return {
            level: {"precision": self.precision, **settings[level].recorded()} for level in self.request.drawn_levels
        }


def plan_sampling(arguments: argparse.Namespace, sampler: Sampler, output: ImageOutput) -> SampleJob:
    """Returns the job, checked against the sampler's bundle. Raises InputError."""
    from latentloop.sampling.sample_request import SampleRequest

    # 1. What to draw.
    manifest, classified = sampler.bundle.manifest, ""
    given = _given_codes(arguments, manifest)
    given_count = given.count if given else 1
    n, labels = _count_and_labels(arguments, manifest, given_count)
    if given_count not in (1, n):
        raise InputError(
            f"{arguments.given} holds codes of {given_count} images, expected {n} as requested, or one for all"
        )
    output.check_size(n, manifest.image, arguments.per_class)
    if given and labels is None and manifest.classes:
        labels = given.labels(manifest, n)
        if labels is None:
            labels, classified = given.classified(sampler, n)
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    # 2. Validate it.
    request = SampleRequest.validated(
        manifest,
        n,
        labels=labels,
        seeds=seed,
        given={} if given is None else {name: each.repeat(n // given_count, 0) for name, each in given.codes.items()},
        settings={name: getattr(arguments, name) for name in SETTINGS},
    )
    return SampleJob(
        request,
        given,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        best=arguments.best,
        output=output,
        columns=arguments.per_class,
        codes=arguments.codes,
        fresh_seed=arguments.seed is None,
        classified=classified,
    )


def chosen_labels(texts: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Returns the classes that ``--label`` names. A text is a class, which may contain commas, or several classes."""
    return [name for text in texts for name in ([text] if text in classes else map(str.strip, text.split(",")))]


def _count_and_labels(
    arguments: argparse.Namespace, manifest: Manifest, given_count: int
) -> tuple[int, list[int | str] | None]:
    """Returns the number of samples, and the label of each; None for the sampler's default."""
    chosen = chosen_labels(arguments.label or (), manifest.classes)
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
