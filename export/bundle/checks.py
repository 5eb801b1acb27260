"""Checks that the checkpoints of a bundle fit each other and the options."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from latentloop.errors import InputError, OutputError, plural
from latentloop.export.bundle.classifier_check import run_attached
from latentloop.export.bundle.source import BundleSource, CheckedSource, prior_config
from latentloop.export.checkpoints.checkpoint import STORED, Checkpoint
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import ClassifierConfig, VqvaeConfig
from latentloop.export.inplace.variant import VARIANTS
from latentloop.export.onnx_classifiers.attached import AttachedClassifier, attach
from latentloop.export.onnx_classifiers.model import OnnxModel
from latentloop.io.file_names import MANIFEST


def check_source(source: BundleSource) -> CheckedSource:
    """Checks the source; its weights are not rounded yet.

    Raises InputError if the checkpoints do not fit each other or the options, and CheckpointError for a classifier in
    ONNX that cannot be used.
    """
    config = source.vqvae.config
    if not isinstance(config, VqvaeConfig):
        raise InputError(f"a bundle needs a VQ-VAE, but its checkpoint holds a {source.vqvae.kind}")
    if source.weights not in STORED.values():
        raise InputError(f"weights is {source.weights!r}, expected one of {', '.join(STORED.values())}")
    priors = tuple(source.priors) or (None,) * config.levels
    image = check_priors(config, priors, source.image, recorded_image(source.vqvae))
    check_codes(source.vqvae, priors)
    own = source.checkpoints().get("classifier")
    check_class_names([*priors, own])
    classes = check_classes(priors, source.classes)
    attached: AttachedClassifier | None = None
    if own is not None:
        check_classifier(own, image, config, len(classes), source.classifier_name)
    elif isinstance(source.classifier, OnnxModel):
        check_has_classes(len(classes))
        model, settings = source.classifier, source.classifier_settings
        attached = run_attached(attach(model, settings, (*image, config.image_channels), classes))
    return CheckedSource(source, config, priors, image, classes, attached=attached)


def check_target(path: Path) -> None:
    """Raises OutputError if ``path`` is a directory with files in it that is not a bundle."""
    if path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).exists():
        raise OutputError(f"{path} is a directory that holds no bundle: choose another name, or empty it yourself")


def recorded_image(vqvae: Checkpoint) -> tuple[int, int] | None:
    """Returns the size (height, width) of the images that LatentLoop trained a VQ-VAE on, None if it is not known."""
    size = vqvae.provenance.get("size")
    return (size, size) if isinstance(size, int) and size > 0 else None


def check_priors(
    config: VqvaeConfig,
    priors: Sequence[Checkpoint | None],
    image: tuple[int, int] | None,
    recorded: tuple[int, int] | None = None,
) -> tuple[int, int]:
    """Returns the image size (height, width): ``image``, or that of the priors, or ``recorded`` without priors.

    ``priors``: one per level, top first. Raises InputError if their number, grids, codebook sizes or conditions do not
    match the VQ-VAE's, or if nothing determines the image size.
    """
    names = config.level_names
    if len(priors) != config.levels:
        raise InputError(f"the VQ-VAE has {config.levels} levels ({', '.join(names)}), got {len(priors)} priors")
    for index, checkpoint in enumerate(priors):
        if checkpoint is None:
            continue
        prior, name, stride = prior_config(checkpoint), names[index], config.stride(index)
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
    image = image or recorded
    if image is None:
        raise InputError(
            "the image size is unknown: there is no prior, and the VQ-VAE's file does not state it; pass it"
            " (--image HEIGHTxWIDTH)"
        )
    coarsest = config.stride(0)
    if image[0] % coarsest or image[1] % coarsest:
        raise InputError(
            f"images of {image[0]} x {image[1]} cannot be halved down to the top level: use multiples of {coarsest}"
        )
    return image


def check_codes(vqvae: Checkpoint, priors: Sequence[Checkpoint | None]) -> None:
    """Raises InputError if a prior's checkpoint records that it was trained on the codes of another VQ-VAE.

    The recorded digest is compared with the one that the VQ-VAE's trainer recorded and with the digest of its weights:
    the two differ if the weights were rounded to float16 before or after the prior was trained.
    """
    config, weights = vqvae.config, vqvae.weights
    assert isinstance(config, VqvaeConfig)
    recorded = vqvae.provenance.get("codes_sha256")
    for checkpoint in priors:
        expected = None if checkpoint is None else checkpoint.provenance.get("codes_sha256")
        if expected is None or expected == recorded or expected == codes_digest(config, weights):
            continue
        if expected == codes_digest(replace(config, inplace=not config.inplace), weights):
            option = "--no-vqvae-inplace" if config.inplace else "--vqvae-inplace"
            raise InputError(
                f"a prior was trained on the codes of this VQ-VAE in {VARIANTS[not config.inplace]}: pass {option}"
            )
        if recorded is None:
            continue
        raise InputError(
            f"a prior was trained on the codes of another VQ-VAE: its codes_sha256 is {str(expected)[:12]}…, the "
            f"VQ-VAE's {str(recorded)[:12]}…; pass the VQ-VAE that it was trained with"
        )


def check_classes(priors: Sequence[Checkpoint | None], names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the class names: ``names``, or numbers if it is empty.

    Raises InputError if the priors have different numbers of classes, or another number than ``names``, or if names
    are empty or equal.
    """
    counts = {prior_config(checkpoint).classes for checkpoint in priors if checkpoint is not None} - {0}
    if len(counts) > 1:
        raise InputError(f"the priors have different numbers of classes: {', '.join(map(str, sorted(counts)))}")
    count = counts.pop() if counts else 0
    if "" in names or len(set(names)) < len(names):
        raise InputError(f"class names are {', '.join(map(repr, names))}, expected different ones, none empty")
    if names and len(names) != count:
        raise InputError(
            f"{len(names)} class {plural(len(names), 'name')} for priors with {count} {plural(count, 'class')}"
        )
    return names or tuple(str(n) for n in range(count))


