"""``latentloop evaluate``: how well a bundle encodes images, in figures, and on a page with pictures."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.cli import messages, options
from latentloop.cli.interrupt import StopRequest, defer_stop, stop_request
from latentloop.errors import InputError, listed

if TYPE_CHECKING:
    from latentloop.cli.image_inputs import FoundImages, ImageInputs
    from latentloop.evaluation.evaluation import Evaluation
    from latentloop.evaluation.report.gallery import Gallery
    from latentloop.sampling.sampler import Sampler

HELP = "measure how well a bundle encodes images: bits, similarity, codes in use, accuracy"
EPILOG = """examples:
  latentloop evaluate photos/ --resize
  latentloop evaluate held-out/ --bundle my-bundle -n 2000 --out report.html
  latentloop evaluate held-out/ --bundle my-bundle --json

A folder means all images in it and in its sub-folders, and IDX files with MNIST's names. Use images that the model was
not trained on. The class of an image is that of --label, else the name of its folder or its IDX label; otherwise the
bits are those with the class that the bundle's classifier finds, and the accuracy is not known.
Bits are the cost of the codes under the priors. They are not a likelihood of the pixels, and cannot be compared with
those of models of pixels. A figure that a bundle cannot have is missing, and a line says why.
Ctrl-C reports on the finished images.
"""
SUFFIX = ".html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_images(parser)
    options.add_bundle(parser)
    options.add_unfit_images(parser)
    parser.add_argument(
        "-n",
        "--count",
        type=options.positive,
        metavar="N",
        help="at most N images, evenly spaced, of each class as many as of every other (default: all)",
    )
    parser.add_argument("--label", action="append", metavar="CLASS", help="the class of all images, by name or number")
    parser.add_argument(
        "--out", type=Path, metavar=f"FILE{SUFFIX}", help="also write a page with the figures, charts and pictures"
    )
    options.add_precision(options.add_running(parser))


def run(arguments: argparse.Namespace) -> int:
    """Evaluates a bundle, prints and writes the figures, and returns the exit status. Raises LatentLoopError."""
    # 1. Check the output, then the images.
    if arguments.out:
        _check_output(arguments.out, force=arguments.force)
    options.check_no_bundle(arguments.images, arguments)
    sampler = options.open_sampler(arguments)
    from latentloop.cli.image_inputs import ImageInputs, find_inputs
    from latentloop.evaluation.report.tables import code_table, image_table, remarks
    from latentloop.sampling.validation import check_labels

    manifest = sampler.bundle.manifest
    named = arguments.label or []  # `sample` and `complete` take several: none must be ignored here
    if len(named) > 1:
        raise InputError(f"--label is given {len(named)} times ({listed(named)}), expected one class for all images")
    label = check_labels(named, 1, manifest) if named else None
    found = find_inputs(arguments, manifest.image)
    inputs = ImageInputs.check(arguments, manifest.image, _selected(found, arguments.count, manifest.classes))
    if arguments.out and arguments.out.resolve() in {path.resolve() for path in inputs.paths}:
        raise InputError(f"--out {arguments.out} is one of the images")
    # 2. Evaluate.
    started = time.perf_counter()
    with stop_request() as stop:
        evaluation, gallery = _evaluate(sampler, inputs, None if label is None else int(label[0]), stop)
    seconds = time.perf_counter() - started
    # 3. Report.
    done = 0 if evaluation is None else evaluation.count
    if evaluation is not None and arguments.out:
        with defer_stop(stop):
            partial = (
                f"interrupted, {done} of {len(inputs.files)} images"
                if stop.is_set() and done < len(inputs.files)
                else None
            )
            _write_page(arguments, sampler, evaluation, gallery, partial)
    summary: dict[str, Any] = {
        "report": str(arguments.out) if evaluation is not None and arguments.out else None,
        "bundle": sampler.bundle.location,
        "inputs": [str(path) for path in arguments.images],
        **({"images": 0} if evaluation is None else evaluation.to_json()),
        "skipped": inputs.skipped_as_json(),
        "seconds": seconds,
        "device": sampler.device,
        "threads": sampler.threads,
        "precision": sampler.precision,
        "cancelled": stop.is_set(),
    }
    lines = []
    if evaluation is not None:
        lines = [code_table(evaluation).text(), "", image_table(evaluation).text(), "", *remarks(evaluation)]
        lines += [f"{arguments.out}: the figures with charts and pictures"] if arguments.out else []
    if arguments.json:
        messages.print_json(summary)
    for line in [] if arguments.json else lines:
        messages.print_line(line)
    inputs.report_changed(f"the figures are those of the other {done}")
    return messages.exit_status(stop, f"{done} of {len(inputs.files)} images were evaluated" if done else "no figures")


def _check_output(path: Path, *, force: bool) -> None:
    from latentloop.io.files import check_free

    if path.suffix.lower() != SUFFIX:
        raise InputError(f"--out {path} ends in {path.suffix!r}, expected {SUFFIX}: a page with figures and pictures")
    check_free(path, force=force)


def _selected(found: FoundImages, count: int | None, classes: tuple[str, ...]) -> FoundImages:
    """Returns at most ``count`` of the images, balanced over the classes if all have one."""
    if count is None or count >= len(found.sources):
        return found
    import numpy as np

    from latentloop.cli.image_inputs import labels_of
    from latentloop.evaluation.selection import select_evenly

    labels = labels_of(found.sources, classes, "the selection is not balanced") if classes else None
    chosen = select_evenly(len(found.sources), count, None if labels is None else np.array(labels, np.int64))
    return replace(found, sources=[found.sources[index] for index in chosen])


def _evaluate(
    sampler: Sampler, inputs: ImageInputs, label: int | None, stop: StopRequest
) -> tuple[Evaluation | None, Gallery]:
    """Evaluates until finished or requested to stop. Returns None if no image was finished."""
    import numpy as np

    from latentloop.cli.image_inputs import labels_of
    from latentloop.evaluation.evaluator import Evaluator
    from latentloop.evaluation.report.gallery import MOST, Gallery
    from latentloop.evaluation.selection import select_evenly

    classes = sampler.bundle.manifest.classes
    labelled = label is not None or (
        bool(classes) and labels_of(inputs.files, classes, "labels are not used") is not None
    )
    evaluator = Evaluator(sampler, labelled=labelled)
    gallery, done = Gallery(set(select_evenly(len(inputs.files), MOST, None).tolist())), 0
    for files, images in inputs.batches(sampler.default_batch_size, "evaluate", stop):
        of_files = [label] * len(files) if label is not None else labels_of(files, classes) if labelled else None
        labels = None if of_files is None else np.array(of_files, np.int64)
        decoded, errors = evaluator.add(images, labels)
        gallery.add(range(done, done + len(files)), [str(file) for file in files], images, decoded, errors)
        done += len(files)
        stop.wait_for_results()
    return evaluator.result() if done else None, gallery


def _write_page(
    arguments: argparse.Namespace, sampler: Sampler, evaluation: Evaluation, gallery: Gallery, partial: str | None
) -> None:
    """Writes the page. ``partial`` says of how many images it is, if the evaluation was interrupted."""
    from latentloop.evaluation.report.page import Facts, page
    from latentloop.io.files import write_file

    facts = Facts(
        images=listed(map(str, arguments.images)),
        bundle=sampler.bundle.location,
        others=[*([partial] if partial else []), f"{sampler.precision} on {sampler.device}"],
    )
    text = page(evaluation, facts, gallery)
    write_file(arguments.out, lambda path: path.write_text(text, encoding="utf-8"), force=arguments.force)
