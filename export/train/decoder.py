"""Sharpening of a trained VQ-VAE's pixel decoder against a patch discriminator; its codes do not change.

A decoder trained on squared error alone paints the mean of all that a code may stand for, and so loses fine texture.
Here the decoder (and the upsampling of the upper levels' codewords, which nothing else reads) goes on learning while
a discriminator D of overlapping patches (PatchGAN, arXiv 1611.07004, section 3.2) learns to tell its pictures
from real ones, by the hinge loss; both see the same codes' pictures:

    L_D = mean max(0, 1 - D(x)) + mean max(0, 1 + D(x'))        L = mean (x - x')^2 - weight lambda r mean D(x')

with lambda = |d MSE / d w| / |d mean D / d w| over the last layer's weights w (VQGAN, arXiv 2012.09841, section
3.1), so that ``weight`` is the discriminator's pull as a share of the squared error's; r rises from 0 to 1 during
the warm-up, for an untrained discriminator pulls in no direction. Priors stay valid.

The codes are those that the priors learn from: encoded once, in float32, whatever the precision of the training.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from latentloop.errors import InputError
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.checkpoints.reading import read_vqvae
from latentloop.export.forms.check import check_reconstruction
from latentloop.export.forms.form import read_form
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train import vqvae
from latentloop.export.train.data.codes import Levels
from latentloop.export.train.data.order import BatchOrder, learning_rate
from latentloop.export.train.data.pixels import mirrored, to_signed
from latentloop.export.train.loop import runs
from latentloop.export.train.loop.average import WeightAverage
from latentloop.export.train.loop.loop import run_training
from latentloop.export.train.loop.optimiser import adamw, restore, set_rate
from latentloop.export.train.loop.precision import lay_out, mixed

STEEPEST = 1e4  # of lambda
BETAS = (0.5, 0.9)  # of both networks: a long memory lags behind an opponent that moves


@dataclass(frozen=True)
class DecoderOptions:
    """Steps, images a step, peak rate of both networks and its warm-up, the discriminator's weight and channels.

    ``average`` is the decay of the weights' average, ``precision`` one of ``PRECISIONS``.
    """

    steps: int
    batch: int = 64
    rate: float = 2e-4
    seed: int = 0
    warm_up: int = 100
    weight: float = 0.3
    discriminator_channels: int = 64
    average: float = 0.995
    weight_decay: float = 0.0
    precision: str = "float32"


class PatchDiscriminator(nn.Module):
    """A score per overlapping patch of 18 x 18 pixels; spectral normalisation (arXiv 1802.05957) keeps it smooth."""

    def __init__(self, image_channels: int, channels: int) -> None:
        super().__init__()
        c = channels
        self.layers = nn.ModuleList(
            spectral_norm(layer)
            for layer in (
                nn.Conv2d(image_channels, c, 4, stride=2, padding=1),
                nn.Conv2d(c, 2 * c, 4, stride=2, padding=1),
                nn.Conv2d(2 * c, 2 * c, 3, padding=1),
                nn.Conv2d(2 * c, 1, 1),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> [N, 1, H / 4, W / 4]."""
        x = images
        for index, layer in enumerate(self.layers):
            x = layer(functional.leaky_relu(x, 0.2) if index else x)
        return x


