"""Check that a file holds one image: further images are never ignored silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats import ppm
from latentloop.images.formats.pixel_values import FORMATS
from latentloop.images.formats.tiff import is_reduced_copy


def check_frames(file: Path, image: ImageFile) -> str | None:
    """Raises InputError for animations and files of several pages. Returns a note if only the first image is read.

    The further images of a phone's JPEG (MPO) belong to the first: smaller copies, depth, brightness. Those of a
    camera with two lenses, or of a panorama, do not. Smaller copies in a TIFF show the same image.
    """
    if image.format == "MPO":
        entries: Any = image.mpinfo[0xB002]  # type: ignore[attr-defined]
        if any("Multi-Frame" in entry["Attribute"]["MPType"] for entry in entries):
            raise _several(image.n_frames, "views")  # type: ignore[attr-defined]
        return f"holds {len(entries)} images (MPO), the first one is read" if len(entries) > 1 else None
    if image.format == "TIFF":
        _check_pages(file, image)
    elif getattr(image, "n_frames", 1) > 1:
        raise _several(image.n_frames, "frames")  # type: ignore[attr-defined]
    elif image.format == "PPM" and ppm.has_second_image(file, image):
        raise _several("several", "images")
    return None


def _several(count: int | str, noun: str) -> InputError:
    return InputError(f"holds {count} {noun}, expected one image: save the intended one as a separate file")


def _check_pages(file: Path, image: ImageFile) -> None:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    if is_reduced_copy(tags):
        raise InputError("begins with a smaller copy of its image: save the image itself as a separate file")
    if not image.is_animated:  # type: ignore[attr-defined]
        return
    with Image.open(file, formats=FORMATS) as pages:
        number = 1
        while True:
            try:
                pages.seek(number)
            except EOFError:
                return
            except Exception:  # a page that Pillow cannot read
                raise _several("further", "pages, at least one of which cannot be read") from None
            if not is_reduced_copy(pages.tag_v2):  # type: ignore[attr-defined]
                raise _several("several", "pages")
            number += 1
