"""State dicts at any place in a file and under any prefix, and the selection among several."""

from __future__ import annotations

import argparse
import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common_layout_files import PRIORS, PriorSizes, State, random_prior, random_vqvae, save

from latentloop.cli.program import main
from latentloop.errors import CheckpointError, InputError
from latentloop.export.checkpoints.checkpoint import file_digest
from latentloop.export.checkpoints.lazy_arrays import Weights
from latentloop.export.layouts.reading import read_prior, read_vqvae
from latentloop.export.state_dicts.selection import StateOption, StateSelection

VQVAE = random_vqvae()
PRIOR = random_prior(PRIORS["bottom-k3"])


def under(prefix: str, state: State) -> State:
    return {f"{prefix}.{key}" if prefix else key: value for key, value in state.items()}


def renamed(state: State, *pairs: str) -> State:
    for pair in pairs:
        old, new = pair.split(">")
        state = {key.replace(old, new): value for key, value in state.items()}
    return state


def are_equal(weights: Weights, expected: Weights) -> bool:
    return weights.keys() == expected.keys() and all(np.array_equal(weights[key], expected[key]) for key in expected)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Weights, Weights]:
    folder = tmp_path_factory.mktemp("plain")
    return read_vqvae(save(folder / "v.pt", VQVAE)).weights, read_prior(save(folder / "p.pt", PRIOR)).weights


@pytest.mark.parametrize(
    "prefix",
    ["_orig_mod", "module._orig_mod", "_orig_mod.module", "module.module", "model", "net.module", "generator.vqvae",
     "a.b.c.d.e", "_fsdp_wrapped_module.model", "0", "enc_b", "dec", "blocks.0"],
)  # fmt: skip
def test_a_shared_prefix_is_removed(prefix: str, expected: tuple[Weights, Weights], tmp_path: Path) -> None:
    vqvae = read_vqvae(save(tmp_path / "v.pt", under(prefix, VQVAE)))
    prior = read_prior(save(tmp_path / "p.pt", under(prefix, PRIOR), dropout=0.25))
    assert are_equal(vqvae.weights, expected[0])
    assert are_equal(prior.weights, expected[1])
    assert (vqvae.provenance["state"], prior.provenance["state"]) == (prefix, f"model.{prefix}")
    assert prior.provenance["args"] == {"dropout": 0.25}


@pytest.mark.parametrize(
    ("vqvae", "prior"),
    [
        ("enc_b.>enc_b.module.", "blocks.0.>blocks.0._orig_mod."),
        ("dec.blocks>dec._orig_mod.module.blocks", "conv1.>_orig_mod.conv1."),
        (".weight>.module.weight", ".bias>.module.bias"),
        ("enc_t.>_orig_mod.enc_t.", "out.>_checkpoint_wrapped_module.out."),
    ],
)
def test_wrappers_around_single_modules(
    vqvae: str, prior: str, expected: tuple[Weights, Weights], tmp_path: Path
) -> None:
    assert are_equal(read_vqvae(save(tmp_path / "v.pt", renamed(VQVAE, vqvae))).weights, expected[0])
    assert are_equal(read_prior(save(tmp_path / "p.pt", renamed(under("module", PRIOR), prior))).weights, expected[1])


