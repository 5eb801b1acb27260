"""A file that can hold a checkpoint; its content is read when it is first used."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import file_digest
from latentloop.export.state_dicts.candidates import has_landmark
from latentloop.export.state_dicts.files.contents import Contents, contents_of
from latentloop.export.state_dicts.files.formats import reader_of
from latentloop.export.state_dicts.files.pickled import CodeRefusedError, PickleError


class CheckpointFile:
    """The file at ``path``, in any format that ``reader_of`` detects. Nothing in it is executed."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @cached_property
    def contents(self) -> Contents:
        """Its entries. Raises CheckpointError if it is missing, damaged, of an unknown format, or asks to run code."""
        reader = reader_of(self.path)
        try:
            return contents_of(reader(self.path))
        except CodeRefusedError as error:
            raise CheckpointError(f"{self.path} {error}") from error
        except (PickleError, LookupError, TypeError, ValueError, ArithmeticError, zipfile.BadZipFile) as error:
            raise CheckpointError(
                f"{self.path} is not a PyTorch checkpoint, or a damaged one: {error}; copy it again"
            ) from error
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror or error}") from error

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the file, in hexadecimal. Raises CheckpointError."""
        try:
            return file_digest(self.path)
        except OSError as error:
            raise CheckpointError(f"cannot read {self.path}: {error.strerror or error}") from error

    def has_any(self, names: Iterable[str]) -> bool:
        """Returns whether a name in the file ends with one of ``names``; False for a file that cannot be read."""
        try:
            return has_landmark(self.contents, names)
        except CheckpointError:
            return False
