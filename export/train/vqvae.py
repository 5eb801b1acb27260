"""Training of the VQ-VAE (VQ-VAE-2, section 3.1).

    loss = mean (x - reconstruction)^2 + commitment * sum over levels of mean (z - sg(e))^2

with images x in [-1, 1] and sg the stop-gradient; means are over all elements. The decoder's gradient passes
straight through the quantisation to z. The first ``unquantised_steps`` train an autoencoder. Then k-means on the
encoder's outputs initialises the codebooks, which are updated by moving averages. Unused codes restart during the
first four fifths of the steps, so that every code can settle in the last fifth.

The average of the weights over the steps is evaluated and saved, with the codebooks of the last step, which are
averages already. Fitting the codebooks again to the averaged encoder brought no improvement.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from latentloop.errors import InputError
from latentloop.export.checkpoints.codes_digest import codes_digest
from latentloop.export.configuration import VqvaeConfig
from latentloop.export.data.datasets import batches_of
from latentloop.export.data.pixels import EVALUATION_BATCH, mirror_selected, to_signed
from latentloop.export.evaluation import reconstruction_metrics
from latentloop.export.models.vqvae import Quantised, Vqvae, as_vectors
from latentloop.export.train import distributed
from latentloop.export.train.codebook import EmaCodebook
from latentloop.export.train.network_task import NetworkTask
from latentloop.export.train.optimisation.precision import full_precision, mixed_precision, set_layout
from latentloop.export.train.optimisation.schedule import step_seed
from latentloop.export.train.options import VqvaeOptions
from latentloop.export.train.run.saving import save_trained, training_provenance
from latentloop.export.train.run.training_inputs import load_dataset
from latentloop.export.train.run.training_loop import run_training
from latentloop.export.train.run.training_options import from_arguments, loop_options, prepare

RESTART_UNTIL = 0.8  # of the steps
KMEANS_PER_CODE = 40  # the least number of vectors per code for k-means


@dataclass
class Forward:
    """The result of a forward pass in training: the reconstruction [N, C, H, W], the commitment term (a scalar), and
    the quantised levels, top first (none without quantisation).
    """

    reconstruction: Tensor
    commitment: Tensor
    levels: list[Quantised]


def check_size(config: VqvaeConfig, size: int) -> None:
    """Raises InputError unless ``size`` is a multiple of the top level's stride."""
    stride = config.stride(0)
    if size % stride:
        lower, upper = size // stride * stride, -(-size // stride) * stride
        nearest = f"{lower} or {upper}" if lower else f"{upper}"
        raise InputError(
            f"size is {size}, expected a multiple of {stride} for {config.levels} levels, such as {nearest}"
        )


def forward(model: Vqvae, images: Tensor, *, quantised: bool = True) -> Forward:
    """Encodes and decodes images [N, C, H, W] with the straight-through estimator: z + sg(e - z).

    With ``quantised`` False the decoder gets z itself, and the commitment term is zero. Quantisation and reconstruction
    have the dtype of the images, also if autocast runs the convolutions in bfloat16.
    """
    decoder_inputs: list[Tensor] = []
    levels: list[Quantised] = []
    commitment = images.new_zeros(())
    for level, feature in enumerate(model.features(images)):
        z = model.project(level, feature, decoder_inputs[-1] if decoder_inputs else None)
        if quantised:
            with full_precision(images.device):
                z = z.to(images.dtype)
                codes = model.codebook(level).nearest(z.detach())
                codewords = model.codebook(level).lookup(codes)
                commitment = commitment + functional.mse_loss(z, codewords)
                levels.append(Quantised(z.detach(), codes, codewords))
                z = z + (codewords - z).detach()
        decoder_inputs.append(z)
    return Forward(model.decode_codewords(decoder_inputs).to(images.dtype), commitment, levels)


class _Network(nn.Module):
    """``forward`` as a module, which DistributedDataParallel requires."""

    def __init__(self, model: Vqvae) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, quantised: bool) -> Forward:
        return forward(self.model, images, quantised=quantised)


