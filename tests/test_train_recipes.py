"""The recipes: the default bundle's is the one that its checkpoints record; both planets models' options fit."""

from __future__ import annotations

import argparse
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from latentloop.export.checkpoints.checkpoint import Checkpoint, load_checkpoint
from latentloop.export.commands import train
from latentloop.export.configuration import ClassifierConfig, VqvaeConfig
from latentloop.export.train.options import ClassifierOptions, DecoderOptions, PriorOptions, VqvaeOptions
from latentloop.export.train.prior import prior_config
from latentloop.export.train.run.training_options import from_arguments

RECIPES = Path(__file__).parents[1] / "export" / "recipes"
STUB = '#!/bin/sh\nfile=$(mktemp "$CALLS/XXXXXX")\nprintf "%s\\0" "$@" > "$file"\n'  # records its arguments


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, argparse.Namespace]:
    return trainings_of("planets.sh", tmp_path_factory.mktemp("recipe"))


def trainings_of(recipe: str, folder: Path) -> dict[str, argparse.Namespace]:
    """Returns the arguments of a recipe's trainings, by the name of the output."""
    program = folder / "bin" / "latentloop"
    for path in (folder / "calls", program.parent):
        path.mkdir()
    program.write_text(STUB)
    program.chmod(0o755)
    variables = {"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(folder / "calls")}
    subprocess.run(["bash", RECIPES / recipe, folder / "work"], env={**os.environ, **variables}, check=True)
    calls = [file.read_text().split("\0")[:-1] for file in (folder / "calls").iterdir()]
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    parsed = [parser.parse_args(words) for name, *words in calls if name == "train"]
    return {arguments.out.stem: arguments for arguments in parsed}


@pytest.fixture(scope="module")
def checkpoints() -> dict[str, Checkpoint]:
    return {file.stem: load_checkpoint(file) for file in (RECIPES / "planets").glob("*.safetensors")}


def test_the_training_options_are_those_of_the_checkpoints(
    trainings: dict[str, argparse.Namespace], checkpoints: dict[str, Checkpoint]
) -> None:
    assert trainings.keys() == {"codes", *checkpoints} == {"codes", "vqvae", "top", "bottom", "classifier"}
    kinds: dict[str, Any] = {"vqvae": DecoderOptions, "classifier": ClassifierOptions}
    for name, checkpoint in checkpoints.items():
        arguments = trainings[name]
        recorded = dict(checkpoint.provenance["training"])
        recorded.pop("vqvae", None)  # a digest
        options = asdict(from_arguments(kinds.get(name, PriorOptions), arguments)) | {"flip": arguments.flip}
        assert options == recorded, name
    recorded = dict(checkpoints["vqvae"].provenance["before"]["training"])
    recorded["unquantised_steps"] = recorded.pop("warm_up")  # the name when it was trained; the rising rate was fixed
    options = asdict(from_arguments(VqvaeOptions, trainings["codes"]))
    assert options.pop("warm_up") == 100
    assert options == recorded


def test_the_configurations_are_those_of_the_checkpoints(
    trainings: dict[str, argparse.Namespace], checkpoints: dict[str, Checkpoint]
) -> None:
    vqvae = from_arguments(VqvaeConfig, trainings["codes"], image_channels=3)
    assert vqvae == checkpoints["vqvae"].config
    for level in ("top", "bottom"):
        assert prior_config(trainings[level], vqvae, 64, classes=8) == checkpoints[level].config
    sizes = {"height": 64, "width": 64, "classes": 8, "image_channels": 3}
    assert from_arguments(ClassifierConfig, trainings["classifier"], **sizes) == checkpoints["classifier"].config


def test_the_larger_planets_recipe_trains_three_levels_that_fit(tmp_path: Path) -> None:
    trainings = trainings_of("planets-128.sh", tmp_path)
    assert trainings.keys() == {"vqvae", "top", "middle", "bottom"}
    vqvae = from_arguments(VqvaeConfig, trainings["vqvae"], image_channels=3)
    priors = [prior_config(trainings[level], vqvae, 128, classes=8) for level in ("top", "middle", "bottom")]
    assert [(prior.height, prior.condition_codes) for prior in priors] == [(8, 0), (16, 512), (32, 512)]
