"""Files in the common PyTorch layout (rosinality/vq-vae-2-pytorch) that are damaged, malicious, or of another model."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from common_layout_files import PRIORS, PriorSizes, State, random_prior, random_vqvae, save, with_prefix
from torch import Tensor

from latentloop.errors import CheckpointError
from latentloop.export.checkpoints.checkpoint import Checkpoint, save_checkpoint
from latentloop.export.layouts.reading import read_prior, read_vqvae
from latentloop.export.layouts.rosinality.layout import RosinalityLayout
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile


def changed(**changes: Any) -> State:
    """Returns a top prior's state dict with tensors replaced, removed (None) or added. ``__`` in a name is a dot."""
    state = random_prior(PRIORS["top-k3"])
    for key, value in changes.items():
        name = key.replace("__", ".")
        if value is None:
            del state[name]
        else:
            state[name] = value(state[name]) if callable(value) else value
    return state


def refusal(path: Path, read: Callable[[Path], Checkpoint] = read_prior) -> str:
    """Returns the message of the CheckpointError that reading the file must raise."""
    with pytest.raises(CheckpointError) as caught:
        read(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_one_error_lists_every_tensor_that_does_not_fit(tmp_path: Path) -> None:
    state = changed(
        blocks__1__query_resblock__conv2__conv__bias=None,
        blocks__0__resblocks__1__conv2__conv__conv__weight_v=torch.ones(64, 12, 3, 5),
        label_embed__weight=torch.ones(10, 4),
    )
    message = refusal(save(tmp_path / "prior.pt", with_prefix(state)))
    assert "3 tensors do not fit" in message
    assert "blocks.1.query_resblock.conv2.conv.bias is missing, expected [68]" in message
    assert "module.blocks.0.resblocks.1.conv2.conv.conv.weight_v is [64, 12, 3, 5], expected [64, 12, 3, 3]" in message
    assert "module.label_embed.weight [10, 4] is unknown" in message


def test_a_long_list_is_shortened(tmp_path: Path) -> None:
    extra = {f"extra__{n}__weight": torch.ones(1) for n in range(27)}
    message = refusal(save(tmp_path / "prior.pt", changed(**extra)))
    assert message.count("is unknown") == 20
    assert message.endswith("and 7 more")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"horizontal__conv__conv__weight_v": None}, "no tensor horizontal.conv.conv.weight_v, whose"),
        ({"horizontal__conv__conv__weight_v": torch.ones(32, 11)}, "[32, 11], expected 4 axes"),
        ({"horizontal__conv__conv__weight_v": torch.ones(32, 11, 2, 4)}, "has 2x4 taps, expected (k // 2)"),
        ({"blocks__0__resblocks__0__conv1__conv__conv__weight_v": None}, "determines the residual channels"),
        ({"background": torch.ones(1, 2, 0, 5)}, "[1, 2, 0, 5], expected 4 axes, none empty"),
        ({"background": lambda x: x * 2}, "background differs by 0.5 from"),
        ({"background": lambda x: x * torch.nan}, "background differs by nan from"),
        ({"vertical__conv__conv__bias": [1, 2]}, "vertical.conv.conv.bias is a list, expected a tensor"),
        ({"background": lambda x: x.to(torch.int32)}, "background is int32, expected float32, float16, bfloat16 or"),
        ({"background": lambda x: x.to_sparse()}, "background is a sparse tensor, expected a tensor"),
        ({"background": lambda x: x.to("meta")}, "background is a tensor on the meta device, which has no values"),
        ({"background": lambda x: x.numpy()}, "background is a NumPy array (torch.from_numpy"),
        ({"background": torch.ones(1).expand(1, 2, 40000, 40000)}, "more than the file holds"),
        ({"module__background": torch.ones(1, 2, 4, 5)}, "background and module.background both name"),
        ({"out__3__conv__weight_v": torch.zeros(11, 32, 1, 1)}, "conv.weight_v is all zero for output 0, 1"),
    ],
)
def test_broken_tensors_are_named(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in refusal(save(tmp_path / "prior.pt", changed(**changes)))


def test_the_masked_taps_of_a_causal_convolution_are_ignored(tmp_path: Path) -> None:
    """Masked taps do not count in the norm of an output's taps, and they can be NaN."""
    key = "blocks__0__resblocks__0__conv1__conv__conv__weight_v"

    def taps(masked: float, others: float) -> Callable[[Tensor], Tensor]:
        def fill(v: Tensor) -> Tensor:
            out = torch.full_like(v, others)
            out[:, :, -1, 1:] = masked
            return out

        return fill

    assert "is all zero" in refusal(save(tmp_path / "zero.pt", changed(**{key: taps(5.0, 0.0)})))
    weights = read_prior(save(tmp_path / "nan.pt", changed(**{key: taps(torch.nan, 1.0)}))).weights
    weight = weights["blocks.0.residual.0.conv1.weight"]
    assert np.isfinite(weight).all()
    assert np.all(weight[:, :, -1, 1:] == 0)


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    state = changed(out__3__conv__bias=lambda x: x * torch.inf)
    state["blocks.0.key_resblock.conv1.conv.weight_g"][3] = torch.nan
    state["vertical.conv.conv.bias"] = torch.full((32,), 1e300, dtype=torch.float64)
    message = refusal(save(tmp_path / "prior.pt", state))
    for key in ("out.3.conv.bias", "blocks.0.key_resblock.conv1.conv.weight_g", "vertical.conv.conv.bias"):
        assert key in message
    assert "key_resblock.conv1.conv.weight_v" not in message


def test_exchanged_files_are_recognised(tmp_path: Path) -> None:
    prior = save(tmp_path / "prior.pt", with_prefix(changed()), dropout=0.1)
    vqvae = save(tmp_path / "vqvae.pt", random_vqvae())
    assert "holds a prior, expected a VQ-VAE" in refusal(prior, read_vqvae)
    assert "holds a VQ-VAE, expected a prior" in refusal(vqvae, read_prior)


def test_broken_tensors_of_a_vqvae_are_named(tmp_path: Path) -> None:
    state = random_vqvae()
    state["quantize_b.cluster_size"] = torch.ones(10)
    state["quantize_t.embed_avg"] = torch.ones(9, 6)
    del state["upsample_t.bias"]
    message = refusal(save(tmp_path / "vqvae.pt", state), read_vqvae)
    assert "quantize_b.cluster_size is [10], expected [9]" in message
    assert "quantize_t.embed_avg is [9, 6], expected [6, 9]" in message
    assert "upsample_t.bias is missing, expected [6]" in message
    message = refusal(
        save(tmp_path / "odd.pt", random_vqvae() | {"enc_b.blocks.2.weight": torch.ones(7, 4, 4, 4)}),
        read_vqvae,
    )
    assert "channels is 7, expected even" in message


class Payload:
    """Runs a command when it is unpickled without protection."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("read", [read_prior, read_vqvae])
def test_reading_a_malicious_file_executes_nothing(
    read: Callable[[Path], Checkpoint], zipped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trace, path = tmp_path / "executed", tmp_path / "evil.pt"
    content = {"model": changed(), "args": argparse.Namespace(dropout=Payload(f"touch {trace}"))}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    message = refusal(path, read)
    assert "system" in message
    assert "refused" in message
    assert not trace.exists()
    torch.load(path, weights_only=False)
    assert trace.exists()  # without protection, the command runs


@pytest.mark.parametrize("size", [0, 1, 3, 100, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_truncated_files(size: float, zipped: bool, tmp_path: Path) -> None:
    path = tmp_path / "prior.pt"
    torch.save(
        {"model": changed(), "args": argparse.Namespace(dropout=0.1)},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    content = path.read_bytes()
    path.write_bytes(content[: int(size * len(content)) if size < 1 else int(size)])
    assert "not a PyTorch checkpoint, or a damaged one" in refusal(path)


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.pt")
    assert "Is a directory" in refusal(tmp_path)
    (tmp_path / "text.pt").write_text("not a checkpoint at all\n")
    assert "not a PyTorch checkpoint" in refusal(tmp_path / "text.pt")
    save_checkpoint(tmp_path / "own.safetensors", read_prior(save(tmp_path / "prior.pt", changed())))
    assert not RosinalityLayout().can_read(CheckpointFile(tmp_path / "own.safetensors"))
    for content, expected in (
        ([1, 2], "it holds only a list"),
        ({}, "it holds only a dict"),
        ({"model": 3}, "it holds no tensors, but model (an int)"),
        ({1: torch.ones(1)}, "it has another architecture: its tensors are 1; expected"),
    ):
        assert expected in refusal(save(tmp_path / "other.pt", content))


def test_the_allow_list_of_torch_is_not_changed(tmp_path: Path) -> None:
    path = save(tmp_path / "prior.pt", changed(), dropout=0.1)
    before = set(torch.serialization.get_safe_globals())
    read_prior(path)
    assert set(torch.serialization.get_safe_globals()) == before
    with torch.serialization.safe_globals([argparse.Namespace]):
        read_prior(path)
        assert argparse.Namespace in torch.serialization.get_safe_globals()


def test_a_grid_that_disagrees_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "prior.pt", random_prior(PriorSizes(4, 6, 3)))
    assert read_prior(path, grid=(4, 6)).config == read_prior(path).config
    with pytest.raises(CheckpointError, match="background is for a grid of 4x6"):
        read_prior(path, grid=(6, 4))
