"""``latentloop encode`` into a folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from latentloop.bulk.codes_shards import CodesBatch, CodesShardWriter
from latentloop.cli import messages
from latentloop.cli.folders.opening import MOST_LISTED, already_there, open_run_folder
from latentloop.cli.folders.shard_command import Report, Results, ShardCommand
from latentloop.cli.image_inputs import ImageInputs, find_inputs, labels_of
from latentloop.cli.image_output import check_not_replaced
from latentloop.cli.interrupt import StopRequest
from latentloop.errors import plural


def encode_to_folder(arguments: argparse.Namespace, path: Path) -> int:
    """Encodes the images whose codes the folder lacks, and returns the exit status. Raises LatentLoopError."""
    with open_run_folder(path, force=arguments.force) as folder:
        command = ShardCommand(arguments, folder, None)
        manifest = command.bundle.manifest
        found = find_inputs(arguments, manifest.image, path)
        check_not_replaced(path, found.paths, is_folder=True)
        fields = command.fields(
            "encode", inputs_sha256=found.digest(), resize=arguments.resize, skip_bad=arguments.skip_bad
        )
        folder.check_same(fields)
        if report := command.finished:
            return _report(f"{path}/", report, command, None, arguments)
        inputs = ImageInputs.check(arguments, manifest.image, found)
        labels = labels_of(inputs.files, manifest.classes)
        files: list[str] = []

        def batches(part: slice, stop: StopRequest) -> Iterator[CodesBatch]:
            for count, indices, images in inputs.part(part, command.batch_size, stop):
                names = [str(inputs.files[index]) for index in indices]
                files.extend(names)
                batch_labels = None if labels is None else np.array([labels[index] for index in indices], np.int64)
                codes = command.sampler.encode(images) if indices else {}
                left_out, failed = inputs.lacking(count - len(indices))
                yield CodesBatch(names, codes, batch_labels, left_out, failed)

        writer = partial(CodesShardWriter, manifest.origin(), manifest.classes)
        report = command.run(fields, Results(len(inputs.files), batches, writer), "encode")
        inputs.check_any_left()
        return _report(f"{path}/", report, command, _Encoded(inputs, files, labels), arguments)


@dataclass(frozen=True, eq=False)
class _Encoded:
    """The inputs, the names of those whose codes were written now, and the labels of all."""

    inputs: ImageInputs
    files: list[str]
    labels: list[int] | None


def _report(
    shown: str, report: Report, command: ShardCommand, encoded: _Encoded | None, arguments: argparse.Namespace
) -> int:
    """Reports on a run, and returns the exit status. ``encoded`` is None if it was finished already."""
    manifest = command.bundle.manifest
    listed = encoded if not report.before and report.n <= MOST_LISTED else None
    labels = listed.labels if listed else None
    levels = {level.name: [level.height, level.width] for level in manifest.levels}
    summary = report.summary(shown) | {
        "count": report.done,
        "images": listed.files[: report.done] if listed else None,
        "labels": [manifest.classes[label] for label in labels[: report.done]] if labels else None,
        "skipped": encoded.inputs.skipped_as_json() if encoded else None,
        "levels": levels,
        "seconds": report.seconds,
        "cancelled": report.is_cancelled,
    }
    if encoded is None:
        messages.print_result(summary, already_there(shown, report.done), as_json=arguments.json)
        return report.exit_status()
    shapes = ", ".join(f"{name} {height} x {width}" for name, (height, width) in levels.items())
    labelled = "" if encoded.labels is None else "; with labels"
    line = f"{shown}: codes of {report.done} {plural(report.done, 'image')} ({shapes}{labelled})"
    messages.print_result(summary, line if report.done else "", as_json=arguments.json)
    encoded.inputs.report_changed(
        f"{shown} holds the codes of {report.done}" if report.done else "no image was encoded"
    )
    return report.exit_status()
