"""Sub-commands that measure quality: quality, samples."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from latentloop.bench.commands.output import SubCommand, add_common, finish, require_extra
from latentloop.cli.options import add_bundle, fraction, positive, setting
from latentloop.errors import InputError

HELD_OUT_IMAGES = 1000


def _quality(arguments: argparse.Namespace) -> int:
    from latentloop.bench.quality import int8_cost
    from latentloop.cli.options import open_selected
    from latentloop.environment.machine import available_threads

    if arguments.own_samples and arguments.images:
        raise InputError("--images limits the images of --data; --own-samples N already sets the number: omit --images")
    bundle, threads = open_selected(arguments), arguments.threads or available_threads()
    count = arguments.own_samples or arguments.images or HELD_OUT_IMAGES
    return finish(
        arguments,
        lambda: int8_cost.measure(bundle, arguments.data, count, arguments.rows, threads),
        int8_cost.table,
    )


def _samples(arguments: argparse.Namespace) -> int:
    from latentloop.bench.quality import sample_report, samples
    from latentloop.cli.options import open_selected
    from latentloop.environment.machine import available_threads
    from latentloop.images.writing import check_image_path, write_image
    from latentloop.io.files import check_free

    sweeps = _sweeps(arguments)
    if sweeps:
        return _diversity(arguments, sweeps)
    if arguments.judge:
        raise InputError("--judge judges settings that are compared: give --keep, or several values of a setting")
    if arguments.top_p or arguments.min_p:
        raise InputError("--top-p and --min-p are compared: give several values, such as 1,0.9, and a --judge")
    if arguments.picture:
        check_image_path(arguments.picture)
        check_free(arguments.picture, force=arguments.force)
    bundle, threads = open_selected(arguments), arguments.threads or available_threads()

    pictures = []

    def measure() -> dict[str, Any]:
        result, picture = samples.measure(
            bundle, arguments.data, arguments.samples, arguments.seed, arguments.temperature, threads
        )
        pictures.append(picture)
        return result

    other_files = {}
    if arguments.picture:
        other_files[str(arguments.picture)] = lambda: write_image(arguments.picture, pictures[0], force=arguments.force)
    return finish(arguments, measure, sample_report.table, other_files)


def _sweeps(arguments: argparse.Namespace) -> dict[str, tuple[float, ...]]:
    """Returns the values to compare by setting, "keep" first."""
    chosen = {name: getattr(arguments, name) for name in ("keep", "temperature", "top_p", "min_p")}
    return {name: values for name, values in chosen.items() if isinstance(values, tuple)}


def _diversity(arguments: argparse.Namespace, sweeps: dict[str, tuple[float, ...]]) -> int:
    require_extra("comparing settings")
    from latentloop.bench.quality import diversity
    from latentloop.cli.options import open_selected
    from latentloop.environment.machine import available_threads
    from latentloop.sampling.validation import check_settings

    if not arguments.judge:
        raise InputError(
            "settings are compared with --judge FILE, a classifier that chose no sample: train one with `latentloop "
            "train classifier --seed 2` and another number of --channels than the bundle's"
        )
    if arguments.picture:
        raise InputError("--picture shows the samples of one setting: leave it out where several are compared")
    if isinstance(arguments.temperature, dict) or arguments.temperature not in (1.0, sweeps.get("temperature")):
        raise InputError("each setting is compared with the others at their defaults: leave --temperature out")
    bundle, threads = open_selected(arguments), arguments.threads or available_threads()
    for name, numbers in sweeps.items():
        for number in numbers if name != "keep" else ():
            check_settings({name: number}, 1, bundle.manifest.levels)
    return finish(
        arguments,
        lambda: diversity.measure(
            bundle, arguments.data, sweeps, arguments.judge, arguments.samples, arguments.seed, threads
        ),
        diversity.table,
    )


def values(text: str) -> tuple[float, ...]:
    """Parses different numbers, such as ``1,0.5``. Raises argparse.ArgumentTypeError."""
    numbers = [setting(part) for part in text.split(",")]
    if any(isinstance(number, dict) for number in numbers):
        raise argparse.ArgumentTypeError(f"{text!r} are not numbers such as 1,0.5")
    return tuple(dict.fromkeys(number for number in numbers if isinstance(number, float)))


def fractions(text: str) -> tuple[float, ...]:
    """Parses different fractions over 0, at most 1. Raises argparse.ArgumentTypeError."""
    return tuple(dict.fromkeys(fraction(part) for part in text.split(",")))


def setting_or_values(text: str) -> float | dict[str, float] | tuple[float, ...]:
    """Parses a number, a number by level, or several numbers. Raises argparse.ArgumentTypeError."""
    return values(text) if "," in text and "=" not in text else setting(text)


def _add_quality(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, metavar="FOLDER", help="data set whose held-out images are encoded")
    source.add_argument("--own-samples", type=positive, metavar="N", help="use N samples of the model instead of data")
    parser.add_argument(
        "--images", type=positive, metavar="N", help=f"at most N held-out images (default: {HELD_OUT_IMAGES})"
    )
    parser.add_argument("--rows", type=positive, metavar="N", help="only the first N rows of each level (default: all)")
    add_common(parser)


def _add_samples(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="FOLDER", help="data set that the bundle was trained on"
    )
    parser.add_argument(
        "--samples",
        type=positive,
        default=2000,
        metavar="N",
        help="number of samples, and of held-out and training images each; fewer if the data has fewer (default: 2000)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the first sample (default: 1)")
    parser.add_argument(
        "--temperature",
        type=setting_or_values,
        default=1.0,
        metavar="X",
        help="temperature; also by level: top=X,bottom=Y; or several to compare: 0.7,0.85,1",
    )
    group = parser.add_argument_group("comparing settings: diversity against fidelity")
    group.add_argument(
        "--keep",
        type=fractions,
        metavar="A,B",
        help="shares of the candidates that the bundle's classifier keeps, as `sample --best`: 1,0.5,0.25,0.1",
    )
    group.add_argument("--top-p", type=values, metavar="A,B", help="values of top-p to compare")
    group.add_argument("--min-p", type=values, metavar="A,B", help="values of min-p to compare")
    group.add_argument(
        "--judge",
        type=Path,
        metavar="FILE",
        help="the classifier that measures these samples, and chose none: a checkpoint of `latentloop train "
        "classifier` with another --seed and number of --channels",
    )
    add_common(parser)
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="also write a picture of samples and their nearest training images"
    )


QUALITY = (
    SubCommand(
        "quality", "bits per code with int8 weights and with float32, on the same codes", _add_quality, _quality
    ),
    SubCommand("samples", "quality and novelty of samples, against held-out images", _add_samples, _samples),
)