OPTIMISER = {"state": {0: {"step": torch.tensor(1.0), "exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 1e-3}]}
CHANGED = {key: value + 1 for key, value in VQVAE.items()}


@pytest.mark.parametrize(
    ("saved", "state"),
    [
        ({"state_dict": VQVAE, "optimizer": OPTIMISER, "epoch": 3}, "state_dict"),
        ({"a": {"b": {"c": OrderedDict(VQVAE)}}, "loss": 0.1}, "a.b.c"),
        ({"ema": under("module", VQVAE) | {"n_averaged": torch.tensor(3)}}, "ema.module"),
        ((VQVAE, OPTIMISER), "0"),
        (argparse.Namespace(weights=VQVAE, epoch=1), "weights"),
        (VQVAE | {"epoch": 3, "args": argparse.Namespace(lr=1), "history": [1, 2]}, None),
        (under("model", VQVAE) | under("loss.disc", {"main.0.weight": torch.ones(3)}), "model"),
        (VQVAE | under("loss.vgg", {"0.weight": torch.ones(3)}) | {"model_ema.decay": torch.tensor(0.9)}, None),
        ({"state_dict": under("model", VQVAE), "grads": {"x": VQVAE["dec.blocks.0.weight"]}}, "state_dict.model"),
    ],
)
def test_a_state_dict_inside_a_saved_object(
    saved: object, state: str | None, expected: tuple[Weights, Weights], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    result = read_vqvae(save(tmp_path / "v.pt", saved))
    assert are_equal(result.weights, expected[0])
    assert result.provenance.get("state") == state
    assert result.provenance["sha256"] == file_digest(tmp_path / "v.pt")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("saved", "preferred", "other"),
    [
        ({"ema": CHANGED, "model": VQVAE}, "model", "ema"),
        ({"netEMA": CHANGED, "gen": VQVAE}, "gen", "netEMA"),
        ({"modelEma": CHANGED, "gen": VQVAE}, "gen", "modelEma"),
        ({"emamodel": CHANGED, "weights": VQVAE}, "weights", "emamodel"),
        ({"model_ema": {"module": CHANGED}, "vqvae": VQVAE}, "vqvae", "model_ema.module"),
        ({"vqvae_ema": CHANGED, "model": VQVAE}, "model", "vqvae_ema"),
        (VQVAE | under("ema", CHANGED), ".", "ema"),
        (under("ema_model", CHANGED) | under("model", VQVAE), "model", "ema_model"),
        ({"first": VQVAE, "second": CHANGED}, "first", "second"),
        ({"optimizer": {"exp_avg": CHANGED}, "swa": VQVAE}, "swa", "optimizer.exp_avg"),
        ({"state_dict": CHANGED, "model": VQVAE}, "model", "state_dict"),
    ],
)
def test_the_preferred_of_several_states_is_used_and_reported(
    saved: object, preferred: str, other: str, expected: tuple[Weights, Weights], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = save(tmp_path / "v.pt", saved)
    assert are_equal(read_vqvae(path).weights, expected[0])
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert f"2 states that make a VQ-VAE: {preferred}, {other}; {preferred} is used" in message
    assert f"--state {other}" in message
    named = read_vqvae(path, StateSelection("vqvae", required=other))
    assert capsys.readouterr().err == ""
    assert not are_equal(named.weights, expected[0])
    assert named.provenance["state"] == other
    assert are_equal(read_vqvae(path, StateSelection("vqvae", required=preferred)).weights, expected[0])


def test_an_incomplete_state_is_not_used(
    expected: tuple[Weights, Weights], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = {key: value for key, value in VQVAE.items() if key != "upsample_t.bias"}
    path = save(tmp_path / "v.pt", {"model": broken, "ema": VQVAE})
    assert are_equal(read_vqvae(path).weights, expected[0])
    assert capsys.readouterr().err == ""
    for selection in (StateSelection("vqvae", required="model"), StateSelection("vqvae", preferred="model")):
        with pytest.raises(CheckpointError, match=r"upsample_t\.bias is missing"):
            read_vqvae(path, selection)


def test_a_name_can_be_a_part_of_the_path(tmp_path: Path) -> None:
    path = save(tmp_path / "v.pt", {"saved": {"ema": under("module", CHANGED), "model": {"ema": VQVAE, "now": VQVAE}}})
    assert read_vqvae(path, StateSelection("vqvae", required="saved.ema")).provenance["state"] == "saved.ema.module"
    assert read_vqvae(path, StateSelection("vqvae", required="now")).provenance["state"] == "saved.model.now"
    with pytest.raises(CheckpointError, match=r"ema could be each of saved\.model\.ema, saved\.ema\.module"):
        read_vqvae(path, StateSelection("vqvae", required="ema"))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["ema", "model"], "two states are given for every file"),
        (["top=ema", "top=model"], "two states are given for top"),
        (["classifier=ema"], "a classifier's file holds one state only"),
        ([""], "expected NAME or PART=NAME"),
        (["top="], "expected NAME or PART=NAME"),
        (["=ema"], "expected NAME or PART=NAME"),
    ],
)
def test_options_that_are_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        StateOption.parse(texts)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    vqvae, average = (random_vqvae(size=11, seed=seed) for seed in (0, 1))
    top = random_prior(PriorSizes(4, 4, 3))
    bottom = random_prior(PriorSizes(8, 8, 3, attention=False, upper_codes=11))
    save(folder / "v.pt", {"model": vqvae, "ema": average})
    save(folder / "t.pt", {"model": top, "ema": {key: value.clone() for key, value in top.items()}})
    save(folder / "b.pt", bottom, dropout=0.1)
    save(folder / "all.pt", {"bottom": bottom, "vqvae": vqvae, "top": top})
    return folder


def exported(folder: Path, out: Path, *options: str, **files: str) -> dict[str, Any] | int:
    names = {"vqvae": "v.pt", "top": "t.pt", "bottom": "b.pt"} | files
    status = main(
        ["export", *(f"--{name}={folder / file}" for name, file in names.items()), f"--out={out}", "--force", *options]
    )
    if status:
        return status
    models = json.loads((out / "manifest.json").read_text())["provenance"]["models"]
    return {name: model.get("state") for name, model in models.items()}


def test_the_option_selects_the_state_in_each_file_that_has_it(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "bundle"
    assert exported(files, out) == {"vqvae": "model", "top": "model", "bottom": "model"}
    assert exported(files, out, "--state=ema") == {"vqvae": "ema", "top": "ema", "bottom": "model"}
    assert exported(files, out, "--state=top=ema") == {"vqvae": "model", "top": "ema", "bottom": "model"}
    both = exported(files, out, "--state", "ema", "--state", "vqvae=model")
    assert both == {"vqvae": "model", "top": "ema", "bottom": "model"}
    capsys.readouterr()
    refused: list[tuple[str, int, Callable[[str], bool]]] = [
        ("nope", 2, lambda text: "no file has the state nope" in text and text.count("holds model, ema") == 2),
        ("bottom=ema", 1, lambda text: "b.pt has no state ema for bottom: it holds model" in text),
        ("middle=ema", 2, lambda text: "a state is given for middle, but no such file" in text),
    ]
    for state, status, is_expected in refused:
        assert exported(files, out, f"--state={state}") == status
        assert is_expected(capsys.readouterr().err)


def test_one_file_can_hold_every_part(files: Path, tmp_path: Path) -> None:
    states = exported(files, tmp_path / "bundle", vqvae="all.pt", top="all.pt", bottom="all.pt")
    assert states == {"vqvae": "vqvae", "top": "top", "bottom": "bottom"}
