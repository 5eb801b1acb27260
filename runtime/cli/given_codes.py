"""Codes in a file or of images, checked against a bundle; some are kept while others are drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.manifest import Manifest
from latentloop.cli.interrupt import stop_request
from latentloop.errors import InputError, listed, short_repr
from latentloop.io.codes_file import CodesFile, open_codes
from latentloop.sampling.validation import check_codes, check_codes_to_decode, check_order

if TYPE_CHECKING:
    from latentloop.cli.image_inputs import ImageInputs
    from latentloop.images.problems import Source
    from latentloop.sampling.sampler import Sampler


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images of which codes are: their ``sources``, and their ``pixels``, uint8 [N, H, W, C]."""

    sources: list[Source]
    pixels: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class GivenCodes:
    """Codes to keep by level, int64 [N, h, w], -1 for a code to draw. ``file`` has all codes; its path is the name for
    people. ``images`` if the codes are not from a file, but from images.
    """

    file: CodesFile
    codes: dict[str, NDArray[np.int64]]
    images: EncodedImages | None = None

    @property
    def count(self) -> int:
        """The number of images N."""
        return len(next(iter(self.codes.values())))

    def labels(self, manifest: Manifest, n: int) -> list[int | str] | None:
        """Returns the file's labels for n images; None if the file has no labels or the bundle no classes.

        Raises InputError for a class that the bundle does not have.
        """
        labels = self.file.labels(self.count, manifest.classes) if manifest.classes else None
        for label in labels or ():
            if label not in manifest.classes:
                raise InputError(
                    f"{self.file.path} holds images of the class {short_repr(label)}, which the bundle does not have "
                    f"({', '.join(manifest.classes[:20])}): name the classes of its images with --label"
                )
        return None if labels is None else [label for label in labels for _ in range(n // self.count)]

    def classified(self, sampler: Sampler, n: int) -> tuple[list[int | str], str]:
        """Returns the labels that the bundle's classifier gives to the decoded codes, for n images, and a line about
        them for the user. Raises InputError without a classifier, or without all codes of every level.
        """
        bundle, path, remedy = sampler.bundle, self.file.path, "name the classes of its images with --label"
        if bundle.manifest.classifier is None:
            if self.images is not None:
                raise InputError(
                    f"{path}: the folder's name is not a class of the bundle, and {bundle.path} has no classifier to "
                    "find labels: name the classes with --label"
                )
            raise InputError(
                f"{path} holds no labels, and {bundle.path} has no classifier to find them: {remedy}, or encode "
                "the images again with this bundle, which takes labels from the names of their folders"
            )
        try:
            codes = checked_codes(self.file, self.file.levels, bundle.manifest, partial=False)
        except InputError as error:
            raise InputError(
                f"{path} holds no labels, and the classifier needs all codes ({error}): {remedy}"
            ) from error
        probabilities = sampler.classify(sampler.decode(codes)).probabilities
        labels = probabilities.argmax(1).tolist()
        shares = zip(labels, probabilities.max(1), strict=True)
        found = listed(f"{bundle.manifest.classes[label]} ({share:.0%})".replace("%", " %") for label, share in shares)
        note = f"labels of {path} from the classifier: {found}; --label names others"
        return [label for label in labels for _ in range(n // self.count)], note

    def origins(self, n: int) -> dict[str, list[dict[str, Any]]]:
        """Returns the origins (``CodesFile.origins``) of the kept codes by level, for a file of the first n images.

        Raises InputError if the file's seeds have another shape or type.
        """
        seeds = self.file.seeds(self.count)
        by_level: dict[str, list[dict[str, Any]]] = {}
        for level, codes in self.codes.items():
            origins = [dict(origin) for origin in self.file.origins.get(level, ())]
            if not origins or (codes < 0).all():
                continue
            if seeds and "temperature" in origins[-1]:  # without settings the codes were encoded, not drawn
                origins[-1].setdefault("seeds", seeds)
            for origin in origins:
                if isinstance(origin.get("seeds"), list):
                    origin["seeds"] = origin["seeds"][:n]
            by_level[level] = origins
        return by_level


def is_codes_file(path: Path) -> bool:
    """Returns whether a path names a file of codes, and not images: by its suffix, or by its first bytes."""
    if path.suffix == ".npz":
        return True
    try:
        with path.open("rb") as file:
            return file.read(6).startswith((b"PK", b"\x93NUMPY"))
    except OSError:  # a folder, or a file that the reader of images reports
        return False


def read_given_codes(path: Path, keep: str | None, manifest: Manifest) -> GivenCodes:
    """Returns the codes in a file; with ``keep``, such as "top,bottom", only those of the levels that it names.

    Raises InputError if they do not fit the bundle.
    """
    return _chosen_levels(open_codes(path), keep, manifest)


def encode_given(path: Path, keep: str | None, inputs: ImageInputs, sampler: Sampler) -> GivenCodes:
    """Returns the codes of images, as a file of `latentloop encode` would have them; ``path`` names them for people,
    ``keep`` is that of ``read_given_codes``. Raises InputError for an image that has changed since its check.
    """
    from latentloop.cli.image_inputs import labels_of

    files, images, codes = [], [], []
    with stop_request() as stop:
        for batch, pixels in inputs.batches(sampler.default_batch_size, "encode", stop):
            files += batch
            images.append(pixels)
            codes.append(sampler.encode(pixels))
    if stop.is_set():
        raise stop.exception()
    inputs.report_changed("nothing was drawn")
    manifest = sampler.bundle.manifest
    labels = labels_of(files, manifest.classes, "labels of the images' folders are not used")
    file = CodesFile(
        path,
        {level.name: np.concatenate([batch[level.name] for batch in codes]) for level in manifest.levels},
        {} if labels is None else {"labels": np.array(labels)},
        {level.name: [manifest.origin()] for level in manifest.levels},
        {},
    )
    given = _chosen_levels(file, keep, manifest)
    return GivenCodes(file, given.codes, EncodedImages(files, np.concatenate(images)))


def _chosen_levels(file: CodesFile, keep: str | None, manifest: Manifest) -> GivenCodes:
    """Returns a file's codes of the levels that ``keep`` names, or of all. Raises InputError."""
    path = file.path
    kept_levels = [name.strip() for name in keep.split(",")] if keep is not None else list(file.levels)
    for level in kept_levels:
        if level not in file.levels or file.levels[level].ndim != 3:
            raise InputError(f"{path} has no codes [N, h, w] of {level!r}, it holds: {listed(file.levels)}")
    names = [level.name for level in manifest.levels]
    for name in file.levels:
        if name not in names:
            raise InputError(
                f"{path} holds {short_repr(name)}, and there is no level {short_repr(name)}: the bundle has "
                f"{', '.join(names)}; the only other arrays that a file may hold are files, seeds and labels"
            )
    return GivenCodes(file, checked_codes(file, kept_levels, manifest, partial=True))


def checked_codes(
    file: CodesFile, levels: Iterable[str], manifest: Manifest, *, partial: bool, to_decode: bool = False
) -> dict[str, NDArray[np.int64]]:
    """Returns a file's codes of these levels, int64 [N, h, w], N >= 1. ``partial`` allows -1 and missing levels, and
    ``to_decode`` -1 if the decoder knows it.

    Raises InputError if they do not fit the bundle, or another VQ-VAE made them.
    """
    by_level = {level: file.levels[level] for level in levels}
    file.check_origin(manifest.origin(), by_level)
    try:
        if to_decode:
            codes = check_codes_to_decode(by_level, manifest)
        else:
            codes = check_codes(by_level, manifest.levels, partial=partial)
            check_order(codes)
    except InputError as error:
        raise InputError(f"{file.path}: {error}") from error
    if not codes or not len(next(iter(codes.values()))):
        raise InputError(f"{file.path} holds codes of no image, expected at least one")
    return codes
