"""What ``latentloop sample -n 1`` does, step by step, with the time noted between the steps.

Run as a script, ``python -P cold_start_phases.py THREADS OUT``, so that nothing of the package is loaded before it.
"""

from __future__ import annotations

import time

BEGUN = time.monotonic()  # the clock is the system's: the parent can subtract its own


def marks(threads: int, out: str) -> list[float]:
    """The monotonic time at the end of each phase of ``cold_start.PHASES``; writes the image to ``out``."""
    from pathlib import Path

    import PIL.PngImagePlugin
    import tqdm

    from latentloop import Bundle, Sampler
    from latentloop.backends.cpu.session import bundle_session
    from latentloop.images.writing import write_image

    assert PIL.PngImagePlugin
    assert tqdm
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
    images = sampler.decode(samples.codes)  # once more, to know what of the sampling it was
    decoded = time.monotonic() - sampled
    write_image(Path(out), images[0], force=True)
    return [BEGUN, imported, verified, loaded, sampled - decoded, time.monotonic() - decoded]


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(marks(int(sys.argv[1]), sys.argv[2])))
