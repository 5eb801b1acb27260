"""Files of codes (NumPy's .npz): an array per level, arrays per image, and how each level was made.

Arrays named in ``PER_IMAGE`` have the shape [N]; all others are levels. How each level was made and the class names are
stored in the archive's comment, which NumPy and programs that treat every other array as a level do not see.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.errors import InputError
from latentloop.io.codes_comment import read_comment, write_comment
from latentloop.io.files import check_free, write_file

PER_IMAGE = ("files", "seeds", "labels")  # arrays [N] that `encode` and `sample` add
NOT_LEVELS = (*PER_IMAGE, "file", "allow_pickle")  # names that no level can have: NumPy's own arguments, too
MAX_BYTES = 2**32  # when unpacked


@dataclass(frozen=True, eq=False)
class CodesFile:
    """The contents of a file of codes: ``levels`` by name, and the arrays of ``PER_IMAGE`` that it has.

    ``origins`` and ``classes`` are those of its comment (``codes_comment.Comment``).
    """

    path: Path
    levels: dict[str, NDArray[Any]]
    per_image: dict[str, NDArray[Any]]
    origins: dict[str, list[dict[str, Any]]]
    classes: dict[int, str]

    def labels(self, n: int, classes: Sequence[str]) -> list[str] | None:
        """Returns the class names of the n images, or None if the file has no labels. ``classes``, a bundle's, names
        the labels that the file does not name.

        Raises InputError for labels of another shape or type, and for labels without a name.
        """
        labels = self._per_image("labels", n, "iuU", "classes")
        if labels is None:
            return None
        if labels.dtype.kind == "U":
            return [str(label) for label in labels]
        names = dict(enumerate(classes)) | self.classes
        for label in labels.tolist():
            if label not in names:
                raise InputError(f"{self.path}: labels hold {label}, and the bundle has {len(classes)} classes")
        return [names[label] for label in labels.tolist()]

    def seeds(self, n: int) -> list[int] | None:
        """Returns the n images' seeds, or None if the file has none. Raises InputError for another shape or type."""
        seeds = self._per_image("seeds", n, "iu", "integers")
        return None if seeds is None else [int(seed) for seed in seeds]

    def check_origin(self, origin: Mapping[str, str], levels: Collection[str]) -> str:
        """Checks that the VQ-VAE of a bundle, whose ``origin`` is that of its manifest, made these levels' codes.

        Returns a line for the user if the file does not say it, otherwise "". Raises InputError if another VQ-VAE made
        them.
        """
        expected = origin.get("codes_sha256")
        unknown: list[str] = []
        others: list[str] = []
        for level in levels:
            for made in self.origins.get(level) or [{}]:
                found = made.get("codes_sha256")
                if made.get("bundle") == origin["bundle"] or found == expected is not None:
                    continue
                if found is not None and expected is not None:
                    raise InputError(
                        f"{self.path}: another VQ-VAE made the codes of {level}, which have no meaning here: its "
                        f"codes_sha256 is {str(found)[:12]}…, the bundle's {expected[:12]}…; --bundle must name a "
                        "bundle of that VQ-VAE, or make the codes with this one"
                    )
                (others if "bundle" in made else unknown).append(level)
        for names, problem in (
            (others, "was made with another bundle, whose codes may have another meaning"),
            (unknown, "does not record which VQ-VAE made its codes: those of another one have no meaning here"),
        ):
            if names:
                which = "" if set(names) == set(levels) else f"{' and '.join(dict.fromkeys(names))} of "
                return f"{which}{self.path} {problem}"
        return ""

    def _per_image(self, name: str, n: int, kinds: str, expected: str) -> NDArray[Any] | None:
        """Returns an array of ``PER_IMAGE`` if the file has it. ``kinds``: of NumPy types, ``expected`` in words."""
        values = self.per_image.get(name)
        if values is not None and (values.shape != (n,) or values.dtype.kind not in kinds):
            raise InputError(f"{self.path}: {name} are {values.dtype} {list(values.shape)}, expected {expected} [{n}]")
        return values


def check_codes_path(path: Path, *, force: bool) -> None:
    """Raises InputError unless the name ends in .npz. Raises OutputError if the file exists and ``force`` is off, or
    if it cannot be written.
    """
    _check_suffix(path)
    check_free(path, force=force)


def write_codes(
    path: Path,
    codes: Mapping[str, ArrayLike],
    per_image: Mapping[str, ArrayLike],
    *,
    origin: Mapping[str, str] | None = None,
    classes: Sequence[str] = (),
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    earlier_origins: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    force: bool = False,
) -> None:
    """Writes codes by level, integers [N, h, w], and the arrays ``per_image``, [N]. Raises OutputError.

    ``origin`` and ``classes`` are those of the bundle that made the codes (``Manifest.origin``). ``settings`` has the
    draw settings of each level that the bundle made, as JSON (default: all levels, without settings).
    ``earlier_origins`` are the origins of codes that earlier runs made, as in ``CodesFile.origins``; ``write_comment``
    says what of them is left out.
    """
    _check_suffix(path)
    arrays: dict[str, Any] = {**codes, **per_image}
    origins = {level: [dict(each) for each in earlier] for level, earlier in (earlier_origins or {}).items()}
    names: dict[int, str] = {}
    if origin is not None:
        for level, drawn in ({name: {} for name in codes} if settings is None else settings).items():
            origins.setdefault(level, []).append({**origin, **drawn})
        names = {label: classes[label] for label in sorted(set(map(int, np.asarray(per_image.get("labels", ())))))}
    comment = write_comment(origins, names, np.asarray(per_image.get("seeds", ())).tolist())

    def write(temporary: Path) -> None:
        import zipfile

        np.savez_compressed(temporary, **arrays)
        with zipfile.ZipFile(temporary, "a") as archive:
            archive.comment = comment

    write_file(path, write, force=force)


def open_codes(path: Path) -> CodesFile:
    """Returns the contents of a file of codes. The arrays are as stored: the sampler checks shapes and values.

    Raises InputError if the file is missing, is not an .npz file, or holds pickled objects.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:  # opened here because NumPy does not close a file that it cannot read
            start = file.read(6)
            if start[:2] != b"PK" and start != b"\x93NUMPY":  # NumPy's error would suggest unpickling it
                raise InputError(f"{path} cannot be read as an .npz file of codes: it has another format")
            file.seek(0)
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path} holds one array, expected an .npz file with one per level")
            size = sum(entry.file_size for entry in archive.zip.infolist()) if archive.zip else 0
            if size > MAX_BYTES:
                raise InputError(f"{path} unpacks to {size} bytes, expected codes of at most {MAX_BYTES}")
            arrays = {name: archive[name] for name in archive.files}
            comment = archive.zip.comment if archive.zip else b""
    except InputError:
        raise
    except IsADirectoryError:
        raise InputError(
            f"{path} is a directory, expected a file of codes (.npz); `latentloop reconstruct` takes folders of images"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a hostile archive can fail in many ways, all with the same meaning
        raise InputError(f"{path} cannot be read as an .npz file of codes: {error}") from error
    per_image = {name: arrays.pop(name) for name in PER_IMAGE if name in arrays}
    recorded = read_comment(path, comment)
    return CodesFile(path, arrays, per_image, recorded.origins, recorded.classes)


def _check_suffix(path: Path) -> None:
    if path.suffix != ".npz":
        raise InputError(f"{path} ends in {path.suffix!r}, expected .npz for codes")
