"""The list of checkpoint layouts: a layout is a class with ``can_read`` and ``read``, and one line in the list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from common_layout_files import save
from conftest import vqvae_checkpoint

from latentloop.cli.program import main
from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint, Kind, exchanged
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.layouts.layout import Layout, ReadRequest
from latentloop.export.layouts.reading import read_classifier, read_prior, read_vqvae
from latentloop.export.layouts.registry import LAYOUTS
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.conversion import TensorMapping, check_shapes, convert
from latentloop.export.state_dicts.finding import find_state
from latentloop.export.state_dicts.state_dict import StateDict

MODEL = vqvae_checkpoint(3)
SHAPES = {name: value.shape for name, value in MODEL.weights.items()}


class ToyLayout:
    """One VQ-VAE, whose names have ``toy_`` in front and ``/`` between their parts."""

    def can_read(self, file: CheckpointFile) -> bool:
        return file.has_any(["toy_decoder/conv/bias"])

    def read(self, file: CheckpointFile, request: ReadRequest) -> Checkpoint:
        if request.kind != "vqvae":
            raise exchanged(file.path, "vqvae", request.kind)
        mappings = [TensorMapping(name, "toy_" + name.replace(".", "/"), shape) for name, shape in SHAPES.items()]

        def configure(state: StateDict) -> VqvaeConfig:
            check_shapes(state, mappings, {}, lambda unknown, missing: "")
            assert isinstance(MODEL.config, VqvaeConfig)
            return MODEL.config

        landmarks = ["toy_decoder/conv/bias"]
        state, config = find_state(file, landmarks, configure, request.selection, layout="toy", model="a VQ-VAE")
        return Checkpoint(config, convert(state, mappings), state.provenance())

    def expected(self, kind: Kind) -> str:
        return "the name toy_decoder/conv/bias" if kind == "vqvae" else ""


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    state = {"toy_" + name.replace(".", "/"): torch.from_numpy(value) for name, value in MODEL.weights.items()}
    return save(tmp_path / "toy.pt", {"model": state, "ema": {name: value + 1 for name, value in state.items()}})


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    toy: Layout = ToyLayout()
    monkeypatch.setattr("latentloop.export.layouts.reading.LAYOUTS", [*LAYOUTS, toy])


def test_a_layout_outside_the_list_is_not_read(toy_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it is another architecture: its names are model\.toy_"):
        read_vqvae(toy_file)


@pytest.mark.usefixtures("layouts")
def test_a_layout_in_the_list_is_exported(toy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bundle"
    assert main(["export", f"--vqvae={toy_file}", f"--out={out}", "--image=32x48", "--no-vqvae-inplace"]) == 0
    assert "2 states that make a VQ-VAE: model, ema; model is used" in capsys.readouterr().err
    provenance = json.loads((out / "manifest.json").read_text())["provenance"]["models"]["vqvae"]
    assert (provenance["layout"], provenance["file"], provenance["state"]) == ("toy", "toy.pt", "model")
    assert main(["verify", str(out)]) == 0


@pytest.mark.usefixtures("layouts")
def test_errors_know_every_layout_of_the_list(toy_file: Path, tmp_path: Path) -> None:
    unknown = save(tmp_path / "unknown.pt", {"weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"expected .* or the name toy_decoder/conv/bias$"):
        read_vqvae(unknown)
    with pytest.raises(CheckpointError, match=r"expected .* that `latentloop train classifier` wrote"):
        read_classifier(unknown)
    with pytest.raises(CheckpointError, match="holds a VQ-VAE, expected a prior; are the files exchanged"):
        read_prior(toy_file)
