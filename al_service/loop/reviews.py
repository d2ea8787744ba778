"""Reviewers' verdicts: what a sample is, whatever the votes say; and gold, samples that are known for sure.

A verdict is an annotation like any other (it can be taken back), marked as a review. Who gives one says which version
of the label they saw, so that nobody overwrites what they never saw.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from al_service.domain.records import Annotation, Gold, NewAnnotation, Project, Sample, User
from al_service.domain.states import AnnotationKind, Split
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.annotations import ClientKeyReusedError, check_client_key, settle
from al_service.loop.assignments import active_project, locked_project
from al_service.loop.class_names import class_meant
from al_service.loop.ports import Store, Transaction


class LabelChangedError(ConflictError):
    """Somebody changed the label since this person saw it; the details say who, when, and to what."""

    code = "label_changed"


@dataclass(frozen=True)
class Verdict:
    """What a reviewer says of a sample.

    Attributes:
        version: of the label they saw; 0: they saw none.
    """

    sample_id: int
    class_name: str
    version: int
    client_key: str

    def __post_init__(self) -> None:
        check_client_key(self.client_key)
        if self.version < 0:
            raise InvalidInputError(f"version={self.version} is below 0; send the label_version you saw, 0 for none")


@dataclass(frozen=True)
class Given:
    """A verdict as it was stored, the sample after it, and whether it is new."""

    annotation: Annotation
    sample: Sample
    is_new: bool


class Reviews:
    """Verdicts and gold."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def label(self, verdict: Verdict, user: User, *, evaluation: bool = False) -> Given:
        """Store a verdict; one whose key was seen before is the same verdict again.

        Args:
            evaluation: this person may see the samples kept aside to measure the model.

        Raises:
            LabelChangedError: the label is not the one they saw; nothing was stored.
            NotFoundError, InvalidInputError, ClientKeyReusedError.
        """
        now = self._clock()
        with self._store.write() as tx:
            return give(tx, verdict, user, now, evaluation=evaluation)

    def label_many(
        self, project_name: str, verdicts: Sequence[Verdict], user: User, *, evaluation: bool = False
    ) -> list[Given | ConflictError | NotFoundError | InvalidInputError]:
        """Each verdict as `label` does it, in one transaction; one that cannot be stored brings its error instead."""
        now = self._clock()
        found: list[Given | ConflictError | NotFoundError | InvalidInputError] = []
        with self._store.write() as tx:
            project = locked_project(tx, project_name)
            for verdict in verdicts:
                try:
                    if tx.samples.get(verdict.sample_id).project_id != project.id:
                        raise NotFoundError(f"no sample with id {verdict.sample_id}", sample=verdict.sample_id)
                    found.append(give(tx, verdict, user, now, evaluation=evaluation))
                except (ConflictError, NotFoundError, InvalidInputError) as error:
                    found.append(error)
        return found

    def set_gold(self, verdict: Verdict, user: User, *, evaluation: bool = False) -> Given:
        """Store a verdict, and that it is certain enough to measure people by it.

        Raises:
            As `label`.
        """
        now = self._clock()
        with self._store.write() as tx:
            sample = locked_sample(tx, verdict.sample_id, evaluation=evaluation)
            if tx.examples.is_one(sample.id):
                raise ConflictError(
                    f"sample {sample.id} is shown to everybody as an example, so it cannot be hidden gold",
                    sample=sample.id,
                )
            given = give(tx, verdict, user, now, evaluation=evaluation)
            if given.is_new:  # a repeat that comes late must not undo what was decided since
                tx.lanes.set_gold(given.sample, verdict.class_name, user.id, now)
                _note(tx, given.sample, user, "gold.set", {"class_name": verdict.class_name}, now)
            return given

    def remove_gold(self, sample_id: int, user: User, *, evaluation: bool = False) -> None:
        """People are not measured by this sample any more; its label stays.

        Raises:
            NotFoundError: it is no gold.
        """
        now = self._clock()
        with self._store.write() as tx:
            sample = locked_sample(tx, sample_id, evaluation=evaluation)
            if not tx.lanes.remove_gold(sample_id):
                raise NotFoundError(f"sample {sample_id} is no gold", sample=sample_id)
            _note(tx, sample, user, "gold.remove", {}, now)

    def golds(
        self, project_name: str, *, after: int = 0, limit: int = 100, evaluation: bool = False
    ) -> tuple[list[Gold], dict[int, str], int | None]:
        """Gold of the project with a sample id above `after`, by sample id; the names of who set it by user id; what
        the next page comes after (None: there is none).
        """
        with self._store.read() as tx:
            found = tx.lanes.golds(active_project(tx, project_name).id, after=after, limit=limit)
            names = {user_id: tx.accounts.get_user(user_id).name for user_id in {gold.user_id for gold in found}}
        seen = [gold for gold in found if evaluation or gold.sample.split is not Split.EVALUATION]
        return seen, names, found[-1].sample.id if len(found) == limit else None


