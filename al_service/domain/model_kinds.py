"""What entries of the model registry are, and how a model becomes the project's model."""

from enum import StrEnum


class ModelKind(StrEnum):
    """Where a model comes from. A backbone has no head: heads stand on it or training starts from it."""

    ROUND = "round"
    IMPORTED = "imported"
    BACKBONE = "backbone"


class PromotionAction(StrEnum):
    """Why the project's model changed: a person chose, a person went back, or a round's model was good enough."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"
    AUTO = "auto"
