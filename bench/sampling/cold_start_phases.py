"""The phases of ``latentloop sample -n 1``, with the time at the end of each.

A script, ``python -P cold_start_phases.py THREADS OUT``: ``python -m`` would load the package before the first phase.
"""

from __future__ import annotations

import time

BEGUN = time.monotonic()  # the same clock in all processes: the parent subtracts its own start


def phase_ends(threads: int, out: str) -> list[float]:
    """Returns the monotonic time at the end of each phase of ``cold_start.PHASES``; writes the image to ``out``."""
    from pathlib import Path

    import PIL.PngImagePlugin

    from latentloop import Bundle, Sampler
    from latentloop.backends.cpu.session import bundle_session
    from latentloop.images.writing import write_image

    assert PIL.PngImagePlugin
    imported = time.monotonic()
    bundle = Bundle.default()
    verified = time.monotonic()
    sampler = Sampler(bundle, threads=threads)
    files = [bundle.manifest.decoder]
    for level in bundle.manifest.levels:
        if level.prior is not None:
            files += [graph.file for role, graph in level.prior.graphs.items() if role in ("condition", "row", "step")]
    for file in files:
        bundle_session(bundle, file, threads)
    loaded = time.monotonic()
    samples = sampler.sample(1, seeds=1)
    sampled = time.monotonic()
    images = sampler.decode(samples.codes)  # a second time, to know its share of the sampling
    decoded = time.monotonic() - sampled
    write_image(Path(out), images[0], force=True)
    return [BEGUN, imported, verified, loaded, sampled - decoded, time.monotonic() - decoded]


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(phase_ends(int(sys.argv[1]), sys.argv[2])))
