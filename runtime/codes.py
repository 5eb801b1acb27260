"""Codes in NumPy's .npz files: an array per level, and beside them what the codes belong to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.errors import InputError
from latentloop.files import check_free, write_file

BESIDE = ("files", "seeds", "labels")  # arrays [N] that `encode` and `sample` add; not levels
LIMIT = 2**32  # bytes when unpacked


def check_codes_path(path: Path, *, force: bool) -> None:
    """Raises InputError unless the name ends in .npz, OutputError where it is taken and ``force`` is off."""
    if path.suffix != ".npz":
        raise InputError(f"{path} ends in {path.suffix!r}, expected .npz for codes")
    check_free(path, force=force)


def write_codes(
    path: Path, codes: Mapping[str, ArrayLike], beside: Mapping[str, ArrayLike], *, force: bool = False
) -> None:
    """Writes codes by level, integers [N, h, w], and the arrays ``beside`` them, [N]. Raises OutputError."""
    check_codes_path(path, force=force)
    arrays: dict[str, Any] = {**codes, **beside}
    write_file(path, lambda temporary: np.savez_compressed(temporary, **arrays), force=force)


def read_codes(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays by level, as they are in the file: their shapes and values are for the sampler to check.

    Raises InputError for a file that is missing, no .npz, or holds pickled objects.
    """
    try:
        with Path(path).open("rb") as file:  # NumPy leaves a file open that it opened and cannot read
            start = file.read(6)
            if start[:2] != b"PK" and start != b"\x93NUMPY":  # NumPy would advise to unpickle it
                raise InputError(f"{path} cannot be read as an .npz file of codes: it is something else")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path} holds one array, expected an .npz file with one per level")
            size = sum(entry.file_size for entry in archive.zip.infolist()) if archive.zip else 0
            if size > LIMIT:
                raise InputError(f"{path} unpacks to {size} bytes, expected codes of at most {LIMIT}")
            return {name: archive[name] for name in archive.files if name not in BESIDE}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a hostile archive can fail in many ways, all of which mean the same
        raise InputError(f"{path} cannot be read as an .npz file of codes: {error}") from error
