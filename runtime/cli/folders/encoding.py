"""``latentloop encode`` into a folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from latentloop.bulk.codes_shards import CodesBatch, CodesShardWriter
from latentloop.cli import messages
from latentloop.cli.folders.opening import open_run_folder, report_finished
from latentloop.cli.folders.shard_command import MOST_LISTED, Results, ShardCommand
from latentloop.cli.image_inputs import ImageInputs, find_inputs, labels_of
from latentloop.cli.image_output import check_not_replaced
from latentloop.cli.interrupt import StopRequest


def encode_to_folder(arguments: argparse.Namespace, path: Path) -> int:
    """Encodes the images whose codes the folder lacks, and returns the exit status. Raises LatentLoopError."""
    with open_run_folder(path, force=arguments.force) as folder:
        command = ShardCommand(arguments, folder, None)
        manifest = command.bundle.manifest
        found = find_inputs(arguments, manifest.image)
        check_not_replaced(path, found.paths, is_folder=True)
        fields = command.fields(
            "encode", inputs_sha256=found.digest(), resize=arguments.resize, skip_bad=arguments.skip_bad
        )
        folder.check_same(fields)
        if shards := folder.finished_run:
            return report_finished(f"{path}/", sum(folder.finished.values()), shards, as_json=arguments.json)
        inputs = ImageInputs.check(arguments, manifest.image, found)
        labels = labels_of(inputs.files, manifest.classes)
        files: list[str] = []

        def batches(part: slice, stop: StopRequest) -> Iterator[CodesBatch]:
            for count, indices, images in inputs.part(part, command.batch_size, stop):
                names = [str(inputs.files[index]) for index in indices]
                files.extend(names)
                batch_labels = None if labels is None else np.array([labels[index] for index in indices], np.int64)
                codes = command.sampler.encode(images) if indices else {}
                yield CodesBatch(names, codes, batch_labels, left_out=count - len(indices))

        writer = partial(CodesShardWriter, manifest.origin(), manifest.classes)
        report = command.run(fields, Results(len(inputs.files), batches, writer), "encode")
        inputs.check_any_left()
        listed = not report.before and report.n <= MOST_LISTED
        levels = {level.name: [level.height, level.width] for level in manifest.levels}
        summary = report.summary(f"{path}/") | {
            "images": files[: report.done] if listed else None,
            "labels": [manifest.classes[label] for label in labels[: report.done]] if listed and labels else None,
            "skipped": inputs.skipped_as_json(),
            "levels": levels,
            "seconds": report.seconds,
            "cancelled": report.stop.is_set(),
        }
        shapes = ", ".join(f"{name} {height} x {width}" for name, (height, width) in levels.items())
        labelled = "" if labels is None else "; with labels"
        line = f"{path}/: codes of {report.done} {messages.plural(report.done, 'image')} ({shapes}{labelled})"
        messages.print_result(summary, line if report.done else "", as_json=arguments.json)
        inputs.report_changed(f"{path}/ holds the codes of {report.done}" if report.done else "no image was encoded")
        return report.exit_status()
