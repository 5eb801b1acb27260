"""Writing a bundle: graphs, weights, golden vectors and the manifest, either completely or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentloop._version import __version__
from latentloop.bundles.manifest import PRECISIONS, FileRecord, Level, Manifest
from latentloop.bundles.manifest import to_json as manifest_json
from latentloop.bundles.manifest_reading import from_json
from latentloop.export.bundle.checks import check_source, check_target
from latentloop.export.bundle.files import file_records, write_graphs
from latentloop.export.bundle.prior import export_prior
from latentloop.export.bundle.source import BundleSource, CheckedSource, prior_config
from latentloop.export.configuration import to_json
from latentloop.export.graphs.builder import OPSET, WEIGHTS_FILE, GraphBuilder, WeightStore
from latentloop.export.graphs.classifier import classifier_graph
from latentloop.export.graphs.codec import decoder_graph, encoder_graph
from latentloop.export.inplace.check import MeasuredImages
from latentloop.export.onnx_classifiers.graph import attached_graph
from latentloop.export.onnx_classifiers.reference import golden_attached
from latentloop.export.specification.golden import golden_classifier, golden_codec, golden_prior
from latentloop.export.specification.rowstep_weights import arrange
from latentloop.io.file_names import MANIFEST
from latentloop.io.files import new_directory
from latentloop.io.json_reading import parse_json

ENCODER_FILE, DECODER_FILE, CLASSIFIER_FILE = "encoder.onnx", "decoder.onnx", "classifier.onnx"
GOLDEN_FILE = "golden.npz"


def write_bundle(path: Path, source: BundleSource, *, force: bool = False) -> None:
    """Checks ``source``, rounds its weights to ``source.weights``, and writes the bundle to the directory ``path``.

    Raises InputError if checkpoints do not fit each other, OutputError if ``path`` exists (unless ``force`` is set) or
    cannot be written, BundleError if the manifest could not be read again. No file is left behind after an error.
    """
    checked = check_source(source)
    check_target(path)
    write_checked_bundle(path, checked.rounded(), force=force)


def write_checked_bundle(
    path: Path, checked: CheckedSource, *, card: Sequence[MeasuredImages] | None = None, force: bool = False
) -> None:
    """Writes the bundle of a source that is checked and rounded.

    ``card``: figures for a model card, which may be none; None writes no card. Raises OutputError like
    ``write_bundle``, and with a card LatentLoopError if the bundle does not run here.
    """
    with new_directory(path, force=force) as folder:
        # 1. Write the graphs over one file of weights. What they refer to is forgotten at the end.
        levels = _write_networks(folder, checked)
        # 2. Write the golden vectors that check them.
        np.savez_compressed(folder / GOLDEN_FILE, **_golden(checked))
        # 3. Write the manifest, which holds the hashes of the other files, checked as when a bundle is opened.
        manifest = _manifest(checked, levels, file_records(folder))
        text = json.dumps(manifest_json(manifest), indent=1) + "\n"
        from_json(parse_json(text, str(path / MANIFEST)), str(path / MANIFEST))
        (folder / MANIFEST).write_text(text, encoding="utf-8")
        # 4. Write the card, which shows what the finished bundle draws.
        if card is not None:
            from latentloop.export.bundle.card import write_card

            write_card(folder, checked, manifest, card)


def _write_networks(folder: Path, checked: CheckedSource) -> tuple[Level, ...]:
    """Writes all graphs and their weights; returns the levels' descriptions for the manifest."""
    source, config, image = checked.source, checked.config, checked.image
    store, weights = WeightStore(checked.weights), source.vqvae.weights
    graphs: dict[str, GraphBuilder] = {
        ENCODER_FILE: encoder_graph(config, weights, store, image),
        DECODER_FILE: decoder_graph(config, weights, store, image),
    }
    own, judge = checked.classifier, checked.classifier_config
    if own is not None and judge is not None:
        graphs[CLASSIFIER_FILE] = classifier_graph(judge, own.weights, store)
    elif checked.attached is not None:
        graphs[CLASSIFIER_FILE] = attached_graph(checked.attached, store)
    levels = []
    for index, (name, checkpoint) in enumerate(zip(config.level_names, checked.priors, strict=True)):
        prior, stride = None, config.stride(index)
        if checkpoint is not None:
            upper = config.level_names[index - 1] if index else None
            prior, added = export_prior(name, checkpoint, store, upper)
            graphs.update(added)
        levels.append(Level(name, image[0] // stride, image[1] // stride, config.codebook_size, prior))
    write_graphs(folder, graphs, store)
    return tuple(levels)


def _golden(checked: CheckedSource) -> dict[str, Any]:
    """Returns the golden vectors by name: of the codec, of the classifier for the codec's images, and of the priors."""
    source = checked.source
    golden = golden_codec(source.vqvae, checked.image, source.golden_images)
    if checked.classifier is not None:
        golden.update(golden_classifier(checked.classifier, golden["codec.images"]))
    elif checked.attached is not None:
        golden.update(golden_attached(checked.attached, golden["codec.images"]))
    for index, (name, checkpoint) in enumerate(zip(checked.config.level_names, checked.priors, strict=True)):
        if checkpoint is not None:
            weights = arrange(prior_config(checkpoint), checkpoint.weights, lazy=True)
            golden.update(golden_prior(name, index, weights))
            del weights  # before those of the next level
    return golden


def _manifest(checked: CheckedSource, levels: tuple[Level, ...], files: dict[str, FileRecord]) -> Manifest:
    source = checked.source
    return Manifest(
        image=(*checked.image, checked.config.image_channels),
        levels=levels,
        encoder=ENCODER_FILE,
        decoder=DECODER_FILE,
        golden=GOLDEN_FILE,
        weights=WEIGHTS_FILE,
        classes=checked.classes,
        precisions=PRECISIONS,
        exporter=__version__,
        opset=OPSET,
        files=files,
        classifier=None if source.classifier is None else CLASSIFIER_FILE,
        licence=source.licence,
        provenance={**source.provenance, "models": _models(checked)},
        codes_sha256=source.vqvae.provenance["codes_sha256"],
        undrawn_codeword=checked.code_usage,
    )


def _models(checked: CheckedSource) -> dict[str, dict[str, Any]]:
    """Returns each model's configuration and provenance for the manifest."""
    models = {
        name: {"configuration": to_json(checkpoint.config), **checkpoint.provenance}
        for name, checkpoint in checked.source.checkpoints().items()
    }
    return models if checked.attached is None else {**models, "classifier": checked.attached.record()}
