"""Bundles from a model hub, downloaded by huggingface_hub into its cache: HF_HOME, HF_ENDPOINT, HF_TOKEN and
HF_HUB_OFFLINE mean what they mean there, and so does a snapshot, a folder of links to downloaded files.
"""

from __future__ import annotations

import errno
import glob
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from latentloop._version import __version__
from latentloop.bundles.hub_address import FORM, HubAddress
from latentloop.bundles.integrity import check_name
from latentloop.bundles.manifest_reading import from_json
from latentloop.environment.packages import require
from latentloop.errors import BundleError, InputError, LatentLoopError, OutputError, listed
from latentloop.io.file_names import ENGINES, MANIFEST
from latentloop.io.json_reading import read_json

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@dataclass(frozen=True)
class Snapshot:
    """A downloaded bundle: its ``folder``, a commit's snapshot or a folder in it, and the ``address`` it has there.

    ``cache`` is the folder of the repository in the cache.
    """

    folder: Path
    address: HubAddress
    commit: str
    cache: Path


def fetch(address: HubAddress) -> Snapshot:
    """Downloads what is missing of a bundle: its manifest, the files that it lists, and sets of engines.

    The files are not verified yet. Raises MissingError without huggingface_hub, BundleError that names the address if
    there is no such bundle or it cannot be reached, OutputError if the cache cannot be written.
    """
    require(f"opening {address}", "huggingface_hub", extra="hub")
    prefix = f"{address.folder}/" if address.folder else ""
    with _hub_errors(address):
        with hidden_output():  # one small file
            root = _download(address, [glob.escape(prefix + MANIFEST)])
        commit = root.name  # the other files are of this commit, even if the branch moves on
        manifest = root / prefix / MANIFEST
        if not manifest.is_file():
            place = f"the folder {address.folder}" if address.folder else "the top folder"
            raise BundleError(
                f"{address}: {place} of the repository has no {MANIFEST}, so it is no bundle, which `latentloop export`"
                f" writes; a bundle in a folder has the address {FORM}"
            )
        names = _listed_files(manifest, address)
        is_cached = all((manifest.parent / name).is_file() for name in names)
        with hidden_output() if is_cached else nullcontext():  # the bar would count the files in the cache
            files = [glob.escape(prefix + name) for name in names]
            _download(address.at(commit), [*files, f"{glob.escape(prefix)}{ENGINES}/*/*"])
    snapshot = Snapshot(manifest.parent, address, commit, root.parents[1])
    missing = [name for name in names if not (snapshot.folder / name).is_file()]
    if missing:
        problem = f"commit {commit} lists {listed(missing, most=3)} in its {MANIFEST}, but has no such file"
        if _offline():
            problem = f"the cache, {snapshot.cache}, lacks {listed(missing, most=3)}, and HF_HUB_OFFLINE is set"
        raise BundleError(f"{address}: {problem}")
    return snapshot


def _download(address: HubAddress, files: list[str]) -> Path:
    """Returns the snapshot's folder, with the files of the repository that match one of the patterns ``files``."""
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            address.repository,
            revision=address.revision,
            allow_patterns=files,
            library_name="latentloop",
            library_version=__version__,
        )
    )


def _listed_files(manifest: Path, address: HubAddress) -> list[str]:
    try:
        names = list(from_json(read_json(manifest, f"{manifest} is missing"), MANIFEST).files)
        for name in names:
            check_name(name, MANIFEST)
    except BundleError as error:
        raise BundleError(f"{address}: {error}; if the copy in the cache is damaged, remove {manifest}") from error
    return names


def damaged(snapshot: Snapshot, error: BundleError) -> BundleError:
    """Returns the BundleError for a snapshot whose verification raised ``error``."""
    return BundleError(
        f"{snapshot.address.at(snapshot.commit)}: {error}; to download it again, remove {snapshot.cache}"
    )


