"""Data sets in memory: uint8 images, labels and class names, split into a training part and a held-out part."""

from __future__ import annotations

import hashlib
import math
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from latentloop.errors import InputError
from latentloop.export.data import folder, idx
from latentloop.export.data.image_changes import ImageChanges
from latentloop.images.idx import pad_evenly
from latentloop.images.problems import raise_for
from latentloop.images.reading import collect, read_each

HELD_OUT = 0.05  # the held-out fraction of a data set without a test part
LEAST_SAMPLE, MOST_SAMPLE = 100, 1000  # training images on which a network is measured too


@dataclass(frozen=True)
class Dataset:
    """Images [N, H, W, C] uint8 and labels [N] int64, or None for a data set without labels."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None

    def __len__(self) -> int:
        return len(self.images)

    def take(self, indices: NDArray[np.int64]) -> Dataset:
        """Returns a copy of the images and labels at these indices."""
        return Dataset(self.images[indices], None if self.labels is None else self.labels[indices])


@dataclass(frozen=True)
class Data:
    """A training part, a held-out part, the class names and a one-line description."""

    training: Dataset
    held_out: Dataset
    classes: tuple[str, ...]
    description: str

    @property
    def image_channels(self) -> int:
        """1 (grey) or 3 (RGB)."""
        return int(self.training.images.shape[3])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all images and labels, in hexadecimal."""
        digest = hashlib.sha256()
        for part in (self.training, self.held_out):
            digest.update(repr(part.images.shape).encode())
            digest.update(np.ascontiguousarray(part.images).data)
            digest.update(b"" if part.labels is None else part.labels.tobytes())
        return digest.hexdigest()

    @cached_property
    def training_sample(self) -> NDArray[np.int64]:
        """Indices of training images on which a network is measured too, evenly spaced: as many as are held out, within
        limits.
        """
        wanted = min(max(len(self.held_out), LEAST_SAMPLE), MOST_SAMPLE)
        return np.linspace(0, len(self.training) - 1, min(wanted, len(self.training))).round().astype(np.int64)


def load_data(
    path: Path,
    size: int,
    *,
    image_channels: int | None = None,
    held_out: float | None = None,
    split_seed: int | None = None,
) -> Data:
    """Reads an IDX folder (MNIST file names) or an image folder as ``size`` x ``size`` images.

    IDX images are grey and are padded with zeros to ``size``, evenly on all sides; images of a folder are cropped to
    their central square and resized. ``image_channels`` None means 1 for IDX and 3 for a folder.

    The held-out part is the t10k files of an IDX folder, or the sub-folder ``test`` of an image folder with classes in
    ``train`` and ``test``. A data set without a test part is split: the fraction ``held_out`` (None: ``HELD_OUT``) is
    held out, chosen by ``split_seed``.

    Raises InputError for data that cannot be used, and for ``held_out`` or ``split_seed`` with a data set that has a
    test part.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; expected IDX files or a folder of images")
    if size < 1:
        raise InputError(f"size is {size}, expected at least 1")
    training = idx.read_pair(path, "train")
    if training is None:
        return _load_folder(path, size, image_channels or 3, held_out, split_seed)
    if image_channels not in (None, 1):
        raise InputError(f"{path}: IDX images are grey; image_channels is {image_channels}, expected 1")
    return _load_idx(path, size, training, held_out, split_seed)


def held_out_files(path: Path, held_out: float | None = None, split_seed: int | None = None) -> list[Path]:
    """Returns the files of the images that ``load_data`` holds out, in its order; none for an IDX folder.

    Raises InputError for a folder that is not a data set.
    """
    if idx.is_data_set(path):
        return []
    parts = folder.split_folders(path)
    if parts is not None:
        return folder.list_images(parts[1], report=False)[0]
    files = folder.list_images(path, report=False)[0]
    return [files[index] for index in split_indices(len(files), held_out or HELD_OUT, split_seed or 0)[1]]


def split_indices(count: int, held_out: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns ascending indices of the training part and the held-out part of ``count`` items. Neither part is empty.

    Raises InputError for a fraction outside (0, 1) or fewer than two items.
    """
    if not 0 < held_out < 1:
        raise InputError(f"held-out is {held_out}, expected a fraction between 0 and 1")
    if count < 2:
        raise InputError(f"{count} image, expected at least 2: one to train on and one to hold out")
    held_out_count = min(max(1, round(count * held_out)), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held_out_count:]), np.sort(order[:held_out_count])


