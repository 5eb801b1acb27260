"""Sub-command that measures throughput: images a second over batch sizes and threads."""

from __future__ import annotations

import argparse

from latentloop.bench.commands.output import SubCommand, add_output, finish, names, positive_numbers, require_extra
from latentloop.cli.options import add_bundle, positive
from latentloop.errors import InputError


def _throughput(arguments: argparse.Namespace) -> int:
    from latentloop.bench.throughput import throughput
    from latentloop.bench.throughput.settings import BATCHES, LONGEST, OPTIONS, Request
    from latentloop.cli.options import open_selected

    if not 0 <= arguments.budget <= LONGEST:
        raise InputError(f"--seconds: {arguments.budget:g} is not a number of seconds from 0 to {LONGEST:g}")
    hosts = names("--hosts", "host", arguments.hosts, OPTIONS)
    lists = {
        name: positive_numbers(f"--{name}", getattr(arguments, f"{name}_list"))
        for name in ("batches", "threads", "processes")
    }
    bundle = None
    if arguments.preset_name:
        require_extra("--preset")
        from latentloop.bench.workload.models import split

        if len(split(arguments.preset_name)) > 1:
            raise InputError(f"--preset: {arguments.preset_name} is too large to be timed whole here")
    else:
        bundle = open_selected(arguments).path
    request = Request(
        bundle,
        preset=arguments.preset_name,
        device=arguments.device,
        batches=lists["batches"] or BATCHES,
        threads=lists["threads"],
        processes=lists["processes"],
        precisions=tuple(dict.fromkeys(arguments.precisions.split(","))) if arguments.precisions else (),
        hosts=[OPTIONS[name] for name in hosts],
        rounds=arguments.repeats,
        seconds=arguments.budget,
    )
    request.ways()  # raises InputError before measuring
    return finish(arguments, lambda: throughput.measure(request), throughput.table)


def _add(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Images a second and resident memory of every combination of batch size, threads, precision and host: Python,\n"
        "through Sampler.stream, and C++, through the C library, which is compiled first with CXX or the system's\n"
        "compiler. Every setting draws and decodes whole batches in a process of its own, once per round, in an order\n"
        "that changes. The best settings are named as options of `latentloop sample` and parameters of the C library.\n"
        "Takes about 12 minutes on two cores with the default bundle."
    )
    source = parser.add_mutually_exclusive_group()
    add_bundle(source)
    source.add_argument(
        "--preset", dest="preset_name", metavar="NAME", help="hyper-parameters by name, with random weights"
    )
    # Names of their own: those of the plain `latentloop bench` mean its own options.
    parser.add_argument("--batches", dest="batches_list", metavar="A,B", help="images at once (default: 1,4,16,64)")
    parser.add_argument(
        "--threads",
        dest="threads_list",
        metavar="A,B",
        help="processor threads (default: 1, half of the processors and all of them)",
    )
    parser.add_argument(
        "--processes",
        dest="processes_list",
        metavar="A,B",
        help="samplers at once, each in a process, which divide the largest number of threads; 1 for the numbers of "
        "--threads as they are (default: 1, and the most up to 8 that divide the threads evenly)",
    )
    parser.add_argument("--precisions", metavar="A,B", help="of the priors' weights (default: all of the bundle)")
    parser.add_argument("--hosts", metavar="A,B", help="of python and c++ (default: both)")
    parser.add_argument(
        "--device", default="cpu", metavar="NAME", help="as `latentloop sample` names it (default: cpu)"
    )
    parser.add_argument(
        "--rounds",
        dest="repeats",
        type=positive,
        default=3,
        metavar="N",
        help="rounds in which every setting is timed once (default: 3)",
    )
    parser.add_argument(
        "--seconds",
        dest="budget",
        type=float,
        default=3.0,
        metavar="S",
        help="a setting draws whole batches for at least S seconds a round, and at least two (default: 3)",
    )
    add_output(parser)


THROUGHPUT = (
    SubCommand(
        "throughput", "images a second over batch sizes, threads, precisions and hosts, and memory", _add, _throughput
    ),
)
