"""What reviewers get of verdicts, of what is asked for by hand, and of gold, as models."""

from datetime import datetime
from typing import Any

from al_service.api.answers import AnnotationFields, Answer


class JudgedFields(Answer):
    """A sample after a verdict; label_version is what the next verdict has to name."""

    sample_id: int
    state: str
    class_name: str | None
    label_version: int


class VerdictAnswer(Answer):
    """A verdict as it was stored, and the sample after it."""

    annotation: AnnotationFields
    sample: JudgedFields


class RefusalFields(Answer):
    """Why one of many was not stored; as in the error body."""

    code: str
    message: str
    details: dict[str, Any]


class ManyFields(Answer):
    """What became of one of many verdicts: stored (annotation and sample), or refused (error)."""

    sample_id: int
    annotation: AnnotationFields | None
    sample: JudgedFields | None
    error: RefusalFields | None


class ManyAnswer(Answer):
    """What became of each verdict, in the order they were sent."""

    results: list[ManyFields]


class TaskFields(Answer):
    """Something asked for by hand that waits; user: who is to answer, null: anybody; priority: higher is sooner."""

    id: int
    sample_id: int
    image_url: str
    user: str | None
    priority: int
    answers: int
    state: str


class TasksAnswer(Answer):
    """What was asked for by hand, by id; next_after: what to ask for next, null at the end."""

    tasks: list[TaskFields]
    next_after: int | None


class GoldFields(Answer):
    """A sample whose class is known for sure."""

    sample_id: int
    image_url: str
    class_name: str
    set_by: str
    set_at: datetime


class GoldAnswer(Answer):
    """Gold by sample id; next_after: what to ask for next, null at the end."""

    gold: list[GoldFields]
    next_after: int | None