def locked_sample(tx: Transaction, sample_id: int, *, evaluation: bool) -> Sample:
    """The sample, read after taking its project's lock; NotFoundError where this person may not know of it, or where
    its project is archived.
    """
    project_id = tx.samples.get(sample_id).project_id
    tx.projects.lock(project_id)
    project = tx.projects.get(project_id)
    if project.archived_at is not None:
        raise NotFoundError(f"project {project.name!r} is archived; nothing about its images changes any more")
    sample = tx.samples.get(sample_id)
    if sample.split is Split.EVALUATION and not evaluation:
        raise NotFoundError(f"no sample with id {sample_id}", sample=sample_id)
    return sample


def give(tx: Transaction, verdict: Verdict, user: User, now: datetime, *, evaluation: bool) -> Given:
    """Store a verdict in the caller's transaction, as `Reviews.label`."""
    sample = locked_sample(tx, verdict.sample_id, evaluation=evaluation)
    project = tx.projects.get(sample.project_id)
    known = tx.annotations.find_by_key(user.id, verdict.client_key)
    if known is not None:
        meant = tx.projects.class_book(project.id).meant(verdict.class_name)
        _check_same(known, verdict, verdict.class_name if meant is None else meant.name)
        return Given(known, sample, False)
    class_meant(project, tx.projects.class_book(project.id), verdict.class_name)
    if verdict.version != (sample.label_version or 0):
        raise _changed(tx, sample, verdict)
    annotation = tx.annotations.add(_new(sample, verdict, user), now)
    # Whoever was asked about it as well has answered it now.
    tx.queue.answer_leases(sample.id, user.id)
    settle(tx, sample, None, annotation, tx.annotations.active_of_sample(sample.id), now)
    return Given(annotation, tx.samples.get(sample.id), True)


def _new(sample: Sample, verdict: Verdict, user: User) -> NewAnnotation:
    return NewAnnotation(
        project_id=sample.project_id,
        sample_id=sample.id,
        user_id=user.id,
        assignment_id=None,
        kind=AnnotationKind.LABEL,
        class_name=verdict.class_name,
        client_key=verdict.client_key,
        is_review=True,
    )


def _check_same(known: Annotation, verdict: Verdict, said: str) -> None:
    if (known.sample_id, known.class_name, known.is_review) != (verdict.sample_id, said, True):
        raise ClientKeyReusedError(
            f"client_key {verdict.client_key!r} belongs to annotation {known.id}, another answer; make one per answer",
            annotation=known.id,
        )


def _changed(tx: Transaction, sample: Sample, verdict: Verdict) -> LabelChangedError:
    answers = tx.annotations.active_of_sample(sample.id)
    last = answers[-1] if answers else None
    by = None if last is None else tx.accounts.get_user(last.user_id).name
    is_now = f"is {sample.class_name!r} now" if sample.class_name else "has no label now"
    who = "" if by is None else f", last answered by {by}"
    details: dict[str, Any] = {
        "class_name": sample.class_name,
        "version": sample.label_version or 0,
        "by": by,
        "at": None if last is None else last.created_at.isoformat(),
    }
    return LabelChangedError(
        f"sample {sample.id} {is_now}{who}; you saw version {verdict.version}. Look again and decide anew", **details
    )


def _note(tx: Transaction, sample: Sample, user: User, action: str, details: dict[str, Any], now: datetime) -> None:
    project: Project = tx.projects.get(sample.project_id)
    details = {"sample": sample.id, **details}
    tx.accounts.add_audit(user_id=user.id, action=action, subject=project.name, details=details, now=now)
