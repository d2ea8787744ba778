"""As answers.py: what callers get about studies of a project's strategies."""

from datetime import datetime
from typing import Any

from al_service.api.answers import Answer
from al_service.api.loop_answers import ProgressFields
from al_service.domain.states import JobState


class StudyFields(Answer):
    """A study at a glance; its id is that of its job, which can be stopped and retried as any other.

    models: trained in all; models_done: of these (null while a worker has not begun to compare). words, label_savings
    (with its 95 % interval), labels, random_labels: what came out for the strategy `headline`, null before.
    """

    id: int
    state: JobState
    attempt: int
    progress: ProgressFields
    error: str | None
    strategies: list[str]
    seeds: int
    initial: int
    batch: int
    budget: int
    random_budget: int
    models: int
    models_done: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    headline: str | None
    words: str | None
    label_savings: float | None
    label_savings_ci95: list[float] | None
    labels: float | None
    random_labels: float | None
    notes: list[str]


class StudySizes(Answer):
    """Counts of labels: drawn at random at first, chosen at a time, at the end, at the end of the random runs."""

    initial: int
    batch: int
    budget: int
    random_budget: int


class OutlookFields(Answer):
    """What a study that starts now would have to work with: classes with labels, images to learn from, evaluation
    images with labels, images to choose among; and what it does where nobody says more.

    sizes: null where no study can start; why_not says why.
    """

    classes: int
    labelled: int
    evaluation: int
    pool: int
    strategies: list[str]
    seeds: int
    sizes: StudySizes | None
    why_not: str | None


class StudiesAnswer(Answer):
    """Studies, newest first, and what the next one would have to work with."""

    studies: list[StudyFields]
    outlook: OutlookFields


class StudyStartAnswer(Answer):
    """The study that was started, or the one under way."""

    study: StudyFields


class StudyAnswer(StudyStartAnswer):
    """One study; result: everything that is known of it once it is done (the file of docs/simulate.md), else null."""

    result: dict[str, Any] | None