@contextmanager
def hidden_output() -> Iterator[None]:
    """Hides huggingface_hub's progress bars and warnings, such as of attempts that failed, within a block; not what
    HF_HUB_DISABLE_PROGRESS_BARS=0 and HF_HUB_VERBOSITY demand.
    """
    bars, constants = _module("utils"), _module("constants")
    _module("utils.logging")  # its import sets the level
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    hides = bars and constants and constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    hides = hides and not bars.are_progress_bars_disabled()
    try:
        if hides:
            bars.disable_progress_bars()
        if "HF_HUB_VERBOSITY" not in os.environ:
            logger.setLevel(max(level, logging.ERROR))
        yield
    finally:
        logger.setLevel(level)
        if hides:
            bars.enable_progress_bars()


def _module(name: str) -> Any:
    """Returns a module of huggingface_hub; None if it cannot be imported, for which ``fetch`` has a message."""
    try:
        return import_module(f"huggingface_hub.{name}")
    except Exception:
        return None


def _offline() -> bool:
    return bool(_module("constants").HF_HUB_OFFLINE)


@contextmanager
def _hub_errors(address: HubAddress) -> Iterator[None]:
    """Converts errors of huggingface_hub, whatever HTTP library it uses, to LatentLoopErrors of one line."""
    try:
        yield
    except LatentLoopError:
        raise
    except Exception as error:
        raise _converted(address, error) from error


def _converted(address: HubAddress, error: Exception) -> LatentLoopError:
    from huggingface_hub import constants, errors

    cache = constants.HF_HUB_CACHE
    if isinstance(error, errors.HFValidationError):
        return InputError(f"{address}: {_first_line(error).rstrip('.')}; expected {FORM}")
    if isinstance(error, errors.GatedRepoError):
        return BundleError(f"{address}: access to it is restricted{_status(error)}: ask for it there, and {LOG_IN}")
    if isinstance(error, errors.RepositoryNotFoundError):
        problem = f"no repository {address.repository} at {constants.ENDPOINT}, or a private one{_status(error)}"
        return BundleError(f"{address}: {problem}: check the name; if it is private, {LOG_IN}")
    if isinstance(error, errors.RevisionNotFoundError):
        problem = f"the repository has no revision {address.revision or 'main'}"
        return BundleError(f"{address}: {problem}: name a branch, a tag or a whole commit")
    if isinstance(error, errors.LocalEntryNotFoundError):
        if _offline():
            return BundleError(f"{address} is not in the cache, {cache}, and HF_HUB_OFFLINE forbids to download it")
        cause = error.__cause__
        if isinstance(cause, errors.HfHubHTTPError) and not isinstance(cause, errors.LocalEntryNotFoundError):
            return _converted(address, cause)
        return _unreachable(address, cause or error)
    if isinstance(error, errors.HfHubHTTPError):
        if error.response.status_code in (401, 403):
            return BundleError(f"{address}: access denied{_status(error)}: {LOG_IN}")
        return _unreachable(address, error)
    if type(error).__module__.partition(".")[0].startswith("httpx"):
        return _unreachable(address, error)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"{address}: the disk of the cache, {cache}, is full: free space, or set HF_HOME elsewhere")
    if isinstance(error, OSError) and error.errno is not None:
        reason = f"{error.strerror}: {error.filename or cache}"
        return OutputError(f"{address}: the cache, {cache}, cannot be used ({reason}); HF_HOME sets another")
    return BundleError(f"{address}: {type(error).__name__}: {_first_line(error)}")


def _unreachable(address: HubAddress, error: BaseException) -> BundleError:
    from huggingface_hub import constants

    reason = f"{type(error).__name__}: {_first_line(error)}"
    return BundleError(
        f"{address} is not in the cache, {constants.HF_HUB_CACHE}, and {constants.ENDPOINT} cannot be reached "
        f"({reason}): check the connection, HF_ENDPOINT and the proxy, or try again"
    )


def _status(error: Any) -> str:
    return f" (HTTP {error.response.status_code})"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else "no details"
