"""Training of the VQ-VAE (VQ-VAE-2, section 3.1).

    loss = mean (x - reconstruction)^2 + commitment * sum over levels of mean (z - sg(e))^2

with images x in [-1, 1] and sg the stop-gradient; means are over all elements. The decoder's gradient passes
straight through the quantisation to z. The first ``warm_up`` steps leave the quantisation out (an
autoencoder); then k-means on the encoder's outputs begins the codebooks, which learn by moving averages;
unused codes restart until four fifths of the steps are done, so that every code has settled at the end.

What is evaluated and saved is the average of the weights over the steps, beside the codebooks, which are averages
already: fitted anew to the averaged encoder, they bring nothing more.
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
from latentloop.export.models.vqvae import Quantised, Vqvae
from latentloop.export.train.codebook import EmaCodebook, perplexity
from latentloop.export.train.data.datasets import batches_of
from latentloop.export.train.data.order import BatchOrder, step_seed
from latentloop.export.train.data.pixels import EVALUATION_BATCH, mirrored, to_signed
from latentloop.export.train.loop import distributed, runs
from latentloop.export.train.loop.loop import run_training
from latentloop.export.train.loop.optimisation import Descent
from latentloop.export.train.loop.precision import exact, lay_out, mixed

RESTART_UNTIL = 0.8  # of the steps
RATE_WARM_UP = 100  # steps of rising rate
KMEANS_PER_CODE = 40  # vectors per code that begin a codebook, at least


@dataclass(frozen=True)
class VqvaeOptions:
    """Steps, images a step, peak rate, steps without quantisation, whether to mirror images at random.

    ``average`` is the decay of the weights' average, ``precision`` one of ``PRECISIONS``.
    """

    steps: int
    batch: int = 128
    rate: float = 1e-3
    seed: int = 0
    warm_up: int = 200
    flip: bool = False
    average: float = 0.999
    weight_decay: float = 0.0
    precision: str = "float32"


@dataclass
class Forward:
    """A training forward: the reconstruction [N, C, H, W], the commitment term, and every quantised level."""

    reconstruction: Tensor
    commitment: Tensor
    levels: list[Quantised]


def check_size(config: VqvaeConfig, size: int) -> None:
    """Raises InputError unless images of ``size`` x ``size`` make a whole number of codes at every level."""
    stride = config.stride(0)
    if size % stride:
        raise InputError(f"size is {size}, expected a multiple of {stride} for {config.levels} levels; pass --size")


def forward(model: Vqvae, images: Tensor, *, quantised: bool = True) -> Forward:
    """Encodes and decodes images [N, C, H, W] with the straight-through estimator: z + sg(e - z).

    ``quantised`` False passes z itself and leaves the commitment at zero. Quantisation and reconstruction have
    the images' precision, whatever that of the convolutions between them.
    """
    passed: list[Tensor] = []
    levels: list[Quantised] = []
    commitment = images.new_zeros(())
    for level, feature in enumerate(model.features(images)):
        z = model.project(level, feature, passed[-1] if passed else None)
        if quantised:
            with exact(images.device):
                z = z.to(images.dtype)
                codes = model.codebook(level).nearest(z.detach())
                codewords = model.codebook(level).lookup(codes)
                commitment = commitment + functional.mse_loss(z, codewords)
                levels.append(Quantised(z.detach(), codes, codewords))
                z = z + (codewords - z).detach()
        passed.append(z)
    return Forward(model.decode_codewords(passed).to(images.dtype), commitment, levels)


class _Network(nn.Module):
    """``forward`` as a module, which averages gradients over several processes where it is made parallel."""

    def __init__(self, model: Vqvae) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor, quantised: bool) -> Forward:
        return forward(self.model, images, quantised=quantised)


class VqvaeTask:
    """A VQ-VAE in training. ``images`` [N, H, W, C] uint8."""

    def __init__(
        self, config: VqvaeConfig, images: NDArray[np.uint8], options: VqvaeOptions, device: str = "cpu"
    ) -> None:
        check_size(config, images.shape[1])
        torch.manual_seed(options.seed)
        distributed.check_batch(options.batch)
        self.options, self.device = options, device
        self.model: Vqvae = lay_out(Vqvae(config).to(device), options.precision)
        self.network = distributed.parallel(_Network(self.model), device)
        self.images = torch.from_numpy(np.ascontiguousarray(images)).to(device)
        self.order = BatchOrder(len(images), options.batch, options.seed)
        self.codebooks = [
            EmaCodebook(self.model.codebook(level).embedding, config.ema_decay) for level in range(config.levels)
        ]
        self.descent = Descent(
            self.model,
            steps=options.steps,
            rate=options.rate,
            warm_up=RATE_WARM_UP,
            weight_decay=options.weight_decay,
            average=options.average,
        )

    def step(self, step: int) -> Tensor:
        """One step; returns its loss."""
        options = self.options
        generator = torch.Generator().manual_seed(step_seed(options.seed, step, purpose=1))
        begins = min(options.warm_up, options.steps - 1)
        if step == begins:
            self.begin_codebooks(generator)
        images = self.batch(step, generator)
        with mixed(self.device, options.precision):
            out: Forward = self.network(images, step >= begins)
        reconstruction = functional.mse_loss(out.reconstruction, images)
        loss = reconstruction + self.model.config.commitment * out.commitment
        self.descent.take(step, loss)
        for codebook, level in zip(self.codebooks, out.levels, strict=False):
            vectors = flatten(level.z)
            codebook.update(vectors, level.codes.flatten())
            if step < RESTART_UNTIL * options.steps:
                codebook.restart_unused(vectors, generator)
        return loss.detach()

    def batch(self, step: int, generator: torch.Generator) -> Tensor:
        """This process's images [N, C, H, W] of a step, each mirrored with probability one half by ``flip``."""
        images = to_signed(self.images[distributed.part(self.order(step)).to(self.device)])
        if self.options.flip:
            which = distributed.part(torch.rand(self.options.batch, generator=generator)) < 0.5
            images = mirrored(images, which.to(self.device))
        return lay_out(images, self.options.precision)

    @torch.no_grad()
    def begin_codebooks(self, generator: torch.Generator) -> None:
        """k-means, top level first: a lower level's vectors depend on the codewords above it."""
        model, count = self.model, len(self.images)
        for level, codebook in enumerate(self.codebooks):
            per_image = (self.images.shape[1] // model.config.stride(level)) ** 2
            wanted = max(self.options.batch, -(-KMEANS_PER_CODE * model.config.codebook_size // per_image))
            chosen = torch.randperm(count, generator=generator)[:wanted].to(self.device)
            found = [
                flatten(model.quantise(to_signed(self.images[chosen[part]]))[level].z)
                for part in batches_of(len(chosen), EVALUATION_BATCH)
            ]
            codebook.begin(torch.cat(found), self.options.batch * per_image, generator)

    @torch.no_grad()
    def averaged(self) -> Vqvae:
        """A model with the averaged weights and the codebooks, for evaluation."""
        model = Vqvae(self.model.config).to(self.device).eval()
        model.load_state_dict(self.model.state_dict())
        self.descent.average.copy_to(model)
        return model

    def state(self) -> dict[str, Any]:
        """Model, optimiser and the averages of weights and codebooks."""
        return self.descent.state() | {"codebooks": [codebook.state() for codebook in self.codebooks]}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes over what ``state`` returned."""
        self.descent.restore(state)
        for codebook, saved in zip(self.codebooks, state["codebooks"], strict=True):
            codebook.restore(saved)


def flatten(z: Tensor) -> Tensor:
    """[N, D, H, W] -> [N * H * W, D]."""
    return z.permute(0, 2, 3, 1).flatten(0, 2)


@torch.no_grad()
def evaluate(model: Vqvae, images: NDArray[np.uint8], device: str = "cpu") -> dict[str, Any]:
    """Held-out figures for images [N, H, W, C] uint8.

    ``mse_signed`` on [-1, 1] as in the loss, ``mse_unit`` the same on [0, 1] (a quarter of it); per level the
    codebook's perplexity and how many of its codes are used at all; ``texture``, the reconstructions' fine detail as a
    share of the originals'. Reconstructions are not clipped.
    """
    size = model.config.codebook_size
    counts = [torch.zeros(size, dtype=torch.int64) for _ in range(model.config.levels)]
    total, decoded_texture, original_texture = 0.0, 0.0, 0.0
    for part in batches_of(len(images), EVALUATION_BATCH):
        x = to_signed(torch.from_numpy(images[part]).to(device))
        levels = model.quantise(x)
        decoded = model.decode_codewords([level.codewords for level in levels])
        total += float((decoded - x).square().sum(dtype=torch.float64))
        decoded_texture += texture(decoded) * len(x)
        original_texture += texture(x) * len(x)
        for found, level in zip(counts, levels, strict=True):
            found += torch.bincount(level.codes.flatten().cpu(), minlength=size)
    signed = total / images.size
    names = model.config.level_names
    return {
        "mse_signed": signed,
        "mse_unit": signed / 4,
        "texture": decoded_texture / original_texture if original_texture else 1.0,
        "perplexity": {name: perplexity(found) for name, found in zip(names, counts, strict=True)},
        "codes_used": {name: int((found > 0).sum()) for name, found in zip(names, counts, strict=True)},
    }


def texture(images: Tensor) -> float:
    """The energy, per value, of what differs from the mean of 3 x 3 pixels: images [N, C, H, W] in [-1, 1]."""
    smooth = functional.avg_pool2d(images, 3, stride=1)
    return float((images[:, :, 1:-1, 1:-1] - smooth).square().mean(dtype=torch.float64))


def train_vqvae(arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and saves a VQ-VAE; returns its held-out figures. Raises LatentLoopError.

    Of several processes only the first has figures to return; the others return none.
    """
    device = runs.prepare(arguments, several=True)
    data = runs.load(arguments, arguments.size, arguments.image_channels)
    names = (
        "levels",
        "bottom_stride",
        "channels",
        "residual_channels",
        "residual_layers",
        "code_channels",
        "codebook_size",
    )
    given = {name: getattr(arguments, name) for name in (*names, "ema_decay", "commitment")}
    config = VqvaeConfig(image_channels=data.image_channels, **given)
    options = runs.training_options(VqvaeOptions, arguments)
    task = VqvaeTask(config, data.training.images, options, device)
    loop = runs.loop_options(arguments, config, asdict(options), data)
    force = run_training(task, loop)
    if not distributed.leads():
        return {}
    averaged = task.averaged()
    metrics = evaluate(averaged, data.held_out.images, device)
    codes = codes_digest(config, {name: value.cpu().numpy() for name, value in averaged.state_dict().items()})
    provenance = runs.origin(arguments, data, asdict(options), metrics) | {"codes_sha256": codes}
    runs.save(loop, config, averaged, provenance, force)
    return metrics
