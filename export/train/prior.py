"""Training of one level's PixelSNAIL prior by cross-entropy over codes (VQ-VAE-2, section 3.2).

The data set is encoded once and its codes stay in memory. The weights that are evaluated and saved are an
exponential moving average over the steps, w' <- d w' + (1 - d) w, which takes out the noise that the last few
batches leave in a single step's weights. d grows as (1 + t) / (10 + t) until it reaches its value, so that
the first, untrained weights do not linger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from latentloop.errors import InputError
from latentloop.export.configuration import PriorConfig, VqvaeConfig
from latentloop.export.models.pixelsnail import CausalConv2d, PixelSnail
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train.data import Dataset, batches_of
from latentloop.export.train.order import BatchOrder, learning_rate
from latentloop.export.train.vqvae import EVALUATION_BATCH, check_size, to_unit


@dataclass(frozen=True)
class PriorOptions:
    """Steps, images a step, peak rate and its warm-up, limit of the gradient's norm, decay of the average."""

    steps: int
    batch: int = 64
    rate: float = 1e-3
    seed: int = 0
    warm_up: int = 200
    clip: float = 1.0
    average: float = 0.999


@dataclass(frozen=True)
class Codes:
    """One level's codes [N, H, W] and those above it [N, H', W'] or None, int16; labels [N] int64 or None."""

    codes: Tensor
    upper: Tensor | None
    labels: Tensor | None

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, indices: Tensor | slice) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the model takes, int64: codes, upper codes, labels."""
        upper = None if self.upper is None else self.upper[indices].long()
        return self.codes[indices].long(), upper, None if self.labels is None else self.labels[indices]

    def to(self, device: str) -> Codes:
        """The same codes on another device."""
        moved = (None if part is None else part.to(device) for part in (self.upper, self.labels))
        return Codes(self.codes.to(device), *moved)


def prior_fields(config: VqvaeConfig, level: str, size: int) -> dict[str, int]:
    """The fields of a PriorConfig that the VQ-VAE decides: grid, codebook size, codes of the level above."""
    if level not in config.level_names:
        raise InputError(f"level is {level!r}, expected one of {', '.join(config.level_names)}; pass --level")
    check_size(config, size)
    index = config.level_names.index(level)
    grid = size // config.stride(index)
    return {
        "height": grid,
        "width": grid,
        "codebook_size": config.codebook_size,
        "condition_codes": config.codebook_size if index else 0,
    }


@torch.no_grad()
def encode(
    model: Vqvae,
    data: Dataset,
    level: str,
    *,
    labels: bool,
    flip: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Codes:
    """Encodes a data set; ``flip`` appends the codes of the mirrored images, ``labels`` keeps its labels.

    Raises InputError for a codebook of more than 32768 codes.
    """
    most = torch.iinfo(torch.int16).max + 1
    if model.config.codebook_size > most:
        raise InputError(f"codebook_size is {model.config.codebook_size}, expected at most {most} to train a prior")
    index = model.config.level_names.index(level)
    found: list[list[Tensor]] = [[], []]
    quiet = None if progress else True
    for mirrored in (False, True) if flip else (False,):
        for part in tqdm(batches_of(len(data), EVALUATION_BATCH), "encoding", unit="batch", disable=quiet, leave=False):
            images = to_unit(torch.from_numpy(data.images[part]).to(device))
            levels = model.quantise(images.flip(3) if mirrored else images)
            found[0].append(levels[index].codes.to(torch.int16))
            if index:
                found[1].append(levels[index - 1].codes.to(torch.int16))
    kept = None
    if labels and data.labels is not None:
        kept = torch.from_numpy(np.tile(data.labels, 2 if flip else 1)).to(device)
    return Codes(torch.cat(found[0]), torch.cat(found[1]) if index else None, kept)


class WeightAverage:
    """An exponential moving average over the parameters of a model."""

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters: list[Tensor] = list(model.parameters())
        self.averages = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after a step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.averages, self.parameters, 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: torch.nn.Module) -> None:
        """Writes the average into a model of the same shape."""
        for parameter, average in zip(model.parameters(), self.averages, strict=True):
            parameter.copy_(average)


class PriorTask:
    """A prior in training."""

    def __init__(self, config: PriorConfig, data: Codes, options: PriorOptions, device: str = "cpu") -> None:
        torch.manual_seed(options.seed)
        self.options, self.device = options, device
        self.model: PixelSnail = PixelSnail(config).to(device)
        self.data = data.to(device)
        self.order = BatchOrder(len(data), options.batch, options.seed)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=options.rate, fused=True)
        self.average = WeightAverage(self.model, options.average)

    def step(self, step: int) -> Tensor:
        """One step; returns its loss in nats per code. Dropout draws from the generator the loop seeds."""
        options, model = self.options, self.model
        model.train()
        codes, upper, labels = self.data.take(self.order(step).to(self.device))
        loss = functional.cross_entropy(model(codes, upper, labels), codes)
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, options.steps, options.rate, min(options.warm_up, options.steps // 10))
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), options.clip)
        self.optimiser.step()
        self.average.update(step)
        return loss.detach()

    def averaged(self) -> PixelSnail:
        """A model with the averaged weights, for evaluation; masked taps of causal convolutions are zero."""
        model = PixelSnail(self.model.config).to(self.device).eval()
        self.average.copy_to(model)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, CausalConv2d):
                    module.weight.mul_(module.get_buffer("live"))
        return model

    def state(self) -> dict[str, Any]:
        """Model, optimiser and the average."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averages": self.average.averages,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        with torch.no_grad():
            for average, saved in zip(self.average.averages, state["averages"], strict=True):
                average.copy_(saved)


@torch.no_grad()
def bits_per_code(model: PixelSnail, data: Codes, batch: int = 100) -> float:
    """The mean negative log2-likelihood of a code, without dropout."""
    model.eval()
    total = 0.0
    for part in batches_of(len(data), batch):
        codes, upper, labels = data.take(part)
        total += float(functional.cross_entropy(model(codes, upper, labels), codes, reduction="sum"))
    return total / data.codes.numel() / math.log(2)
