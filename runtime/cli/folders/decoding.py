"""``latentloop decode`` into a folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

import numpy as np

from latentloop.bulk.image_shards import ImageBatch, ImageShardWriter
from latentloop.cli import messages
from latentloop.cli.codes_inputs import CodesInputs
from latentloop.cli.folders.opening import MOST_LISTED, already_there, open_run_folder
from latentloop.cli.folders.shard_command import Results, ShardCommand
from latentloop.cli.image_output import ImageOutput
from latentloop.cli.interrupt import StopRequest
from latentloop.errors import plural


def decode_to_folder(arguments: argparse.Namespace, output: ImageOutput) -> int:
    """Decodes the codes whose images the folder lacks, and returns the exit status. Raises LatentLoopError."""
    with open_run_folder(output.path, force=output.force) as folder:
        format, scale = arguments.format or "png", arguments.scale or 1
        command = ShardCommand(arguments, folder, format, scale)
        manifest = command.bundle.manifest
        output.check_size(1, manifest.image)
        inputs = CodesInputs.check(arguments.codes, manifest)
        fields = command.fields("decode", n=len(inputs), codes_sha256=inputs.sha256)
        folder.check_same(fields)
        numbers = {name: label for label, name in reversed(list(enumerate(manifest.classes)))}
        seeds: list[int] = []
        labels: list[str] = []

        def batches(part: slice, stop: StopRequest) -> Iterator[ImageBatch]:
            first = part.start
            for codes in inputs.part(part):
                for start in range(0, len(codes), command.batch_size):
                    if stop.is_set():
                        return
                    batch = codes.take(slice(start, start + command.batch_size))
                    images = command.sampler.decode(batch.codes)
                    yield ImageBatch(
                        range(first, first + len(images)),
                        images,
                        None if batch.seeds is None else np.array(batch.seeds, np.uint64),
                        np.array([numbers[name] for name in batch.labels], np.int64)
                        if batch.labels is not None and inputs.classes <= numbers.keys()
                        else None,
                        batch.labels,
                    )
                    first += len(images)
                    if len(inputs) <= MOST_LISTED:
                        seeds.extend(batch.seeds or ())
                        labels.extend(batch.labels or ())

        writer = partial(ImageShardWriter, format, scale)
        report = command.finished or command.run(fields, Results(len(inputs), batches, writer), "decode")
        listed = not report.before and len(inputs) <= MOST_LISTED
        summary = report.summary(str(output)) | {
            "images": report.done,
            "seeds": seeds if listed and inputs.has_seeds else None,
            "labels": labels if listed and inputs.has_labels else None,
            "seconds": report.seconds,
            "cancelled": report.done < report.n,
        }
        line = f"{output}: {report.done} {plural(report.done, 'image')}" if report.done else ""
        if report.stop is None:
            line = already_there(str(output), report.done)
        messages.print_result(summary, line, as_json=arguments.json)
        return report.exit_status()
