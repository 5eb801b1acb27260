"""Finding the engines in a bundle for a GPU architecture, a TensorRT version and a precision."""

from __future__ import annotations

import re

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.integrity import check_link, verify_file
from latentloop.engines.engine_set import FLAVOURS, EngineSet, folder_name, graph_precision, source_digests
from latentloop.engines.engine_set_checks import check_contents
from latentloop.engines.engine_set_reading import read_engines
from latentloop.errors import BundleError
from latentloop.io.file_names import ENGINES, MANIFEST

_FOLDER = re.compile(
    rf"(?P<architecture>[a-z0-9]+)_(?P<flavour>{'|'.join(FLAVOURS)})-(?P<library>[^_]+)_(?P<precision>[a-z0-9]+)"
)


def find_engines(bundle: Bundle, *, flavour: str, library: str, architecture: str, precision: str) -> EngineSet | str:
    """Returns the set of engines for these settings after verifying the size and SHA-256 of every plan, or a line that
    says why there is none.

    ``flavour`` and ``library`` are name and version of the TensorRT module; ``architecture`` is for example "sm90".
    """
    key = {"architecture": architecture, "flavour": flavour, "library": library, "precision": precision}
    folder = bundle.path / ENGINES / folder_name(**key)
    if graph_precision(precision) not in bundle.manifest.precisions:
        return (
            f"{bundle.path} has no graphs of the precision {precision}: it has {', '.join(bundle.manifest.precisions)}"
        )
    try:
        check_link(bundle.path / ENGINES)
        check_link(folder)
        if not folder.is_dir():
            return _missing_set(bundle, key)
        check_link(folder / MANIFEST)
        engines = read_engines(folder)
        mismatch = _mismatch({name: getattr(engines, name) for name in key}, key)
        if mismatch:
            return f"{folder} is {mismatch}"
        if engines.sources != source_digests(bundle.manifest, precision):
            return f"{folder} is stale: built from another bundle"
        check_contents(engines, bundle.manifest)
        for name, record in engines.files.items():
            verify_file(folder, name, record, folder / MANIFEST)
    except BundleError as error:
        return str(error)
    return engines


def _missing_set(bundle: Bundle, key: dict[str, str]) -> str:
    """Returns a line that says what the bundle has instead of the requested set, and how to build that."""
    folder = bundle.path / ENGINES
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    candidates = [match.groupdict() for match in map(_FOLDER.fullmatch, names) if match]
    build = f"latentloop build-engines {bundle.path} --precision {key['precision']}"
    if not candidates:
        return f"{bundle.path} has no engines: {build}"
    nearest = min(candidates, key=lambda candidate: sum(candidate[name] != key[name] for name in key))
    return f"{folder / folder_name(**nearest)} is {_mismatch(nearest, key)}: {build}"


def _mismatch(actual: dict[str, str], key: dict[str, str]) -> str:
    """Returns the differences between a set and the requested one as text; it is empty if there are none."""
    differences = []
    if actual["architecture"] != key["architecture"]:
        differences.append(f"for {actual['architecture']}, not for {key['architecture']}")
    if (actual["flavour"], actual["library"]) != (key["flavour"], key["library"]):
        built_by = f"built by {actual['flavour']} {actual['library']}"
        differences.append(f"{built_by}, not by {key['flavour']} {key['library']}")
    if actual["precision"] != key["precision"]:
        differences.append(f"of the precision {actual['precision']}, not {key['precision']}")
    return ", ".join(differences)
