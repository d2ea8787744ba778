"""A moving average of a network's weights, often better and steadier than the weights themselves."""

import copy

import torch
from torch import Tensor

from al_service.learning.networks import Network


class AveragedNetwork:
    """Follows a network in training: average = decay * average + (1 - decay) * weights, after every step.

    The decay warms up as min(decay, (1 + step) / (10 + step)), or a short training would end close to its random start.
    Buffers of numbers (batch normalisation's) are averaged as weights are; counters are copied.

    Args:
        network: what to follow, already on its device.
        decay: in (0, 1).

    Attributes:
        network: holds the average, always in evaluation mode.

    Source: Polyak, Juditsky 1992; the warm-up is TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self._followed, self._averages = _floats(network), _floats(self.network)
        self._counters = list(zip(_others(self.network), _others(network), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps, the first being 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averages, self._followed, 1 - decay)
        for mine, followed in self._counters:
            mine.copy_(followed)


def _floats(network: Network) -> list[Tensor]:
    return [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]


def _others(network: Network) -> list[Tensor]:
    return [tensor for tensor in network.state_dict().values() if not tensor.is_floating_point()]
