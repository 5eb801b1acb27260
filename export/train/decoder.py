"""Adversarial training of a trained VQ-VAE's pixel decoder, for sharper images. The codes do not change.

A decoder trained with squared error alone outputs the mean of all images with the same codes, without fine texture.
Here the decoder (with the upsampling of the upper levels' codewords, which only the decoder reads) is trained further
against a discriminator D of overlapping patches (PatchGAN, arXiv 1611.07004, section 3.2). D learns, by the hinge loss,
to distinguish the decoder's images x' from the originals x:

    L_D = mean max(0, 1 - D(x)) + mean max(0, 1 + D(x'))        L = mean (x - x')^2 - weight lambda r mean D(x')

with lambda = |d MSE / d w| / |d mean D / d w| over the last layer's weights w (VQGAN, arXiv 2012.09841, section
3.1), so ``weight`` is the ratio of the discriminator's gradient to the squared error's. r rises from 0 to 1 during the
warm-up, because the gradient of an untrained discriminator carries no information. Priors stay valid.

The codes are the ones that the priors are trained on: encoded once, in float32, also for a training in bfloat16.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from latentloop.errors import InputError
from latentloop.export.checkpoints.checkpoint import file_digest
from latentloop.export.data.codes import Levels
from latentloop.export.data.pixels import mirror_selected, to_signed
from latentloop.export.evaluation import reconstruction_metrics
from latentloop.export.models.build import build_vqvae
from latentloop.export.models.vqvae import Vqvae
from latentloop.export.train.network_task import evaluation_copy
from latentloop.export.train.optimisation.adamw import adamw, restore_optimiser
from latentloop.export.train.optimisation.precision import mixed_precision, set_layout
from latentloop.export.train.optimisation.schedule import BatchOrder, learning_rate
from latentloop.export.train.optimisation.weight_average import WeightAverage
from latentloop.export.train.optimisation.weight_updates import gradient_step
from latentloop.export.train.options import DecoderOptions
from latentloop.export.train.run.saving import save_trained, training_provenance
from latentloop.export.train.run.training_inputs import load_encoded_data
from latentloop.export.train.run.training_loop import run_training
from latentloop.export.train.run.training_options import from_arguments, loop_options, prepare
from latentloop.export.train.vqvae import check_size

MAX_LAMBDA = 1e4
BETAS = (0.5, 0.9)  # of both optimisers: longer averages lag behind the other network's changes


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of 18 x 18 pixels. Spectral normalisation (arXiv 1802.05957) limits its gradients."""

    def __init__(self, image_channels: int, channels: int) -> None:
        super().__init__()
        c = channels
        layers = (
            nn.Conv2d(image_channels, c, 4, stride=2, padding=1),
            nn.Conv2d(c, 2 * c, 4, stride=2, padding=1),
            nn.Conv2d(2 * c, 2 * c, 3, padding=1),
            nn.Conv2d(2 * c, 1, 1),
        )
        self.layers = nn.ModuleList(map(spectral_norm, layers))

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] in [-1, 1] -> [N, 1, H / 4, W / 4]."""
        x = images
        for index, layer in enumerate(self.layers):
            x = layer(functional.leaky_relu(x, 0.2) if index else x)
        return x


class DecoderTask:
    """A pixel decoder in adversarial training.

    ``model`` is the trained VQ-VAE, ``images`` [N, H, W, C] uint8. ``codes`` has an array [M, h, w] per level: M = N
    codes of the images, or M = 2 N with the codes of the mirrored images after them.
    """

    def __init__(
        self, model: Vqvae, images: NDArray[np.uint8], codes: Levels, options: DecoderOptions, device: str = "cpu"
    ) -> None:
        torch.manual_seed(options.seed)
        self.options, self.device = options, device
        self.model: Vqvae = set_layout(model.to(device), options.precision)
        self.model.requires_grad_(False)
        self.trained = trained_modules(self.model).requires_grad_(True)
        discriminator = PatchDiscriminator(model.config.image_channels, options.discriminator_channels)
        self.discriminator: PatchDiscriminator = set_layout(discriminator.to(device), options.precision)
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.codes = [torch.from_numpy(level).to(device) for level in codes]
        self.order = BatchOrder(len(codes[0]), options.batch, options.seed)
        self.optimiser = adamw(self.trained, options.rate, options.weight_decay, BETAS)
        self.discriminator_optimiser = adamw(self.discriminator, options.rate, 0.0, BETAS)
        self.average = WeightAverage(self.trained, options.average)

    def step(self, step: int) -> Tensor:
        """Runs one step of the decoder and one of the discriminator; returns the squared error."""
        options = self.options
        images, codewords = self.batch(step)
        warm_up = min(options.warm_up, options.steps // 10)
        rate = learning_rate(step, options.steps, options.rate, warm_up)
        # 1. The decoder.
        with mixed_precision(self.device, options.precision):
            decoded = self.model.decode_codewords(codewords)
            scores = self.discriminator(decoded)
        error = functional.mse_loss(decoded.float(), images)
        adversarial = -scores.float().mean()
        weight = options.weight * self.balance(error, adversarial) * min(1.0, step / max(1, warm_up))
        gradient_step(self.trained, self.optimiser, error + weight * adversarial, rate)
        self.average.update(step)
        # 2. The discriminator.
        with mixed_precision(self.device, options.precision):
            real, fake = self.discriminator(images), self.discriminator(decoded.detach())
        loss = functional.relu(1 - real.float()).mean() + functional.relu(1 + fake.float()).mean()
        gradient_step(self.discriminator, self.discriminator_optimiser, loss, rate)
        return error.detach()

    def batch(self, step: int) -> tuple[Tensor, list[Tensor]]:
        """Returns the images [B, C, H, W] of a step and their codewords [B, D, h, w] per level."""
        indices = self.order(step).to(self.device)
        images = to_signed(self.images[indices % len(self.images)])
        images = mirror_selected(images, indices >= len(self.images))
        return set_layout(images, self.options.precision), [
            self.model.codebook(n).lookup(level[indices].long()) for n, level in enumerate(self.codes)
        ]

    def averaged(self) -> Vqvae:
        """Returns the VQ-VAE with the decoder's averaged weights, for evaluation."""
        model = evaluation_copy(self.model)
        self.average.copy_to(trained_modules(model))
        return model

    def state(self) -> dict[str, Any]:
        """Returns both networks, their optimisers and the weight average for the state file."""
        return {
            "model": self.model.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "opponent": self.discriminator_optimiser.state_dict(),  # the name in state files
            "averages": self.average.averages,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Loads what ``state`` returned."""
        self.model.load_state_dict(state["model"])
        self.discriminator.load_state_dict(state["discriminator"])
        restore_optimiser(self.optimiser, state["optimiser"])
        restore_optimiser(self.discriminator_optimiser, state["opponent"])
        self.average.restore(state["averages"])

    def balance(self, error: Tensor, adversarial: Tensor) -> Tensor:
        """Returns lambda of the module's docstring, a scalar without gradient, from the two losses."""
        last = list(self.model.decoder.get_submodule("up").parameters())[-2]  # weight, bias
        error_norm, adversarial_norm = (
            torch.autograd.grad(loss, last, retain_graph=True)[0].norm() for loss in (error, adversarial)
        )
        return torch.clamp(error_norm / (adversarial_norm + 1e-8), max=MAX_LAMBDA)


def trained_modules(model: Vqvae) -> nn.ModuleList:
    """Returns the modules that decode pixels and do not influence the codes."""
    return nn.ModuleList([model.decoder, model.upsamplers])


def train_decoder(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains the decoder of a trained VQ-VAE and saves the whole VQ-VAE; returns its held-out metrics.

    Raises LatentLoopError.
    """
    device = prepare(arguments)
    if not 0 < arguments.weight < math.inf:
        raise InputError(f"weight is {arguments.weight}, expected over 0")
    if arguments.discriminator_channels < 1:
        raise InputError(f"discriminator-channels is {arguments.discriminator_channels}, expected at least 1")
    encoded = load_encoded_data(arguments, device)
    model, data = encoded.vqvae, encoded.data
    check_size(model.config, encoded.size)
    options = from_arguments(DecoderOptions, arguments)
    result_options = {**asdict(options), "flip": arguments.flip, "vqvae": file_digest(arguments.vqvae)}
    loop = loop_options(arguments, model.config, result_options, data)
    codes = encoded.codes(arguments, progress=loop.progress)
    task = DecoderTask(model, data.training.images, codes["training"], options, device)
    force = run_training(task, loop)
    averaged = task.averaged()
    metrics = reconstruction_metrics(averaged, data.held_out.images, device)
    sample = reconstruction_metrics(averaged, data.training.images[data.training_sample], device)
    original = build_vqvae(encoded.checkpoint, arguments.vqvae).to(device)
    before = {
        "training": encoded.checkpoint.provenance.get("training"),
        "held_out": reconstruction_metrics(original, data.held_out.images, device),
    }
    provenance = training_provenance(arguments, data, result_options, metrics, sample)
    provenance |= {"before": before, "codes_sha256": encoded.codes_digest}
    save_trained(loop, averaged, provenance, force=force)
    return metrics
