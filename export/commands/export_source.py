"""The source of a bundle from the options of ``latentloop export``."""

from __future__ import annotations

import argparse
from pathlib import Path

from latentloop.cli.messages import note
from latentloop.errors import InputError
from latentloop.export.bundle import BundleSource
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.commands.classifier_options import read_any_classifier
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.inplace.variant import with_inplace_option
from latentloop.export.layouts.reading import read_prior, read_vqvae
from latentloop.export.onnx_classifiers.model import OnnxModel
from latentloop.export.state_dicts.selection import StateOption


def read_source(arguments: argparse.Namespace) -> tuple[BundleSource, list[Path], set[str]]:
    """Reads the checkpoints.

    Returns the source, the checkpoints' files, and the names of the checkpoints whose variant (in place or not) the
    user named. Raises CheckpointError, InputError.
    """
    states = StateOption.parse(arguments.state)
    vqvae = read_vqvae(arguments.vqvae, states.selection("vqvae"))
    vqvae = with_inplace_option(arguments.vqvae, vqvae, arguments.vqvae_inplace)
    assert isinstance(vqvae.config, VqvaeConfig)
    image = parse_size(arguments.image) if arguments.image else None
    files = prior_files(arguments, vqvae.config.level_names)
    variants = prior_variants(arguments, tuple(files))
    priors: list[Checkpoint | None] = []
    for index, name in enumerate(vqvae.config.level_names):
        stride = vqvae.config.stride(index)
        grid = (image[0] // stride, image[1] // stride) if image else None
        prior = None
        if name in files:
            prior = read_prior(files[name], heads=arguments.heads, grid=grid, selection=states.selection(name))
            prior = with_inplace_option(files[name], prior, variants.get(name))
        priors.append(prior)
    states.check()
    if arguments.heads is not None and not any(prior and _attends(prior) for prior in priors):
        raise InputError("--heads is for priors with attention, and there is none: leave it out")
    classes = tuple(name.strip() for name in arguments.class_names.split(",")) if arguments.class_names else ()
    classifier, settings = read_any_classifier(arguments)
    known = [each for each in (vqvae, *priors, classifier) if isinstance(each, Checkpoint)]
    source = BundleSource(
        vqvae=vqvae,
        priors=priors,
        image=image,
        classes=classes or recorded_classes(priors, classifier),
        licence=recorded_licence(known) if arguments.licence is None else arguments.licence,
        classifier=classifier,
        classifier_settings=settings,
        classifier_name=str(arguments.classifier or BundleSource.classifier_name),
        weights=arguments.weights,
    )
    named = {*variants, *(() if arguments.vqvae_inplace is None else ("vqvae",))}
    return source, [arguments.vqvae, *files.values(), *filter(None, [arguments.classifier])], named


def parse_size(text: str) -> tuple[int, int]:
    """Parses ``HxW``, or one number for a square, to (height, width). Raises InputError."""
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"image is {text!r}, expected HEIGHTxWIDTH, such as 256x256")
    return int(parts[0]), int(parts[-1])


def prior_files(arguments: argparse.Namespace, levels: tuple[str, ...]) -> dict[str, Path]:
    """Returns the priors' files by level.

    ``levels``: those of the VQ-VAE. Raises InputError for another level, or one with two files.
    """
    pairs = [(name, getattr(arguments, name)) for name in ("top", "middle", "bottom") if getattr(arguments, name)]
    for text in arguments.prior:
        name, separator, file = text.partition("=")
        if not separator or not file:
            raise InputError(f"prior is {text!r}, expected LEVEL=FILE")
        pairs.append((name, Path(file)))
    files: dict[str, Path] = {}
    for name, file in pairs:
        if name not in levels:
            raise InputError(f"a prior is given for the level {name!r}; the VQ-VAE has: {', '.join(levels)}")
        if name in files:
            raise InputError(f"two priors are given for the level {name!r}")
        files[name] = file
    return files


def prior_variants(arguments: argparse.Namespace, levels: tuple[str, ...]) -> dict[str, bool]:
    """Returns whether a level's prior works in place, for the levels that --[no-]priors-inplace names.

    ``levels``: those with a prior. Raises InputError for another level, or one that both options name.
    """
    variants: dict[str, bool] = {}
    for option, texts, inplace in (
        ("--priors-inplace", arguments.priors_inplace, True),
        ("--no-priors-inplace", arguments.no_priors_inplace, False),
    ):
        if texts and not levels:
            raise InputError(f"{option} says how priors were trained, but no prior is given")
        for text in texts or ():
            for name in [part.strip() for part in text.split(",") if part.strip()] or levels:
                if name not in levels:
                    raise InputError(f"{option} names the level {name!r}; priors are given for: {', '.join(levels)}")
                if variants.setdefault(name, inplace) != inplace:
                    raise InputError(f"--priors-inplace and --no-priors-inplace both name the level {name!r}")
    return variants


def _attends(prior: Checkpoint) -> bool:
    return bool(getattr(prior.config, "attention", False))


def recorded_classes(priors: list[Checkpoint | None], classifier: Checkpoint | OnnxModel | None) -> tuple[str, ...]:
    """Returns the class names that training recorded in a prior, else those of a classifier of the priors' number of
    classes; none if no file has them.
    """
    counts = {getattr(prior.config, "classes", 0) for prior in priors if prior} - {0}
    own = classifier if isinstance(classifier, Checkpoint) else None
    fits = own is not None and {getattr(own.config, "classes", 0)} == counts
    for checkpoint in (*priors, own if fits else None):
        names = checkpoint.provenance.get("classes") if checkpoint else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def recorded_licence(checkpoints: list[Checkpoint]) -> str:
    """Returns the licence that training recorded in these checkpoints; empty, with a note, if they state several."""
    stated = sorted({str(each.provenance["licence"]) for each in checkpoints if each.provenance.get("licence")})
    if len(stated) > 1:
        note(
            f"the checkpoints state different licences, so the bundle states none; pass --licence: {'; '.join(stated)}"
        )
    return stated[0] if len(stated) == 1 else ""
