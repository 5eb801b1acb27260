"""``latentloop export``: checkpoints to a bundle."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.environment.packages import require
from latentloop.errors import InputError
from latentloop.export.commands.vqvae_form import add_vqvae_form
from latentloop.io.files import check_free, write_each

if TYPE_CHECKING:  # the parser is built without the export extra
    from latentloop.export.bundle import BundleSource
    from latentloop.export.checkpoints.checkpoint import Checkpoint
    from latentloop.export.train.data.datasets import Data

HELP = "turn trained checkpoints into a bundle"
EPILOG = """examples:
  latentloop export --vqvae vqvae.pt --top top.pt --bottom bottom.pt --out bundle
  latentloop export --vqvae vqvae.safetensors --image 256x256 --out codec
  latentloop export --vqvae v.pt --prior top=t.pt --prior middle=m.pt --prior bottom=b.pt --out bundle
  latentloop export --vqvae v.pt --top t.pt --bottom b.pt --state ema --state vqvae=model --out bundle
  latentloop export --vqvae v.safetensors --top t.safetensors --bottom b.safetensors --weights float16 --out bundle

LatentLoop's own files (latentloop train) and the common PyTorch layout are read, told by their content, and safely:
nothing in them is executed. Of several states in a file (weights, ema) one is taken and told; --state names another.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--vqvae", type=Path, required=True, metavar="FILE", help="the VQ-VAE")
    for name in ("top", "middle", "bottom"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"the {name} level's prior")
    parser.add_argument(
        "--prior", action="append", default=[], metavar="LEVEL=FILE", help="a prior of a level by its name"
    )
    parser.add_argument("--classifier", type=Path, metavar="FILE", help="a classifier, for `latentloop sample --best`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle's directory")
    told = parser.add_argument_group("what a file cannot tell")
    told.add_argument("--image", metavar="HxW", help="image size in pixels (default: from the priors' grids)")
    told.add_argument("--heads", type=int, metavar="N", help="attention heads (default: 8)")
    told.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="[PART=]NAME",
        help="which state to take of files that hold several, such as ema; vqvae=NAME or LEVEL=NAME for one file",
    )
    told.add_argument("--class-names", metavar="A,B,…", help="names of the classes, by label")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="measure the models on this data set's images, and take the golden vectors' images from it",
    )
    forms = parser.add_argument_group(
        "releases of the common implementation before mid 2020 (priors) and early 2021 (VQ-VAE)",
        "Their residual blocks worked in place, which no name or shape in a file tells; with --data, export finds out.",
    )
    add_vqvae_form(forms)
    for option, text in (("--priors-inplace", "were trained by an older release"), ("--no-priors-inplace", "were not")):
        forms.add_argument(
            option,
            nargs="?",
            const="",
            action="append",
            metavar="A,B",
            help=f"the priors of these levels (default: of all) {text}",
        )
    parser.add_argument("--licence", default="", help="licence of the weights, stored in the manifest")
    parser.add_argument(
        "--weights",
        choices=("float32", "float16"),
        default="float32",
        help="float16: round the weights to it and store them in half the bytes; they are computed with in float32 "
        "(default: float32)",
    )
    parser.add_argument(
        "--save-checkpoints", type=Path, metavar="DIR", help="write the checkpoints, rounded as the bundle's, here too"
    )
    parser.add_argument("--force", action="store_true", help="replace --out, and what --save-checkpoints writes")


def run(arguments: argparse.Namespace) -> int:
    """Exports; returns the exit status. Raises LatentLoopError."""
    require("exporting", "torch", "onnx")
    from latentloop.export.bundle import check_source, check_target, write_bundle
    from latentloop.export.checkpoints.checkpoint import save_checkpoint
    from latentloop.export.forms.hint import form_hint
    from latentloop.export.specification.golden import SAMPLES

    check_free(arguments.out, force=arguments.force, directory=True)
    if arguments.save_checkpoints:
        check_free(arguments.save_checkpoints / "vqvae.safetensors", force=True)
    source, files, named = _read(arguments)
    fit = check_source(source)
    check_target(arguments.out)
    saved = saved_files(arguments, list(source.checkpoints()), files)
    if arguments.data:
        data = _load_data(arguments.data, fit.image, fit.config.image_channels)
        _check_forms(source, data, named)
        source = replace(source, golden_images=data.held_out.images[:SAMPLES])
    elif "vqvae" not in named and "layout" in source.vqvae.provenance and (hint := form_hint(source.vqvae)):
        print(f"latentloop: hint: {hint}", file=sys.stderr)
    source = source.rounded()
    writes = {
        str(saved[name]): partial(save_checkpoint, saved[name], each, dtype=arguments.weights, force=arguments.force)
        for name, each in source.checkpoints().items()
        if name in saved
    }
    write_each(writes | {str(arguments.out): partial(write_bundle, arguments.out, source, force=arguments.force)})
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"wrote {arguments.out} ({size / 1e6:.1f} MB); try: latentloop verify {arguments.out}")
    return 0


