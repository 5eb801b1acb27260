"""A complete checkpoint layout: it reads one VQ-VAE, whose tensors have other names than LatentLoop's."""

from __future__ import annotations

import torch
from conftest import vqvae_checkpoint
from torch import Tensor

from latentloop.export.checkpoints.checkpoint import Checkpoint, Kind, wrong_kind_error
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.layouts.layout import ReadRequest
from latentloop.export.state_dicts.checkpoint_file import CheckpointFile
from latentloop.export.state_dicts.conversion import TensorMapping, check_shapes, convert
from latentloop.export.state_dicts.finding import find_state
from latentloop.export.state_dicts.state_dict import StateDict

MODEL = vqvae_checkpoint(3)
LANDMARKS = ["toy_decoder/conv/bias"]


class ToyLayout:
    """A layout whose tensor names begin with ``toy_`` and have ``/`` between their parts."""

    def can_read(self, file: CheckpointFile) -> bool:
        return file.has_any(LANDMARKS)

    def read(self, file: CheckpointFile, request: ReadRequest) -> Checkpoint:
        if request.kind != "vqvae":
            raise wrong_kind_error(file.path, "vqvae", request.kind)
        mappings = [TensorMapping(name, toy_name(name), value.shape) for name, value in MODEL.weights.items()]

        def configure(state: StateDict) -> VqvaeConfig:
            check_shapes(state, mappings, {}, lambda unknown, missing: "")
            assert isinstance(MODEL.config, VqvaeConfig)
            return MODEL.config

        state, config = find_state(file, LANDMARKS, configure, request.selection, layout="toy", model="a VQ-VAE")
        return Checkpoint(config, convert(state, mappings), state.provenance())

    def expected(self, kind: Kind) -> str:
        return f"the name {LANDMARKS[0]}" if kind == "vqvae" else ""


def toy_name(name: str) -> str:
    return "toy_" + name.replace(".", "/")


def toy_state_dict() -> dict[str, Tensor]:
    return {toy_name(name): torch.from_numpy(value) for name, value in MODEL.weights.items()}