class DecoderTask:
    """A pixel decoder in adversarial training.

    ``model`` is the trained VQ-VAE; ``images`` [N, H, W, C] uint8; ``codes`` by level, [M, h, w]: of the images, and
    where M is 2 N of the mirrored images after them.
    """

    def __init__(
        self, model: Vqvae, images: NDArray[np.uint8], codes: Levels, options: DecoderOptions, device: str = "cpu"
    ) -> None:
        torch.manual_seed(options.seed)
        self.options, self.device = options, device
        self.model: Vqvae = lay_out(model.to(device), options.precision)
        self.model.requires_grad_(False)
        self.learning = learning_part(self.model).requires_grad_(True)
        discriminator = PatchDiscriminator(model.config.image_channels, options.discriminator_channels)
        self.discriminator: PatchDiscriminator = lay_out(discriminator.to(device), options.precision)
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.codes = [torch.from_numpy(level).to(device) for level in codes]
        self.order = BatchOrder(len(codes[0]), options.batch, options.seed)
        self.optimiser = adamw(self.learning, options.rate, options.weight_decay, BETAS)
        self.opponent = adamw(self.discriminator, options.rate, 0.0, BETAS)
        self.average = WeightAverage(self.learning, options.average)

    def step(self, step: int) -> Tensor:
        """One step of the decoder and one of the discriminator; returns the squared error."""
        options = self.options
        images, codewords = self.batch(step)
        warm_up = min(options.warm_up, options.steps // 10)
        rate = learning_rate(step, options.steps, options.rate, warm_up)
        with mixed(self.device, options.precision):
            decoded = self.model.decode_codewords(codewords)
            scores = self.discriminator(decoded)
        error = functional.mse_loss(decoded.float(), images)
        lure = -scores.float().mean()
        pull = options.weight * self.balance(error, lure) * min(1.0, step / max(1, warm_up))
        _descend(self.optimiser, error + pull * lure, rate)
        self.average.update(step)
        with mixed(self.device, options.precision):
            real, false = self.discriminator(images), self.discriminator(decoded.detach())
        loss = functional.relu(1 - real.float()).mean() + functional.relu(1 + false.float()).mean()
        _descend(self.opponent, loss, rate)
        return error.detach()

    def batch(self, step: int) -> tuple[Tensor, list[Tensor]]:
        """The images [B, C, H, W] of a step and their codewords [B, D, h, w] by level."""
        indices = self.order(step).to(self.device)
        images = to_signed(self.images[indices % len(self.images)])
        images = mirrored(images, indices >= len(self.images))
        return lay_out(images, self.options.precision), [
            self.model.codebook(n).lookup(level[indices].long()) for n, level in enumerate(self.codes)
        ]

    def averaged(self) -> Vqvae:
        """The VQ-VAE with the decoder's averaged weights."""
        model = Vqvae(self.model.config).to(self.device).eval()
        model.load_state_dict(self.model.state_dict())
        self.average.copy_to(learning_part(model))
        return model

    def state(self) -> dict[str, Any]:
        """Both networks, their optimisers and the average."""
        return {
            "model": self.model.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "opponent": self.opponent.state_dict(),
            "averages": self.average.averages,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned."""
        self.model.load_state_dict(state["model"])
        self.discriminator.load_state_dict(state["discriminator"])
        restore(self.optimiser, state["optimiser"])
        restore(self.opponent, state["opponent"])
        self.average.restore(state["averages"])

    def balance(self, error: Tensor, lure: Tensor) -> Tensor:
        """lambda of the module's head: a scalar that carries no gradient."""
        last = list(self.model.decoder.get_submodule("up").parameters())[-2]  # weight, bias
        by_error, by_lure = (torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (error, lure))
        return torch.clamp(by_error / (by_lure + 1e-8), max=STEEPEST)


def learning_part(model: Vqvae) -> nn.ModuleList:
    """What paints the pixels, and no encoder reads."""
    return nn.ModuleList([model.decoder, model.upsamplers])


def _descend(optimiser: torch.optim.AdamW, loss: Tensor, rate: float) -> None:
    set_rate(optimiser, rate)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    optimiser.step()


def train_decoder(arguments: argparse.Namespace) -> dict[str, Any]:
    """Sharpens a trained VQ-VAE's decoder and saves the whole; returns its held-out figures. Raises LatentLoopError."""
    device = runs.prepare(arguments)
    if not 0 < arguments.weight < math.inf:
        raise InputError(f"weight is {arguments.weight}, expected over 0")
    if arguments.discriminator_channels < 1:
        raise InputError(f"discriminator-channels is {arguments.discriminator_channels}, expected at least 1")
    source = read_form(arguments.vqvae, read_vqvae(Path(arguments.vqvae)), arguments.vqvae_inplace)
    model = build_vqvae(source, arguments.vqvae)
    size = runs.image_size(arguments, source)
    data = runs.load(arguments, size, model.config.image_channels)
    if arguments.vqvae_inplace is None:
        check_reconstruction(source, data)
    vqvae.check_size(model.config, size)
    options = runs.training_options(DecoderOptions, arguments)
    used = {**asdict(options), "flip": arguments.flip, "vqvae": runs.file_digest(arguments.vqvae)}
    loop = runs.loop_options(arguments, model.config, used, data)
    digest = codes_digest(model.config, source.weights)
    codes = runs.encoded(arguments, model.to(device), digest, data, progress=loop.progress)
    task = DecoderTask(model, data.training.images, codes["training"], options, device)
    force = run_training(task, loop)
    averaged = task.averaged()
    metrics = vqvae.evaluate(averaged, data.held_out.images, device)
    trained = {name: source.provenance.get(name) for name in ("training", "held_out")}
    provenance = runs.origin(arguments, data, used, metrics) | {"before": trained, "codes_sha256": digest}
    runs.save(loop, averaged.config, averaged, provenance, force)
    return metrics
