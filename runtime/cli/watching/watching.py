"""The options ``--animate``, ``--frame-ms`` and ``--show`` of ``sample`` and ``complete``, and what they do."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from latentloop.cli import options
from latentloop.errors import InputError

if TYPE_CHECKING:  # imported late, so that --help is fast
    import numpy as np
    from numpy.typing import NDArray

    from latentloop.cli.image_output import ImageOutput
    from latentloop.cli.sample_job import SampleJob
    from latentloop.cli.watching.recording import Recording
    from latentloop.cli.watching.screen import Screen
    from latentloop.sampling.results import Progress
    from latentloop.sampling.sample_request import SampleRequest
    from latentloop.sampling.sampler import Sampler


def add_watching(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = parser.add_argument_group("watching", "After each row of codes the images so far are decoded.")
    group.add_argument(
        "--animate",
        type=Path,
        metavar="PATH",
        help="also write an animation of the grid being drawn: .webp (lossy, small), .gif (256 colours) or .png "
        "(lossless); one batch after the other if there are several",
    )
    group.add_argument(
        "--frame-ms",
        type=_milliseconds,
        metavar="N",
        help="milliseconds of each frame, 20 to 60000, except the last, which is held for 2 s (default: 100)",
    )
    group.add_argument(
        "--show", action="store_true", help="show the images of the batch in the terminal (stderr) while they are drawn"
    )


def _milliseconds(text: str) -> int:
    from latentloop.images.animation import LONGEST, SHORTEST

    return options.whole_number(text, SHORTEST, LONGEST)


@dataclass(frozen=True, eq=False)
class Watching:
    """What watches a run: a ``recording`` for an animation, a ``screen``, both or neither. ``first_rows`` are the rows
    of each level from which on codes are drawn.
    """

    recording: Recording | None
    screen: Screen | None
    first_rows: dict[str, int] = field(default_factory=dict)

    @staticmethod
    def required(arguments: argparse.Namespace, output: ImageOutput) -> Watching:
        """Returns what the options of ``add_watching`` name. Call it before any work. Raises InputError, and
        OutputError if the animation cannot be written.
        """
        if arguments.frame_ms is not None and arguments.animate is None:
            raise InputError("--frame-ms applies to --animate, which is missing")
        for option in ("animate", "show"):
            if not getattr(arguments, option):
                continue
            if output.folder:
                raise InputError(f"--{option} watches a grid, but --out {output} is a folder: name a file")
            if getattr(arguments, "best", None) is not None:
                raise InputError(
                    f"--{option} watches images being drawn, but --best chooses among many that are drawn: draw the "
                    "chosen ones again by their seeds"
                )
        return Watching(
            _recording(arguments, output) if arguments.animate else None, _screen() if arguments.show else None
        )

    @property
    def is_on(self) -> bool:
        """Whether anything watches."""
        return self.recording is not None or self.screen is not None

    def begin(self, sampler: Sampler, job: SampleJob, cells: int, columns: int | None) -> None:
        """Checks the job, before it is drawn: its grid has ``cells`` images, by default in ``columns``. Raises
        InputError.
        """
        if not self.is_on:
            return
        from latentloop.sampling.sampler import runs_of

        request, option = job.request, "--animate" if self.recording else "--show"
        if request.manifest.undrawn_codeword is None:
            raise InputError(
                f"{option} shows images of which codes are not drawn yet, but an earlier release exported "
                f"{sampler.bundle.path}, whose decoder has no codeword for these: export it again"
            )
        if not request.drawn_levels:
            raise InputError(f"{option} watches images being drawn, but every code is given: leave it out")
        self.first_rows.update({level: _first_row(request, level) for level in request.drawn_levels})
        if self.recording is not None:
            from latentloop.images.animation import check_animation_path

            rows = sum(request.manifest.level(level).height - first for level, first in self.first_rows.items())
            batches = -(-request.n // runs_of(sampler).checked_batch(request, job.batch_size))
            shape = job.output.grid_shape(cells, request.manifest.image, columns)
            check_animation_path(self.recording.path, shape, batches * rows)

    def after_row(self, progress: Progress) -> None:
        """Records and shows the images so far. Rows of which every code is given are left out: they change nothing."""
        if not self.is_on or progress.rows_done <= self.first_rows[progress.level]:
            return
        if self.recording is not None:
            self.recording.add(progress)
        if self.screen is not None:
            self.screen.show(progress)

    def finish(self, done: int) -> None:
        """Shows how many images are finished after the run."""
        if self.screen is not None:
            self.screen.finish(done)

    def writes(
        self, images: NDArray[np.uint8], grid: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    ) -> dict[str, Callable[[], object]]:
        """Returns, by the name of the file, what writes the animation of the finished images [N, H, W, C], at least
        one, laid out by ``grid``; nothing without an animation.
        """
        recording = self.recording
        return {} if recording is None else {str(recording.path): lambda: recording.write(images, grid)}


def _recording(arguments: argparse.Namespace, output: ImageOutput) -> Recording:
    from latentloop.cli.watching.recording import Recording
    from latentloop.images.animation import FRAME_MS, check_animation_path
    from latentloop.io.files import check_free

    path: Path = arguments.animate
    check_animation_path(path)
    check_free(path, force=output.force)
    codes = getattr(arguments, "codes", None)
    for option, other in (("--out", output.path), ("--codes", codes)):
        if other is None:
            continue
        mine, theirs = path.resolve(), other.resolve()
        if mine == theirs:
            raise InputError(f"{option} and --animate both name {path}: give them different names")
        if mine in theirs.parents or theirs in mine.parents:
            raise InputError(f"--animate {path} and {option} {other} are below one another, but both are files")
    return Recording(path, arguments.frame_ms or FRAME_MS, output.force)


def _screen() -> Screen:
    from latentloop.cli.watching.screen import Screen

    return Screen.required()


def _first_row(request: SampleRequest, level: str) -> int:
    """Returns the first row of a level in which a code of any image is drawn: given codes are the first ones."""
    from latentloop.sampling.validation import distinct

    drawn = (distinct(request.given[level]) < 0).any((0, 2))
    return int(drawn.argmax())
