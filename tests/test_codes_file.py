"""Files of codes: writing and reading, and errors for other files without unsafe advice."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from latentloop.errors import InputError
from latentloop.io.codes_file import open_codes, write_codes


def test_levels_and_arrays_per_image_are_read_separately(tmp_path: Path) -> None:
    top = np.arange(8).reshape(2, 2, 2)
    write_codes(tmp_path / "a.npz", {"top": top}, {"seeds": np.arange(2, dtype=np.uint64)})
    file = open_codes(tmp_path / "a.npz")
    assert (list(file.levels), list(file.per_image)) == (["top"], ["seeds"])
    np.testing.assert_array_equal(file.levels["top"], top)


@pytest.mark.parametrize("content", [b"text", pickle.dumps({"top": 1}), b""])
def test_the_error_for_another_file_does_not_suggest_unpickling(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz cannot be read as an \.npz file of codes") as caught:
        open_codes(tmp_path / "a.npz")
    assert "pickle" not in str(caught.value)
