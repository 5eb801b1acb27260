"""``latentloop bench``: measurements on this machine, and what is made of their results."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latentloop.bench.report.outputs import add_common, finish
from latentloop.cli.options import add_bundle, positive, setting
from latentloop.environment.packages import require
from latentloop.errors import InputError

HELP = "measure sampling against its peers, and against what this machine can do at most"
EPILOG = """examples:
  latentloop bench
  latentloop bench --preset rosinality-256 --threads 2 --out result.json --plots plots/
  latentloop bench --preset default --batches 1,16,64 --peers eager,float32
  latentloop bench growth --out growth.json --plots plots/
  latentloop bench cold-start
  latentloop bench roofline
  latentloop bench nearest --out nearest.json
  latentloop bench quality --data /usr/share/datasets/fashion-mnist --out quality.json
  latentloop bench samples --data planets/ --out samples.json --picture neighbours.png
  latentloop bench compare before.json after.json
  latentloop bench readme --results bench/results/*.json --readme README.md --check

Run it on a machine that does nothing else. Weights of presets are random: speed does not depend on them.
"""
HELD_OUT_IMAGES = 1000
_OWN = ("preset", "rounds", "seconds", "batches", "peers", "no_memory")  # of a run without a sub-command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a plain run, and the sub-commands."""
    own = parser.add_argument_group("measuring a preset")
    own.add_argument(
        "--preset",
        metavar="NAME",
        help="hyper-parameters, or default for the bundle that ships (default: rosinality-256)",
    )
    own.add_argument(
        "--rounds", type=positive, metavar="N", help="times that every peer is timed, in turn (default: 3)"
    )
    own.add_argument(
        "--seconds",
        type=float,
        metavar="S",
        help="that a peer may draw for, per level and round at batch 1, a quarter at others (default: 15)",
    )
    own.add_argument(
        "--batches", metavar="A,B", help="batch sizes (default: 1,4,16,64; 1,4,16 where layers are left out)"
    )
    own.add_argument("--peers", metavar="A,B", help="of naive, eager, compiled, float32, int8 (default: all)")
    own.add_argument(
        "--no-memory", action="store_true", default=None, help="leave out peak memory, which needs a process per peer"
    )
    add_common(parser)
    parts = parser.add_subparsers(dest="part", metavar="PART", title="other parts")
    for name, text, add in (
        ("growth", "cost against grid, channels, layers and batch, with fitted exponents", _add_growth),
        ("cold-start", "where the time of `latentloop sample -n 1` goes, in whole processes", _add_cold_start),
        ("roofline", "the machine alone: GEMM rates and read bandwidths", add_common),
        ("nearest", "the search of a codebook against NumPy, PyTorch and FAISS", _add_nearest),
        ("quality", "what int8 weights cost: bits per code against float32, on the same codes", _add_quality),
        ("samples", "how good and how new samples are, against held-out images", _add_samples),
        ("compare", "two results of one kind, figure by figure", _add_compare),
        ("readme", "write the README's table from results, or check it", _add_readme),
    ):
        part = parts.add_parser(name, help=text, description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
        add(part)


def run(arguments: argparse.Namespace) -> int:
    """Measures or reports; returns the exit status. Raises LatentLoopError."""
    given = [name for name in _OWN if getattr(arguments, name, None) is not None]
    if arguments.part and given:
        option = given[0].replace("_", "-")
        raise InputError(
            f"--{option} belongs to a plain `latentloop bench`, not to `latentloop bench {arguments.part}`"
        )
    parts: dict[str | None, Callable[[argparse.Namespace], int]] = {
        None: _sampling,
        "growth": _growth,
        "cold-start": _cold_start,
        "roofline": _roofline,
        "nearest": _nearest,
        "quality": _quality,
        "samples": _samples,
        "compare": _compare,
        "readme": _readme,
    }
    return parts[arguments.part](arguments)


def _sampling(arguments: argparse.Namespace) -> int:
    require("the bench", "torch", "onnx", extra="bench")
    from latentloop.bench.baselines.baseline import PEERS
    from latentloop.bench.report.markdown import report
    from latentloop.bench.sampling.models import hierarchy
    from latentloop.bench.sampling.presets import Settings, measure
    from latentloop.environment.machine import available_threads

    peers = tuple((arguments.peers or ",".join(PEERS)).split(","))
    unknown = [name for name in peers if name not in PEERS]
    if unknown:
        raise InputError(f"--peers: no peer {unknown[0]!r}; there are: {', '.join(PEERS)}")
    settings = Settings(
        preset=arguments.preset or "rosinality-256",
        threads=arguments.threads or available_threads(),
        rounds=arguments.rounds or 3,
        budget=15.0 if arguments.seconds is None else arguments.seconds,
        batches=_batches(arguments.batches),
        peers=peers,
        memory=not arguments.no_memory,
    )
    hierarchy(settings.preset)  # an unknown one is an error before any work
    return finish(arguments, lambda: measure(settings), report)


def _growth(arguments: argparse.Namespace) -> int:
    require("the bench", "torch", "onnx", extra="bench")
    from latentloop.bench.sampling import growth
    from latentloop.environment.machine import available_threads

    threads = arguments.threads or available_threads()
    return finish(arguments, lambda: growth.measure(threads, arguments.largest, arguments.budget), growth.table)


def _cold_start(arguments: argparse.Namespace) -> int:
    from latentloop.bench.sampling import cold_start

    return finish(arguments, lambda: cold_start.measure(arguments.repeats, arguments.threads), cold_start.table)


def _roofline(arguments: argparse.Namespace) -> int:
    require("the roofline", "torch", "onnx", extra="bench")
    from latentloop.bench.machine import roofline
    from latentloop.bench.machine.environment import environment
    from latentloop.bench.report.result_files import result
    from latentloop.environment.machine import available_threads

    threads = arguments.threads or available_threads()
    return finish(
        arguments,
        lambda: result("roofline", environment(threads), **roofline.measure_roofline(threads)),
        roofline.table,
    )


def _nearest(arguments: argparse.Namespace) -> int:
    require("the bench", "torch", "onnx", extra="bench")
    from latentloop.bench.nearest import cpu
    from latentloop.environment.machine import available_threads

    threads = arguments.threads or available_threads()
    return finish(arguments, lambda: cpu.measure(threads, arguments.repeats, arguments.budget), cpu.table)


def _quality(arguments: argparse.Namespace) -> int:
    from latentloop.bench.quality import rounding
    from latentloop.cli.options import open_bundle
    from latentloop.environment.machine import available_threads

    if arguments.own_samples and arguments.images:
        raise InputError("--images limits the images of --data; with --own-samples N there are N: leave it out")
    bundle, threads = open_bundle(arguments.bundle), arguments.threads or available_threads()
    count = arguments.own_samples or arguments.images or HELD_OUT_IMAGES
    return finish(
        arguments,
        lambda: rounding.measure(bundle, arguments.data, count, arguments.rows, threads),
        rounding.table,
    )


def _samples(arguments: argparse.Namespace) -> int:
    from latentloop.bench.quality import sample_report, samples
    from latentloop.cli.options import open_bundle
    from latentloop.environment.machine import available_threads
    from latentloop.images.writing import check_image_path, write_image
    from latentloop.io.files import check_free

    if arguments.picture:
        check_image_path(arguments.picture)
        check_free(arguments.picture, force=arguments.force)
    bundle, threads = open_bundle(arguments.bundle), arguments.threads or available_threads()

    pictures = []

    def measure() -> dict[str, Any]:
        found, picture = samples.measure(
            bundle, arguments.data, arguments.samples, arguments.seed, arguments.temperature, threads
        )
        pictures.append(picture)
        return found

    also = {}
    if arguments.picture:
        also[str(arguments.picture)] = lambda: write_image(arguments.picture, pictures[0], force=arguments.force)
    return finish(arguments, measure, sample_report.table, also)


def _compare(arguments: argparse.Namespace) -> int:
    require("the bench", "torch", "onnx", extra="bench")
    from latentloop.bench.report.comparison import compare, table
    from latentloop.bench.report.result_files import read_result

    found = compare(read_result(arguments.before), read_result(arguments.after))
    print(json.dumps(found, indent=1) if arguments.json else table(found))
    return 0


def _readme(arguments: argparse.Namespace) -> int:
    require("the bench", "torch", "onnx", extra="bench")
    from latentloop.bench.report.readme import check, update
    from latentloop.bench.report.result_files import read_result

    results = [read_result(path, "sampling", "cold-start") for path in arguments.results]
    if arguments.check:
        check(arguments.readme, results)
    else:
        update(arguments.readme, results)
    print(f"{arguments.readme}: {'says what the results say' if arguments.check else 'written'}")
    return 0


def _batches(text: str | None) -> tuple[int, ...]:
    try:
        found = tuple(positive(part) for part in text.split(",")) if text else ()
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--batches: {error}") from None
    return tuple(dict.fromkeys(found))


def _add_budget(parser: argparse.ArgumentParser, default: float, what: str) -> None:
    told = f"that {what} (default: {default:g})"
    parser.add_argument("--seconds", dest="budget", type=float, default=float(default), metavar="S", help=told)


def _add_growth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--largest", type=positive, default=128, metavar="N", help="side of the largest grid (default: 128)"
    )
    _add_budget(parser, 4, "each point may draw for")
    add_common(parser)


def _add_cold_start(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repeats", type=positive, default=7, metavar="N", help="processes to time (default: 7)")
    add_common(parser)


def _add_nearest(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--repeats", type=positive, default=3, metavar="N", help="times that every peer is timed, in turn (default: 3)"
    )
    _add_budget(parser, 0.5, "a peer may search for, per shape and time")
    add_common(parser)


def _add_quality(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, metavar="FOLDER", help="data set whose held-out images are encoded")
    what.add_argument("--own-samples", type=positive, metavar="N", help="without data: images that the model draws")
    parser.add_argument(
        "--images", type=positive, metavar="N", help=f"held-out images at most (default: {HELD_OUT_IMAGES})"
    )
    parser.add_argument("--rows", type=positive, metavar="N", help="first rows of each level (default: all)")
    add_common(parser)


def _add_samples(parser: argparse.ArgumentParser) -> None:
    add_bundle(parser)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="data set that it was trained on")
    parser.add_argument(
        "--samples",
        type=positive,
        default=2000,
        metavar="N",
        help="samples, held-out and training images, as many of each; at most as the data has (default: 2000)",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the first sample (default: 1)")
    parser.add_argument(
        "--temperature", type=setting, default=1.0, metavar="X", help="of the draws; also by level: top=X,bottom=Y"
    )
    add_common(parser)
    parser.add_argument(
        "--picture", type=Path, metavar="PNG", help="also draw samples beside their nearest training images"
    )


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("before", type=Path, metavar="A.json")
    parser.add_argument("after", type=Path, metavar="B.json")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def _add_readme(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, metavar="FILE", help="results, in the order of the text"
    )
    parser.add_argument(
        "--readme",
        type=Path,
        default=Path("README.md"),
        metavar="FILE",
        help="the file with the markers (default: README.md)",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where the text is not that of the results"
    )
