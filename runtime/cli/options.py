"""Options that several commands share, and the bundle and sampler that they select."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from latentloop.bundles.hub_address import FORM, SCHEME, HubAddress, is_address, is_mangled, parse_address
from latentloop.draws.settings import SETTINGS
from latentloop.errors import InputError
from latentloop.io.file_names import MANIFEST

if TYPE_CHECKING:  # imported late, so that --help is fast
    from latentloop.bundles.bundle import Bundle
    from latentloop.sampling.sampler import Sampler

Number = TypeVar("Number", int, float)
GRID_IMAGE_HEIGHT = 64  # pixels; by default, smaller images are enlarged in a grid to at least this height


def positive(text: str) -> int:
    """Returns the positive integer in ``text`` (a ``type`` of argparse)."""
    return _number(text, int, lambda value: value >= 1, "a positive integer")


def shard_size(text: str) -> int:
    """Returns the size of shards in ``text`` (a ``type`` of argparse)."""
    return _number(text, int, lambda value: 1 <= value < 2**31, "an integer from 1, below 2**31")


def whole_number(text: str, lowest: int, highest: int) -> int:
    """Returns the integer in ``text``, from ``lowest`` to ``highest`` (for a ``type`` of argparse)."""
    return _number(text, int, lambda value: lowest <= value <= highest, f"an integer from {lowest} to {highest}")


def fraction(text: str) -> float:
    """Returns the number in ``text``, over 0 and at most 1 (a ``type`` of argparse)."""
    return _number(text, float, lambda value: 0 < value <= 1, "a fraction over 0, at most 1")


def _number(text: str, kind: type[Number], is_allowed: Callable[[Number], bool], expected: str) -> Number:
    try:
        if is_allowed(value := kind(text)):
            return value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")


def setting(text: str) -> float | dict[str, float]:
    """Returns a number, or a number by level for a text like ``top=0.9,bottom=1`` (a ``type`` of argparse)."""
    try:
        if "=" not in text:
            return float(text)
        pairs = [part.split("=") for part in text.split(",")]
        by_level = {level.strip(): float(value) for level, value in pairs}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor level=number,…") from None
    if len(by_level) < len(pairs):
        raise argparse.ArgumentTypeError(f"{text!r} names a level twice")
    return by_level


def bundle_source(text: str) -> Path | HubAddress:
    """Returns the directory or the address of a bundle (a ``type`` of argparse)."""
    try:
        return parse_address(text) if is_address(text) else Path(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_bundle(parser: argparse._ActionsContainer, *, argument: bool = False) -> None:
    """Adds ``--bundle``; with ``argument`` the bundle may also be a plain argument. ``bundle_path`` reads both."""
    if argument:
        parser.add_argument("BUNDLE", nargs="?", type=bundle_source, help="the bundle, as --bundle names it")
    parser.add_argument(
        "--bundle",
        type=bundle_source,
        metavar="DIR",
        help=f"a directory from `latentloop export`, or an address on a model hub, {FORM} (default: the one installed "
        "with LatentLoop)",
    )


def add_running(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Adds ``--device``, ``--threads``, ``--json`` and ``--force``, and returns their argument group."""
    group = parser.add_argument_group("running")
    add_device(group)
    group.add_argument("--json", action="store_true", help="print a summary as JSON on stdout")
    group.add_argument("--force", action="store_true", help="replace outputs that exist")
    return group


