"""Addresses of bundles on a model hub: ``hf://owner/name[@revision][/folder]``, as huggingface_hub writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from latentloop.errors import InputError, short_repr

SCHEME = "hf://"
FORM = f"{SCHEME}owner/name[@revision][/folder]"
_MANGLED = "hf:"  # the first part of Path("hf://owner/name")
_MODELS = "models/"  # a prefix that may be left out
_OTHERS = {"datasets": "data set", "spaces": "space", "kernels": "kernel", "buckets": "bucket"}
_ADDRESS = re.compile(
    r"(?P<owner>[^/@]*)/(?P<name>[^/@]*)"
    r"(?:@(?P<revision>refs/(?:pr/\d+|convert/[\w.-]+)|[^/]*))?"  # of names with a slash only these, others have %2F
    r"(?:/(?P<folder>.*))?",
    re.DOTALL,
)
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9_])?", re.ASCII)
_REVISION = re.compile(r"[\w+](?:[\w.+/-]*[\w+-])?")
_PART = re.compile(r"[^\x00-\x1f\\@]+")  # of a folder's path


@dataclass(frozen=True)
class HubAddress:
    """A bundle in a repository: in its ``folder`` (of parts with slashes), or at its top if that is empty.

    ``repository`` is owner/name; ``revision`` a branch, a tag or a commit, None for the repository's default branch.
    """

    repository: str
    revision: str | None = None
    folder: str = ""

    def at(self, commit: str) -> HubAddress:
        """Returns the address of the same bundle at a commit."""
        return replace(self, revision=commit)

    def __str__(self) -> str:
        revision = "" if self.revision is None else f"@{_quoted(self.revision)}"
        return f"{SCHEME}{self.repository}{revision}{'/' if self.folder else ''}{self.folder}"


def is_address(value: object) -> bool:
    """Returns whether a value is the text of an address, well-formed or not. Paths never are: they lose a slash."""
    return isinstance(value, str) and value.startswith(SCHEME)


def parse_address(text: str) -> HubAddress:
    """Returns the address in a text that begins with ``SCHEME``. Raises InputError with a remedy."""
    body = text.removeprefix(SCHEME)
    kind = body.partition("/")[0]
    if kind in _OTHERS:
        raise InputError(f"{_shown(text)} names a {_OTHERS[kind]}, expected a repository of a model: {FORM}")
    match = _ADDRESS.fullmatch(body.removeprefix(_MODELS).rstrip("/"))
    if match is None:
        raise _malformed(text, "no owner and name of a repository")
    owner, name, revision, folder = match["owner"], match["name"], match["revision"], match["folder"] or ""
    for part in (owner, name):
        if not _NAME.fullmatch(part):
            raise _malformed(text, f"{short_repr(part)} is no name: letters, digits, '-', '_' and '.' make one")
    if revision is not None:
        revision = unquote(revision)
        if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
            raise _malformed(text, f"{short_repr(revision)} is no revision: a branch, a tag or a commit is one")
    if "@" in folder:
        raise _malformed(text, "the revision follows the repository's name, not the folder")
    for part in folder.split("/") if folder else ():
        if part in (".", "..") or not _PART.fullmatch(part):
            raise _malformed(text, f"{short_repr(part)} is no folder in a repository")
    return HubAddress(f"{owner}/{name}", revision, folder)


def check_not_mangled(path: Path) -> None:
    """Raises InputError if a path is an address that has lost a slash, and no directory has that name."""
    if is_mangled(path) and not path.exists():
        address = SCHEME + "/".join(path.parts[1:])
        raise InputError(
            f"{path}: no such directory; the address of a bundle on a hub has two slashes, and is a str, not a Path: "
            f"{address!r}"
        )


def is_mangled(path: Path) -> bool:
    """Returns whether a path may be an address: Path("hf://owner/name") is the path hf:/owner/name."""
    return path.parts[:1] == (_MANGLED,)


def _malformed(text: str, problem: str) -> InputError:
    return InputError(f"{_shown(text)}: {problem}; expected {FORM}")


def _shown(text: str) -> str:
    return text if text.isprintable() and len(text) <= 200 else short_repr(text)


def _quoted(revision: str) -> str:
    """Returns a revision as in an address: a slash would end it, except in the names that huggingface_hub knows."""
    return revision if re.fullmatch(r"refs/(?:pr/\d+|convert/[\w.-]+)", revision) else revision.replace("/", "%2F")