def _read(arguments: argparse.Namespace) -> tuple[BundleSource, list[Path], set[str]]:
    """What the options name: the checkpoints, their files, and those of them whose form was named."""
    from latentloop.export.bundle import BundleSource
    from latentloop.export.checkpoints.reading import read_classifier, read_prior, read_vqvae
    from latentloop.export.checkpoints.state_choice import StateChoices
    from latentloop.export.configuration import VqvaeConfig
    from latentloop.export.forms.form import read_form

    states = StateChoices.parse(arguments.state)
    vqvae = read_form(arguments.vqvae, read_vqvae(arguments.vqvae, states.of("vqvae")), arguments.vqvae_inplace)
    assert isinstance(vqvae.config, VqvaeConfig)
    image = parse_size(arguments.image) if arguments.image else None
    files = prior_files(arguments, vqvae.config.level_names)
    forms = prior_forms(arguments, tuple(files))
    priors: list[Checkpoint | None] = []
    for index, name in enumerate(vqvae.config.level_names):
        stride = vqvae.config.stride(index)
        grid = (image[0] // stride, image[1] // stride) if image else None
        prior = None
        if name in files:
            prior = read_prior(files[name], heads=arguments.heads, grid=grid, choice=states.of(name))
            prior = read_form(files[name], prior, forms.get(name))
        priors.append(prior)
    states.check()
    if arguments.heads is not None and not any(prior and _attends(prior) for prior in priors):
        raise InputError("--heads is for priors with attention, and none is given: leave it out")
    classes = tuple(name.strip() for name in arguments.class_names.split(",")) if arguments.class_names else ()
    source = BundleSource(
        vqvae=vqvae,
        priors=priors,
        image=image,
        classes=classes or _trained_classes(priors),
        licence=arguments.licence,
        classifier=read_classifier(arguments.classifier) if arguments.classifier else None,
        weights=arguments.weights,
    )
    named = {*forms, *(() if arguments.vqvae_inplace is None else ("vqvae",))}
    return source, [arguments.vqvae, *files.values(), *filter(None, [arguments.classifier])], named


def prior_forms(arguments: argparse.Namespace, levels: tuple[str, ...]) -> dict[str, bool]:
    """Whether a level's prior works in place, for those that were named of the ``levels`` that have one.

    Raises InputError for a level without a prior, or one that is named with both forms.
    """
    found: dict[str, bool] = {}
    for option, texts, inplace in (
        ("--priors-inplace", arguments.priors_inplace, True),
        ("--no-priors-inplace", arguments.no_priors_inplace, False),
    ):
        if texts and not levels:
            raise InputError(f"{option} says how priors were trained, and none is given")
        for text in texts or ():
            for name in [part.strip() for part in text.split(",") if part.strip()] or levels:
                if name not in levels:
                    raise InputError(f"{option} names the level {name!r}; priors are given for: {', '.join(levels)}")
                if found.setdefault(name, inplace) != inplace:
                    raise InputError(f"--priors-inplace and --no-priors-inplace both name the level {name!r}")
    return found


def parse_size(text: str) -> tuple[int, int]:
    """``HxW`` or one number for a square -> (height, width). Raises InputError."""
    parts = text.lower().split("x")
    if not 1 <= len(parts) <= 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise InputError(f"image is {text!r}, expected HEIGHTxWIDTH, such as 256x256")
    return int(parts[0]), int(parts[-1])


def prior_files(arguments: argparse.Namespace, levels: tuple[str, ...]) -> dict[str, Path]:
    """The priors' files by level. Raises InputError for a level that the VQ-VAE does not have, or one given twice."""
    pairs = [(name, getattr(arguments, name)) for name in ("top", "middle", "bottom") if getattr(arguments, name)]
    for text in arguments.prior:
        name, separator, file = text.partition("=")
        if not separator or not file:
            raise InputError(f"prior is {text!r}, expected LEVEL=FILE")
        pairs.append((name, Path(file)))
    found: dict[str, Path] = {}
    for name, file in pairs:
        if name not in levels:
            raise InputError(f"a prior is given for the level {name!r}; the VQ-VAE has: {', '.join(levels)}")
        if name in found:
            raise InputError(f"two priors are given for the level {name!r}")
        found[name] = file
    return found


def saved_files(arguments: argparse.Namespace, names: list[str], given: list[Path]) -> dict[str, Path]:
    """Where --save-checkpoints writes the checkpoints of those names.

    Raises InputError for a file that was ``given``, and for a folder in --out; OutputError for others.
    """
    folder = arguments.save_checkpoints
    if folder is None:
        return {}
    if folder.resolve().is_relative_to(arguments.out.resolve()):
        raise InputError(f"--save-checkpoints {folder} lies in --out, which holds the bundle: move it")
    files = {name: folder / f"{name}.safetensors" for name in names}
    for file in files.values():
        if file.resolve() in {one.resolve() for one in given}:
            raise InputError(f"--save-checkpoints would replace {file}, which is exported: give another folder")
        check_free(file, force=arguments.force)
    return files


def _check_forms(source: BundleSource, data: Data, named: set[str]) -> None:
    """Prints what the data says of the checkpoints. Raises InputError where it contradicts a form that nobody named."""
    from latentloop.export.forms.check import check_against_data

    priors = {name: each for name, each in source.checkpoints().items() if each.kind == "prior"}
    report = check_against_data(source.vqvae, priors, data, named)
    for line in report.lines:
        print(line)
    for warning in report.warnings:
        print(f"latentloop: warning: {warning}", file=sys.stderr)
    if report.error:
        raise InputError(report.error)


def _load_data(folder: Path, image: tuple[int, int], channels: int) -> Data:
    from latentloop.export.train.data.datasets import load_data

    height, width = image
    if height != width:
        raise InputError(f"--data serves square images only, the bundle's are {height} x {width}")
    return load_data(folder, height, image_channels=channels)


def _attends(prior: Checkpoint) -> bool:
    return bool(getattr(prior.config, "attention", False))


def _trained_classes(priors: list[Checkpoint | None]) -> tuple[str, ...]:
    """The class names that training stored in the priors, where it did."""
    for checkpoint in priors:
        names = checkpoint.provenance.get("classes") if checkpoint else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()
