"""Random models of every kind, and a layer-by-layer comparison that names the first difference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentloop.export.configuration import ClassifierConfig, PriorConfig, VqvaeConfig
from latentloop.export.models.classifier import Classifier
from latentloop.export.models.pixelsnail import PixelBlock, PixelSnail
from latentloop.export.models.vqvae import Vqvae
from latentloop.kernels.library import operators

# The native operators, for tests that also run the graphs without them.
LIBRARY = operators()
NATIVE = pytest.param(LIBRARY, id="native", marks=pytest.mark.skipif(not LIBRARY, reason="no library built"))

SMALL: dict[str, Any] = {
    "codebook_size": 11,
    "channels": 16,
    "residual_channels": 12,
    "blocks": 2,
    "residual_blocks": 2,
}
CONDITION: dict[str, Any] = {"condition_codes": 7, "condition_channels": 6, "condition_blocks": 2}
CLASSES: dict[str, Any] = {"classes": 3, "class_channels": 5}

PRIORS: dict[str, PriorConfig] = {
    "top-k3": PriorConfig(5, 6, kernel=3, **SMALL),
    "top-k5": PriorConfig(6, 5, kernel=5, output_blocks=1, **SMALL),
    "top-k7-classes": PriorConfig(5, 7, kernel=7, output_blocks=2, **CLASSES, **SMALL),
    "bottom-k3-classes": PriorConfig(6, 8, kernel=3, attention=False, **CONDITION, **CLASSES, **SMALL),
    "bottom-k5": PriorConfig(7, 9, kernel=5, attention=False, **CONDITION, **SMALL),
    "bottom-k7": PriorConfig(6, 6, kernel=7, attention=False, output_blocks=1, **CONDITION, **SMALL),
    "one-layer-k9": PriorConfig(5, 6, kernel=9, **{**SMALL, "blocks": 1, "residual_blocks": 1}),
    "one-column-one-head": PriorConfig(5, 1, kernel=5, heads=1, **SMALL),
    "classes-alone": PriorConfig(1, 4, kernel=3, attention=False, **CLASSES, **SMALL),
    "two-codes": PriorConfig(3, 3, kernel=3, condition_kernel=5, **{**SMALL, **CONDITION, "codebook_size": 2}),
    "middle-attention-k5": PriorConfig(4, 6, kernel=5, output_blocks=1, **CONDITION, **CLASSES, **SMALL),
    "top-inplace-k5": PriorConfig(5, 6, kernel=5, output_blocks=2, inplace=True, **CLASSES, **SMALL),
    "bottom-inplace-k3": PriorConfig(
        6, 5, kernel=3, attention=False, output_blocks=1, inplace=True, **CONDITION, **SMALL
    ),
}


def random_prior(config: PriorConfig, seed: int = 0) -> PixelSnail:
    """A prior in float64 whose logits vary by a few units, so that an error in any term is visible."""
    torch.manual_seed(seed)
    model = PixelSnail(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (1.5 / max(1, parameter[0].numel()) ** 0.5))
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(0.3 * torch.randn_like(parameter))
            if name.endswith("logits.weight"):
                parameter.mul_(2)
    return model


def random_vqvae(config: VqvaeConfig, seed: int = 0) -> Vqvae:
    """A VQ-VAE whose features keep their variance from layer to layer, so that codes differ between positions."""
    torch.manual_seed(seed)
    model = Vqvae(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                scale = 0.1
            else:  # a transposed 4 x 4 convolution of stride 2 adds up a quarter of its taps
                scale = (2 / (parameter[:, 0].numel() / 4 if ".up." in name else parameter[0].numel())) ** 0.5
            parameter.copy_(torch.randn_like(parameter) * scale)
    return model


def random_classifier(config: ClassifierConfig, seed: int = 0) -> Classifier:
    """A classifier whose probabilities differ between images, and whose normalisations are not the identity."""
    torch.manual_seed(seed)
    model = Classifier(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + ("norm" in name and name.endswith("weight")))
            else:
                parameter.copy_(torch.randn_like(parameter) * (2 / parameter[0].numel()) ** 0.5)
        model.logits.weight.mul_(3)
    return model


def plain_weights(model: torch.nn.Module) -> dict[str, NDArray[np.float32]]:
    """The state dict as NumPy arrays of the same types."""
    return {name: value.numpy() for name, value in model.state_dict().items()}


def random_inputs(config: PriorConfig, batch: int, seed: int = 1) -> dict[str, Any]:
    """Random codes [N, H, W], upper [N, H', W'] or None, labels [N] or None."""
    rng = np.random.default_rng(seed)
    upper_grid = config.condition_grid
    return {
        "codes": rng.integers(0, config.codebook_size, (batch, config.height, config.width)),
        "upper": rng.integers(0, config.condition_codes, (batch, *upper_grid)) if config.condition_codes else None,
        "labels": rng.integers(0, config.classes, batch) if config.classes else None,
    }


def full_forward(model: PixelSnail, codes: Any, upper: Any, labels: Any) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the logits [N, H, W, K], and ELU of every causal layer's two inputs [N, H, W, channels] by name."""
    activations: dict[str, np.ndarray] = {}
    hooks = []
    for b, block in enumerate(model.blocks):
        assert isinstance(block, PixelBlock)
        for r, gated in enumerate(block.residual):
            for part in ("conv1", "conv2"):

                def record(_: Any, inputs: Any, name: str = f"blocks.{b}.residual.{r}.{part}") -> None:
                    activations[name] = inputs[0].permute(0, 2, 3, 1).numpy()

                hooks.append(getattr(gated, part).register_forward_pre_hook(record))
    tensors = [None if x is None else torch.as_tensor(x) for x in (codes, upper, labels)]
    with torch.no_grad():
        logits = model(*tensors).permute(0, 2, 3, 1).numpy()
    for hook in hooks:
        hook.remove()
    return logits, activations


def first_difference(
    config: PriorConfig,
    residual: np.ndarray,
    hidden: np.ndarray,
    logits: np.ndarray,
    expected_logits: np.ndarray,
    expected: dict[str, np.ndarray],
    tolerance: float,
) -> str | None:
    """Returns a message about the first layer whose error exceeds tolerance * max(1, max |expected|), or None.

    residual, hidden [H, W, L, B, channels]; logits [N, H, W, K].
    """
    for layer in range(config.layers):
        b, r = divmod(layer, config.residual_blocks)
        for part, values in (("conv1", residual), ("conv2", hidden)):
            name = f"blocks.{b}.residual.{r}.{part}"
            if message := _difference(name, values[:, :, layer].transpose(2, 0, 1, 3), expected[name], tolerance):
                return message
    return _difference("logits", logits, expected_logits, tolerance)


def _difference(name: str, values: np.ndarray, expected: np.ndarray, tolerance: float) -> str | None:
    error = np.abs(values - expected)
    bound = tolerance * max(1.0, float(np.abs(expected).max()))
    if error.max() <= bound:  # false for NaN
        return None
    n, i, j, _ = np.unravel_index(np.nanargmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    return f"{name}: off by {error.max():.3g} (bound {bound:.3g}) at sample {n}, row {i}, column {j}"
