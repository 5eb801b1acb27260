"""Whether a file holds one picture: a second one is never passed over in silence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ImageFile import ImageFile

from latentloop.errors import InputError
from latentloop.images.formats import ppm
from latentloop.images.formats.pixel_values import FORMATS
from latentloop.images.formats.tiff import is_reduced


def check_frames(file: Path, image: ImageFile) -> str | None:
    """Raises InputError for animations and several pages; returns what to say where the first picture alone is read.

    The further pictures of a phone's JPEG (MPO) belong to the first: smaller copies, depth, brightness. Those of a
    camera with two lenses, or of a panorama, do not. Smaller copies in a TIFF are the same picture.
    """
    if image.format == "MPO":
        entries: Any = image.mpinfo[0xB002]  # type: ignore[attr-defined]
        if any("Multi-Frame" in entry["Attribute"]["MPType"] for entry in entries):
            raise _several(image.n_frames, "views")  # type: ignore[attr-defined]
        return f"holds {len(entries)} pictures (MPO), the first one is read" if len(entries) > 1 else None
    if image.format == "TIFF":
        _check_pages(file, image)
    elif getattr(image, "n_frames", 1) > 1:
        raise _several(image.n_frames, "frames")  # type: ignore[attr-defined]
    elif image.format == "PPM" and ppm.has_another(file, image):
        raise _several("several", "pictures")
    return None


def _several(count: int | str, what: str) -> InputError:
    return InputError(f"holds {count} {what}, expected one picture: save the one that is meant as a file of its own")


def _check_pages(file: Path, image: ImageFile) -> None:
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    if is_reduced(tags):
        raise InputError("begins with a smaller copy of its picture: save the picture itself as a file of its own")
    if not image.is_animated:  # type: ignore[attr-defined]
        return
    with Image.open(file, formats=FORMATS) as other:
        pages = 1
        while True:
            try:
                other.seek(pages)
            except EOFError:
                return
            except Exception:  # a page of a kind that Pillow cannot read
                raise _several("further pages, at least one of a kind that cannot be read,", "beside it") from None
            if not is_reduced(other.tag_v2):  # type: ignore[attr-defined]
                raise _several("several", "pages")
            pages += 1
