"""Writing a bundle: graphs, weights, golden vectors and the manifest, complete or not at all."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from latentloop._version import __version__
from latentloop.bundles.manifest import PRECISIONS, FileRecord, GraphFile, Level, Manifest, Prior, graph_name
from latentloop.bundles.manifest import to_json as manifest_json
from latentloop.errors import InputError, OutputError
from latentloop.export.checkpoints.checkpoint import STORED, Checkpoint, write_tensors
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig, to_json
from latentloop.export.forms.form import FORMS
from latentloop.export.graphs.bindings import bindings, columns_per_step, memories
from latentloop.export.graphs.builder import OPSET, WEIGHTS_FILE, GraphBuilder, WeightStore
from latentloop.export.graphs.classifier import classifier_graph
from latentloop.export.graphs.codec import decoder_graph, encoder_graph
from latentloop.export.graphs.condition import condition_graph
from latentloop.export.graphs.row import row_graph
from latentloop.export.graphs.step import step_graph
from latentloop.export.rounding import round_weights
from latentloop.export.specification.golden import golden_classifier, golden_codec, golden_prior
from latentloop.export.specification.rowstep_weights import arrange
from latentloop.io.file_names import MANIFEST
from latentloop.io.files import new_directory

GOLDEN_FILE = "golden.npz"
CLASSIFIER_FILE = "classifier.onnx"
BITS = {"float32": 32, "int8": 8}  # of weights


@dataclass(frozen=True)
class BundleSource:
    """What a bundle is made from. ``priors`` top first, None for a level without one; ``image`` is (height, width),
    and may be left out where a prior tells the grid.
    """

    vqvae: Checkpoint
    priors: Sequence[Checkpoint | None] = ()
    image: tuple[int, int] | None = None
    classes: tuple[str, ...] = ()
    licence: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)
    golden_images: NDArray[np.uint8] | None = None  # [n, H, W, C], at the bundle's size
    classifier: Checkpoint | None = None
    weights: str = "float32"  # float16: rounded, and stored in half the bytes

    def checkpoints(self) -> dict[str, Checkpoint]:
        """Those there are, by name: vqvae, the levels' names, classifier."""
        config = self.vqvae.config
        levels = config.level_names if isinstance(config, VqvaeConfig) else ()
        named = {"vqvae": self.vqvae, **dict(zip(levels, self.priors, strict=False)), "classifier": self.classifier}
        return {name: checkpoint for name, checkpoint in named.items() if checkpoint is not None}

    def rounded(self) -> BundleSource:
        """With the checkpoints' weights rounded to what the bundle stores. Raises InputError for one out of range."""
        priors = [prior and round_weights(prior, self.weights) for prior in self.priors]
        classifier = self.classifier and round_weights(self.classifier, self.weights)
        return replace(self, vqvae=round_weights(self.vqvae, self.weights), priors=priors, classifier=classifier)


@dataclass(frozen=True)
class Fit:
    """What follows from a source whose parts fit each other."""

    config: VqvaeConfig
    priors: list[Checkpoint | None]  # one per level, top first
    image: tuple[int, int]
    classes: tuple[str, ...]
    judge: ClassifierConfig | None


def check_source(source: BundleSource) -> Fit:
    """Raises InputError where the checkpoints do not fit each other or the options."""
    config = source.vqvae.config
    if not isinstance(config, VqvaeConfig):
        raise InputError(f"a bundle needs a VQ-VAE, but the checkpoint given holds a {source.vqvae.kind}")
    if source.weights not in STORED.values():
        raise InputError(f"weights is {source.weights!r}, expected one of {', '.join(STORED.values())}")
    priors = list(source.priors) or [None] * config.levels
    image = check_fit(config, priors, source.image)
    check_codes(source.vqvae, priors)
    check_class_names([*priors, source.classifier])
    classes = check_classes(priors, source.classes)
    judge = None if source.classifier is None else check_classifier(source.classifier, image, config, len(classes))
    return Fit(config, priors, image, classes, judge)


def check_target(path: Path) -> None:
    """Raises OutputError for a directory that holds something else than a bundle."""
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).exists():
        raise OutputError(f"{path} is a directory that holds no bundle: give another name, or empty it yourself")


