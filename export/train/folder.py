"""A folder of images: one sub-folder per class, or a flat folder without labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentloop.errors import InputError
from latentloop.images import READ_SUFFIXES, images_in


def list_images(folder: Path) -> tuple[list[Path], NDArray[np.int64] | None, tuple[str, ...]]:
    """Image files in sorted order, their labels [N] int64 (None for a flat folder) and the class names.

    Raises InputError for a folder without images, a class without images, or images beside class folders.
    """
    flat = images_in(folder)
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if flat and classes:
        raise InputError(
            f"{folder}: holds both images ({flat[0].name}) and sub-folders ({classes[0].name}); expected"
            " either one sub-folder per class or a flat folder"
        )
    if not classes:
        if not flat:
            raise InputError(f"{folder}: no images; expected files ending in {', '.join(READ_SUFFIXES)}")
        return flat, None, ()
    files: list[Path] = []
    labels: list[int] = []
    for label, path in enumerate(classes):
        found = images_in(path)
        if not found:
            raise InputError(f"{path}: a class folder without images; add some or remove it")
        files += found
        labels += [label] * len(found)
    return files, np.array(labels, np.int64), tuple(path.name for path in classes)
