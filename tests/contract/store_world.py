"""A small project to test a store with: two classes, three people, and short words for what happens to samples."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import (
    Annotation,
    Assignment,
    Chosen,
    Likely,
    NewAnnotation,
    NewSample,
    Project,
    Round,
    User,
)
from al_service.domain.states import (
    AnnotationKind,
    AssignmentState,
    Role,
    RoundState,
    SampleState,
    SelectionState,
    Split,
)
from al_service.loop.ports import Transaction
from al_service.storage.store import SqlStore

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LEASE = timedelta(minutes=5)


def new_sample(number: int, split: Split = Split.POOL, **changes: object) -> NewSample:
    """A valid new sample; equal numbers mean equal images."""
    values = {
        "external_id": f"images/{number}.png",
        "sha256": f"{number:064x}",
        "width": 32,
        "height": 24,
        "format": "png",
        "byte_count": 1000 + number,
        "split": split,
        "metadata": {"number": number},
    }
    return NewSample(**(values | changes))  # type: ignore[arg-type]


@dataclass
class World:
    """A store with the project `birds` (owl, wren) and the people ann, bob and cat."""

    store: SqlStore
    config: ProjectConfig = field(default_factory=ProjectConfig)
    project: Project = field(init=False)
    ann: User = field(init=False)
    bob: User = field(init=False)
    cat: User = field(init=False)
    _keys: int = 0
    _samples: int = 0

    def __post_init__(self) -> None:
        with self.store.write() as tx:
            self.project = tx.projects.add("birds", ["owl", "wren"], self.config, NOW)
            self.ann, self.bob, self.cat = (
                tx.accounts.add_user(name, Role.LABELER, None, NOW) for name in ("ann", "bob", "cat")
            )

    def add_samples(self, count: int, split: Split = Split.POOL) -> list[int]:
        """Ids of so many new samples."""
        fresh = [new_sample(self._samples + i, split) for i in range(count)]
        self._samples += count
        with self.store.write() as tx:
            ids = tx.samples.add_many(self.project.id, fresh, NOW)
        assert None not in ids
        return ids  # type: ignore[return-value]

    def add_round(
        self, sample_ids: list[int], *, key: str | None = None, likely: Sequence[Likely | None] | None = None
    ) -> Round:
        """A round that asks for these samples, in this order; the open round before it is closed.

        likely: what the model thinks of each.
        """
        opinions = [None] * len(sample_ids) if likely is None else likely
        with self.store.write() as tx:
            current = tx.rounds.find_open(self.project.id)
            if current is not None:
                tx.rounds.set_round(current.id, state=RoundState.CLOSED, finished_at=NOW)
            made = tx.rounds.add(
                self.project, trigger="manual", seed=7, watermark=0, label_count=0, idempotency_key=key, now=NOW
            )
            chosen = [
                Chosen(sample_id, rank, 0.5, {"code": "random"}, likely=opinion)
                for rank, (sample_id, opinion) in enumerate(zip(sample_ids, opinions, strict=True))
            ]
            tx.queue.add_selections(made.id, chosen)
            return tx.rounds.get(made.id)

    def lease(self, tx: Transaction, user: User, limit: int = 1, now: datetime = NOW) -> list[Assignment]:
        """What `loop.assignments` does: the next free selections, leased."""
        tx.projects.lock(self.project.id)
        tx.queue.expire_in(self.project.id, now)
        offers = tx.queue.free_selections(self.project.id, user.id, limit)
        return tx.queue.add_assignments(offers, user.id, now + LEASE, now)

    def answer(
        self,
        tx: Transaction,
        sample_id: int,
        user: User,
        class_name: str | None = "owl",
        *,
        kind: AnnotationKind = AnnotationKind.LABEL,
        assignment: Assignment | None = None,
        now: datetime = NOW,
    ) -> Annotation:
        """Append an answer (nothing else follows from it here)."""
        self._keys += 1
        new = NewAnnotation(
            project_id=self.project.id,
            sample_id=sample_id,
            user_id=user.id,
            assignment_id=assignment.id if assignment else None,
            kind=kind,
            class_name=class_name if kind is AnnotationKind.LABEL else None,
            client_key=f"key-{self._keys}",
        )
        return tx.annotations.add(new, now)

    def label(self, tx: Transaction, sample_id: int, user: User, class_name: str = "owl") -> Annotation:
        """An answer that settles the sample and its open selection."""
        annotation = self.answer(tx, sample_id, user, class_name)
        self.believe(tx, annotation, SampleState.LABELLED)
        selection = tx.queue.find_open_selection(sample_id)
        if selection is not None:
            tx.queue.set_selection_state(selection.id, SelectionState.DONE)
        return annotation

    def settle(self, tx: Transaction, held: Assignment, class_name: str | None) -> Annotation:
        """An answer to a lease, which is believed: the class, or a flag."""
        kind = AnnotationKind.FLAG if class_name is None else AnnotationKind.LABEL
        annotation = self.answer(tx, held.sample.id, self._user(held), class_name, kind=kind, assignment=held)
        self.believe(tx, annotation, SampleState.FLAGGED if class_name is None else SampleState.LABELLED)
        tx.queue.set_assignment(held.id, AssignmentState.ANSWERED)
        return annotation

    def _user(self, held: Assignment) -> User:
        return next(user for user in (self.ann, self.bob, self.cat) if user.id == held.user_id)

    def believe(self, tx: Transaction, annotation: Annotation, state: SampleState) -> None:
        """Set the sample's state to what that annotation says."""
        name = annotation.class_name if state is SampleState.LABELLED else None
        sample = tx.samples.get(annotation.sample_id)
        tx.samples.set_label(sample, name, votes=1, annotation_id=annotation.id, state=state, now=NOW)

    def undo(self, tx: Transaction, original: Annotation) -> Annotation:
        """Take an answer back."""
        new = NewAnnotation(
            project_id=original.project_id,
            sample_id=original.sample_id,
            user_id=original.user_id,
            assignment_id=original.assignment_id,
            kind=AnnotationKind.UNDO,
            class_name=None,
            client_key=f"undo-{original.id}",
            undoes_id=original.id,
        )
        return tx.annotations.add(new, NOW)

    def finish(
        self, tx: Transaction, assignment: Assignment, state: AssignmentState = AssignmentState.ANSWERED
    ) -> None:
        """End a lease."""
        tx.queue.set_assignment(assignment.id, state)
