"""`latentloop sample --given`: codes of a file that are kept, and what the file says of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from latentloop.bundles.manifest import Manifest
from latentloop.errors import InputError
from latentloop.io.codes_file import CodesFile, open_codes
from latentloop.sampling.validation import check_codes


@dataclass(frozen=True)
class Given:
    """The codes to keep by level, int64 [N, h, w], -1 where to draw, and the names of the levels that are drawn."""

    file: CodesFile
    codes: dict[str, NDArray[Any]]
    drawn: tuple[str, ...]

    @property
    def count(self) -> int:
        """N."""
        return len(next(iter(self.codes.values())))

    def labels(self, manifest: Manifest, n: int) -> list[int | str] | None:
        """The classes of n images by name, from the file's; None where there are none, or the bundle has no classes.

        Raises InputError for a class that the bundle does not have.
        """
        labels = self.file.labels(self.count, manifest.classes) if manifest.classes else None
        for label in labels or ():
            if label not in manifest.classes:
                raise InputError(
                    f"{self.file.path} holds images of the class {label!r}, which the bundle does not have "
                    f"({', '.join(manifest.classes[:20])}): choose with --label"
                )
        return None if labels is None else [label for label in labels for _ in range(n // self.count)]

    def origins(self, n: int) -> dict[str, list[dict[str, Any]]]:
        """What made the codes that are kept, by level, for a file of the first n images. Raises InputError."""
        seeds = self.file.seeds(self.count)
        found: dict[str, list[dict[str, Any]]] = {}
        for level, codes in self.codes.items():
            made = [dict(each) for each in self.file.made(level)]
            if not made or (codes < 0).all():
                continue
            if seeds and "temperature" in made[-1]:  # else they were not drawn
                made[-1].setdefault("seeds", seeds)
            for each in made:
                if isinstance(each.get("seeds"), list):
                    each["seeds"] = each["seeds"][:n]
            found[level] = made
        return found


def read_given(path: Path, keep: str | None, manifest: Manifest) -> Given:
    """The codes of a file, or of its levels ``keep`` "A,B". Raises InputError for what does not fit the bundle."""
    file = open_codes(path)
    levels = [name.strip() for name in keep.split(",")] if keep is not None else list(file.levels)
    for level in levels:
        if level not in file.levels or file.levels[level].ndim != 3:
            raise InputError(f"{path} has no codes [N, h, w] of {level!r}, it holds: {', '.join(file.levels)}")
    names = [level.name for level in manifest.levels]
    for name in file.levels:
        if name not in names:
            raise InputError(
                f"{path} holds {name!r}, and there is no level {name!r}: the bundle has {', '.join(names)}; only "
                "files, seeds and labels may stand beside them"
            )
    try:
        codes: dict[str, NDArray[Any]] = {
            **check_codes({level: file.levels[level] for level in levels}, manifest.levels, partial=True)
        }
    except InputError as error:
        other = " (made with another bundle)" if file.other_bundle(manifest.digest(), file.levels) else ""
        raise InputError(f"{path}: {error}{other}") from error
    if not codes or not len(next(iter(codes.values()))):
        raise InputError(f"{path} holds codes of no image, expected at least one")
    return Given(file, codes, tuple(name for name in names if name not in codes or (codes[name] < 0).any()))
