"""``latentloop verify``: a bundle's golden vectors on a device."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from latentloop import options

HELP = "check that a bundle gives the right results on this machine"
EPILOG = """examples:
  latentloop verify
  latentloop verify bundle --device cpu --json

Exit status 1 means that some result is wrong; each line says by how much, and what is allowed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("bundle", nargs="?", type=Path, help="the bundle (default: the one that ships)")
    parser.add_argument("--device", default="auto", help="auto or cpu (default: auto)")
    parser.add_argument("--threads", type=options.positive, metavar="N", help="processor threads (default: all)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Verifies; returns 0 when every check passes, else 1. Raises LatentLoopError."""
    from latentloop.sampler import Sampler
    from latentloop.verification import verify

    bundle = options.open_bundle(arguments.bundle)
    sampler = Sampler(bundle, arguments.device, arguments.threads)
    checks = []
    for check in verify(sampler):
        checks.append(check)
        if not arguments.json:
            verdict = "ok   " if check.passed else "WRONG"
            print(f"{verdict} {check.name}: {check.error:.2g} (at most {check.bound:.2g})", flush=True)
    passed = all(check.passed for check in checks)
    if arguments.json:
        rows = [
            {"name": c.name, "error": c.error if math.isfinite(c.error) else None, "bound": c.bound, "passed": c.passed}
            for c in checks
        ]
        options.print_json({"bundle": str(bundle.path), "device": sampler.device, "passed": passed, "checks": rows})
    else:
        print(f"{bundle.path}: {'verified' if passed else 'WRONG'} on {sampler.device}")
    return 0 if passed else 1
