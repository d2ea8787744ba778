"""What reviewers get of the samples that were set aside, as models."""

from datetime import datetime

from al_service.api.answers import Answer


class FlaggedFields(Answer):
    """A flagged sample. reason: flag, disagreement or unreadable; flagged_by, flagged_at: null unless it is flag."""

    sample_id: int
    image_url: str
    width: int
    height: int
    reason: str
    flagged_by: str | None
    flagged_at: datetime | None


class FlaggedAnswer(Answer):
    """Flagged samples by id; next_after: what to ask for next, null at the end."""

    flagged: list[FlaggedFields]
    next_after: int | None


class AsideFields(Answer):
    """A sample after a reviewer decided about it."""

    sample_id: int
    state: str


class AsideAnswer(Answer):
    """What became of the sample."""

    sample: AsideFields
