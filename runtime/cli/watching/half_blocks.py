"""Images as lines of text: each character shows two pixels, one above the other, by the half block ▀ in two colours."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

UPPER, LOWER, SHADES = "▀", "▄", " ░▒▓█"
RESET, DEFAULT_BACKGROUND = "\x1b[0m", "49"
_CUBE = np.array([0, 95, 135, 175, 215, 255])  # channels of the colours 16 to 231
_GREYS = np.arange(8, 248, 10)  # the colours 232 to 255
Pixels = NDArray[np.uint8]  # [h, w, 3]
Colours = Callable[[Pixels], NDArray[np.str_]]  # [h, w]: the codes of a foreground, behind its 3 or a background's 4


def lines_of(pixels: Pixels, inside: NDArray[np.bool_], colours: Colours | None) -> list[str]:
    """Returns lines that show pixels, uint8 [h, w, 3], two rows each. Pixels that are not ``inside`` [h, w] have the
    terminal's background. Without colours the lines are in five shades.
    """
    if len(pixels) % 2:
        pixels, inside = (np.concatenate([each, np.zeros_like(each[:1])]) for each in (pixels, inside))
    if colours is None:
        grey = (pixels * inside[:, :, None]).mean(2).reshape(-1, 2, pixels.shape[1]).mean(1)
        return ["".join(SHADES[shade] for shade in row) for row in (grey * len(SHADES) / 256).astype(int)]
    codes = colours(pixels)
    return [
        _line(codes[row : row + 2].T.tolist(), inside[row : row + 2].T.tolist()) for row in range(0, len(pixels), 2)
    ]


def _line(codes: list[list[str]], inside: list[list[bool]]) -> str:
    """Returns a line of columns [w, 2]. Colours are written where they change."""
    parts, before = [], ""
    for (upper, lower), (upper_inside, lower_inside) in zip(codes, inside, strict=True):
        if not upper_inside and not lower_inside:
            style, character = DEFAULT_BACKGROUND, " "
        elif not upper_inside:
            style, character = f"3{lower};{DEFAULT_BACKGROUND}", LOWER
        else:
            style, character = f"3{upper};{f'4{lower}' if lower_inside else DEFAULT_BACKGROUND}", UPPER
        parts.append(character if style == before else f"\x1b[{style}m{character}")
        before = style
    return "".join(parts) + RESET


def true_colours(pixels: Pixels) -> NDArray[np.str_]:
    """Returns 24-bit colours."""
    red, green, blue = np.moveaxis(pixels, 2, 0).astype(str)
    semicolon = np.array(";")
    joined = np.char.add(np.char.add(np.char.add(np.char.add(red, semicolon), green), semicolon), blue)
    return np.char.add(np.array("8;2;"), joined)


def indexed_colours(pixels: Pixels) -> NDArray[np.str_]:
    """Returns the nearest of the 240 fixed colours of 256: a cube of 6 x 6 x 6, and greys."""
    wanted = pixels.astype(int)
    levels = np.abs(wanted[..., None] - _CUBE).argmin(-1)
    grey = np.abs(wanted.mean(2)[..., None] - _GREYS).argmin(-1)
    in_cube = ((_CUBE[levels] - wanted) ** 2).sum(2) <= ((_GREYS[grey][..., None] - wanted) ** 2).sum(2)
    index = np.where(in_cube, 16 + levels @ np.array([36, 6, 1]), 232 + grey)
    return np.char.add(np.array("8;5;"), index.astype(str))


def colours_of(environment: Mapping[str, str]) -> Colours | None:
    """Returns the colours of a terminal with these environment variables: none if NO_COLOR is set, 24-bit colours if
    COLORTERM names them, otherwise 256.
    """
    if environment.get("NO_COLOR"):
        return None
    return true_colours if environment.get("COLORTERM") in ("truecolor", "24bit") else indexed_colours
