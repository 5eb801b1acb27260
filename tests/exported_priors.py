"""Random priors and the graphs exported from them, made once per process, because many tests read the same ones."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from random_models import plain_weights, random_prior

from latentloop.bundles.manifest import Prior
from latentloop.export.bundle.files import write_graphs
from latentloop.export.bundle.prior import export_prior
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.configuration import PriorConfig
from latentloop.export.graphs.builder import WeightStore
from latentloop.export.models.pixelsnail import PixelSnail


@cache
def prior_of(config: PriorConfig) -> PixelSnail:
    """Returns the random prior in float64. Tests must not change it."""
    return random_prior(config)


def export(config: PriorConfig, weights: Weights, folder: Path) -> Prior:
    """Exports a prior's graphs as in a bundle, and returns their description."""
    store = WeightStore()
    prior, graphs = export_prior("level", Checkpoint(config, weights), store, "top")
    write_graphs(folder, graphs, store)
    return prior


def exported(config: PriorConfig, folder: Path) -> Prior:
    """Writes what ``export`` writes for ``prior_of(config)``. Tests may change the files and the description."""
    prior, files = _exported(config)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return deepcopy(prior)


@cache
def _exported(config: PriorConfig) -> tuple[Prior, dict[str, bytes]]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        prior = export(config, plain_weights(prior_of(config)), folder)
        return prior, {file.name: file.read_bytes() for file in folder.iterdir()}
