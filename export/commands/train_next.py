"""The commands to run after a training: look at reconstructions, train the next prior, export and sample."""

from __future__ import annotations

import argparse
import itertools
import shlex
from contextlib import suppress
from pathlib import Path

from latentloop.errors import LatentLoopError
from latentloop.export.checkpoints.checkpoint import Checkpoint, is_own, load_checkpoint
from latentloop.export.commands.command_line import command, options_given
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.data.datasets import held_out_files
from latentloop.export.layouts.reading import read_vqvae

SHOWN = 8  # images to reconstruct
DATA_OPTIONS = ("data", "held_out", "split_seed")  # that a prior has in common with its VQ-VAE
SIZE_OPTIONS = ("channels", "residual_channels", "steps", "batch")  # likewise: of a small model and a short training
RUN_OPTIONS = ("precision", "flip", "licence", "threads", "device", "save_every")
ONLY_TOP = ("heads", "attention")  # options that the other levels' priors do not use by default
ONLY_ONE = ("start", "level", "out", "restart", "force", "json")  # of one run

Files = list[tuple[Path, Checkpoint]]
Priors = dict[str, tuple[Path, Checkpoint]]  # by level


def continuation(arguments: argparse.Namespace) -> str:
    """Returns the command that continues an interrupted training, or repeats it if no state was saved."""
    given = options_given(arguments.parser, arguments, leave_out=("restart",))
    return command("train", arguments.network, *itertools.chain(*given.values()))


def next_steps(arguments: argparse.Namespace, trained: Checkpoint) -> list[tuple[str, str]]:
    """Returns what to do after the training that wrote ``trained``, as pairs of a title and commands for a shell."""
    beside = _checkpoints_beside(arguments.out)
    if arguments.network == "classifier":
        return _use_classifier(arguments, trained, beside)
    vqvae = arguments.vqvae if arguments.network == "prior" else arguments.out
    config = (read_vqvae(vqvae) if arguments.network == "prior" else trained).config
    assert isinstance(config, VqvaeConfig)
    steps = [] if arguments.network == "prior" else _look(arguments)
    priors = _priors(trained, config, beside)
    missing = [name for name in config.level_names if name not in priors]
    if missing:
        return [*steps, _train_prior(arguments, missing[0])]
    inplace = _options(arguments, ("vqvae_inplace",)) if arguments.network == "prior" else []
    return [*steps, _export(arguments, ["--vqvae", vqvae, *inplace], priors, _classifier(priors, beside))]


def _look(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Returns the step that reconstructs some held-out images; none for IDX files, which are no pictures."""
    files = held_out_files(arguments.data, arguments.held_out, arguments.split_seed)
    if not files:
        return []
    bundle = _unused(arguments.out.with_name(f"{arguments.out.stem}-bundle"))
    picture = _unused(arguments.out.with_name(f"{arguments.out.stem}-reconstructed.png"))
    export = command("export", "--vqvae", arguments.out, "--out", bundle)
    shown = files[:: -(-len(files) // SHOWN)]
    look = command("reconstruct", *shown, "--resize", "--bundle", bundle, "--out", picture)
    return [("look at reconstructions first", f"{export} && {look}")]


def _train_prior(arguments: argparse.Namespace, level: str) -> tuple[str, str]:
    """Returns the step that trains the prior of ``level``, like a prior's training that just ended, if it is one."""
    if arguments.network == "prior":
        given = options_given(arguments.parser, arguments, leave_out=(*ONLY_ONE, *ONLY_TOP))
        options = [word for words in given.values() for word in words]
    else:
        size = SIZE_OPTIONS if arguments.network == "vqvae" else ()
        options = ["--vqvae", str(arguments.out), *_options(arguments, (*DATA_OPTIONS, *size, *RUN_OPTIONS))]
    out = _unused(arguments.out.with_name(f"{level}.safetensors"))
    return f"train the {level} prior", command("train", "prior", *options, "--level", level, "--out", out)


def _export(
    arguments: argparse.Namespace, vqvae: list[object], priors: Priors, classifier: Path | None
) -> tuple[str, str]:
    """Returns the step that exports a complete model and samples from it."""
    bundle = _unused(arguments.out.with_name("bundle"))
    pictures = _unused(arguments.out.with_name("samples.png"))
    files: list[object] = []
    for name, (file, _) in priors.items():
        files += [f"--{name}", file] if name in ("top", "middle", "bottom") else ["--prior", f"{name}={file}"]
    files += ["--classifier", classifier] if classifier else []
    export = command("export", *vqvae, *files, "--out", bundle)
    best = ["--best", "0.25"] if classifier else []
    return "export and sample", f"{export} && {command('sample', '--bundle', bundle, *best, '--out', pictures)}"


def _use_classifier(arguments: argparse.Namespace, trained: Checkpoint, beside: Files) -> list[tuple[str, str]]:
    """Returns the step that exports the newest complete model beside a classifier with it."""
    for file, checkpoint in reversed(beside):
        if isinstance(checkpoint.config, VqvaeConfig):
            priors = _priors(checkpoint, checkpoint.config, beside)
            is_complete = len(priors) == checkpoint.config.levels
            if is_complete and _classifier(priors, [(arguments.out, trained)]):
                return [_export(arguments, ["--vqvae", file], priors, arguments.out)]
    return [
        ("when the priors are trained, pass to `latentloop export`", f"--classifier {shlex.quote(str(arguments.out))}")
    ]


def _checkpoints_beside(out: Path) -> Files:
    """Returns the checkpoints of LatentLoop in the folder of ``out``, oldest first, without their weights."""
    files = [file for file in out.parent.glob("*.safetensors") if is_own(file)]
    found = []
    for file in sorted(files, key=lambda file: file.stat().st_mtime_ns):
        with suppress(LatentLoopError):  # of another version, or damaged
            found.append((file, load_checkpoint(file, weights=False)))
    return found


def _priors(vqvae: Checkpoint, config: VqvaeConfig, beside: Files) -> Priors:
    """Returns the newest prior of each level that has one, top first: of the same codes and image size as ``vqvae``,
    which may also be one of these priors.
    """
    same = ("codes_sha256", "size")
    expected = [vqvae.provenance.get(name) for name in same]
    newest = {
        checkpoint.provenance.get("level"): (file, checkpoint)
        for file, checkpoint in beside
        if checkpoint.kind == "prior" and [checkpoint.provenance.get(name) for name in same] == expected
    }
    return {name: newest[name] for name in config.level_names if name in newest}


def _classifier(priors: Priors, beside: Files) -> Path | None:
    """Returns the newest classifier of the priors' classes and image size; None if there is none."""
    known = [
        [checkpoint.provenance.get(name) for name in ("classes", "size")]
        for _, checkpoint in priors.values()
        if checkpoint.provenance.get("classes")
    ]
    fitting = [
        file
        for file, checkpoint in beside
        if checkpoint.kind == "classifier" and [checkpoint.provenance.get(n) for n in ("classes", "size")] in known
    ]
    return fitting[-1] if fitting else None


def _options(arguments: argparse.Namespace, names: tuple[str, ...]) -> list[str]:
    """Returns the words of those of these options that are given."""
    given = options_given(arguments.parser, arguments)
    return [word for name in names if name in given for word in given[name]]


def _unused(path: Path) -> Path:
    """Returns the path, with a number if it exists."""
    numbered = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2))
    return path if not path.exists() else next(each for each in numbered if not each.exists())
