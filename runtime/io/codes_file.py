"""Codes in NumPy's .npz files: an array per level, and beside them what the codes belong to.

Beside the levels lie the arrays [N] of ``BESIDE``. What made each level and the names of the classes are JSON in the
archive's comment: NumPy does not see it, nor do programs that take every other array for a level.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.errors import InputError
from latentloop.io.files import check_free, write_file

BESIDE = ("files", "seeds", "labels")  # arrays [N] that `encode` and `sample` add; not levels
LIMIT = 2**32  # bytes when unpacked
FORMAT = "latentloop-codes-1"
LONGEST = 2**16 - 1  # bytes of a comment, in the format of archives


@dataclass(frozen=True)
class CodesFile:
    """What a file of codes holds. ``levels`` are its arrays by name, ``beside`` those of ``BESIDE`` that it has.

    ``origins`` tell by level what made its codes, several where it was drawn in parts: ``bundle`` is the digest of the
    bundle; drawn codes have temperature, top_k, top_p and precision, and ``seeds`` (of N images, or one for all) where
    they are not those of the file. ``classes`` are the names of the labels in use. Empty where the file does not tell.
    """

    path: Path
    levels: dict[str, NDArray[Any]]
    beside: dict[str, NDArray[Any]]
    origins: dict[str, list[dict[str, Any]]]
    classes: dict[int, str]

    def labels(self, n: int, classes: Sequence[str]) -> list[str] | None:
        """The class of each of n images by name, None where the file has none; ``classes`` are the names of numbers
        that the file does not name. Raises InputError for other arrays, and for numbers without a name.
        """
        labels = self.beside.get("labels")
        if labels is None:
            return None
        if labels.shape != (n,) or labels.dtype.kind not in "iuU":
            raise InputError(f"{self.path}: labels are {labels.dtype} {list(labels.shape)}, expected classes [{n}]")
        if labels.dtype.kind == "U":
            return [str(label) for label in labels]
        names = dict(enumerate(classes)) | self.classes
        for label in labels.tolist():
            if label not in names:
                raise InputError(f"{self.path}: labels hold {label}, and the bundle has {len(classes)} classes")
        return [names[label] for label in labels.tolist()]

    def seeds(self, n: int) -> list[int] | None:
        """The seed of each of n images, None where the file has none. Raises InputError for other arrays."""
        seeds = self.beside.get("seeds")
        if seeds is None:
            return None
        if seeds.shape != (n,) or seeds.dtype.kind not in "iu":
            raise InputError(f"{self.path}: seeds are {seeds.dtype} {list(seeds.shape)}, expected integers [{n}]")
        return [int(seed) for seed in seeds]

    def other_bundle(self, digest: str, levels: Collection[str]) -> str:
        """Returns a line that names the levels made by another bundle than the one of this digest; empty if the file
        records none.
        """
        others = [name for name in levels if any(each.get("bundle", digest) != digest for each in self.made(name))]
        if not others:
            return ""
        which = "" if len(others) == len(levels) else f"{' and '.join(others)} of "
        return f"{which}{self.path} was made with another bundle, whose codes may mean other things"

    def made(self, level: str) -> list[dict[str, Any]]:
        """What made a level, from the first to the last."""
        return self.origins.get(level, [])


def check_codes_path(path: Path, *, force: bool) -> None:
    """Raises InputError unless the name ends in .npz, OutputError where it is taken and ``force`` is off, or where it
    cannot be written.
    """
    _check_name(path)
    check_free(path, force=force)


def write_codes(
    path: Path,
    codes: Mapping[str, ArrayLike],
    beside: Mapping[str, ArrayLike],
    *,
    digest: str | None = None,
    classes: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    earlier: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    force: bool = False,
) -> None:
    """Writes codes by level, integers [N, h, w], and the arrays ``beside`` them, [N]. Raises OutputError.

    ``digest`` and ``classes``: of the bundle that made them, as ``Manifest.digest`` returns it. ``settings``: of the
    draws as JSON, by level that the bundle made (default: all levels, without settings). ``earlier``: what made the
    other levels, as ``CodesFile.origins``. If the archive's comment gets too long, the seeds in ``earlier`` are left
    out, and then the class names.
    """
    _check_name(path)
    arrays: dict[str, Any] = {**codes, **beside}
    origins = {level: [dict(each) for each in made] for level, made in (earlier or {}).items()}
    about: dict[str, Any] = {"format": FORMAT, "origins": origins}
    if digest is not None:
        for level, drawn in ({name: {} for name in codes} if settings is None else settings).items():
            origins.setdefault(level, []).append({"bundle": digest, **drawn})
        used = sorted(set(map(int, np.asarray(beside.get("labels", ())))))
        about["classes"] = {str(label): classes[label] for label in used}
    comment = json.dumps(about).encode()
    if len(comment) > LONGEST:  # thousands of images
        for each in itertools.chain(*origins.values()):
            each.pop("seeds", None)
        comment = json.dumps(about).encode()
    if len(comment) > LONGEST:
        comment = json.dumps(about | {"classes": {}}).encode()  # thousands of names: the numbers have to do

    def write(temporary: Path) -> None:
        import zipfile

        np.savez_compressed(temporary, **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = comment

    write_file(path, write, force=force)


def read_codes(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays by level, as they are in the file: their shapes and values are for the sampler to check.

    Raises InputError for a file that is missing, no .npz, or holds pickled objects.
    """
    return open_codes(path).levels


def open_codes(path: Path) -> CodesFile:
    """All that a file of codes holds; arrays as they are in the file. Raises InputError as ``read_codes`` does."""
    path = Path(path)
    try:
        with path.open("rb") as file:  # NumPy leaves a file open that it opened and cannot read
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
            arrays = {name: archive[name] for name in archive.files}
            comment = archive.zip.comment if archive.zip else b""
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a hostile archive can fail in many ways, all of which mean the same
        raise InputError(f"{path} cannot be read as an .npz file of codes: {error}") from error
    beside = {name: arrays.pop(name) for name in BESIDE if name in arrays}
    return CodesFile(path, arrays, beside, *_read_comment(path, comment))


def _check_name(path: Path) -> None:
    if path.suffix != ".npz":
        raise InputError(f"{path} ends in {path.suffix!r}, expected .npz for codes")


def _read_comment(path: Path, comment: bytes) -> tuple[dict[str, list[dict[str, Any]]], dict[int, str]]:
    """Origins and classes; empty for an archive of another program. Raises InputError for a damaged comment,
    and for one of another version.
    """
    if not comment.startswith(b'{"format": "latentloop-codes-'):
        return {}, {}
    try:
        about = json.loads(comment)
        if about["format"] != FORMAT:
            raise InputError(f"{path}: format is {about['format']!r}, expected {FORMAT!r}: update latentloop")
        classes = {int(label): str(name) for label, name in about.get("classes", {}).items()}
        origins = {str(level): [dict(each) for each in made] for level, made in about.get("origins", {}).items()}
        return origins, classes
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path}: its comment is damaged ({error}); save it again with NumPy to use the codes"
        ) from error
