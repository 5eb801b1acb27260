"""A bundle on disk, verified when it is opened."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.integrity import Identity, check_link, identity_of, verify_file
from latentloop.bundles.manifest import Manifest
from latentloop.bundles.manifest_reading import from_json, read_json
from latentloop.errors import BundleError, InputError, short_repr
from latentloop.io.file_names import MANIFEST

Value = TypeVar("Value")


class Bundle:
    """A verified bundle: its directory, its manifest, and a cache for what is loaded from its files.

    Threads may share a Bundle.
    """

    def __init__(self, path: Path, manifest: Manifest, identities: dict[str, Identity]) -> None:
        """``identities``: of the manifest's files by name, as ``verify_file`` returned them."""
        self.path = path.absolute()  # files are loaded later, perhaps in another working directory
        self.manifest = manifest
        self._identities = identities
        self._caches: list[dict[Hashable, Any]] = []
        self._start()

    def _start(self) -> None:
        self._caches.append({})  # the caches of parent processes stay alive: what they hold must not be destroyed here
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __reduce__(self) -> tuple[Callable[..., Bundle], tuple[str, Manifest]]:
        """Copies and unpickled bundles are opened and verified again."""
        return _reopen, (str(self.path), self.manifest)

    @staticmethod
    def open(path: str | Path) -> Bundle:
        """Opens the bundle in directory ``path`` and verifies the size and SHA-256 of every file.

        Raises BundleError that names the file and the wrong field, InputError if ``path`` is no str or Path.
        """
        try:
            folder = Path(path)
        except TypeError:
            raise InputError(f"path is {short_repr(path)}, expected a str or a Path: a bundle's directory") from None
        source = folder / MANIFEST
        check_link(folder)
        if not folder.is_dir():
            raise BundleError(f"{folder}: no such directory; a bundle is the directory that `latentloop export` writes")
        check_link(source)
        value = read_json(source, f"{source} is missing: {folder} is not a bundle, or its export was cut short")
        manifest = from_json(value, str(source))
        records = manifest.files.items()
        identities = {name: verify_file(folder, name, record, source) for name, record in records}
        return Bundle(folder, manifest, identities)

    @staticmethod
    def default() -> Bundle:
        """Opens the bundle that is installed with the package."""
        manifest = Path(__file__).parents[1] / "data" / "planets" / MANIFEST
        return Bundle.open(manifest.resolve().parent)  # an editable install links each file to the source tree

    @contextmanager
    def unchanged(self, *files: str) -> Iterator[None]:
        """Guards a block that reads these files: raises BundleError unless they are, before and after it, the files
        that were verified.
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
                # Perhaps it was only touched, copied or linked again: the content decides.
                record = self.manifest.files[name]
                self._identities[name] = verify_file(self.path, name, record, self.path / MANIFEST)
            except (OSError, BundleError) as error:
                raise BundleError(f"{path} has changed since the bundle was opened: open the bundle again") from error

    def cached(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """Returns the value that ``make`` returned when this key was first requested in this process.

        Everything made from this Bundle shares these values, such as sessions. A forked process starts with an empty
        cache: the threads of its parent's sessions do not exist there.
        """
        if self._process != os.getpid():
            self._start()  # with a new lock: at the fork another thread may have held the old one
        with self._lock:
            cache = self._caches[-1]
            if key not in cache:
                cache[key] = make()
            value: Value = cache[key]
            return value

    def golden(self) -> dict[str, NDArray[Any]]:
        """Returns the golden vectors by name. Raises BundleError if they cannot be read."""
        path = self.path / self.manifest.golden
        try:
            with self.unchanged(path.name), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except BundleError:
            raise
        except Exception as error:  # NumPy's errors for damaged archives have no common type
            raise BundleError(f"{path}: not readable as golden vectors: {error}") from error


def _reopen(path: str, manifest: Manifest) -> Bundle:
    bundle = Bundle.open(path)
    if bundle.manifest != manifest:
        raise BundleError(f"{path} has changed since its Bundle was copied or pickled: open it again")
    return bundle
