"""Image files to and from arrays uint8 [N, H, W, C]; C is 1 (grey) or 3 (RGB)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from latentloop.images.writing import Images, grid, write_image, write_images

__all__ = ["Images", "grid", "read_images", "write_image", "write_images"]


def read_images(paths: Sequence[Path], image: tuple[int, int, int], *, resize: bool = False) -> Images:
    """The images of files and folders, uint8 [N, H, W, C], at the size ``image`` = (H, W, C).

    A folder stands for the images in and below it, sorted by their relative paths. ``docs/pictures.md`` says what
    becomes of each kind: colours are made sRGB and, where C is 1, grey by ITU-R 601 luma; transparent pixels are laid
    on white; 16 bits are rounded to 8; the orientation is applied. ``resize`` crops the centre to the aspect ratio and
    resizes (Lanczos). Warns (UserWarning) of links to folders or to nothing, which are not followed, of files of
    which one picture of several is read, and of Exif data that cannot be read.

    Raises one InputError that names all that is not there, not an image, damaged, of a kind without a certain meaning,
    larger than Pillow's limit against decompression bombs, or of another size where ``resize`` is off.
    """
    import warnings  # late, as what follows: `sample` reads no image

    from latentloop.images.problems import raise_for
    from latentloop.images.reading import collect, read_each
    from latentloop.images.search import find

    found = find([Path(path) for path in paths])
    pixels, problems, notes = collect(read_each(found.files, image, resize=resize), len(found.files), image)
    raise_for([*found.problems, *problems], len(found.files) + len(found.problems))
    for line in (*found.notes, *notes):
        warnings.warn(line, stacklevel=2)
    return pixels
