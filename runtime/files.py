"""Writing files so that nothing half-written is ever seen: a temporary name beside the target, then a rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.errors import OutputError


def write_file(path: Path, write: Callable[[Path], object], *, force: bool = False) -> None:
    """Calls ``write`` with a temporary path in the target's folder, then renames it to ``path``.

    Raises OutputError when ``path`` exists (unless ``force``) or cannot be written; nothing is left behind then.
    """
    path = Path(path)
    check_free(path, force=force)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            temporary.chmod(0o666 & ~_umask())  # temporary files are private; results are ordinary ones
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a temporary directory that takes the name ``path`` when the block ends without an error.

    Raises OutputError when ``path`` exists (unless ``force``, which replaces it) or cannot be written.
    """
    path = Path(path)
    check_free(path, force=force)
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            for file in temporary.iterdir():
                file.chmod(0o666 & ~_umask())
            if path.exists():
                replaced = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-old-"))
                path.rename(replaced / "old")
                temporary.rename(path)
                shutil.rmtree(replaced)
            else:
                temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path, *, force: bool) -> None:
    """Raises OutputError when ``path`` exists and ``force`` is off: ask before the work, not after it."""
    if Path(path).exists() and not force:
        raise OutputError(f"{path} exists; pass --force (force=True) to replace it")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