def add_device(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds ``--device`` and ``--threads``."""
    from latentloop.backends import registry

    *others, last = registry.names()
    parser.add_argument(
        "--device",
        default="auto",
        metavar="NAME",
        help=f"auto, {', '.join(others)} or {last}; a GPU optionally with its number, as in cuda:1 (default: auto, the "
        "fastest one that works here)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="processor threads (default: all)")


def add_precision(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds ``--precision``."""
    parser.add_argument(
        "--precision",
        default="float32",
        metavar="NAME",
        help="precision of the priors' weights: float32, or int8 if the bundle has it; on tensorrt also float16 and "
        "bfloat16 (default: float32)",
    )


def add_settings(group: argparse._ArgumentGroup) -> None:
    """Adds the settings of the draw."""
    for each in SETTINGS.values():
        group.add_argument(
            f"--{each.name.replace('_', '-')}",
            type=setting,
            metavar="X",
            help=f"{each.help}; also by level: top=X,bottom=Y",
        )


def add_batch_size(group: argparse._ArgumentGroup) -> None:
    """Adds ``--batch-size`` of draws."""
    group.add_argument(
        "--batch-size", type=positive, metavar="N", help="images at once, padded to it (default: all, 16 at most)"
    )


def add_output(
    parser: argparse.ArgumentParser, *, required: bool, columns: str = "a square"
) -> argparse._ArgumentGroup:
    """Adds ``--out``, ``--columns`` and ``--scale``, and returns their argument group."""
    group = parser.add_argument_group("output")
    group.add_argument(
        "--out",
        required=required,
        metavar="PATH",
        help="a grid of all images (.png, .jpg or .webp), or, if the name ends in /, a folder of images, in which the "
        "same command goes on after a stop",
    )
    group.add_argument("--columns", type=positive, metavar="N", help=f"images per row of the grid (default: {columns})")
    add_scale(group)
    return group


def add_scale(group: argparse._ArgumentGroup) -> None:
    """Adds ``--scale``."""
    group.add_argument(
        "--scale",
        type=positive,
        metavar="N",
        help=f"enlarge each pixel to N x N (default: in a grid, to at least {GRID_IMAGE_HEIGHT} rows per image)",
    )


def add_shards(group: argparse._ArgumentGroup) -> None:
    """Adds ``--format`` and ``--shard-size``, for images in a folder."""
    group.add_argument(
        "--format",
        choices=("png", "npz", "tar"),
        help="files of a folder: an image each, or an archive of many, for programs that compare sets of images (npz) "
        "or read data for training (tar, as WebDataset does) (default: png)",
    )
    add_shard_size(group, "256, in archives 1024, fewer if they are large")


def add_shard_size(group: argparse.ArgumentParser | argparse._ArgumentGroup, default: str) -> None:
    """Adds ``--shard-size``."""
    group.add_argument(
        "--shard-size",
        type=shard_size,
        metavar="N",
        help=f"images in a folder that are made, written and listed in its journal as one (default: {default})",
    )


def add_images(parser: argparse.ArgumentParser) -> None:
    """Adds the input images."""
    text = "image files, IDX files, or folders of them"
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help=text)


def add_unfit_images(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Adds ``--resize`` and ``--skip-bad``, for input images that do not fit."""
    parser.add_argument(
        "--resize",
        action="store_true",
        help="crop images of another size to their centre, and resize them; images of IDX files get a black border",
    )

    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out images that cannot be used, and list them (default: list them and stop before any work)",
    )


def bundle_path(arguments: argparse.Namespace) -> Path | HubAddress | None:
    """Returns the bundle's path or address from the options of ``add_bundle``; None for the default one.

    Raises InputError if they name two bundles.
    """
    option, argument = arguments.bundle, getattr(arguments, "BUNDLE", None)
    if option is not None and argument is not None and _resolved(option) != _resolved(argument):
        raise InputError(f"two bundles are named, {argument} and --bundle {option}: leave one of them out")
    return argument if option is None else option


def _resolved(source: Path | HubAddress) -> Path | HubAddress:
    return source.resolve() if isinstance(source, Path) else source


def check_no_bundle(paths: Iterable[Path], arguments: argparse.Namespace) -> None:
    """Raises InputError if one of a command's inputs is a bundle."""
    from latentloop.bundles.manifest import FORMAT  # late, so that --help is fast

    for path in paths:
        remedy = f"{arguments.bundle} is used"
        if is_mangled(path) and not path.exists():
            address = SCHEME + "/".join(path.parts[1:])
            remedy = f"name it with --bundle {address}" if arguments.bundle is None else remedy
            raise InputError(f"{address} is the address of a bundle, expected an input of the command: {remedy}")
        manifest = path / MANIFEST
        if manifest.is_file():
            with manifest.open("rb") as file:
                if FORMAT.encode() not in file.read(100):
                    continue
            remedy = f"name it with --bundle {path}" if arguments.bundle is None else remedy
            raise InputError(f"{path} is a bundle, expected an input of the command: {remedy}")


def open_bundle(source: Path | HubAddress | None, *, quiet: bool = False) -> Bundle:
    """Opens the bundle in a directory or at an address, or the default bundle.

    A download shows huggingface_hub's progress bars and warnings, except with ``quiet`` and if stderr is no terminal.
    Raises LatentLoopError.
    """
    from latentloop.bundles.bundle import Bundle

    if source is None:
        return Bundle.default()
    if isinstance(source, Path):
        return Bundle.open(source)
    from latentloop.bundles.hub import hidden_output

    is_shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
    with nullcontext() if is_shown else hidden_output():
        return Bundle.open(str(source))


def open_selected(arguments: argparse.Namespace) -> Bundle:
    """Opens the bundle that the options of ``add_bundle`` select, with ``--json`` quietly. Raises LatentLoopError."""
    return open_bundle(bundle_path(arguments), quiet=getattr(arguments, "json", False))


def open_sampler(arguments: argparse.Namespace) -> Sampler:
    """Opens the selected bundle, and returns a sampler for it. Raises LatentLoopError."""
    from latentloop.sampling.sampler import Sampler

    precision = getattr(arguments, "precision", "float32")  # only commands that run a prior have this option
    return Sampler(open_selected(arguments), arguments.device, arguments.threads, precision)
