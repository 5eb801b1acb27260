"""``latentloop reconstruct`` into a folder."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial

from latentloop.bulk.reconstruction_shards import ReconstructedBatch, ReconstructionWriter, read_errors
from latentloop.cli import messages
from latentloop.cli.errors_report import ErrorsReport, unit_errors
from latentloop.cli.folders.opening import MOST_LISTED, RunFolder, already_there, open_run_folder
from latentloop.cli.folders.shard_command import Report, Results, ShardCommand
from latentloop.cli.image_inputs import ImageInputs, find_inputs
from latentloop.cli.image_output import ImageOutput, check_not_replaced
from latentloop.cli.interrupt import StopRequest


def reconstruct_to_folder(arguments: argparse.Namespace, output: ImageOutput) -> int:
    """Reconstructs the images that the folder lacks, and returns the exit status. Raises LatentLoopError."""
    with open_run_folder(output.path, force=output.force) as folder:
        format, scale = arguments.format or "png", arguments.scale or 1
        command = ShardCommand(arguments, folder, format, scale)
        manifest = command.bundle.manifest
        output.check_size(1, manifest.image)
        found = find_inputs(arguments, manifest.image, output.path)
        check_not_replaced(output.path, found.paths, is_folder=True)
        fields = command.fields(
            "reconstruct", inputs_sha256=found.digest(), resize=arguments.resize, skip_bad=arguments.skip_bad
        )
        folder.check_same(fields)
        if report := command.finished:
            return _report(output, report, recorded_errors(folder), None, arguments)
        inputs = ImageInputs.check(arguments, manifest.image, found)

        def batches(part: slice, stop: StopRequest) -> Iterator[ReconstructedBatch]:
            for count, indices, images in inputs.part(part, command.batch_size, stop):
                decoded = command.sampler.decode(command.sampler.encode(images)) if indices else images
                left_out, failed = inputs.lacking(count - len(indices))
                yield ReconstructedBatch(
                    indices=indices,
                    images=decoded,
                    files=[str(inputs.files[index]) for index in indices],
                    errors=unit_errors(images, decoded) if indices else [],
                    left_out=left_out,
                    failed=failed,
                )

        writer = partial(ReconstructionWriter, format, scale)
        report = command.run(fields, Results(len(inputs.files), batches, writer), "reconstruct")
        inputs.check_any_left()
        errors = recorded_errors(folder) if report.done else ErrorsReport([], [])
        return _report(output, report, errors, inputs, arguments)


def _report(
    output: ImageOutput,
    report: Report,
    errors: ErrorsReport,
    inputs: ImageInputs | None,
    arguments: argparse.Namespace,
) -> int:
    """Reports on a run, and returns the exit status. ``inputs`` is None if it was finished already."""
    summary = {
        **report.summary(str(output)),
        "count": report.done,
        **errors.summary(MOST_LISTED),
        "skipped": inputs.skipped_as_json() if inputs else None,
        "cancelled": report.is_cancelled,
    }
    line = f"{errors.line()}; {output}" if report.done else ""
    if inputs is None:
        line = already_there(str(output), report.done, f", {errors.text()}" if errors.errors else "")
    messages.print_result(summary, line, as_json=arguments.json)
    if inputs is not None:
        inputs.report_changed(f"the figures are those of the other {report.done}")
    return report.exit_status()


def recorded_errors(folder: RunFolder) -> ErrorsReport:
    """Returns the errors that the tables of the shards list."""
    rows = [row for record in folder.records() for row in read_errors(folder.path, record)]
    return ErrorsReport([file for file, _ in rows], [error for _, error in rows])
