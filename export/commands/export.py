"""``latentloop export``: converts checkpoints to a bundle."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.cli.messages import note
from latentloop.environment.packages import require
from latentloop.errors import InputError
from latentloop.export.commands.classifier_options import add_classifier_settings
from latentloop.export.commands.command_line import command
from latentloop.export.commands.vqvae_inplace import add_vqvae_inplace
from latentloop.io.files import check_free, write_each

if TYPE_CHECKING:  # building the parser must not need the export extra
    from latentloop.export.bundle import BundleSource
    from latentloop.export.data.datasets import Data
    from latentloop.export.inplace.check import MeasuredImages

HELP = "turn trained checkpoints into a bundle"
EPILOG = """examples:
  latentloop export --vqvae vqvae.pt --top top.pt --bottom bottom.pt --out bundle
  latentloop export --vqvae vqvae.safetensors --out codec
  latentloop export --vqvae v.pt --prior top=t.pt --prior middle=m.pt --prior bottom=b.pt --out bundle
  latentloop export --vqvae v.pt --top t.pt --bottom b.pt --state ema --state vqvae=model --out bundle
  latentloop export --vqvae v.safetensors --top t.safetensors --bottom b.safetensors --weights float16 --out bundle
  latentloop export --vqvae vqvae.pt --top top.pt --bottom bottom.pt --data images/ --card --out bundle
  latentloop export --vqvae v.pt --top t.pt --bottom b.pt --classifier c.onnx --classifier-preset imagenet --out bundle

Files of `latentloop train` and of the common PyTorch implementation are recognised by their content and read safely:
nothing in them is executed. If a file holds several states (weights, ema), export uses one and says which; --state
selects another.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("--vqvae", type=Path, required=True, metavar="FILE", help="the VQ-VAE")
    for name in ("top", "middle", "bottom"):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"the {name} level's prior")
    parser.add_argument(
        "--prior", action="append", default=[], metavar="LEVEL=FILE", help="the prior of a level by the level's name"
    )
    parser.add_argument(
        "--classifier",
        type=Path,
        metavar="FILE",
        help="a classifier, for `latentloop sample --best`: of `latentloop train classifier`, or any in ONNX",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the bundle's directory")
    _add_unstored(parser.add_argument_group("values that a file does not determine"))
    add_classifier_settings(parser)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="measure the models on this data set's images, take the golden vectors' images from it, and count how "
        "often codes occur if the VQ-VAE's file does not say it (codes that are not drawn look like their mean)",
    )
    _add_inplace(
        parser.add_argument_group(
            "releases of the common implementation before mid 2020 (priors) and early 2021 (VQ-VAE)",
            "Their residual blocks worked in place. No name or shape in a file shows it; --data measures it.",
        )
    )
    parser.add_argument(
        "--licence",
        metavar="TEXT",
        help="licence of the weights, stored in the manifest (default: what the checkpoints state)",
    )
    parser.add_argument(
        "--weights",
        choices=("float32", "float16"),
        default="float32",
        help="float16: round the weights to float16 and store them in half the bytes; all computation is in float32 "
        "(default: float32)",
    )
    parser.add_argument(
        "--save-checkpoints", type=Path, metavar="DIR", help="also write the checkpoints here, rounded like the bundle"
    )
    parser.add_argument(
        "--card",
        action="store_true",
        help="also write a model card (README.md, samples.png) into the bundle, with figures if --data measures some",
    )
    parser.add_argument("--force", action="store_true", help="replace --out, and the files of --save-checkpoints")


def _add_unstored(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--image", metavar="HxW", help="image size in pixels (default: that of the training)")
    group.add_argument("--heads", type=int, metavar="N", help="attention heads (default: 8)")
    group.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="[PART=]NAME",
        help="the state to use of files that hold several, such as ema; vqvae=NAME or LEVEL=NAME for one file",
    )
    group.add_argument(
        "--class-names", metavar="A,B,…", help="names of the classes, by label (default: what the checkpoints state)"
    )


def _add_inplace(group: argparse._ArgumentGroup) -> None:
    add_vqvae_inplace(group)
    for option, text in (("--priors-inplace", "were trained by an older release"), ("--no-priors-inplace", "were not")):
        group.add_argument(
            option,
            nargs="?",
            const="",
            action="append",
            metavar="A,B",
            help=f"the priors of these levels (default: of all) {text}",
        )


