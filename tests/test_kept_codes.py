"""`keep_rows`: which codes are kept, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from latentloop import InputError, keep_rows
from latentloop.sampling.kept_codes import first_codes, shown

CODES = {"top": np.arange(2 * 48).reshape(2, 8, 6), "bottom": np.arange(2 * 192).reshape(2, 16, 12)}
SHAPES = {"top": (8, 6), "bottom": (16, 12)}


@pytest.mark.parametrize(
    ("rows", "top", "bottom"),
    [
        (0, 0, 0),
        (0.1, 0, 0),
        (0.125, 1, 2),
        (0.3, 2, 4),
        (0.5, 4, 8),
        (np.float32(0.5), 4, 8),
        (0.99, 7, 14),
        (1, 8, 16),
        ({"top": 1}, 8, 0),
        ({"top": 0.5, "bottom": 0.25}, 4, 4),
        ({"bottom": 0.3, "top": 0.3}, 2, 4),  # 4.8 rows of 16: 4 as a whole
        ({}, 0, 0),
    ],
)
def test_the_first_rows_are_kept(rows: Any, top: int, bottom: int) -> None:
    before = {level: values.copy() for level, values in CODES.items()}
    kept = keep_rows(dict(reversed(CODES.items())), rows)
    assert list(kept) == ["top", "bottom"]
    for level, count in (("top", top), ("bottom", bottom)):
        assert kept[level].dtype == np.int64
        np.testing.assert_array_equal(kept[level][:, :count], CODES[level][:, :count])
        assert (kept[level][:, count:] == -1).all()
        np.testing.assert_array_equal(CODES[level], before[level])


def test_a_share_that_floats_round_down_is_not_less() -> None:
    codes = {"only": np.zeros((1, 100, 1), np.int64)}
    assert 0.29 * 100 < 29
    assert (keep_rows(codes, 0.29)["only"] == 0).sum() == 29


def test_three_levels_keep_the_same_share() -> None:
    codes = {f"{height}": np.zeros((1, height, height), np.int64) for height in (4, 8, 16)}
    assert {level: (kept == 0).sum() for level, kept in keep_rows(codes, 0.6).items()} == {"4": 8, "8": 32, "16": 128}
    with pytest.raises(InputError, match=r"rows: 8 of 16 rows of 16 would be kept, but of 8, .* only 2 of 8 rows"):
        keep_rows(codes, {"4": 1, "8": 0.25, "16": 0.5})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (-0.1, r"rows is -0\.1, expected a share of the height from 0 to 1"),
        (1.01, r"rows is 1\.01, expected a share"),
        (float("nan"), "rows is nan, expected a share"),
        (True, "rows is True, expected a share"),
        (None, "rows is None, expected a share"),
        ("0.5", "rows is '0.5', expected a share"),
        ([0.5], "expected a share"),
        ({"top": 2}, "rows of top is 2, expected a share"),
        ({"middle": 1}, "rows: there is no level 'middle', expected one of top, bottom"),
        ({"bottom": 0.5}, r"rows: 8 of 16 rows of bottom would be kept, but of top, .*, only 0 of 8 rows: keep the"),
        ({"top": 0.3, "bottom": 0.35}, "5 of 16 rows of bottom would be kept, but of top, .*, only 2 of 8 rows"),
    ],
)
def test_other_rows_are_refused(rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        keep_rows(CODES, rows)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ({}, "expected a mapping"),
        (CODES["top"], "expected a mapping"),
        ({"top": CODES["top"][0]}, r"codes of top are int64 \[8, 6\], expected integers"),
        ({"top": CODES["top"] / 2}, r"codes of top are float64 \[2, 8, 6\], expected integers"),
        (
            {"top": CODES["top"][:, :0]},
            r"codes of top have shape \[2, 0, 6\], expected \[N, h, w\] with h and w over 0",
        ),
        ({"top": np.full((1, 8, 6), 2**64 - 1, np.uint64)}, "codes of top are up to 18446744073709551615, expected"),
        ({"top": CODES["top"], "bottom": CODES["top"][:, :7]}, "codes of top have the grid 8 x 6, expected a multiple"),
    ],
)
def test_other_codes_are_refused(codes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        keep_rows(codes, 0.5)


def test_first_codes_of_a_level_lie_beside_kept_codes_of_the_level_above() -> None:
    # 20 of 6 columns: 3 rows and 2 codes. Beside them: 6 rows, and 4 codes of the seventh.
    assert first_codes({"top": 20, "bottom": 76}, SHAPES) == {"top": 20, "bottom": 76}
    assert first_codes({"top": 20.0}, SHAPES) == {"top": 20, "bottom": 0}
    with pytest.raises(InputError, match=r"first codes: 77 of 192 codes of bottom .*, only 20 of 48 codes"):
        first_codes({"top": 20, "bottom": 77}, SHAPES)
    for counts in ({"top": -1}, {"top": 49}, {"top": 1.5}, {"top": float("nan")}, {"top": float("inf")}):
        with pytest.raises(InputError, match=r"first codes of top are .*, expected an integer from 0 to 48"):
            first_codes(counts, SHAPES)
    with pytest.raises(InputError, match="there is no level 'middle'"):
        first_codes({"middle": 1}, SHAPES)
    with pytest.raises(InputError, match="expected their number by level"):
        first_codes(20.0, SHAPES)


def test_kept_codes_are_counted_in_words() -> None:
    assert [shown(*each) for each in ((1, (1, 1)), (3, (1, 3)), (6, (4, 3)), (7, (4, 3)))] == [
        "1 of 1 row",
        "1 of 1 row",
        "2 of 4 rows",
        "7 of 12 codes",
    ]
