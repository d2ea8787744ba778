"""The methods of self-supervised pretraining that were compared before one was chosen, each as a loss over two views.

Only the chosen one is in the service (al_service/learning/pretraining_objective.py); the others stay here, so that the
comparison can be made again. All share views, projector size, optimiser, schedule and CPU seconds.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, normalize

from al_service.learning.minibatches import minibatches
from al_service.learning.networks import Network
from al_service.learning.pretraining_objective import PROJECTOR_HIDDEN, PROJECTOR_WIDTH, Projector, contrastive_loss
from al_service.learning.views import Views, random_views

Embed = Callable[[Tensor], Tensor]
WARM_UP = 0.05


class Method(nn.Module):
    """A loss of (2 n, 3, H, W) views, first one of each image, then the other; embeds through the network given."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone = network.backbone
        self.prepare = network.prepare
        self.projector = Projector(network.embedding_width)

    def forward(self, shown: Tensor) -> Tensor:
        return self.loss(self.projector(self.backbone(self.prepare(shown))))

    def loss(self, projections: Tensor) -> Tensor:
        """Of the projections of all views."""
        raise NotImplementedError

    def after_step(self, share: float) -> None:
        """What follows a step at a share of the budget."""


class SimClr(Method):
    """NT-Xent, temperature 0.2. Chen and others 2020."""

    def loss(self, projections: Tensor) -> Tensor:
        return contrastive_loss(projections, 0.2)


class VicReg(Method):
    """Invariance 25, variance 25, covariance 1. Bardes, Ponce, LeCun 2022."""

    def loss(self, projections: Tensor) -> Tensor:
        parts = [part - part.mean(0) for part in projections.chunk(2)]
        total = 25 * mse_loss(*projections.chunk(2))
        for part in parts:
            total = total + 12.5 * (1 - (part.var(0) + 1e-4).sqrt()).relu().mean()
            total = total + _off_diagonal(part.T @ part / (len(part) - 1)) / part.shape[1]
        return total


class BarlowTwins(Method):
    """Cross-correlation towards the identity, off-diagonal weight 0.0078. Zbontar and others 2021."""

    def loss(self, projections: Tensor) -> Tensor:
        first, second = ((part - part.mean(0)) / (part.std(0) + 1e-5) for part in projections.chunk(2))
        correlation = first.T @ second / len(first)
        return (correlation.diagonal() - 1).square().sum() + 0.0078 * _off_diagonal(correlation)


class SimSiam(Method):
    """A predictor on one side, no gradient on the other. Chen, He 2021."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.projector.append(nn.BatchNorm1d(PROJECTOR_WIDTH, affine=False))
        self.predictor = _predictor()

    def loss(self, projections: Tensor) -> Tensor:
        return -_agreement(self.predictor(projections), _other_half(projections.detach()))


class Byol(Method):
    """As SimSiam, with a slowly following copy on the other side (0.99, rising to 1). Grill and others 2020."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.predictor = _predictor()
        self.slow = copy.deepcopy(nn.Sequential(self.backbone, self.projector)).requires_grad_(False)

    def forward(self, shown: Tensor) -> Tensor:
        prepared = self.prepare(shown)
        with torch.no_grad():
            wanted = _other_half(self.slow(prepared))
        return -_agreement(self.predictor(self.projector(self.backbone(prepared))), wanted)

    def after_step(self, share: float) -> None:
        keep = 1 - 0.01 * (math.cos(math.pi * min(share, 1.0)) + 1) / 2
        quick = [*self.backbone.parameters(), *self.projector.parameters()]
        with torch.no_grad():
            for slow, one in zip(self.slow.parameters(), quick, strict=True):
                slow.lerp_(one, 1 - keep)


METHODS: dict[str, type[Method]] = {
    "simclr": SimClr,
    "vicreg": VicReg,
    "barlow_twins": BarlowTwins,
    "simsiam": SimSiam,
    "byol": Byol,
}


@dataclass(frozen=True)
class Course:
    """How a comparison trains: for so many CPU seconds, which other work on the machine does not shorten."""

    cpu_seconds: float
    views: Views
    minibatch_size: int
    seed: int
    learning_rate: float = 0.002
    weight_decay: float = 1e-4


def train_for(network: Network, method: Method, pixels: np.ndarray, course: Course) -> dict[str, float]:
    """Train in place; passes over the images, images a CPU second, the views' share of it, first and last loss."""
    rng, generator = np.random.default_rng(course.seed), torch.Generator().manual_seed(course.seed)
    parameters = [one for one in method.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=course.learning_rate, weight_decay=course.weight_decay)
    losses: list[float] = []
    images, in_views, started = 0, 0.0, time.process_time()
    method.train()
    while True:
        for rows in minibatches(rng.permutation(len(pixels)), course.minibatch_size):
            before = time.process_time()
            share = (before - started) / course.cpu_seconds
            if share >= 1:
                return {
                    "passes": images / len(pixels),
                    "images_per_cpu_s": images / course.cpu_seconds,
                    "views_share": in_views / course.cpu_seconds,
                    "first_loss": losses[0],
                    "last_loss": float(np.mean(losses[-10:])),
                }
            for group in optimiser.param_groups:
                rate = min(1.0, 0.01 + share / WARM_UP) * 0.5 * (1 + math.cos(math.pi * share))
                group["lr"] = course.learning_rate * rate
            batch = torch.from_numpy(pixels[rows])
            shown = torch.cat([random_views(batch, course.views, generator) for _ in range(2)])
            in_views += time.process_time() - before
            loss = method(shown)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            method.after_step(share)
            losses.append(float(loss.detach()))
            images += len(rows)


def _predictor() -> nn.Module:
    hidden = PROJECTOR_HIDDEN // 2
    return nn.Sequential(
        nn.Linear(PROJECTOR_WIDTH, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, PROJECTOR_WIDTH),
    )


def _agreement(predicted: Tensor, wanted: Tensor) -> Tensor:
    return (normalize(predicted, dim=1) * normalize(wanted, dim=1)).sum(1).mean()


def _other_half(values: Tensor) -> Tensor:
    return values.roll(len(values) // 2, 0)


def _off_diagonal(matrix: Tensor) -> Tensor:
    return matrix.square().sum() - matrix.diagonal().square().sum()
