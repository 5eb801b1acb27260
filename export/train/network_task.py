"""A network in training by gradient: the parts that the VQ-VAE, the priors and the classifier share."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import torch
from torch import nn

from latentloop.export.configuration import AnyConfig
from latentloop.export.train import distributed
from latentloop.export.train.optimisation.precision import set_layout
from latentloop.export.train.optimisation.schedule import BatchOrder
from latentloop.export.train.optimisation.weight_updates import WeightUpdates
from latentloop.export.train.options import TrainingOptions

Network = TypeVar("Network", bound=nn.Module)


class NetworkTask(Generic[Network]):
    """A new network ``model`` on ``device``, its weight updates, and the order of the batches of ``count`` items."""

    def __init__(
        self,
        kind: type[Network],
        config: AnyConfig,
        count: int,
        options: TrainingOptions,
        device: str,
        *,
        clip: float | None = None,
    ) -> None:
        """``clip``: the maximal norm of the gradient. Raises InputError for a batch that is empty or does not split
        evenly among the processes.
        """
        torch.manual_seed(options.seed)
        distributed.check_batch(options.batch)
        self.device = device
        self.model: Network = set_layout(kind(config).to(device), options.precision)
        self.order = BatchOrder(count, options.batch, options.seed)
        self.updates = WeightUpdates(self.model, options, clip)

    @torch.no_grad()
    def averaged(self) -> Network:
        """Returns a model with the averaged weights and the current buffers, for evaluation."""
        model = evaluation_copy(self.model)
        self.updates.average.copy_to(model)
        return model

    def state(self) -> dict[str, Any]:
        """Returns model, optimiser and weight average for the state file."""
        return self.updates.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Loads what ``state`` returned."""
        self.updates.restore(state)


def evaluation_copy(model: Network) -> Network:
    """Returns a copy of a network of this project, in evaluation mode and in the default memory layout."""
    copy = type(model)(model.config).to(next(model.parameters()).device).eval()
    copy.load_state_dict(model.state_dict())
    return copy