class VqvaeTask(NetworkTask[Vqvae]):
    """A VQ-VAE in training on images [N, H, W, C] uint8."""

    def __init__(
        self, config: VqvaeConfig, images: NDArray[np.uint8], options: VqvaeOptions, device: str = "cpu"
    ) -> None:
        check_size(config, images.shape[1])
        super().__init__(Vqvae, config, len(images), options, device)
        self.options = options
        self.network = distributed.data_parallel(_Network(self.model), device)
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.codebooks = [
            EmaCodebook(self.model.codebook(level).embedding, config.ema_decay) for level in range(config.levels)
        ]

    def step(self, step: int) -> Tensor:
        """Runs one step; returns its loss."""
        options = self.options
        generator = torch.Generator().manual_seed(step_seed(options.seed, step, purpose=1))
        first_quantised = min(options.unquantised_steps, options.steps // 2)
        if step == first_quantised:
            self.initialise_codebooks(generator)
        images = self.batch(step, generator)
        with mixed_precision(self.device, options.precision):
            out: Forward = self.network(images, step >= first_quantised)
        reconstruction = functional.mse_loss(out.reconstruction, images)
        loss = reconstruction + self.model.config.commitment * out.commitment
        self.updates.apply(step, loss)
        for codebook, level in zip(self.codebooks, out.levels, strict=False):
            vectors = as_vectors(level.z)
            codebook.update(vectors, level.codes.flatten())
            if step < RESTART_UNTIL * options.steps:
                codebook.restart_unused(vectors, generator)
        return loss.detach()

    def batch(self, step: int, generator: torch.Generator) -> Tensor:
        """Returns this process's images [N, C, H, W] of a step. With ``flip`` each is mirrored with probability 1/2."""
        images = to_signed(self.images[distributed.local_part(self.order(step)).to(self.device)])
        if self.options.flip:
            selected = distributed.local_part(torch.rand(self.options.batch, generator=generator)) < 0.5
            images = mirror_selected(images, selected.to(self.device))
        return set_layout(images, self.options.precision)

    @torch.no_grad()
    def initialise_codebooks(self, generator: torch.Generator) -> None:
        """Sets the codebooks by k-means, top level first: its codewords determine the vectors of the next level."""
        model, count = self.model, len(self.images)
        for level, codebook in enumerate(self.codebooks):
            per_image = (self.images.shape[1] // model.config.stride(level)) ** 2
            wanted = max(self.options.batch, -(-KMEANS_PER_CODE * model.config.codebook_size // per_image))
            chosen = torch.randperm(count, generator=generator)[:wanted].to(self.device)
            vectors = [
                as_vectors(model.quantise(to_signed(self.images[chosen[part]]))[level].z)
                for part in batches_of(len(chosen), EVALUATION_BATCH)
            ]
            codebook.initialise(torch.cat(vectors), self.options.batch * per_image, generator)

    @torch.no_grad()
    def averaged(self) -> Vqvae:
        """Returns the VQ-VAE for evaluation, with the use of its codes."""
        for level, codebook in enumerate(self.codebooks):
            self.model.codebook(level).usage.copy_(codebook.shares())
        return super().averaged()

    def state(self) -> dict[str, Any]:
        """Returns model, optimiser and the averages of weights and codebooks for the state file."""
        return super().state() | {"codebooks": [codebook.state() for codebook in self.codebooks]}

    def restore(self, state: dict[str, Any]) -> None:
        """Loads what ``state`` returned."""
        super().restore(state)
        for codebook, saved in zip(self.codebooks, state["codebooks"], strict=True):
            codebook.restore(saved)


def train_vqvae(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and saves a VQ-VAE. Returns its held-out metrics, or an empty dict in processes other than the leader.

    Raises LatentLoopError.
    """
    device = prepare(arguments, allow_processes=True)
    check_size(from_arguments(VqvaeConfig, arguments, image_channels=1), arguments.size)  # before the images are read
    data = load_dataset(arguments, arguments.size, arguments.image_channels)
    config = from_arguments(VqvaeConfig, arguments, image_channels=data.image_channels)
    options = from_arguments(VqvaeOptions, arguments)
    task = VqvaeTask(config, data.training.images, options, device)
    loop = loop_options(arguments, config, asdict(options), data)
    force = run_training(task, loop)
    if not distributed.is_leader():
        return {}
    averaged = task.averaged()
    metrics = reconstruction_metrics(averaged, data.held_out.images, device)
    codes = codes_digest(config, {name: value.cpu().numpy() for name, value in averaged.state_dict().items()})
    sample = reconstruction_metrics(averaged, data.training.images[data.training_sample], device)
    provenance = training_provenance(arguments, data, asdict(options), metrics, sample) | {"codes_sha256": codes}
    save_trained(loop, averaged, provenance, force=force)
    return metrics