def check_class_names(checkpoints: Sequence[Checkpoint | None]) -> None:
    """Raises InputError if two checkpoints were trained with different class names, or the same in another order."""
    recorded = [(each.kind, each.provenance.get("classes")) for each in checkpoints if each is not None]
    named = [(kind, list(map(str, names))) for kind, names in recorded if isinstance(names, list) and names]
    for kind, names in named[1:]:
        if names != named[0][1]:
            raise InputError(
                f"a {kind} was trained on the classes {', '.join(names)}, a {named[0][0]} on {', '.join(named[0][1])}; "
                "train both on the same data, with the same --class-names"
            )


def check_classifier(
    checkpoint: Checkpoint, image: tuple[int, int], vqvae: VqvaeConfig, classes: int, name: str = "the classifier"
) -> None:
    """Raises InputError if the classifier's image size or number of classes is not the bundle's. ``name`` is what the
    message calls it.
    """
    config = checkpoint.config
    if not isinstance(config, ClassifierConfig):
        raise InputError(f"{name} holds a {checkpoint.kind}, expected a classifier")
    shape, expected = (config.height, config.width, config.image_channels), (*image, vqvae.image_channels)
    if shape != expected:
        texts = (" x ".join(map(str, sizes)) for sizes in (shape, expected))
        raise InputError(
            "{} accepts images of {}, the bundle's are {}: train one on images of this size, or attach one in ONNX, "
            "for which images are resized".format(name, *texts)
        )
    check_has_classes(classes)
    if config.classes != classes:
        raise InputError(f"{name} has {config.classes} classes, the priors {classes}: train one on the priors' data")


def check_has_classes(classes: int) -> None:
    """Raises InputError for a classifier of a bundle without classes."""
    if not classes:
        raise InputError("a classifier needs priors with classes, because it selects samples by label: leave it out")
