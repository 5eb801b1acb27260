"""The request that the command line of ``latentloop sample`` describes, checked against the bundle."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.draws.settings import SETTINGS
from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late, so that --help is fast
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

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


def plan_sampling(
    arguments: argparse.Namespace,
    manifest: Manifest,
    open_sampler: Callable[[], Sampler],
    output: ImageOutput,
    seed: int | None = None,
) -> SampleJob:
    """Returns the job, checked against the bundle's manifest; ``seed`` is the first image's if no option sets it.

    ``open_sampler`` is called only if the classifier has to find labels. Raises InputError.
    """
    from latentloop.sampling.sample_request import MAX_SAMPLES, MAX_STREAMED, SampleRequest

    # 1. What to draw.
    classified = ""
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
            labels, classified = given.classified(open_sampler(), n)
    if arguments.seed is not None:
        seed = arguments.seed
    elif seed is None:
        seed = secrets.randbits(32)
    # 2. Validate it.
    request = SampleRequest.validated(
        manifest,
        n,
        labels=labels,
        seeds=seed,
        given={} if given is None else {name: _repeated(each, n) for name, each in given.codes.items()},
        settings={name: getattr(arguments, name) for name in SETTINGS},
        largest=MAX_STREAMED if output.folder else MAX_SAMPLES,
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


def _repeated(codes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Returns codes [n, h, w] of n images, or of one for all, which are in memory once."""
    import numpy as np

    return codes if len(codes) == n else np.broadcast_to(codes, (n, *codes.shape[1:]))


def chosen_labels(texts: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Returns the classes that ``--label`` names. A text is a class, which may contain commas, or several classes."""
    return [name for text in texts for name in ([text] if text in classes else map(str.strip, text.split(",")))]


def _count_and_labels(
    arguments: argparse.Namespace, manifest: Manifest, given_count: int
) -> tuple[int, ArrayLike | None]:
    """Returns the number of samples, and the label of each; None for the sampler's default. Raises InputError."""
    import numpy as np

    from latentloop.sampling.validation import check_labels

    chosen = chosen_labels(arguments.label or (), manifest.classes)
    if arguments.per_class:
        if not manifest.classes:
            raise InputError("--per-class needs a bundle with classes, this one has none: use --count")
        labels = check_labels(chosen or range(len(manifest.classes)), len(chosen or manifest.classes), manifest)
        assert labels is not None
        return len(labels) * arguments.per_class, labels.repeat(arguments.per_class)
    n = arguments.count or (given_count if given_count > 1 else DEFAULT_COUNT)
    labels = check_labels(chosen[:n], len(chosen[:n]), manifest) if chosen else None
    return n, None if labels is None else np.resize(labels, n)


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
