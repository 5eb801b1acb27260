"""Finding a bundle's engines for this GPU and library: those that fit are verified, and others are never loaded."""

from __future__ import annotations

import re

from latentloop.bundles.bundle import Bundle
from latentloop.bundles.integrity import check_link, verify_file
from latentloop.engines.engine_set_checks import check_contents
from latentloop.engines.engine_set import FLAVOURS, EngineSet, folder_name, graph_precision, sources
from latentloop.io.file_names import MANIFEST
from latentloop.engines.engine_set_reading import read_engines
from latentloop.errors import BundleError
from latentloop.io.file_names import ENGINES

_FOLDER = re.compile(
    rf"(?P<architecture>[a-z0-9]+)_(?P<flavour>{'|'.join(FLAVOURS)})-(?P<library>[^_]+)_(?P<precision>[a-z0-9]+)"
)


def find_engines(bundle: Bundle, *, flavour: str, library: str, architecture: str, precision: str) -> EngineSet | str:
    """The bundle's engines, every plan's size and SHA-256 verified; or, in one line, why there are none that fit.

    ``flavour`` and ``library`` are the module's name and version; ``architecture`` is "sm90" for capability 9.0.
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
            return _what_there_is(bundle, key)
        check_link(folder / MANIFEST)
        engines = read_engines(folder)
        mismatch = _mismatch({name: getattr(engines, name) for name in key}, key)
        if mismatch:
            return f"{folder} is {mismatch}"
        if engines.sources != sources(bundle.manifest, precision):
            return f"{folder} is stale: built from another bundle"
        check_contents(engines, bundle.manifest)
        for name, record in engines.files.items():
            verify_file(folder, name, record, folder / MANIFEST)
    except BundleError as error:
        return str(error)
    return engines


def _what_there_is(bundle: Bundle, key: dict[str, str]) -> str:
    """Why no folder has the key's name: which differences the nearest one has."""
    folder = bundle.path / ENGINES
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    found = [match.groupdict() for match in map(_FOLDER.fullmatch, names) if match]
    build = f"latentloop build-engines {bundle.path} --precision {key['precision']}"
    if not found:
        return f"{bundle.path} has no engines: {build}"
    nearest = min(found, key=lambda there: sum(there[name] != key[name] for name in key))
    return f"{folder / folder_name(**nearest)} is {_mismatch(nearest, key)}: {build}"


def _mismatch(there: dict[str, str], key: dict[str, str]) -> str:
    """What of a set is not as asked for, in words; empty where all is."""
    differences = []
    if there["architecture"] != key["architecture"]:
        differences.append(f"for {there['architecture']}, not for {key['architecture']}")
    if (there["flavour"], there["library"]) != (key["flavour"], key["library"]):
        differences.append(f"built by {there['flavour']} {there['library']}, not by {key['flavour']} {key['library']}")
    if there["precision"] != key["precision"]:
        differences.append(f"of the precision {there['precision']}, not {key['precision']}")
    return ", ".join(differences)
