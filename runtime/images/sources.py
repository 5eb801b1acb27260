"""The single images of files: a file of images in the IDX format stands for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentloop.errors import InputError
from latentloop.images.idx import IdxFile, IdxImage, has_idx_name, is_idx
from latentloop.images.problems import Problem, Source
from latentloop.images.search import SUFFIXES


def single_images(
    files: Sequence[Path], image: tuple[int, int, int], *, resize: bool
) -> tuple[list[Source], list[Problem]]:
    """Returns ``files`` with each IDX file replaced by its images, and the problems of IDX files that cannot be used at
    the size ``image`` = (H, W, C). ``resize`` allows a border around smaller images.
    """
    sources: list[Source] = []
    problems = []
    for file in files:
        if file.suffix.lower() in SUFFIXES or not (has_idx_name(file.name) or is_idx(file)):
            sources.append(file)
            continue
        try:
            opened = IdxFile(file)
        except InputError as error:
            reason = str(error).removeprefix(f"{file}: ")
            problems.append(Problem(file, f"cannot be read as IDX images: {reason}"))
            continue
        if reason := _misfit(opened, image, resize):
            problems.append(Problem(file, reason))
        else:
            sources += [IdxImage(opened, index) for index in range(opened.count)]
    return sources, problems


def _misfit(file: IdxFile, image: tuple[int, int, int], resize: bool) -> str:
    """Returns why the images of an IDX file cannot be used, or ""."""
    height, width, channels = image
    if not file.count:
        return "holds no images, expected at least one"
    if channels != 1:
        return "holds grey images, as IDX files do, expected RGB"
    if file.height > height or file.width > width:
        return f"holds images of {file.height} x {file.width}, expected at most {height} x {width}"
    if (file.height, file.width) != (height, width) and not resize:
        return (
            f"holds images of {file.height} x {file.width}, expected {height} x {width}; --resize adds a black border"
        )
    return ""
