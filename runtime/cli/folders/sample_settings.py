"""What fixes the files of a run: options of the command, and what the journal of an earlier process records."""

import argparse
import hashlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from latentloop.bulk.sample_run import CodesOutput, SampleRun
from latentloop.bulk.shards import Shards, default_size
from latentloop.bundles.bundle import Bundle
from latentloop.cli.folders.choices import Choices
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.sample_job import SampleJob, chosen_labels
from latentloop.errors import InputError
from latentloop.io.codes_file import check_codes_path
from latentloop.sampling.rejection import candidate_count, checked_candidates
from latentloop.sampling.sample_request import MAX_SAMPLES

BESIDE = "beside"  # the value of ``codes`` in a journal if each shard has a file of codes


def check_codes_option(arguments: argparse.Namespace, output: ImageOutput, before: dict[str, Any]) -> None:
    """Raises InputError or OutputError if the codes cannot be written, or collide with the images."""
    path: Path | None = arguments.codes
    if path is None or is_beside(arguments, output):
        return
    for option in ("shard", "ray"):
        if getattr(arguments, option, None) is not None:
            raise InputError(
                f"--codes {path} is one file for the whole run, and --{option} divides the run: --codes {output} "
                "writes a file of each shard beside its images"
            )
    check_codes_path(path, force=output.force or before.get("codes") == str(path))
    images, codes = output.path.resolve(), path.resolve()
    if images in (codes, *codes.parents):
        raise InputError(
            f"--codes {path} is in the folder of --out, which holds the run's own files only: move it, or give the "
            f"folder itself, --codes {output}, for a file of codes per shard"
        )
    if codes in images.parents:
        raise InputError(f"--out {output} is below --codes {path}, which is a file: move it")


def is_beside(arguments: argparse.Namespace, output: ImageOutput) -> bool:
    """Returns whether each shard has a file of codes, beside its images; a name that ends in .npz is that of a file."""
    path: Path | None = arguments.codes
    return path is not None and path.suffix != ".npz" and path.resolve() == output.path.resolve()


def command_fields(arguments: argparse.Namespace, job: SampleJob, choices: Choices) -> dict[str, Any]:
    """Returns the fields of the journal that the command and the bundle fix, as plain JSON types."""
    request, manifest = job.request, job.request.manifest
    given = None
    if job.given is not None:
        digest = hashlib.sha256()
        for level, codes in job.given.codes.items():
            digest.update(f"{level} {codes.shape} ".encode() + np.ascontiguousarray(codes).tobytes())
        given = digest.hexdigest()
    labels = None if request.labels is None else hashlib.sha256(request.labels.tobytes()).hexdigest()
    fields: dict[str, Any] = {
        "command": "sample",
        "bundle": manifest.origin()["bundle"],
        "n": request.n,
        "per_class": arguments.per_class,
        "label": chosen_labels(arguments.label or (), manifest.classes) or None,
        "labels_sha256": labels,
        "seed": job.seed,
        "precision": job.precision,
        "settings": {level: request.settings[level].recorded() for level in request.drawn_levels},
        "given_sha256": given,
        "best": job.best,
        "files": arguments.format or "png",
        "scale": arguments.scale or 1,
        "codes": None
        if arguments.codes is None
        else BESIDE
        if is_beside(arguments, job.output)
        else str(arguments.codes),
        "part": None if arguments.shard is None else str(arguments.shard),
    }
    for name in ("shard_size", "batch_size", "threads"):
        if getattr(choices, name) is not None:
            fields[name] = getattr(choices, name)
    return fields


def planned_run(
    arguments: argparse.Namespace,
    job: SampleJob,
    choices: Choices,
    bundle: Bundle,
    default_batch_size: int,
    *,
    goes_on: bool,
) -> SampleRun:
    """Returns the run with the sizes of its batches and shards. Raises InputError."""
    request, format, scale = job.request, arguments.format or "png", arguments.scale or 1
    n = request.n
    codes_file = None if arguments.codes is None or is_beside(arguments, job.output) else arguments.codes
    batch_size = choices.batch_size
    if batch_size is None:
        drawn = n
        if job.best is not None and request.labels is not None:
            drawn = candidate_count(request.labels[:default_batch_size], Fraction(str(job.best)))
        batch_size = min(drawn, default_batch_size)
    height, width, channels = request.manifest.image
    size = choices.shard_size or default_size(format, (height * scale, width * scale, channels), batch_size)
    if codes_file is not None:  # one file holds the codes of one shard
        if n > MAX_SAMPLES or (choices.shard_size is not None and choices.shard_size < n):
            raise InputError(
                f"--codes {codes_file} is one file, and holds the codes of one shard, at most {MAX_SAMPLES} images: "
                f"--codes {job.output} writes a file of each shard beside its images"
            )
        size = max(n, choices.shard_size or 0)
    codes = None
    if arguments.codes is not None:
        origins = job.given.origins(n) if job.given else {}
        codes = CodesOutput(job.recorded(), origins, codes_file, force=job.output.force or goes_on)
    run = SampleRun(request, batch_size, Shards(n, size), format, scale, job.best, codes)
    # What each shard would refuse is refused before anything is written or replaced.
    if job.best is not None:
        for number in {0, int(np.argmax(np.diff(run.candidates_before)))}:
            checked_candidates(bundle, request.take(run.shards.part(number)), job.best)
    last = job.seed + int(run.candidates_before[-1]) - 1
    if last >= 2**64:
        raise InputError(f"seeds holds {last}, expected integers from 0 to 2**64 - 1")
    return run
