"""The list of checkpoint layouts: a layout is a class with ``can_read`` and ``read``, and one line in the list."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from common_layout_files import save
from toy_layout import MODEL, ToyLayout, toy_state_dict

from latentloop.cli.program import main
from latentloop.errors import CheckpointError
from latentloop.export.layouts.layout import Layout
from latentloop.export.layouts.reading import read_classifier, read_prior, read_vqvae
from latentloop.export.layouts.registry import LAYOUTS


@pytest.fixture
def toy_file(tmp_path: Path) -> Path:
    state = toy_state_dict()
    return save(tmp_path / "toy.pt", {"model": state, "ema": {name: value + 1 for name, value in state.items()}})


@pytest.fixture
def layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    toy: Layout = ToyLayout()
    monkeypatch.setattr("latentloop.export.layouts.reading.LAYOUTS", [*LAYOUTS, toy])


def test_a_layout_outside_the_list_is_not_read(toy_file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it has another architecture: its tensors are model\.toy_"):
        read_vqvae(toy_file)


@pytest.mark.usefixtures("layouts")
def test_a_layout_in_the_list_is_exported(toy_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "bundle"
    assert main(["export", f"--vqvae={toy_file}", f"--out={out}", "--image=32x48", "--no-vqvae-inplace"]) == 0
    assert "2 states that make a VQ-VAE: model, ema; model is used" in capsys.readouterr().err
    provenance = json.loads((out / "manifest.json").read_text())["provenance"]["models"]["vqvae"]
    assert (provenance["layout"], provenance["file"], provenance["state"]) == ("toy", "toy.pt", "model")
    assert main(["verify", str(out)]) == 0
    for name, value in read_vqvae(toy_file).weights.items():
        np.testing.assert_array_equal(value, MODEL.weights[name])


@pytest.mark.usefixtures("layouts")
def test_errors_describe_every_layout_of_the_list(toy_file: Path, tmp_path: Path) -> None:
    unknown = save(tmp_path / "unknown.pt", {"weight": torch.ones(3)})
    with pytest.raises(CheckpointError, match=r"expected .* or the name toy_decoder/conv/bias$"):
        read_vqvae(unknown)
    with pytest.raises(CheckpointError, match=r"expected .* that `latentloop train classifier` wrote$"):
        read_classifier(unknown)
    with pytest.raises(CheckpointError, match="holds a VQ-VAE, expected a prior; are the files exchanged"):
        read_prior(toy_file)
