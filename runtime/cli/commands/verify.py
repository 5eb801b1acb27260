"""``latentloop verify``: compares a bundle's results on a device with its golden vectors."""

from __future__ import annotations

import argparse
import math

from latentloop.cli import messages, options
from latentloop.errors import printable

HELP = "check that a bundle gives the right results on this machine"
EPILOG = """examples:
  latentloop verify
  latentloop verify bundle --precision int8
  latentloop verify bundle --device cpu --json
  latentloop verify hf://owner/name@revision

Exit status 1 means that a result is wrong; each line states an error and the largest one allowed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_bundle(parser, argument=True)
    options.add_device(parser)
    options.add_precision(parser)
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verifies a bundle, and returns 0 if every check passes, else 1. Raises LatentLoopError."""
    from latentloop.sampling.verification import verify

    sampler = options.open_sampler(arguments)
    bundle = sampler.bundle.location
    checks = []
    for check in verify(sampler):
        checks.append(check)
        if not arguments.json:
            result = f"skipped, {check.skipped}" if check.skipped else f"{check.error:.2g} (at most {check.bound:.2g})"
            verdict = "-    " if check.skipped else "ok   " if check.passed else "WRONG"
            messages.print_line(f"{verdict} {printable(check.name)}: {result}", flush=True)
    passed = all(check.passed for check in checks)
    if arguments.json:
        rows = [
            {"name": c.name, "error": c.error if math.isfinite(c.error) else None, "bound": c.bound, "passed": c.passed}
            for c in checks
            if not c.skipped
        ]
        skipped = {c.name: c.skipped for c in checks if c.skipped}
        setup = {"bundle": bundle, "device": sampler.device, "precision": sampler.precision}
        messages.print_json({**setup, "passed": passed, "checks": rows, "skipped": skipped})
    else:
        messages.print_line(
            f"{printable(bundle)}: {'verified' if passed else 'WRONG'} on {sampler.device} in {sampler.precision}"
        )
    return 0 if passed else 1
