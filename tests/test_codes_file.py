"""Files of codes: what is no .npz file gets an error that gives no unsafe advice."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from latentloop.errors import InputError
from latentloop.io.codes_file import read_codes, write_codes


def test_codes_come_back_without_what_stands_beside_them(tmp_path: Path) -> None:
    top = np.arange(8).reshape(2, 2, 2)
    write_codes(tmp_path / "a.npz", {"top": top}, {"seeds": np.arange(2, dtype=np.uint64)})
    found = read_codes(tmp_path / "a.npz")
    assert list(found) == ["top"]
    np.testing.assert_array_equal(found["top"], top)


@pytest.mark.parametrize("content", [b"text", pickle.dumps({"top": 1}), b""])
def test_another_file_is_told_without_advice_to_unpickle_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npz cannot be read as an \.npz file of codes") as caught:
        read_codes(tmp_path / "a.npz")
    assert "pickle" not in str(caught.value)