def _load_idx(path: Path, size: int, pair: idx.Pair, held_out: float | None, seed: int | None) -> Data:
    source = f"{path.name}: IDX images"
    test_pair = idx.read_pair(path, "t10k")
    if test_pair is not None:
        _check_no_split(path, "the t10k files", held_out, seed)
    training = _pad_idx(path, pair, size)
    classes = tuple(str(n) for n in range(int(pair[1].max()) + 1))
    if test_pair is None:
        return _split(training, classes, held_out, seed, source)
    test = _pad_idx(path, test_pair, size)
    if (largest := int(test_pair[1].max())) >= len(classes):
        raise InputError(f"{path}: t10k labels reach {largest}, the training labels {len(classes) - 1}")
    return Data(training, test, classes, _describe(source, training, test))


def _pad_idx(path: Path, pair: idx.Pair, size: int) -> Dataset:
    images, labels = pair
    if not len(images):
        raise InputError(f"{path}: an IDX file without images; expected at least one")
    height, width = images.shape[1:]
    if max(height, width) > size:
        raise InputError(f"{path}: images are {height} x {width}, larger than size {size}; pass a larger --size")
    return Dataset(pad_evenly(images, size, size), labels)


def _load_folder(path: Path, size: int, channels: int, held_out: float | None, seed: int | None) -> Data:
    if channels not in (1, 3):
        raise InputError(f"image_channels is {channels}, expected 1 (grey) or 3 (RGB)")
    source = f"{path.name}: folder of images"
    parts = folder.split_folders(path)
    if parts is None:
        files, labels, classes = folder.list_images(path)
        return _split(Dataset(_read(path, files, size, channels), labels), classes, held_out, seed, source)
    _check_no_split(path, "test/", held_out, seed)
    (training, classes), (test, _) = (
        (Dataset(_read(part, files, size, channels), labels), names)
        for part, (files, labels, names) in zip(parts, folder.list_parts(*parts), strict=True)
    )
    return Data(training, test, classes, _describe(source, training, test))


def _read(path: Path, files: list[Path], size: int, channels: int) -> NDArray[np.uint8]:
    """Reads images [N, size, size, channels] with a progress bar: 30000 small images take some seconds. Prints what it
    changed in the images of the folder ``path``.

    Raises one InputError that names all files that cannot be used.
    """
    image = (size, size, channels)
    changes = ImageChanges(size)
    reads = changes.count(read_each(files, image, resize=True))
    bar = tqdm(reads, "reading images", total=len(files), unit="image", disable=None, leave=False)
    pixels, problems, notes = collect(bar, len(files), image)
    raise_for(problems, len(files))
    for line in [*notes, *(f"{path}: {change}" for change in changes.lines())]:
        print(line, file=sys.stderr)
    return pixels


def _check_no_split(path: Path, test_part: str, held_out: float | None, seed: int | None) -> None:
    for name, value in (("held-out", held_out), ("split-seed", seed)):
        if value is not None:
            raise InputError(f"{path}: has a test part, {test_part}; {name} is {value}, expected no value: omit it")


def _split(whole: Dataset, classes: tuple[str, ...], held_out: float | None, seed: int | None, source: str) -> Data:
    fraction = HELD_OUT if held_out is None else held_out
    training, test = (whole.take(part) for part in split_indices(len(whole), fraction, seed or 0))
    return Data(training, test, classes, _describe(source, training, test))


def _describe(source: str, training: Dataset, held_out: Dataset) -> str:
    size, channels = training.images.shape[2:]
    return f"{source}, {size} x {size} x {channels}, {len(training)} to train on, {len(held_out)} held out"


def batches_of(count: int, batch: int) -> list[slice]:
    """Returns slices that cover ``count`` items in order, ``batch`` items per slice."""
    return [slice(n * batch, min(count, (n + 1) * batch)) for n in range(math.ceil(count / batch))]
