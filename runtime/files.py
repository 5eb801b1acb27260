"""Writing files so that nothing half-written is ever seen: a temporary name beside the target, then a rename."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from latentloop.errors import OutputError
from latentloop.manifest import ENGINES
from latentloop.manifest import FILE_NAME as MANIFEST


def write_file(path: Path, write: Callable[[Path], object], *, force: bool = False) -> None:
    """Calls ``write`` with a temporary path in the target's folder, then renames it to ``path``.

    Raises OutputError when ``path`` exists (unless ``force``) or cannot be written; nothing is left behind then.
    """
    path = Path(path)
    check_free(path, force=force)
    if path.is_dir():
        raise OutputError(f"{path} is a directory, expected a file")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        temporary.touch(exist_ok=False)
        try:
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            if not force:
                check_free(path, force=False)  # again: another process may have been faster
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def new_directory(path: Path, *, force: bool = False) -> Iterator[Path]:
    """Yields a temporary directory that takes the name ``path`` when the block ends without an error.

    Raises OutputError when ``path`` exists (unless ``force``, which replaces it) or cannot be written.
    """
    check_free(path, force=force)
    path = Path(os.path.realpath(path))  # a link stays, and what it points to is replaced
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file, expected a directory")
    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _beside(path)
        temporary.mkdir()
        try:
            yield temporary
            check_free(path, force=force)  # again: another process may have been faster
            if path.is_dir():
                replaced = _beside(path)
                path.rename(replaced)
                try:
                    temporary.rename(path)
                except OSError:
                    replaced.rename(path)
                    raise
                shutil.rmtree(replaced, ignore_errors=True)
            else:
                temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def check_free(path: Path, *, force: bool) -> None:
    """Raises OutputError when ``path`` exists and ``force`` is off: ask before the work, not after it.

    A directory that holds directories is never replaced: no result does but a bundle with its engines, and a home
    directory would be lost.
    """
    path = Path(path)
    with _writing(path):
        if path.exists() and not force:
            raise OutputError(f"{path} exists; pass --force to replace it")
        if path.is_dir() and Path.cwd().resolve().is_relative_to(path.resolve()):
            raise OutputError(f"{path} is the working directory or holds it: it is never replaced, give another name")
        entries = list(path.iterdir()) if path.is_dir() else []
        allowed = ENGINES if any(entry.name == MANIFEST for entry in entries) else None
        inner = next((entry.name for entry in entries if entry.is_dir() and entry.name != allowed), None)
        if inner is not None:
            raise OutputError(f"{path} holds the directory {inner}, which no result does: remove it yourself")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def _beside(path: Path) -> Path:
    """A new hidden name in the same folder, with the same suffix: savers look at it."""
    return path.with_name(f".{path.stem[:100]}-{secrets.token_hex(4)}{path.suffix}")
