"""``latentloop export``: checkpoints to a bundle."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.errors import InputError
from latentloop.extras import require
from latentloop.files import check_free, write_each

if TYPE_CHECKING:  # the parser is built without the export extra
    from latentloop.export.checkpoint import Checkpoint
    from latentloop.export.train.data import Data

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
    told.add_argument("--heads", type=int, default=8, metavar="N", help="attention heads (default: 8)")
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
    forms.add_argument(
        "--vqvae-inplace",
        action=argparse.BooleanOptionalAction,
        help="the VQ-VAE was trained by an older release (default: as the file says, today's otherwise)",
    )
    for option, text in (("--priors-inplace", "were trained by an older release"), ("--no-priors-inplace", "were not")):
        forms.add_argument(
            option, nargs="?", const="", metavar="A,B", help=f"the priors of these levels (default: of all) {text}"
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
    from latentloop.export.bundle import BundleSource, check_codes, check_fit, write_bundle
    from latentloop.export.checkpoint import save_checkpoint
    from latentloop.export.configuration import VqvaeConfig
    from latentloop.export.form_hint import form_hint
    from latentloop.export.forms import in_form
    from latentloop.export.golden import SAMPLES
    from latentloop.export.reading import read_classifier, read_prior, read_vqvae
    from latentloop.export.states import StateChoices

    check_free(arguments.out, force=arguments.force, directory=True)
    if arguments.save_checkpoints:
        check_free(arguments.save_checkpoints / "vqvae.safetensors", force=True)
    states = StateChoices.parse(arguments.state)
    vqvae = in_form(read_vqvae(arguments.vqvae, states.of("vqvae")), arguments.vqvae_inplace)
    assert isinstance(vqvae.config, VqvaeConfig)
    image = parse_size(arguments.image) if arguments.image else None
    files = prior_files(arguments, vqvae.config.level_names)
    forms = prior_forms(arguments, vqvae.config.level_names)
    priors: list[Checkpoint | None] = []
    for index, name in enumerate(vqvae.config.level_names):
        stride = vqvae.config.stride(index)
        grid = (image[0] // stride, image[1] // stride) if image else None
        prior = None
        if name in files:
            prior = read_prior(files[name], heads=arguments.heads, grid=grid, choice=states.of(name))
            prior = in_form(prior, forms.get(name))
        priors.append(prior)
    states.check()
    image = check_fit(vqvae.config, priors, image)
    check_codes(vqvae, priors)
    golden = None
    if arguments.data:
        data = _load_data(arguments.data, image, vqvae.config.image_channels)
        golden = data.held_out.images[:SAMPLES]
        levels = dict(zip(vqvae.config.level_names, priors, strict=True))
        named = {*forms, *(() if arguments.vqvae_inplace is None else ("vqvae",))}
        _check_forms(vqvae, {name: prior for name, prior in levels.items() if prior is not None}, data, named)
    elif arguments.vqvae_inplace is None and "layout" in vqvae.provenance and (hint := form_hint(vqvae)):
        print(f"latentloop: hint: {hint}", file=sys.stderr)
    classes = tuple(name.strip() for name in arguments.class_names.split(",")) if arguments.class_names else ()
    source = BundleSource(
        vqvae=vqvae,
        priors=priors,
        image=image,
        classes=classes or _trained_classes(priors),
        licence=arguments.licence,
        golden_images=golden,
        classifier=read_classifier(arguments.classifier) if arguments.classifier else None,
        weights=arguments.weights,
    ).rounded()
    given = [arguments.vqvae, *files.values(), *([arguments.classifier] if arguments.classifier else [])]
    if arguments.save_checkpoints and arguments.save_checkpoints.resolve().is_relative_to(arguments.out.resolve()):
        raise InputError(
            f"--save-checkpoints {arguments.save_checkpoints} lies in --out, which holds the bundle: move it"
        )
    saved = saved_files(arguments.save_checkpoints, source.checkpoints(), given, force=arguments.force)
    writes = {
        str(file): partial(save_checkpoint, file, checkpoint, dtype=arguments.weights, force=arguments.force)
        for file, checkpoint in saved.items()
    }
    write_each(writes | {str(arguments.out): partial(write_bundle, arguments.out, source, force=arguments.force)})
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"wrote {arguments.out} ({size / 1e6:.1f} MB); try: latentloop verify {arguments.out}")
    return 0


def prior_forms(arguments: argparse.Namespace, levels: tuple[str, ...]) -> dict[str, bool]:
    """Whether a level's prior works in place, for the levels that were named. Raises InputError."""
    found: dict[str, bool] = {}
    for option, text, inplace in (
        ("--priors-inplace", arguments.priors_inplace, True),
        ("--no-priors-inplace", arguments.no_priors_inplace, False),
    ):
        if text is None:
            continue
        for name in [name.strip() for name in text.split(",")] if text else levels:
            if name not in levels:
                raise InputError(f"{option} names the level {name!r}; the VQ-VAE has: {', '.join(levels)}")
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


def saved_files(
    folder: Path | None, checkpoints: dict[str, Checkpoint], given: list[Path], *, force: bool
) -> dict[Path, Checkpoint]:
    """Where --save-checkpoints writes what. Raises InputError for a file that was ``given``, OutputError for others."""
    if folder is None:
        return {}
    files = {folder / f"{name}.safetensors": checkpoint for name, checkpoint in checkpoints.items()}
    for file in files:
        if file.resolve() in {one.resolve() for one in given}:
            raise InputError(f"--save-checkpoints would replace {file}, which is exported: give another folder")
        check_free(file, force=force)
    return files


def _check_forms(vqvae: Checkpoint, priors: dict[str, Checkpoint], data: Data, named: set[str]) -> None:
    """Prints what the data says of the checkpoints. Raises InputError where it contradicts a form nobody named."""
    from latentloop.export.form_check import check_against_data

    report = check_against_data(vqvae, priors, data, named)
    for line in report.lines:
        print(line)
    for warning in report.warnings:
        print(f"latentloop: warning: {warning}", file=sys.stderr)


def _load_data(folder: Path, image: tuple[int, int], channels: int) -> Data:
    from latentloop.export.train.data import load_data

    height, width = image
    if height != width:
        raise InputError(f"--data serves square images only, the bundle's are {height} x {width}")
    return load_data(folder, height, image_channels=channels)


def _trained_classes(priors: list[Checkpoint | None]) -> tuple[str, ...]:
    """The class names that training stored in the priors, where it did."""
    for checkpoint in priors:
        names = checkpoint.provenance.get("classes") if checkpoint else None
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()
