"""Reading and writing of image files as arrays uint8 [N, H, W, C]; C is 1 (grey) or 3 (RGB)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from latentloop.images.animation import write_animation
from latentloop.images.writing import Images, grid, write_image, write_images

__all__ = ["Images", "grid", "read_images", "write_animation", "write_image", "write_images"]


def read_images(
    paths: str | Path | Sequence[str | Path], shape: tuple[int, int, int], *, resize: bool = False
) -> Images:
    """Reads the images of files and folders, or of a single one, as uint8 [N, H, W, C] with ``shape`` = (H, W, C), for
    example ``Bundle.image_shape``.

    A folder means all images in it and in its sub-folders, sorted by their relative paths, and those of IDX files with
    MNIST's names; an IDX file means all its images, with a black border if ``resize`` is on. Colours are converted to
    sRGB and, if C is 1, to grey by ITU-R 601 luma; transparent pixels are composited on white; 16 bits are rounded to
    8; the orientation is applied. ``docs/pictures.md`` has the details for each format. ``resize`` crops the centre to
    the aspect ratio and resizes (Lanczos).

    Warns (UserWarning) of links to folders, which are not followed, of broken links, of files with several images, of
    which only the first is read, and of Exif data that cannot be read.

    Raises one InputError that names all files that are missing, damaged, not images, of an unsupported kind, larger
    than Pillow's limit against decompression bombs, or of another size if ``resize`` is off.
    """
    import warnings  # these imports are late because `latentloop sample` reads no images

    from latentloop.images.problems import raise_for
    from latentloop.images.reading import collect, read_each
    from latentloop.images.search import find_images
    from latentloop.images.sources import single_images
    from latentloop.io.arguments import check_iterable, path_of

    shape = _checked_shape(shape)
    given: Sequence[str | Path] = [paths] if isinstance(paths, str | Path) else paths
    check_iterable("paths", given, "a str or a Path, or several: files and folders")
    search = find_images([path_of("one of paths", path, "a file or a folder") for path in given])
    sources, idx_problems = single_images(search.files, shape, resize=resize)
    pixels, problems, notes = collect(read_each(sources, shape, resize=resize), len(sources), shape)
    unusable = [*search.problems, *idx_problems]
    raise_for([*unusable, *problems], len(sources) + len(unusable))
    for line in (*search.notes, *notes):
        warnings.warn(line, stacklevel=2)
    return pixels


def _checked_shape(shape: object) -> tuple[int, int, int]:
    """Returns a shape (H, W, C). Raises InputError."""
    from latentloop.errors import InputError, short_repr
    from latentloop.io.arguments import is_integer

    found = list(shape) if isinstance(shape, Iterable) else []
    sizes = [int(size) for size in found if is_integer(size) and size > 0]
    if len(found) != 3 or len(sizes) != 3 or sizes[2] not in (1, 3):
        raise InputError(f"shape is {short_repr(shape)}, expected (height, width, channels), with 1 or 3 channels")
    return sizes[0], sizes[1], sizes[2]
