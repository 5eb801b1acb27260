"""Writing a bundle: graphs, weights, golden vectors and the manifest, either completely or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from latentloop._version import __version__
from latentloop.bundles.manifest import PRECISIONS, Level, Manifest
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
from latentloop.export.specification.golden import golden_classifier, golden_codec, golden_prior
from latentloop.export.specification.rowstep_weights import arrange
from latentloop.io.file_names import MANIFEST
from latentloop.io.files import new_directory

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


def write_checked_bundle(path: Path, checked: CheckedSource, *, force: bool = False) -> None:
    """Writes the bundle of a source that is checked and rounded. Raises OutputError like ``write_bundle``."""
    source, config, image = checked.source, checked.config, checked.image
    with new_directory(path, force=force) as folder:
        # 1. The encoder and the decoder.
        store = WeightStore(checked.weights)
        graphs: dict[str, GraphBuilder] = {
            ENCODER_FILE: encoder_graph(config, source.vqvae.weights, store, image),
            DECODER_FILE: decoder_graph(config, source.vqvae.weights, store, image),
        }
        golden: dict[str, Any] = golden_codec(source.vqvae, image, source.golden_images)

        # 2. The classifier.
        classifier = checked.classifier_config
        if source.classifier is not None and classifier is not None:
            graphs[CLASSIFIER_FILE] = classifier_graph(classifier, source.classifier.weights, store)
            golden |= golden_classifier(source.classifier, golden["codec.images"])

        # 3. The levels and their priors.
        levels = []
        for index, (name, checkpoint) in enumerate(zip(config.level_names, checked.priors, strict=True)):
            prior = None
            if checkpoint is not None:
                upper = config.level_names[index - 1] if index else None
                prior, prior_graphs = export_prior(name, checkpoint, store, upper)
                graphs |= prior_graphs
                golden |= golden_prior(name, index, arrange(prior_config(checkpoint), checkpoint.weights))
            stride = config.stride(index)
            levels.append(Level(name, image[0] // stride, image[1] // stride, config.codebook_size, prior))

        # 4. Graphs, weights and golden vectors as files.
        write_graphs(folder, graphs, store)
        np.savez_compressed(folder / GOLDEN_FILE, **golden)

        # 5. The manifest, which holds the hashes of the other files, checked as when a bundle is opened.
        manifest = Manifest(
            image=(*image, config.image_channels),
            levels=tuple(levels),
            encoder=ENCODER_FILE,
            decoder=DECODER_FILE,
            golden=GOLDEN_FILE,
            weights=WEIGHTS_FILE,
            classes=checked.classes,
            precisions=PRECISIONS,
            exporter=__version__,
            opset=OPSET,
            files=file_records(folder),
            classifier=None if classifier is None else CLASSIFIER_FILE,
            licence=source.licence,
            provenance={**source.provenance, "models": _models(source)},
        )
        text = json.dumps(manifest_json(manifest), indent=1) + "\n"
        from_json(json.loads(text), str(path / MANIFEST))
        (folder / MANIFEST).write_text(text, encoding="utf-8")


def _models(source: BundleSource) -> dict[str, dict[str, Any]]:
    """Returns each checkpoint's configuration and provenance for the manifest."""
    return {
        name: {"configuration": to_json(checkpoint.config), **checkpoint.provenance}
        for name, checkpoint in source.checkpoints().items()
    }
