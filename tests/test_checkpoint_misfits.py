"""State dicts that are not a model of the layout: the error says what differs, and what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from common_layout_files import PRIORS, PriorSizes, State, random_prior, random_vqvae, save
from conftest import vqvae_checkpoint
from safetensors.torch import save_file

from latentloop.cli.program import main
from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint
from latentloop.export.layouts.reading import read_prior, read_vqvae

VQVAE = random_vqvae()
PRIOR = random_prior(PRIORS["top-k3"])
ONES = torch.ones(2, 3)


def under(prefix: str, state: State) -> State:
    return {f"{prefix}.{key}": value for key, value in state.items()}


def refused(saved: object, folder: Path, read: Callable[[Path], Checkpoint] = read_vqvae) -> str:
    path = save(folder / "file.pt", saved)
    with pytest.raises(CheckpointError, match=re.escape(str(path))) as caught:
        read(path)
    return str(caught.value)


def stepped_optimiser() -> dict[str, object]:
    layer = torch.nn.Linear(2, 2)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(2)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


def codebook(codes: int, width: int) -> State:
    shapes = {"embed": (width, codes), "embed_avg": (width, codes), "cluster_size": (codes,)}
    return VQVAE | {f"quantize_b.{name}": torch.ones(shape) for name, shape in shapes.items()}


def strided(level: str) -> State:
    """An encoder with one more strided convolution, after its first."""
    out = dict(VQVAE)
    for key in VQVAE:
        prefix, _, rest = key.partition(".blocks.")
        number, _, rest = rest.partition(".")
        if prefix == f"enc_{level}" and int(number) >= 2:
            out[f"{prefix}.blocks.{int(number) + 2}.{rest}"] = VQVAE[key]
    return out | {f"enc_{level}.blocks.2.weight": torch.ones(4, 4, 4, 4), f"enc_{level}.blocks.2.bias": torch.ones(4)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (codebook(13, 6), "codebooks of different sizes, 9 codes of width 6 on top and 13 of width 6 at the bottom"),
        (codebook(9, 4), "codebooks of different sizes, 9 codes of width 6 on top and 9 of width 4 at the bottom"),
        (strided("b"), "enc_b has 3 strided convolutions, that is stride 8; the common layout has stride 4"),
        (strided("t"), "enc_t has 2 strided convolutions, that is stride 4; the common layout has stride 2"),
        (VQVAE | {"enc_m.blocks.0.weight": ONES, "quantize_m.embed": ONES}, "other levels than t and b (m)"),
        (VQVAE | {"enc_b.bn.weight": ONES}, "a fork's model, with more in it than the common layout has (enc_b.bn."),
        ({"enc_b.blocks.0.weight": VQVAE["enc_b.blocks.0.weight"]}, "no tensor enc_b.blocks.2.weight"),
        (
            {"encoder.0.weight": ONES, "vq.embedding": ONES, "decoder.0.weight": ONES},
            "another architecture: its tensors are encoder.0.weight, vq.embedding, decoder.0.weight; expected a "
            ".safetensors file that `latentloop train vqvae` wrote, or the names of rosinality/vq-vae-2-pytorch: "
            "enc_b.blocks.0.weight, quantize_t.embed,",
        ),
        (under("discriminator", {"main.0.weight": ONES, "main.2.weight": ONES}), "it holds a discriminator"),
        ({"netD": {"main.0.weight": ONES}}, "it holds a discriminator"),
        (stepped_optimiser, "it holds only an optimiser's state"),
        (lambda: {"optimizer": stepped_optimiser(), "epoch": 3}, "it holds only an optimiser's state"),
        ({"epoch": 3, "loss": 0.1}, "it holds no tensors, but epoch (an int), loss (a float)"),
        (ONES, "it holds only float32 [2, 3]"),
        ("text", "it holds only a str"),
        ({"deep": under("module", PRIOR)}, "holds a prior, expected a VQ-VAE; are the files exchanged?"),
    ],
)  # fmt: skip
def test_state_dicts_that_are_no_vqvae_of_the_layout(state: object, message: str, tmp_path: Path) -> None:
    assert message in refused(state() if callable(state) else state, tmp_path)


@pytest.mark.parametrize(
    "name",
    ["class_emb.weight", "label_embedding.weight", "blocks.0.resblocks.0.label.conv.weight", "cond_embed.weight",
     "y_embed.weight", "blocks.1.resblocks.0.class_condition.weight_v", "cls_token"],
)  # fmt: skip
def test_the_error_names_class_conditioning_of_a_fork(name: str, tmp_path: Path) -> None:
    message = refused({"model": PRIOR | {name: ONES}}, tmp_path, read_prior)
    assert f"class conditioning of another fork ({name})" in message


def test_a_vqvae_instead_of_a_prior(tmp_path: Path) -> None:
    wrapped = {"state_dict": under("net", VQVAE)}
    assert "holds a VQ-VAE, expected a prior; are the files exchanged?" in refused(wrapped, tmp_path, read_prior)


def test_the_names_of_own_checkpoints_without_their_metadata(tmp_path: Path) -> None:
    weights = {name: torch.from_numpy(value) for name, value in vqvae_checkpoint(3).weights.items()}
    save_file(weights, tmp_path / "v.safetensors")
    with pytest.raises(CheckpointError, match="names of LatentLoop's own checkpoints, but it lacks their metadata"):
        read_vqvae(tmp_path / "v.safetensors")


def test_entries_that_no_model_needs_are_ignored(tmp_path: Path) -> None:
    more = {
        "enc_b.bn.num_batches_tracked": torch.tensor(3),
        "quantize_t.initialised": torch.tensor([True]),
        "attention.mask": torch.ones(3, 3),
        "epoch": 3,
        "note": "text",
        "none": None,
    }
    result = read_vqvae(save(tmp_path / "v.pt", VQVAE | more))
    assert result.config == read_vqvae(save(tmp_path / "plain.pt", VQVAE)).config


def test_top_and_bottom_exchanged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "v.pt", random_vqvae(size=11))
    save(tmp_path / "t.pt", random_prior(PriorSizes(8, 8, 3)))
    save(tmp_path / "b.pt", random_prior(PriorSizes(4, 4, 3, attention=False, upper_codes=11)))
    files = {"vqvae": "v.pt", "top": "b.pt", "bottom": "t.pt"}
    options = [f"--{name}={tmp_path / file}" for name, file in files.items()]
    assert main(["export", *options, f"--out={tmp_path / 'bundle'}"]) == 2
    assert "were top and bottom swapped?" in capsys.readouterr().err