def write_bundle(path: Path, source: BundleSource, *, force: bool = False) -> None:
    """Exports ``source`` to the directory ``path``.

    Raises InputError where checkpoints do not fit each other, OutputError where the path exists or cannot be
    written; nothing is left behind then.
    """
    fit = check_source(source)
    check_target(path)
    source = source.rounded()
    fit = replace(fit, priors=list(source.priors) or fit.priors)
    config, priors, image, classes, judge = fit.config, fit.priors, fit.image, fit.classes, fit.judge
    with new_directory(path, force=force) as folder:
        store = WeightStore(source.weights)
        graphs = {
            "encoder.onnx": encoder_graph(config, source.vqvae.weights, store, image),
            "decoder.onnx": decoder_graph(config, source.vqvae.weights, store, image),
        }
        golden: dict[str, Any] = golden_codec(source.vqvae, image, source.golden_images)
        if source.classifier is not None and judge is not None:
            graphs[CLASSIFIER_FILE] = classifier_graph(judge, source.classifier.weights, store)
            golden |= golden_classifier(source.classifier, golden["codec.images"])
        levels = []
        for index, (name, checkpoint) in enumerate(zip(config.level_names, priors, strict=True)):
            stride = config.stride(index)
            prior = None
            if checkpoint is not None:
                prior = describe_prior(
                    name, checkpoint, store, graphs, config.level_names[index - 1] if index else None
                )
                golden |= golden_prior(name, index, arrange(_prior_config(checkpoint), checkpoint.weights))
            levels.append(Level(name, image[0] // stride, image[1] // stride, config.codebook_size, prior))
        write_graphs(folder, graphs, store)
        np.savez_compressed(folder / GOLDEN_FILE, **golden)
        manifest = Manifest(
            image=(*image, config.image_channels),
            levels=tuple(levels),
            encoder="encoder.onnx",
            decoder="decoder.onnx",
            golden=GOLDEN_FILE,
            weights=WEIGHTS_FILE,
            classes=classes,
            precisions=PRECISIONS,
            exporter=__version__,
            opset=OPSET,
            files={file.name: _record(file) for file in sorted(folder.iterdir())},
            classifier=None if judge is None else CLASSIFIER_FILE,
            licence=source.licence,
            provenance={**source.provenance, "models": _models(source)},
        )
        text = json.dumps(manifest_json(manifest), indent=1)
        (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def check_fit(
    config: VqvaeConfig, priors: Sequence[Checkpoint | None], image: tuple[int, int] | None
) -> tuple[int, int]:
    """The image size; raises InputError where levels, grids, codebooks or conditions disagree."""
    names = config.level_names
    if len(priors) != config.levels:
        raise InputError(f"the VQ-VAE has {config.levels} levels ({', '.join(names)}), got {len(priors)} priors")
    for index, checkpoint in enumerate(priors):
        if checkpoint is None:
            continue
        prior, name, stride = _prior_config(checkpoint), names[index], config.stride(index)
        size = (prior.height * stride, prior.width * stride)
        if image is None:
            image = size
        if size != image:
            raise InputError(
                f"the {name} prior has the grid {prior.height} x {prior.width}, that is images of {size[0]} x "
                f"{size[1]}; expected {image[0]} x {image[1]} from the options or the level above"
            )
        if prior.codebook_size != config.codebook_size:
            raise InputError(
                f"the {name} prior has {prior.codebook_size} codes, the VQ-VAE's codebook {config.codebook_size}"
            )
        expected = config.codebook_size if index else 0
        if prior.condition_codes not in (0, expected):
            raise InputError(
                f"the {name} prior is conditioned on {prior.condition_codes} codes, expected {expected or 'none'}: "
                "were top and bottom swapped?"
            )
    if image is None:
        raise InputError("no prior tells the image size; give it (--image HEIGHTxWIDTH)")
    coarsest = config.stride(0)
    if image[0] % coarsest or image[1] % coarsest:
        raise InputError(
            f"images of {image[0]} x {image[1]} do not halve down to the top level: use multiples of {coarsest}"
        )
    return image


def check_codes(vqvae: Checkpoint, priors: Sequence[Checkpoint | None]) -> None:
    """Raises InputError where a prior's checkpoint says that it learnt the codes of another VQ-VAE.

    By what the trainer wrote, or by the weights: float16 rounds those, before a training or after it.
    """
    config, weights = vqvae.config, vqvae.weights
    assert isinstance(config, VqvaeConfig)
    written = vqvae.provenance.get("codes_sha256")
    for checkpoint in priors:
        learnt = None if checkpoint is None else checkpoint.provenance.get("codes_sha256")
        if learnt is None or learnt == written or learnt == codes_digest(config, weights):
            continue
        if learnt == codes_digest(replace(config, inplace=not config.inplace), weights):
            option = "--no-vqvae-inplace" if config.inplace else "--vqvae-inplace"
            raise InputError(f"a prior learnt the codes of this VQ-VAE in {FORMS[not config.inplace]}: pass {option}")
        if written is None:
            continue
        raise InputError(
            f"a prior learnt the codes of another VQ-VAE: its codes_sha256 is {str(learnt)[:12]}…, the VQ-VAE's "
            f"{str(written)[:12]}…; give the VQ-VAE that it was trained with"
        )


def check_classes(priors: Sequence[Checkpoint | None], names: tuple[str, ...]) -> tuple[str, ...]:
    """The class names (numbers where none are given); raises InputError where the priors' counts disagree."""
    counts = {_prior_config(checkpoint).classes for checkpoint in priors if checkpoint is not None} - {0}
    if len(counts) > 1:
        raise InputError(f"the priors have different numbers of classes: {', '.join(map(str, sorted(counts)))}")
    count = counts.pop() if counts else 0
    if names and len(names) != count:
        raise InputError(f"{len(names)} class names for priors with {count} classes")
    return names or tuple(str(n) for n in range(count))


def check_class_names(checkpoints: Sequence[Checkpoint | None]) -> None:
    """Raises InputError where two checkpoints were trained on other classes, or on the same in another order."""
    told = [(each.kind, each.provenance.get("classes")) for each in checkpoints if each is not None]
    named = [(kind, list(map(str, names))) for kind, names in told if isinstance(names, list) and names]
    for kind, names in named[1:]:
        if names != named[0][1]:
            raise InputError(
                f"a {kind} was trained on the classes {', '.join(names)}, a {named[0][0]} on {', '.join(named[0][1])}; "
                "train both on the same data, with the same --class-names"
            )


def check_classifier(
    checkpoint: Checkpoint, image: tuple[int, int], vqvae: VqvaeConfig, classes: int
) -> ClassifierConfig:
    """The classifier's configuration; raises InputError where its images or classes are not the bundle's."""
    config = checkpoint.config
    if not isinstance(config, ClassifierConfig):
        raise InputError(f"expected a classifier's checkpoint, but it holds a {checkpoint.kind}")
    found, expected = (config.height, config.width, config.image_channels), (*image, vqvae.image_channels)
    if found != expected:
        shapes = (" x ".join(map(str, shape)) for shape in (found, expected))
        raise InputError("the classifier takes images of {}, the bundle's are {}".format(*shapes))
    if not classes:
        raise InputError("a classifier is given, but no prior has classes: it could judge no sample by its label")
    if config.classes != classes:
        raise InputError(f"the classifier has {config.classes} classes, the priors {classes}")
    return config


def _prior_config(checkpoint: Checkpoint) -> PriorConfig:
    if not isinstance(checkpoint.config, PriorConfig):
        raise InputError(f"expected a prior's checkpoint, but it holds a {checkpoint.kind}")
    return checkpoint.config


def describe_prior(
    name: str, checkpoint: Checkpoint, store: WeightStore, graphs: dict[str, GraphBuilder], upper: str | None
) -> Prior:
    """Builds one level's graphs into ``graphs``, by file name, and describes them for the manifest."""
    config = _prior_config(checkpoint)
    weights = arrange(config, checkpoint.weights, np.float32)
    columns = columns_per_step(config)
    described = {}

    def add(role: str, graph: GraphBuilder, precision: str = "float32") -> None:
        called = graph_name(role, precision)
        file = f"{name}.{called}.onnx"
        graphs[file] = graph
        described[called] = GraphFile(file, *bindings(graph, role.removesuffix("_filtered"), config))

    condition = condition_graph(weights, store, name)
    if condition is not None:
        add("condition", condition)
    for precision in PRECISIONS:  # over the same weights: int8 ones are rounded when they are loaded
        bits = BITS[precision]
        add("row", row_graph(weights, store, name, bits=bits), precision)
        for role in ("step", "step_filtered"):
            filtered = role == "step_filtered"
            add(role, step_graph(weights, store, name, columns=columns, filtered=filtered, bits=bits), precision)
    pointwise = sum(block.label.shape[1] for block in weights.pointwise if block.label is not None)
    return Prior(
        condition_level=upper if config.condition_codes else None,
        classes=config.classes > 0,
        columns_per_step=columns,
        memories=memories(config, pointwise),
        graphs=described,
    )


def write_graphs(folder: Path, graphs: dict[str, GraphBuilder], store: WeightStore) -> None:
    """Writes the weights once, and every graph as an ONNX file that reads them from there."""
    write_tensors(folder / WEIGHTS_FILE, store.tensors)
    offsets = _offsets(folder / WEIGHTS_FILE)
    for name, graph in graphs.items():
        model = graph.model(offsets)
        (folder / name).write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(folder / name), full_check=True)


def _offsets(path: Path) -> dict[str, tuple[int, int]]:
    """Each tensor's (offset, length) in a safetensors file, in bytes: an 8-byte length, a JSON header, the data."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    spans = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}
    return {name: (8 + length + begin, end - begin) for name, (begin, end) in spans.items()}


def _record(file: Path) -> FileRecord:
    with file.open("rb") as opened:
        return FileRecord(file.stat().st_size, hashlib.file_digest(opened, "sha256").hexdigest())


def _models(source: BundleSource) -> dict[str, dict[str, Any]]:
    return {
        name: {"configuration": to_json(checkpoint.config), **checkpoint.provenance}
        for name, checkpoint in source.checkpoints().items()
    }
