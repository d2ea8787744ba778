"""How a backbone is pretrained, and what pretraining reports. Plain data.

Pretraining itself is in pretraining.py, which gives these names on.
"""

import math
from dataclasses import dataclass, field

from al_service.domain.project_config import MIXED_PRECISIONS
from al_service.errors import InvalidInputError
from al_service.learning.views import Views


@dataclass(frozen=True)
class PretrainConfig:
    """How to pretrain.

    Args:
        epochs: passes over all images, and the length of the cosine schedule.
        minibatch_size: images a step, each in two views. More strangers per step teach more; fewer take less memory.
        learning_rate: peak of the schedule.
        weight_decay: AdamW's.
        temperature: of the loss; lower looks harder at the most similar strangers.
        views: which changes an image survives; see views.views_for.
        seed: of initial weights, order, views and dropout.
        mixed_precision: "auto" (half precision on a GPU) or "off".
        state_every_s: seconds between two states for `on_state`; 0 is after every step. Changes nothing else.
    """

    epochs: int = 50
    minibatch_size: int = 128
    learning_rate: float = 0.002
    weight_decay: float = 1e-4
    temperature: float = 0.2
    views: Views = field(default_factory=Views)
    seed: int = 0
    mixed_precision: str = "auto"
    state_every_s: float = 60.0

    def __post_init__(self) -> None:
        for name, low in (("epochs", 1), ("minibatch_size", 2), ("seed", 0), ("weight_decay", 0), ("state_every_s", 0)):
            if not low <= getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, expected at least {low}")
        if self.mixed_precision not in MIXED_PRECISIONS:
            raise InvalidInputError(
                f"mixed_precision is {self.mixed_precision!r}, expected one of {', '.join(MIXED_PRECISIONS)}"
            )
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, expected above 0")


@dataclass(frozen=True)
class PretrainReport:
    """What pretraining did.

    Args:
        images, epochs, steps: trained on, and how often.
        seconds: of wall time, with those before a kill, without the probe's.
        images_per_s: images (not views) a second.
        loss: mean of each epoch, in nats; guessing is the logarithm of twice the minibatch size.
        knn_accuracy_before, knn_accuracy: of the probe with the initial and with the trained backbone; None without
            a probe, the first also where the run that began had none.
        spread: of embeddings over the sphere, 0 = all the same, 1 = evenly to all sides.
        effective_rank: directions that the embeddings use, 1 to D.
        collapsed: the embeddings of different images are the same; do not use this backbone.
        warning: why, in words for people; empty where all is well.
        resumed_step: steps that an earlier run had done; 0 for a fresh run.
        state_refused: why the given state was not used and the run started anew; empty where it was, or none given.
    """

    images: int
    epochs: int
    steps: int
    seconds: float
    images_per_s: float
    loss: tuple[float, ...]
    knn_accuracy_before: float | None
    knn_accuracy: float | None
    spread: float
    effective_rank: float
    collapsed: bool
    warning: str
    resumed_step: int
    state_refused: str
