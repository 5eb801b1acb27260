"""Reading the manifest of a set: from untrusted JSON to the dataclasses of ``latentloop.engines.engine_set``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from latentloop.bundles.loop_buffers import with_fills
from latentloop.engines.engine_set import FILLS_SINCE, FORMAT, OLDEST, VERSION, EngineSet
from latentloop.errors import BundleError
from latentloop.io.file_names import MANIFEST
from latentloop.io.json_reading import LARGEST, read, read_json, read_versioned, unexpected


def read_engines(folder: Path) -> EngineSet:
    """Returns the set in ``folder``; its plans are not read. Raises BundleError that names the wrong field."""
    path = folder / MANIFEST
    return from_json(read_json(path, f"{path} is missing"), folder)


def from_json(value: object, folder: Path) -> EngineSet:
    """Returns the set that a JSON value describes, with the same errors as ``read_engines``."""
    source = str(folder / MANIFEST)
    values = read_versioned(value, source, FORMAT, OLDEST, VERSION)
    engines = read(EngineSet, {**values, "folder": folder}, source)
    if values["version"] < FILLS_SINCE:
        engines = replace(engines, levels=tuple(map(with_fills, engines.levels)))
    if not engines.profiles:
        raise BundleError(f"{source}.profiles is empty")
    for index, profile in enumerate(engines.profiles):
        sizes = (("optimum", profile.optimum, profile.minimum), ("maximum", profile.maximum, profile.optimum))
        for name, size, smallest in sizes:
            if size < smallest:
                raise unexpected(f"{source}.profiles[{index}].{name}", size, f"an integer from {smallest} to {LARGEST}")
    return engines
