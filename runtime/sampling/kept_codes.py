"""The first codes of images, which are kept while the priors draw the others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.errors import InputError, plural, short_repr
from latentloop.sampling.host_arrays import as_array

Shapes = Mapping[str, tuple[int, int]]  # (h, w) by level, from the top down


def keep_rows(codes: Mapping[str, ArrayLike], rows: float | Mapping[str, float]) -> dict[str, NDArray[np.int64]]:
    """Returns the codes with -1 behind the first rows: what ``Sampler.sample`` takes as ``given`` to draw the rest.

    codes: by level, integers [N, h, w], such as those of ``Sampler.encode``.
    rows: the share of the images' height to keep, 0 to 1. Kept are the rows of the top level, the one with the fewest,
        that lie within it as a whole, and the rows of the other levels beside these: of 8 and 16 rows, 0.3 keeps 2
        and 4. A mapping from level names has the share of each level's own rows instead, 0 if it is missing:
        ``{"top": 1}`` keeps the top level and no code below, for variations of the images.

    Returns int64 [N, h, w] by level, from the top down. Raises InputError for another share, a level that the codes
    do not have, and rows of a level that are kept where the level above, on which they depend, is to be drawn.
    """
    if not isinstance(codes, Mapping) or not codes:
        raise InputError(f"codes are {short_repr(codes)}, expected a mapping from level names to arrays")
    arrays = {str(level): as_array(f"codes of {level}", values) for level, values in codes.items()}
    for level, array in arrays.items():
        if array.ndim != 3 or array.dtype.kind not in "iu":
            raise InputError(f"codes of {level} are {array.dtype} {list(array.shape)}, expected integers [N, h, w]")
        if not all(array.shape[1:]):
            raise InputError(f"codes of {level} have shape {list(array.shape)}, expected [N, h, w] with h and w over 0")
        if array.size and array.max() > np.iinfo(np.int64).max:  # would become negative: a code to draw
            raise InputError(f"codes of {level} are up to {array.max()}, expected integers of int64")
    arrays = dict(sorted(arrays.items(), key=lambda item: item[1].shape[1]))
    return keep_first(arrays, codes_in_rows(rows, {level: array.shape[1:] for level, array in arrays.items()}))


def keep_first(codes: Mapping[str, NDArray[Any]], counts: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Returns codes [N, h, w] by level, int64, with -1 behind the first ``counts[level]`` in raster order."""
    kept = {level: array.astype(np.int64) for level, array in codes.items()}
    for level, array in kept.items():
        array.reshape(len(array), math.prod(array.shape[1:]))[:, counts[level] :] = -1
    return kept


def codes_in_rows(rows: object, shapes: Shapes) -> dict[str, int]:
    """Returns by level how many codes the ``rows`` of ``keep_rows`` are. Raises InputError like it."""
    if isinstance(rows, Mapping):
        _check_names("rows", rows, shapes)
        shares = {level: _share(f"rows of {level}", rows.get(level, 0)) for level in shapes}
        counts = {level: _whole_rows(shares[level], height) * width for level, (height, width) in shapes.items()}
    else:
        top = next(iter(shapes.values()))[0]
        kept = _whole_rows(_share("rows", rows), top)
        counts = {level: kept * height // top * width for level, (height, width) in shapes.items()}
    _check_upper_codes("rows", counts, shapes)
    return counts


def first_codes(counts: object, shapes: Shapes) -> dict[str, int]:
    """Returns by level how many codes to keep, from a mapping with numbers of codes, 0 for a missing level.

    Raises InputError for other numbers, other levels, and codes beside a code of the level above that is not kept.
    """
    if not isinstance(counts, Mapping):
        raise InputError(f"first codes are {short_repr(counts)}, expected their number by level, as in top=20")
    _check_names("first codes", counts, shapes)
    for level, count in counts.items():
        most = math.prod(shapes[level])
        if not 0 <= count <= most or count != int(count):
            found = f"{count:.15g}" if isinstance(count, int | float) else short_repr(count)
            raise InputError(f"first codes of {level} are {found}, expected an integer from 0 to {most}")
    checked = {level: int(counts.get(level, 0)) for level in shapes}
    _check_upper_codes("first codes", checked, shapes)
    return checked


def is_kept(count: int, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Returns which codes of a level of that shape (h, w) are among the first ``count``, [h, w]."""
    return (np.arange(math.prod(shape)) < count).reshape(shape)


def shown(count: int, shape: tuple[int, int]) -> str:
    """Returns a text like "4 of 8 rows" for the first ``count`` codes of a level of that shape (h, w)."""
    height, width = shape
    if count % width:
        return f"{count} of {height * width} codes"
    return f"{count // width} of {height} {plural(height, 'row')}"


def _share(name: str, value: object) -> float:
    """Returns a share from 0 to 1. Raises InputError."""
    try:
        share = math.nan if isinstance(value, bool | str) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share <= 1:
        raise InputError(f"{name} is {short_repr(value)}, expected a share of the height from 0 to 1")
    return share


def _whole_rows(share: float, height: int) -> int:
    """Returns how many of ``height`` rows lie within a share of them as a whole."""
    return math.floor(share * height + 1e-9)  # 0.29 * 100 is a little less than 29


def _check_names(name: str, by_level: Mapping[Any, object], shapes: Shapes) -> None:
    """Raises InputError for a key that is not a level's name."""
    for level in by_level:
        if level not in shapes:
            raise InputError(f"{name}: there is no level {short_repr(level)}, expected one of {', '.join(shapes)}")


def _check_upper_codes(name: str, counts: Mapping[str, int], shapes: Shapes) -> None:
    """Raises InputError if a code is kept, and the code of the level above at the same place is not."""
    for upper, lower in pairwise(shapes):
        (height, width), (lower_height, lower_width) = shapes[upper], shapes[lower]
        if lower_height % height or lower_width % width:
            raise InputError(
                f"codes of {lower} have the grid {lower_height} x {lower_width}, expected a multiple of the "
                f"{height} x {width} of {upper}"
            )
        upper_kept = is_kept(counts[upper], shapes[upper])
        beside = upper_kept.repeat(lower_height // height, 0).repeat(lower_width // width, 1)
        if (is_kept(counts[lower], shapes[lower]) & ~beside).any():
            raise InputError(
                f"{name}: {shown(counts[lower], shapes[lower])} of {lower} would be kept, but of {upper}, on which "
                f"they depend, only {shown(counts[upper], shapes[upper])}: keep the codes of {upper} at the same place "
                f"too, or fewer of {lower}"
            )
