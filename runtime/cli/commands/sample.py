"""``latentloop sample``: images from the priors."""

from __future__ import annotations

import argparse
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentloop.cli import options
from latentloop.cli.interrupt import Request, finishing, interruptible
from latentloop.errors import InputError, OutputError

if TYPE_CHECKING:
    from latentloop.bundles.manifest import Manifest
    from latentloop.cli.given import Given
    from latentloop.sampling.rejection import Selection
    from latentloop.sampling.results import Progress, Samples
    from latentloop.sampling.sampler import Sampler

HELP = "sample images from the priors"
EPILOG = """examples:
  latentloop sample --out samples.png
  latentloop sample --per-class 8 --temperature 0.9 --seed 1 --out classes.png
  latentloop sample --bundle my-bundle --label coat,bag -n 100 --out coats-and-bags/
  latentloop sample --per-class 8 --best 0.25 --seed 1 --out best.png
  latentloop encode photo.png --resize --out photo.npz
  latentloop sample --given photo.npz --keep top --out variations.png

Ctrl-C writes the batches that are finished. The same seed, label, settings, precision, batch size, threads and
processor give the same image.
"""
COUNT = 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's options."""
    options.add_bundle(parser)
    what = parser.add_argument_group("what to sample")
    count = what.add_mutually_exclusive_group()
    count.add_argument("-n", "--count", type=options.positive, metavar="N", help=f"images in all (default: {COUNT})")
    count.add_argument("--per-class", type=options.positive, metavar="K", help="images of each class, a class per row")
    what.add_argument(
        "--label",
        action="append",
        metavar="A,B",
        help="classes by name or number, taken in turn; may be repeated (default: all)",
    )
    what.add_argument("--seed", type=int, metavar="N", help="of the first image, the next has N + 1 (default: fresh)")
    for name, text in (
        ("--temperature", "flattens (over 1) or sharpens (under 1) every draw"),
        ("--top-k", "draw from the K most probable codes"),
        ("--top-p", "draw from the most probable codes that hold this share"),
    ):
        what.add_argument(name, type=options.setting, metavar="X", help=f"{text}; also by level: top=X,bottom=Y")
    what.add_argument(
        "--given", type=Path, metavar="FILE", help="codes to keep (.npz, as `encode` writes); -1 where to draw"
    )
    what.add_argument(
        "--best",
        type=_fraction,
        metavar="FRACTION",
        help="draw more, and keep of each class this share, which the bundle's classifier is surest of",
    )
    what.add_argument("--keep", metavar="A,B", help="levels to keep of --given (default: all that it holds)")
    output = options.add_output(parser, required=True)
    output.add_argument("--codes", type=Path, metavar="FILE", help="also write codes, seeds and labels (.npz)")
    running = options.add_running(parser)
    options.add_precision(running)
    running.add_argument(
        "--batch-size",
        type=options.positive,
        metavar="N",
        help="images at once, padded to it (default: all, 16 at most)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Samples and writes; returns the exit status. Raises LatentLoopError."""
    started = time.perf_counter()
    output = options.Output.of(arguments)
    from latentloop.io.codes_file import check_codes_path, write_codes
    from latentloop.io.files import write_each

    if arguments.codes:
        check_codes_path(arguments.codes, force=arguments.force)
        images, file = output.path.resolve(), arguments.codes.resolve()
        if images in (file, *file.parents):
            raise InputError(f"--codes {arguments.codes} lies in the folder of --out, which holds images only: move it")
        if file in images.parents:
            raise InputError(f"--out {output} lies below --codes {arguments.codes}, which is a file: move it")
    sampler = options.open_sampler(arguments)
    manifest = sampler.bundle.manifest
    given = _given(arguments, manifest)
    held = given.count if given else 1
    n, labels = _request(arguments, manifest, held)
    if held not in (1, n):
        raise InputError(f"{arguments.given} holds codes of {held} images, expected {n} as asked for, or one for all")
    output.check_size(n, manifest.image, arguments.per_class)
    settings = _settings(arguments, [level.name for level in manifest.levels] if given is None else given.drawn)
    if given or arguments.label or arguments.top_k or arguments.best:
        from latentloop.cli import unused_options

        if given:
            unused_options.check_drawn(arguments, given, n, manifest)
        for text in unused_options.notes(arguments, given, labels, n, settings, manifest):
            options.note(text)
    if given and labels is None:
        labels = given.labels(manifest, n)
    codes = {} if given is None else {name: each.repeat(n // held, 0) for name, each in given.codes.items()}
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed

    loaded = time.perf_counter()
    samples, selection, asked = _sample(sampler, n, labels, seed, codes, arguments)
    sampled = time.perf_counter()
    done = len(samples.images)
    names = [] if samples.labels is None else [manifest.classes[label] for label in samples.labels]
    if done:
        shown = options.file_names(done, names, samples.seeds.tolist())
        writes: dict[str, Callable[[], object]] = {
            str(output): lambda: output.write(samples.images, shown, arguments.per_class)
        }
        if arguments.codes:
            beside: dict[str, Any] = {"seeds": samples.seeds, **({"labels": samples.labels} if names else {})}
            writes[str(arguments.codes)] = lambda: write_codes(
                arguments.codes,
                samples.codes,
                beside,
                digest=manifest.digest(),
                classes=manifest.classes,
                settings=settings,
                earlier=given.origins(done) if given else None,
                force=arguments.force,
            )
        try:
            with finishing(asked):
                write_each(writes)
        except OutputError as error:
            again = "" if arguments.seed is not None else f"; --seed {seed} draws the same again"
            raise OutputError(f"{error}{again}") from error
    summary = {
        "file": str(output) if done else None,
        "codes": str(arguments.codes) if arguments.codes and done else None,
        "bundle": str(sampler.bundle.path),
        "images": done,
        "seeds": samples.seeds.tolist(),
        "labels": names or None,
        "candidates": selection.candidates if selection else None,
        "confidence": selection.confidence.tolist() if selection else None,
        "seconds": sampled - loaded,
        "images_per_second": done / (sampled - loaded),
        "load_seconds": loaded - started,
        "write_seconds": time.perf_counter() - sampled,
        "device": sampler.device,
        "device_reason": sampler.device_reason,
        "threads": sampler.threads,
        "precision": sampler.precision,
        "cancelled": samples.cancelled,
    }
    if arguments.json:
        options.print_json(summary)
    elif done:
        last = seed + (selection.candidates if selection else done) - 1
        seeds = f"seeds {seed} to {last}" if last > seed else f"seed {seed}"
        chosen = f"the surest of {selection.candidates} with " if selection else ""
        print(
            f"{output}: {done} {options.plural(done, 'image')} in {sampled - loaded:.2f} s "
            f"({done / (sampled - loaded):.1f} per second) on {sampler.device}, {chosen}{seeds}"
        )
    if asked.is_set():
        options.note_interrupted(done, n)
        return asked.status
    return 0


def _request(arguments: argparse.Namespace, manifest: Manifest, given: int) -> tuple[int, list[int | str] | None]:
    """How many samples, and the label of each; None for the bundle's own choice."""
    chosen: list[int | str] = []
    for text in arguments.label or ():
        chosen += [text] if text in manifest.classes else [name.strip() for name in text.split(",")]
    if arguments.per_class:
        if not manifest.classes:
            raise InputError("--per-class needs a bundle with classes, this one has none: use --count")
        per_class = [label for label in chosen or range(len(manifest.classes)) for _ in range(arguments.per_class)]
        return len(per_class), per_class
    n = arguments.count or (given if given > 1 else COUNT)
    return n, [chosen[index % len(chosen)] for index in range(n)] if chosen else None


def _given(arguments: argparse.Namespace, manifest: Manifest) -> Given | None:
    """The codes to keep."""
    if arguments.given is not None and arguments.best is not None:
        raise InputError("--best draws several candidates for each image, --given holds codes of the images: use one")
    if arguments.given is None:
        if arguments.keep is not None:
            raise InputError("--keep chooses levels of --given, which is missing")
        return None
    from latentloop.cli.given import read_given

    return read_given(arguments.given, arguments.keep, manifest)


def _settings(arguments: argparse.Namespace, drawn: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The settings of each level that is drawn, as files of codes keep them."""
    found: dict[str, dict[str, Any]] = {level: {"precision": arguments.precision} for level in drawn}
    for name, default in (("temperature", 1.0), ("top_k", None), ("top_p", 1.0)):
        value = getattr(arguments, name)
        by_level = value if isinstance(value, dict) else dict.fromkeys(drawn, value)
        for level in drawn:
            found[level][name] = default if by_level.get(level) is None else by_level[level]
    return found


def _sample(
    sampler: Sampler,
    n: int,
    labels: list[int | str] | None,
    seed: int,
    codes: dict[str, Any],
    arguments: argparse.Namespace,
) -> tuple[Samples, Selection | None, Request]:
    """Samples with a progress bar, until done or asked to stop; with ``--best`` also how they were chosen."""
    from tqdm import tqdm

    drawn = [v.height for v in sampler.bundle.manifest.levels if v.name not in codes or (codes[v.name] < 0).any()]
    # disable=None: no bar unless stderr is a terminal
    with interruptible() as asked, tqdm(unit="row", delay=1, leave=False, disable=None) as bar:

        def after_row(progress: Progress) -> bool:
            count = progress.images_total  # with --best, of all candidates
            bar.total = sum(drawn) * -(-count // (arguments.batch_size or min(count, sampler.default_batch)))
            bar.set_postfix_str(f"{progress.images_done} of {count} images", refresh=False)
            bar.update()
            if progress.images_done:
                asked.wait_for_results()
            return not asked.is_set()

        settings = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "batch_size")}
        if arguments.best is None:
            samples = sampler.sample(n, labels=labels, seeds=seed, given=codes, callback=after_row, **settings)
            return samples, None, asked
        from latentloop.sampling.rejection import sample_best

        selection = sample_best(
            sampler, n, keep=arguments.best, labels=labels, seed=seed, callback=after_row, **settings
        )
        return selection.samples, selection, asked


def _fraction(text: str) -> float:
    """An argparse type: a number over 0, at most 1."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a fraction over 0, at most 1")
    return value
