"""The request of ``latentloop complete``, checked against the bundle, and the pictures that it writes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Manifest
from latentloop.cli.given_codes import EncodedImages, GivenCodes, encode_given
from latentloop.cli.image_inputs import ImageInputs, find_inputs
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.sample_job import SampleJob, chosen_labels, first_seed, validated_request
from latentloop.cli.watching.watching import Watching
from latentloop.errors import InputError, OutputError, listed, plural
from latentloop.images.problems import Source
from latentloop.images.writing import image_name, write_images
from latentloop.io.files import write_each
from latentloop.sampling.kept_codes import Shapes, codes_in_rows, first_codes, is_kept, keep_first, shown
from latentloop.sampling.results import Samples
from latentloop.sampling.sample_request import MAX_SAMPLES
from latentloop.sampling.sampler import Sampler
from latentloop.sampling.validation import check_labels

GREY = 128  # of the pixels of which nothing is kept


@dataclass(frozen=True, eq=False)
class Completion:
    """The ``draws`` of each image, one image after the other. Each level keeps its first ``counts`` codes.

    ``reconstructed`` uint8 [N, H, W, C], None for a folder. ``labels_from`` says what names the classes, None without
    classes.
    """

    job: SampleJob
    inputs: ImageInputs
    images: EncodedImages
    reconstructed: NDArray[np.uint8] | None
    counts: dict[str, int]
    draws: int
    labels_from: str | None

    @property
    def files(self) -> list[Source]:
        """The images' files."""
        return self.images.sources

    def kept(self) -> str:
        """Returns a text on the codes that are kept."""
        shapes = _shapes(self.job.request.manifest)
        return ", ".join(f"{level} {shown(count, shapes[level])}" for level, count in self.counts.items())

    @property
    def cells(self) -> int:
        """The number of images in the grid."""
        return len(self.files) * (self.draws + 2)

    def write(self, samples: Samples, watching: Watching) -> None:
        """Writes the samples, of which there are at least one: a file of each, or a grid, and the animation of it.
        Raises OutputError.
        """
        output = self.job.output
        try:
            write_each({str(output): lambda: self._write(samples)} | watching.writes(samples.images, self._grid))
        except OutputError as error:
            raise OutputError(f"{error}{self.job.remedy}") from error

    def _write(self, samples: Samples) -> None:
        output = self.job.output
        if not output.folder:
            output.write(self._cells(samples.images), self.draws + 2)
            return
        digits = max(5, len(str(len(self.files) - 1)))
        names = (
            image_name(number // self.draws, _stem(self.files[number // self.draws]), int(seed), digits)
            for number, seed in enumerate(samples.seeds)
        )
        scale = output.scale or 1
        enlarged = (image.repeat(scale, 0).repeat(scale, 1) for image in samples.images)
        write_images(output.path, enlarged, names, force=output.force)

    @cached_property
    def _kept(self) -> NDArray[np.uint8]:
        """What is kept of each image, [N, H, W, C]: the same in all frames of an animation."""
        assert self.reconstructed is not None
        return kept_picture(self.reconstructed, self.counts, _shapes(self.job.request.manifest))

    def _grid(self, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return self.job.output.grid(self._cells(drawn), self.draws + 2)

    def _cells(self, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns the cells of the grid, [rows * columns, H, W, C]: of each image with a draw the original, what is
        kept of it, and its draws.
        """
        rows = -(-len(drawn) // self.draws)
        cells = np.full((rows * self.draws, *drawn.shape[1:]), 255, np.uint8)
        cells[: len(drawn)] = drawn
        cells = cells.reshape(rows, self.draws, *drawn.shape[1:])
        every = np.concatenate([self.images.pixels[:rows, None], self._kept[:rows, None], cells], 1)
        return every.reshape(-1, *drawn.shape[1:])


def plan_completion(arguments: argparse.Namespace, sampler: Sampler, output: ImageOutput) -> Completion:
    """Encodes the images, and returns what to draw, checked against the bundle. Raises InputError."""
    manifest = sampler.bundle.manifest
    # 1. What is kept.
    counts = _kept_counts(arguments, manifest)
    found = find_inputs(arguments, manifest.image, output.path if output.folder else None)
    inputs = ImageInputs.check(arguments, manifest.image, found)
    output.check_inputs(inputs.paths)
    draws, most = arguments.count, len(inputs.files)
    if most * draws > MAX_SAMPLES:
        raise InputError(
            f"-n {draws} of {most} {plural(most, 'image')} are {most * draws} draws, expected at most {MAX_SAMPLES}: "
            "draw fewer at once"
        )
    output.check_size(most * (draws + 2), manifest.image, draws + 2)
    of_images = encode_given(_name(inputs.files), None, inputs, sampler)
    assert of_images.images is not None
    given = GivenCodes(of_images.file, keep_first(of_images.codes, counts), of_images.images)
    # 2. The classes.
    n = given.count * draws
    labels, labels_from, note = _labels(arguments, sampler, of_images, n)
    # 3. The request: draw number j of every image has the same seed.
    seed = first_seed(arguments)
    seeds = [seed + number for number in range(draws)] * given.count
    codes = {level: values.repeat(draws, axis=0) for level, values in given.codes.items()}
    request = validated_request(arguments, manifest, output, n, labels, seeds, codes)
    job = SampleJob(
        request,
        given,
        precision=arguments.precision,
        batch_size=arguments.batch_size,
        best=None,
        output=output,
        columns=draws + 2,
        codes=None,
        fresh_seed=arguments.seed is None,
        classified=note,
    )
    reconstructed = None if output.folder else sampler.decode(of_images.codes)
    return Completion(job, inputs, of_images.images, reconstructed, counts, draws, labels_from)


def kept_picture(reconstructed: NDArray[np.uint8], counts: dict[str, int], shapes: Shapes) -> NDArray[np.uint8]:
    """Returns images [N, H, W, C] of what is kept: the reconstruction where the codes of all levels are; squares of its
    mean colours, one for each code of the lowest level that is kept, where only upper levels are; grey elsewhere.
    """
    n, height, width, channels = reconstructed.shape
    picture = np.full_like(reconstructed, GREY)
    for level, (rows, columns) in shapes.items():
        stride = height // rows, width // columns
        squares = reconstructed.reshape(n, rows, stride[0], columns, stride[1], channels)
        mean = squares.mean((2, 4)).round().astype(np.uint8).repeat(stride[0], 1).repeat(stride[1], 2)
        kept = is_kept(counts[level], (rows, columns)).repeat(stride[0], 0).repeat(stride[1], 1)
        source = reconstructed if level == list(shapes)[-1] else mean
        picture[:, kept] = source[:, kept]
    return picture


def _kept_counts(arguments: argparse.Namespace, manifest: Manifest) -> dict[str, int]:
    """Returns by level how many codes are kept. Raises InputError."""
    shapes = _shapes(manifest)
    if arguments.rows is not None:
        option, counts = "--rows", codes_in_rows(arguments.rows, shapes)
    else:
        option, counts = "--first-codes", first_codes(arguments.first_codes, shapes)
    check_some_are_kept(option, counts, shapes)
    if all(counts[level] == height * width for level, (height, width) in shapes.items()):
        raise InputError(
            f"{option} keeps every code, so nothing is left to draw: keep fewer, or use `latentloop reconstruct` for "
            "the images of these codes"
        )
    return counts


def check_some_are_kept(option: str, counts: Mapping[str, int], shapes: Shapes) -> None:
    """Raises InputError, with the least that ``option`` can keep, if the ``counts`` of all levels are 0."""
    if not any(counts.values()):
        top, (height, _) = next(iter(shapes.items()))
        least = f"--first-codes {top}=1"
        if option == "--rows" and height > 1:  # the share of a row, rounded up: 0.333 of 3 rows is none
            least = f"--rows {math.ceil(10_000 / height) / 10_000:g}"
        raise InputError(
            f"{option} keeps nothing of the images: {top} has {height} {plural(height, 'row')}, so keep at least "
            f"{least}, or use `latentloop sample` for new images"
        )


def _labels(
    arguments: argparse.Namespace, sampler: Sampler, given: GivenCodes, n: int
) -> tuple[Sequence[int | str] | None, str | None, str]:
    """Returns the class of each of the n draws, what names it, and a line for the user. Raises InputError."""
    manifest, count = sampler.bundle.manifest, given.count
    chosen = chosen_labels(arguments.label or (), manifest.classes)
    if chosen:
        if len(chosen) not in (1, count):
            raise InputError(
                f"--label names {len(chosen)} classes for {count} {plural(count, 'image')}, expected one for all, or "
                "one for each"
            )
        labels = check_labels(chosen, len(chosen), manifest)
        assert labels is not None
        return np.resize(labels, count).repeat(n // count).tolist(), "option", ""
    if not manifest.classes:
        return None, None, ""
    named = given.labels(manifest, n)
    if named is not None:
        shown_labels = listed(map(str, named[:: n // count]))
        note = f"labels of {given.file.path} from the names of folders or IDX files: {shown_labels}"
        return named, "folders", f"{note}; --label names others"
    found, note = given.classified(sampler, n)
    return found, "classifier", note


def _shapes(manifest: Manifest) -> dict[str, tuple[int, int]]:
    return {level.name: (level.height, level.width) for level in manifest.levels}


def _name(files: Sequence[Source]) -> Path:
    """Returns a name for people of all images."""
    first, others = str(files[0]), len(files) - 1
    return Path(first if not others else f"{first} and {others} more")


def _stem(source: Source) -> str:
    return source.stem if isinstance(source, Path) else f"{source.file.path.stem}-{source.index}"
