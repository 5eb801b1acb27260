"""The request that the command line of ``latentloop sample`` or ``complete`` describes, checked, and its drawing."""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.cli.progress import Bar
from latentloop.draws.settings import SETTINGS
from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late, so that --help is fast
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from latentloop.bundles.manifest import Manifest
    from latentloop.cli.given_codes import GivenCodes
    from latentloop.cli.image_output import ImageOutput
    from latentloop.cli.interrupt import StopRequest
    from latentloop.sampling.rejection import Selection
    from latentloop.sampling.results import Progress, Samples
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
    classified: str  # a line on the labels if no option names them, but the classifier (or folders, in `complete`) does

    @property
    def seed(self) -> int:
        """The seed of the first image."""
        return int(self.request.seeds[0])

    @property
    def remedy(self) -> str:
        """The end of a message if the images could not be written: how to draw them again."""
        return f"; --seed {self.seed} draws the same again" if self.fresh_seed else ""

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

    ``open_sampler`` is called only if images are to be encoded, or the classifier has to find labels. Raises
    InputError.
    """
    # 1. What to draw.
    classified = ""
    given = _given_codes(arguments, manifest, open_sampler, output)
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
    # 2. Validate it.
    codes = {} if given is None else {name: _repeated(each, n) for name, each in given.codes.items()}
    first = first_seed(arguments) if arguments.seed is not None or seed is None else seed
    request = validated_request(arguments, manifest, output, n, labels, first, codes)
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


def first_seed(arguments: argparse.Namespace) -> int:
    """Returns the seed that ``--seed`` chooses, or a fresh one."""
    return secrets.randbits(32) if arguments.seed is None else int(arguments.seed)


def validated_request(
    arguments: argparse.Namespace,
    manifest: Manifest,
    output: ImageOutput,
    n: int,
    labels: ArrayLike | None,
    seeds: int | Sequence[int],
    given: Mapping[str, NDArray[np.int64]],
) -> SampleRequest:
    """Returns the request for n samples with the settings of the command line. Raises InputError."""
    from latentloop.sampling.sample_request import MAX_SAMPLES, MAX_STREAMED, SampleRequest

    settings = {name: getattr(arguments, name) for name in SETTINGS}
    largest = MAX_STREAMED if output.folder else MAX_SAMPLES
    return SampleRequest.validated(
        manifest, n, labels=labels, seeds=seeds, given=given, settings=settings, largest=largest
    )


def draw_samples(
    sampler: Sampler, job: SampleJob, stop: StopRequest, watch: Callable[[Progress], None], *, shows_bar: bool
) -> tuple[Samples, Selection | None]:
    """Draws until finished or requested to stop, with a progress bar if ``shows_bar``, and calls ``watch`` after every
    row. With ``--best`` also returns the selection.
    """
    from latentloop.sampling.sampler import runs_of

    height = sum(job.request.manifest.level(name).height for name in job.request.drawn_levels)
    with Bar("row") as bar:

        def after_row(progress: Progress) -> bool:
            count = progress.images_total  # with --best, of all candidates
            rows = height * -(-count // (job.batch_size or min(count, sampler.default_batch_size)))
            if shows_bar:
                bar.update(1, rows, f"{progress.images_done} of {count} images")
            if progress.images_done:
                stop.wait_for_results()
            if not stop.is_set():
                watch(progress)
            return not stop.is_set()

        if job.best is None:
            return runs_of(sampler).draw(job.request, job.batch_size, after_row), None
        from latentloop.sampling.rejection import best_of_candidates

        selection = best_of_candidates(sampler, job.request, job.best, job.batch_size, after_row)
        return selection.samples, selection


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


def _given_codes(
    arguments: argparse.Namespace, manifest: Manifest, open_sampler: Callable[[], Sampler], output: ImageOutput
) -> GivenCodes | None:
    """Returns the codes of ``--given``, which may be images, or None without that option. Raises InputError."""
    path: Path | None = arguments.given
    if path is not None and arguments.best is not None:
        raise InputError("--best draws several candidates for each image, --given holds codes of the images: use one")
    if path is None and arguments.keep is not None:
        raise InputError("--keep chooses levels of --given, which is missing")
    from latentloop.cli.given_codes import encode_given, is_codes_file, read_given_codes

    if path is None or is_codes_file(path):
        for option in ("resize", "skip_bad"):
            if getattr(arguments, option):
                found = "which is missing" if path is None else f"but {path} holds codes"
                raise InputError(f"--{option.replace('_', '-')} applies to images of --given, {found}: leave it out")
        return None if path is None else read_given_codes(path, arguments.keep, manifest)
    if files := sorted(path.glob("codes-*.npz")):  # their images, encoded again, would have other codes
        raise InputError(
            f"{path} holds {len(files)} files of codes, expected a folder of images: name one of the files"
        )
    from latentloop.cli.image_inputs import ImageInputs, find_inputs

    found_images = find_inputs(arguments, manifest.image, output.path if output.folder else None, [path])
    output.check_inputs(found_images.paths)
    inputs = ImageInputs.check(arguments, manifest.image, found_images)
    return encode_given(path, arguments.keep, inputs, open_sampler())
