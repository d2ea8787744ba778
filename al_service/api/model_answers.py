"""As answers.py: what callers get about the model registry."""

from datetime import datetime
from typing import Any

from al_service.api.answers import Answer
from al_service.domain.model_kinds import ModelKind, PromotionAction


class ModelFacts(Answer):
    """What every answer says of a model. promoted: it is the project's model now; round: that trained it.

    backbone: the model whose file a head needs, null when the file is whole; image_px and byte_count: null where
    nobody recorded them.
    """

    id: int
    name: str
    kind: ModelKind
    promoted: bool
    round: int | None
    network: str
    image_px: int | None
    classes: list[str]
    model_hash: str
    data_fingerprint: str | None
    byte_count: int | None
    backbone: int | None
    created_at: datetime
    metrics: dict[str, Any]


class ModelFields(ModelFacts):
    """A model at a glance: metrics without per_class and confusion, which grow with the classes."""


class PromotionFields(Answer):
    """One row of the history; user: who did it, null for the loop and the command line."""

    model: int
    action: PromotionAction
    user: str | None
    reason: str
    at: datetime


class ModelDetailFields(ModelFacts):
    """A model with all metrics and its own promotions, oldest first."""

    project: str
    promotions: list[PromotionFields]


class ModelAnswer(Answer):
    """One model."""

    model: ModelDetailFields


class ModelsAnswer(Answer):
    """Models, newest first; promoted: id of the project's model; promotions: the newest 100, newest first."""

    models: list[ModelFields]
    promoted: int | None
    promotions: list[PromotionFields]


class PairFields(Answer):
    """One number of both models; difference is b - a."""

    a: float
    b: float
    difference: float


class ComparisonAnswer(Answer):
    """Two models side by side; same_evaluation and same_data: null when nobody knows."""

    a: ModelFields
    b: ModelFields
    same_evaluation: bool | None
    same_data: bool | None
    words: str
    metrics: dict[str, PairFields]
    per_class: dict[str, dict[str, PairFields]]
