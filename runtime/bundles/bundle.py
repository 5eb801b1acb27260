"""Opening and verifying a bundle."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.hub_address import check_not_mangled, is_address, parse_address
from latentloop.bundles.integrity import check_link, identity_of, verify_file
from latentloop.bundles.manifest import Manifest
from latentloop.bundles.manifest_reading import from_json
from latentloop.errors import BundleError, plural
from latentloop.io.arguments import path_of
from latentloop.io.file_names import MANIFEST
from latentloop.io.json_reading import read_json

if TYPE_CHECKING:
    from latentloop.bundles.hub import Snapshot

Value = TypeVar("Value")
_bundles: WeakSet[Bundle] = WeakSet()


def _start_caches() -> None:
    for bundle in _bundles:
        bundle._start_cache()


os.register_at_fork(after_in_child=_start_caches)  # before the child has several threads


@dataclass(frozen=True)
class LevelInfo:
    """One level of a bundle. Its codes are integers from 0 to ``codebook_size`` - 1, in arrays [N, ``height``,
    ``width``]. A level without a prior can be encoded and decoded, but not drawn.
    """

    name: str
    height: int
    width: int
    codebook_size: int
    has_prior: bool


class Bundle:
    """A verified bundle: its directory ``path``, a description of its model, and a cache for objects made from its
    files.

    Threads may share a Bundle. ``manifest`` is for LatentLoop's own modules: its fields change with the format.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens and verifies a bundle; see ``open``."""
        self._snapshot: Snapshot | None = None
        if is_address(path):
            from latentloop.bundles.hub import fetch  # late: most bundles are directories

            self._snapshot = fetch(parse_address(str(path)))
            path = self._snapshot.folder
        folder = path_of("path", path, "a bundle's directory")
        check_not_mangled(folder)
        self._verify(folder)
        self.path = folder.absolute()  # files are loaded later, perhaps in another working directory
        self._caches: list[dict[Hashable, Any]] = []
        self._start_cache()
        _bundles.add(self)

    def _verify(self, folder: Path) -> None:
        """Reads the manifest and verifies the files that it lists. Raises BundleError."""
        source = folder / MANIFEST
        try:
            check_link(folder)
            if not folder.is_dir():
                problem = "not a directory" if folder.exists() else "no such directory"
                raise BundleError(f"{folder}: {problem}; a bundle is the directory that `latentloop export` writes")
            check_link(source)
            value = read_json(source, f"{source} is missing: a bundle is a directory that `latentloop export` writes")
            self.manifest: Manifest = from_json(value, str(source))
            records = self.manifest.files.items()
            self._identities = {name: verify_file(folder, name, record, source) for name, record in records}
        except BundleError as error:
            if self._snapshot is None:
                raise
            from latentloop.bundles.hub import damaged

            raise damaged(self._snapshot, error) from error

    def _start_cache(self) -> None:
        self._caches.append({})  # caches of parent processes are kept: their sessions must not be destroyed in a child
        self._lock = threading.Lock()  # a new one, because another thread may have held the parent's at the fork

    def __reduce__(self) -> tuple[Callable[..., Bundle], tuple[str, Manifest, Snapshot | None]]:
        """A copy or pickle holds the path and the manifest: the bundle is opened and verified again."""
        return _reopen, (str(self.path), self.manifest, self._snapshot)

    @staticmethod
    def open(path: str | Path) -> Bundle:
        """Opens the bundle in directory ``path`` and verifies the size and SHA-256 of every file.

        A str that begins with hf:// is the address of a bundle on a model hub, hf://owner/name[@revision][/folder]:
        huggingface_hub (the extra ``hub``) downloads to its cache what is not there yet.

        Raises BundleError that names the file and the wrong field, or the address that cannot be opened; InputError if
        ``path`` is not a str or a Path, or an address is malformed; for an address also MissingError without
        huggingface_hub, and OutputError if the cache cannot be written.
        """
        return Bundle(path)

    @staticmethod
    def default() -> Bundle:
        """Opens the bundle that is installed with the package."""
        manifest = Path(__file__).parents[1] / "data" / "planets" / MANIFEST
        return Bundle.open(manifest.resolve().parent)  # an editable install links each file to the source tree

    @property
    def address(self) -> str | None:
        """The address that a bundle from a model hub was opened by; None for a directory."""
        return None if self._snapshot is None else str(self._snapshot.address)

    @property
    def commit(self) -> str | None:
        """The commit of a bundle from a model hub; None for a directory."""
        return None if self._snapshot is None else self._snapshot.commit

    @property
    def location(self) -> str:
        """What names this bundle to a user: its address at its commit, or its directory."""
        return str(self.path if self._snapshot is None else self._snapshot.address.at(self._snapshot.commit))

    @property
    def levels(self) -> tuple[LevelInfo, ...]:
        """The levels, from the top down."""
        return tuple(
            LevelInfo(level.name, level.height, level.width, level.codebook_size, level.prior is not None)
            for level in self.manifest.levels
        )

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """The (height, width, channels) of an image: 1 channel is grey, 3 are RGB."""
        return self.manifest.image

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their indices; none if samples have no labels."""
        return self.manifest.classes

    @property
    def precisions(self) -> tuple[str, ...]:
        """The values of ``Sampler(precision=...)`` on every device; sets of engines can have others."""
        return self.manifest.precisions

    @property
    def has_classifier(self) -> bool:
        """Whether ``Sampler.classify`` and ``sample_best`` can be used."""
        return self.manifest.classifier is not None

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.image_shape))
        levels = ", ".join(f"{level.name} {level.height} x {level.width}" for level in self.levels)
        classes = f"{len(self.classes)} {plural(len(self.classes), 'class')}" if self.classes else "no classes"
        return f"<Bundle {self.location!r}: images {shape}, levels {levels}, {classes}, {', '.join(self.precisions)}>"

    @contextmanager
    def unchanged(self, *files: str) -> Iterator[None]:
        """Checks these files before and after a block that reads them. Raises BundleError if one has changed since it
        was verified.
        """
        self._check_unchanged(files)
        try:
            yield
        finally:
            self._check_unchanged(files)

    def _check_unchanged(self, files: Iterable[str]) -> None:
        for name in files:
            path = self.path / name
            try:
                if identity_of(path.stat()) == self._identities[name]:
                    continue
                # If it was only touched, copied or linked again, its content is still the same.
                record = self.manifest.files[name]
                self._identities[name] = verify_file(self.path, name, record, self.path / MANIFEST)
            except (OSError, BundleError) as error:
                raise BundleError(f"{path} has changed since the bundle was opened: open the bundle again") from error

    def cached(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Returns the cached value of ``key``; calls ``make`` for it on first use in a process.

        Samplers of the same Bundle share these values, for example sessions. A forked process starts with an empty
        cache, because the threads of its parent's sessions do not exist there.
        """
        with self._lock:
            cache = self._caches[-1]
            if key not in cache:
                cache[key] = make()
            value: Value = cache[key]
            return value

    def forget(self, key: Hashable) -> None:
        """Removes a value from the cache; objects that use it keep it."""
        with self._lock:
            self._caches[-1].pop(key, None)

    def golden(self) -> dict[str, NDArray[Any]]:
        """Returns the golden vectors by name. Raises BundleError if they cannot be read or have changed."""
        path = self.path / self.manifest.golden
        try:
            with self.unchanged(path.name), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except BundleError:
            raise
        except Exception as error:  # NumPy's errors for damaged archives have no common type
            raise BundleError(f"{path}: not readable as golden vectors: {error}") from error


def _reopen(path: str, manifest: Manifest, snapshot: Snapshot | None = None) -> Bundle:
    if snapshot is None:
        bundle = Bundle.open(path)
    else:  # on another machine the cache may be elsewhere, or lack the bundle
        bundle = Bundle.open(path if Path(path).is_dir() else str(snapshot.address.at(snapshot.commit)))
        bundle._snapshot = replace(bundle._snapshot or snapshot, address=snapshot.address)
    if bundle.manifest != manifest:
        raise BundleError(f"{path} has changed since its Bundle was copied or pickled: open it again")
    return bundle
