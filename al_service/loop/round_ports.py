"""Rows of rounds, their jobs and their models, as the loop needs them; each is a part of `ports.Transaction`."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

from al_service.domain.model_kinds import ModelKind, PromotionAction
from al_service.domain.records import (
    Job,
    ModelRecord,
    Project,
    Promotion,
    Round,
    RoundProgress,
    StageUpdate,
)
from al_service.domain.states import (
    JobKind,
    RoundState,
    Stage,
)


class RoundRows(Protocol):
    """Rounds and their stages."""

    def add(
        self,
        project: Project,
        *,
        trigger: str,
        seed: int,
        watermark: int,
        label_count: int,
        idempotency_key: str | None,
        now: datetime,
    ) -> Round:
        """Store the next round (number = last + 1) with its five pending stages, in state running, stage train.

        Raises ConflictError when the project has an open round (a partial unique index says so)."""

    def find_open(self, project_id: int) -> Round | None:
        """The running or annotating round, or None."""

    def find_last(self, project_id: int) -> Round | None:
        """The round with the highest number, or None."""

    def find_by_key(self, project_id: int, idempotency_key: str) -> Round | None:
        """The round that was started under that key, or None."""

    def get(self, round_id: int) -> Round:
        """The round, or NotFoundError."""

    def find(self, project_id: int, number: int) -> Round | None:
        """The round of that number, or None."""

    def all(self, project_id: int, *, limit: int = 200) -> list[Round]:
        """Rounds by number, the newest `limit`."""

    def asking(self, project_id: int) -> Callable[[], RoundProgress | None]:
        """How far people are with the newest round that has chosen, or with the newest of all before any has; None
        before the first. One statement, which reads no round as a whole. As of now, told when it is asked for, also
        after the commit.
        """

    def count_by_state(self, project_id: int) -> dict[str, int]:
        """How many rounds are in each state; states without rounds are left out."""

    def versions(self, project_id: int, limit: int) -> dict[int, str]:
        """Round id -> a word that changes with what people see of the round; by number, the newest `limit`.

        Much cheaper than the rounds. Metrics and results alone do not count: they come with a change of a stage."""

    def set_round(
        self,
        round_id: int,
        *,
        state: RoundState | None = None,
        stage: Stage | None = None,
        metrics: dict[str, Any] | None = None,
        data_fingerprint: str | None = None,
        model_hash: str | None = None,
        finished_at: datetime | None = None,
        error: str | None = None,
    ) -> None:
        """Change the given fields (metrics: merged into what is there). error="" clears it."""

    def set_stage(self, round_id: int, stage: Stage, update: StageUpdate) -> None:
        """Change the given fields of one stage. error="" clears it."""


class ModelRows(Protocol):
    """The model registry: models, and which one was the project's when."""

    def add(self, model: ModelRecord) -> ModelRecord:
        """Store a model's record (its id and round_number are ignored and made anew)."""

    def get(self, model_id: int) -> ModelRecord:
        """The model, or NotFoundError."""

    def find_of_round(self, round_id: int) -> ModelRecord | None:
        """The newest model of a round, or None."""

    def find_by_hash(self, project_id: int, kind: ModelKind, model_hash: str) -> ModelRecord | None:
        """The newest model of that kind with exactly these weights, or None."""

    def find_newest(self, project_id: int, kind: ModelKind) -> ModelRecord | None:
        """The newest model of that kind, or None."""

    def backbones(self, project_id: int, network_name: str, image_px: int) -> list[ModelRecord]:
        """All backbones of that network for images of that side, newest first."""

    def all(self, project_id: int, *, limit: int = 200) -> list[ModelRecord]:
        """Models, newest first."""

    def add_promotion(
        self, model: ModelRecord, action: PromotionAction, *, user_id: int | None, reason: str, now: datetime
    ) -> Promotion:
        """Append: from now on this is the project's model."""

    def promotions(self, project_id: int) -> list[Promotion]:
        """The whole history of a project, oldest first."""

    def find_promoted(self, project_id: int) -> ModelRecord | None:
        """The project's model, or None while there is none."""


class JobRows(Protocol):
    """Jobs: the database is their truth, the broker only a doorbell."""

    def add(
        self,
        *,
        project_id: int,
        round_id: int | None,
        kind: JobKind,
        payload: dict[str, Any],
        attempts_max: int,
        now: datetime,
    ) -> Job:
        """Store a queued job, attempt 1, due now."""

    def get(self, job_id: int) -> Job:
        """The job, or NotFoundError."""

    def all(
        self,
        *,
        project_id: int | None = None,
        states: Iterable[str] | None = None,
        kind: JobKind | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """Jobs, newest first."""

    def of_round(self, round_id: int, kind: JobKind | None = None) -> list[Job]:
        """Jobs of one round, of one kind if given, oldest first."""

    def due(self, now: datetime, announced_before: datetime, limit: int = 100) -> list[Job]:
        """Queued jobs whose not_before has come and that were never announced or last announced before that time."""

    def set_announced(self, job_id: int, attempt: int, now: datetime) -> None:
        """Note that the broker was told about this attempt."""

    def claim(self, job_id: int, attempt: int, worker: str, now: datetime) -> bool:
        """queued -> running if this attempt still counts and is queued; False otherwise (then leave it alone)."""

    def beat(
        self,
        job_id: int,
        attempt: int,
        now: datetime,
        *,
        done: int | None = None,
        total: int | None = None,
        text: str | None = None,
    ) -> bool:
        """Heartbeat and progress of a running attempt; False when it no longer counts (superseded, cancelled, over).

        A new text or a smaller `done` is new work (progress_since); it began at the heartbeat before this one.
        """

    def finish(self, job_id: int, attempt: int, result: dict[str, Any], now: datetime) -> bool:
        """running -> done if this attempt still counts; False when it was superseded (then store nothing)."""

    def fail(self, job_id: int, attempt: int, error: str, now: datetime) -> bool:
        """running or queued -> failed if this attempt still counts."""

    def requeue(
        self, job_id: int, attempt: int, not_before: datetime, error: str, now: datetime, *, counted: bool = True
    ) -> bool:
        """This attempt failed or was lost: back to queued as attempt + 1, not before that time; never announced.

        With `counted` False attempts_max grows with it: the attempt was nobody's fault."""

    def cancel(self, job_id: int, now: datetime, *, why: str | None = None) -> bool:
        """queued or running -> cancelled; why: kept as the job's error (None: a person stopped this very job)."""

    def reset(self, job_id: int, now: datetime) -> bool:
        """failed or cancelled -> queued as attempt + 1 with attempts_max raised to allow it (a person pressed
        retry).
        """

    def lost(self, heartbeat_before: datetime) -> list[Job]:
        """Running jobs whose last heartbeat is older."""
