"""Opening a bundle: every file checked against the manifest before any of it is trusted."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from latentloop.bundles.json_fields import shown
from latentloop.bundles.manifest import FILE_NAME, FileRecord, Manifest
from latentloop.bundles.manifest_reading import from_json, read_json
from latentloop.errors import BundleError, InputError
from latentloop.kernels.library import operators

if TYPE_CHECKING:  # backends of a GPU may do without ONNX Runtime
    from latentloop.backends.cpu.session import OrtSession

Kept = TypeVar("Kept")
Stamp = tuple[int, ...]  # of a file: another file has another, and so has the same one once it has been written to


class Bundle:
    """A verified bundle. Graphs are loaded when first used and shared by everything made from this object.

    Threads may share a Bundle.
    """

    def __init__(self, path: Path, manifest: Manifest, verified: dict[str, Stamp]) -> None:
        """``verified``: the manifest's files by name, as ``verify_file`` found them."""
        self.path = path.absolute()  # graphs are loaded when they are needed, in whatever directory that is
        self.manifest = manifest
        self._verified = verified
        self._kept: dict[Hashable, Any] = {}
        self._start()

    def _start(self) -> None:
        self._graphs: dict[tuple[str, int], OrtSession] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _locked(self) -> threading.Lock:
        """The lock. A forked process, where the graphs' threads and perhaps the lock's holder are not, starts anew."""
        if self._process != os.getpid():
            self._start()
        return self._lock

    def __reduce__(self) -> tuple[Callable[..., Bundle], tuple[str, Manifest]]:
        """Copies and pickles are opened anew, and verified again."""
        return _reopen, (str(self.path), self.manifest)

    @staticmethod
    def open(path: str | Path) -> Bundle:
        """Opens and verifies the bundle in directory ``path``: sizes and SHA-256 of every file.

        Raises BundleError that names the file and the wrong field, InputError where ``path`` is no str or Path.
        """
        try:
            folder = Path(path)
        except TypeError:
            raise InputError(f"path is {shown(path)}, expected a str or a Path: a bundle's directory") from None
        source = folder / FILE_NAME
        check_link(folder)
        if not folder.is_dir():
            raise BundleError(f"{folder}: no such directory; a bundle is the directory that `latentloop export` writes")
        check_link(source)
        value = read_json(source, f"{source} is missing: {folder} is not a bundle, or its export was cut short")
        manifest = from_json(value, str(source))
        records = manifest.files.items()
        verified = {name: verify_file(folder, name, record, source) for name, record in records}
        return Bundle(folder, manifest, verified)

    @staticmethod
    def default() -> Bundle:
        """The bundle that ships inside the package."""
        manifest = Path(__file__).parents[1] / "data" / "planets" / FILE_NAME
        return Bundle.open(manifest.resolve().parent)  # an editable install links each file to the source tree

    def graph(self, file: str, threads: int) -> OrtSession:
        """A graph of the bundle, loaded once per number of threads. Raises BundleError where it cannot be loaded, or
        is not the one any more that was verified.
        """
        from latentloop.backends.cpu.session import OrtSession

        with self._locked():
            key = (file, threads)
            if key not in self._graphs:
                with self.unchanged(file, self.manifest.weights):
                    graph = OrtSession(self.path / file, threads, operators(), self.path / self.manifest.weights)
                self._graphs[key] = graph
            return self._graphs[key]

    @contextmanager
    def unchanged(self, *files: str) -> Iterator[None]:
        """For the block that reads these files. Raises BundleError unless they are what was verified, before it and
        after it.
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
                if _stamp(path.stat()) == self._verified[name]:
                    continue
                # Touched, copied or linked again, perhaps: the content decides.
                self._verified[name] = verify_file(self.path, name, self.manifest.files[name], self.path / FILE_NAME)
            except (OSError, BundleError) as error:
                raise BundleError(f"{path} has changed since the bundle was opened: open the bundle again") from error

    def kept(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What ``make`` gives, made once per key: whatever everything made from this object is to share."""
        with self._locked():
            if key not in self._kept:
                self._kept[key] = make()
            kept: Kept = self._kept[key]
            return kept

    def golden(self) -> dict[str, NDArray[Any]]:
        """The golden vectors by name. Raises BundleError where they cannot be read."""
        path = self.path / self.manifest.golden
        try:
            with self.unchanged(path.name), path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except BundleError:
            raise
        except Exception as error:  # a hostile archive can fail in many ways, all of which mean the same
            raise BundleError(f"{path}: not readable as golden vectors: {error}") from error


def _reopen(path: str, manifest: Manifest) -> Bundle:
    bundle = Bundle.open(path)
    if bundle.manifest != manifest:
        raise BundleError(f"{path} is not the bundle any more that was copied or pickled: open it again")
    return bundle


def check_link(path: Path) -> None:
    """Raises BundleError for a link that leads nowhere."""
    try:
        if path.is_symlink() and not path.exists():
            there = f"{path} is a link to {os.readlink(path)}, which is not there"
            raise BundleError(f"{there}: copy bundles with their links followed, as cp -rL does")
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error


def verify_file(folder: Path, name: str, record: FileRecord, source: Path) -> Stamp:
    """Raises BundleError unless the file in the folder, or what it is a link to, is what the manifest says; returns
    what tells it from another.
    """
    if name in ("", ".", "..") or any(character in name for character in "/\\\0"):
        raise BundleError(f"{source}: files[{name!r}] is not a plain file name: it may leave the bundle")
    path = folder / name
    check_link(path)
    try:
        if not path.exists():
            raise BundleError(f"{path} is missing; {source} lists it")
        if not path.is_file():  # a pipe would wait, a device would never end
            raise BundleError(f"{path} is not a file; {source} lists it")
        size = path.stat().st_size
        if size != record.size:
            raise BundleError(f"{path} has {size} bytes, {source} says {record.size}: copy or export the bundle again")
        with path.open("rb") as file:
            stamp = _stamp(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if digest != record.sha256:
        raise BundleError(
            f"{path} has SHA-256 {digest[:12]}…, {source} says {record.sha256[:12]}…: corrupt or tampered with; "
            "copy or export the bundle again"
        )
    return stamp


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