def run(arguments: argparse.Namespace) -> int:
    """Exports checkpoints, and returns the exit status. Raises LatentLoopError."""
    require("exporting", "torch", "onnx")
    from latentloop.export.bundle.checks import check_source, check_target, recorded_image
    from latentloop.export.bundle.needs import WORTH_SAYING, needs
    from latentloop.export.bundle.usage import with_measured_usage
    from latentloop.export.bundle.writing import write_checked_bundle
    from latentloop.export.checkpoints.checkpoint import save_checkpoint
    from latentloop.export.commands.export_source import read_source
    from latentloop.export.inplace.hint import inplace_hint
    from latentloop.export.specification.golden import SAMPLES

    # 1. Read and check everything before long work.
    check_free(arguments.out, force=arguments.force, directory=True)
    if arguments.save_checkpoints:
        check_free(arguments.save_checkpoints / "vqvae.safetensors", force=True)
    source, files, named = read_source(arguments)
    checked = check_source(source)
    check_target(arguments.out)
    targets = saved_files(arguments, list(source.checkpoints()), files)
    if (recorded := recorded_image(source.vqvae)) not in (None, checked.image):
        size, trained_on = (" x ".join(map(str, each or ())) for each in (checked.image, recorded))
        note(f"the bundle is for images of {size}, the VQ-VAE was trained on {trained_on}")
    needed = needs(checked, saves=bool(targets), measures=bool(arguments.data))
    if max(needed.memory, needed.disk) > WORTH_SAYING:
        note(f"this export needs {needed}")

    # 2. Measure the models on the data set of --data.
    measured: tuple[MeasuredImages, ...] = ()
    if arguments.data:
        data = _load_data(arguments.data, checked.image, checked.config.image_channels)
        measured = _measure(source, data, named)
        checked = with_measured_usage(checked, data.training).with_golden_images(data.held_out.images[:SAMPLES])
    elif "vqvae" not in named and "layout" in source.vqvae.provenance and (hint := inplace_hint(source.vqvae)):
        note(f"hint: {hint}")

    # 3. Round the weights, and write the checkpoints and the bundle.
    checked = checked.rounded()
    writes = {
        str(targets[name]): partial(save_checkpoint, targets[name], each, dtype=checked.weights, force=arguments.force)
        for name, each in checked.source.checkpoints().items()
        if name in targets
    }
    card = measured if arguments.card else None
    writes[str(arguments.out)] = partial(write_checked_bundle, arguments.out, checked, card=card, force=arguments.force)
    write_each(writes)
    size = sum(file.stat().st_size for file in arguments.out.iterdir())
    print(f"wrote {arguments.out} ({size / 1e6:.1f} MB); try: {command('verify', arguments.out)}")
    return 0


def saved_files(arguments: argparse.Namespace, names: list[str], inputs: list[Path]) -> dict[str, Path]:
    """Returns the files that --save-checkpoints writes, by the names of their checkpoints.

    Raises InputError if one of them is one of the ``inputs`` or is inside --out; OutputError if one exists.
    """
    folder = arguments.save_checkpoints
    if folder is None:
        return {}
    if folder.resolve().is_relative_to(arguments.out.resolve()):
        raise InputError(f"--save-checkpoints {folder} is inside --out, which holds the bundle: choose another folder")
    files = {name: folder / f"{name}.safetensors" for name in names}
    for file in files.values():
        if file.resolve() in {each.resolve() for each in inputs}:
            raise InputError(f"--save-checkpoints would replace {file}, which is exported: choose another folder")
        check_free(file, force=arguments.force)
    return files


def _measure(source: BundleSource, data: Data, named: set[str]) -> tuple[MeasuredImages, ...]:
    """Prints measurements of the checkpoints on ``data``, and returns them.

    Raises InputError if they contradict a variant (in place or not) that the user did not name.
    """
    from latentloop.export.inplace.check import check_against_data

    priors = {name: each for name, each in source.checkpoints().items() if each.kind == "prior"}
    report = check_against_data(source.vqvae, priors, data, named)
    for line in report.lines:
        print(line)
    for warning in report.warnings:
        note(f"warning: {warning}")
    if report.error:
        raise InputError(report.error)
    return report.measured


def _load_data(folder: Path, image: tuple[int, int], channels: int) -> Data:
    from latentloop.export.data.datasets import load_data

    height, width = image
    if height != width:
        raise InputError(f"--data needs square images, the bundle's are {height} x {width}")
    return load_data(folder, height, image_channels=channels)
