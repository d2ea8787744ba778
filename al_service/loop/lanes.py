"""Samples that left the queue unlabelled: who set them aside, back into the queue with them, or out of it for good.

A flag is a person's word that an image cannot be labelled as it is (unreadable, none of the classes); jobs flag what
they cannot read. A reviewer looks at it later and decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from al_service.domain.records import Annotation, Sample, User
from al_service.domain.states import AnnotationKind, SampleState, SelectionState, Split
from al_service.errors import ConflictError, NotFoundError
from al_service.loop.annotations import settle, undo_of
from al_service.loop.assignments import active_project
from al_service.loop.ports import Store, Transaction

ASIDE = (SampleState.FLAGGED, SampleState.SKIPPED)


class NotSetAsideError(ConflictError):
    """The sample is neither flagged nor skipped (any more): somebody else was faster."""

    code = "not_set_aside"


class PeopleDifferError(ConflictError):
    """The sample has answers enough, and they differ: asking again decides nothing, a reviewer's verdict does."""

    code = "people_differ"


@dataclass(frozen=True)
class Flagged:
    """A flagged sample; the flag is None where no person flagged it.

    reason: `flag`; `disagreement` (people gave it different classes, and the project has reviewers decide that); or
    `unreadable` (a job could not read the image).
    """

    sample: Sample
    flag: Annotation | None
    reason: str


class Lanes:
    """The flag lane: list, put back, exclude."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def flagged(
        self, project_name: str, *, after: int = 0, limit: int = 100, evaluation: bool = False
    ) -> tuple[list[Flagged], dict[int, str]]:
        """Flagged samples with an id above `after`, by id, and the names of who flagged them by user id.

        Args:
            evaluation: also the ones kept aside to measure the model, which few may see.
        """
        splits = tuple(Split) if evaluation else (Split.POOL, Split.TRAIN)
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            samples = tx.samples.in_state(project.id, SampleState.FLAGGED, splits, after=after, limit=limit)
            flags = tx.annotations.latest_flags([sample.id for sample in samples])
            labelled = tx.annotations.with_labels([sample.id for sample in samples if sample.id not in flags])
            users = {flag.user_id: tx.accounts.get_user(flag.user_id).name for flag in flags.values()}
        reasons = dict.fromkeys(flags, "flag") | dict.fromkeys(labelled, "disagreement")
        found = [Flagged(one, flags.get(one.id), reasons.get(one.id, "unreadable")) for one in samples]
        return found, users

    def put_back(self, sample_id: int, user: User, *, evaluation: bool = False) -> Sample:
        """Ask people for this sample again: its flags and skips are taken back, and stay in the log.

        Where its selection was set aside with it, that is open again; otherwise the next round may choose it.

        Raises:
            NotSetAsideError: it is neither flagged nor skipped.
            PeopleDifferError: it was set aside because people gave it different classes.
            NotFoundError: no such sample.
        """
        now = self._clock()
        with self._store.write() as tx:
            self._take_back(tx, sample_id, user, now, evaluation=evaluation)
            sample = tx.samples.get(sample_id)
            if sample.state is SampleState.FLAGGED and tx.annotations.with_labels([sample_id]):
                raise PeopleDifferError(
                    f"people gave sample {sample_id} different classes; say which one it is", sample=sample_id
                )
            if sample.state in ASIDE:
                _set_state(tx, sample, SampleState.UNLABELLED, now)
            return self._noted(tx, sample_id, user, "sample.put_back", now)

    def exclude(self, sample_id: int, user: User, *, evaluation: bool = False) -> Sample:
        """Never ask for this sample again: it counts as skipped, and no round chooses it.

        Raises:
            NotSetAsideError, NotFoundError: as in `put_back`.
        """
        now = self._clock()
        with self._store.write() as tx:
            self._take_back(tx, sample_id, user, now, evaluation=evaluation)
            sample = tx.samples.get(sample_id)
            _set_state(tx, sample, SampleState.SKIPPED, now)
            asked = tx.queue.find_open_selection(sample_id)
            if asked is not None:
                tx.queue.set_selection_state(asked.id, SelectionState.SKIPPED)
            return self._noted(tx, sample_id, user, "sample.exclude", now)

    def _take_back(self, tx: Transaction, sample_id: int, user: User, now: datetime, *, evaluation: bool) -> None:
        """Undo every flag and skip of a sample that was set aside because of them."""
        tx.projects.lock(tx.samples.get(sample_id).project_id)
        sample = tx.samples.get(sample_id)
        if sample.split is Split.EVALUATION and not evaluation:
            raise NotFoundError(f"no sample with id {sample_id}", sample=sample_id)
        if sample.state not in ASIDE:
            raise NotSetAsideError(f"sample {sample_id} is {sample.state}, not flagged or skipped", state=sample.state)
        aside = (AnnotationKind.FLAG, AnnotationKind.SKIP)
        causes = [answer for answer in tx.annotations.active_of_sample(sample_id) if answer.kind in aside]
        undone = [tx.annotations.add(undo_of(cause, user), now) for cause in causes]
        if undone:
            # The newest of them stands on the newest selection that asked.
            assignment_id = undone[-1].assignment_id
            selection = None if assignment_id is None else tx.queue.get_assignment(assignment_id).selection
            settle(tx, sample, selection, undone[-1], tx.annotations.active_of_sample(sample_id), now)

    def _noted(self, tx: Transaction, sample_id: int, user: User, action: str, now: datetime) -> Sample:
        sample = tx.samples.get(sample_id)
        subject = tx.projects.get(sample.project_id).name
        details = {"sample": sample_id}
        tx.accounts.add_audit(user_id=user.id, action=action, subject=subject, details=details, now=now)
        return sample


def _set_state(tx: Transaction, sample: Sample, state: SampleState, now: datetime) -> None:
    # Neither state has a label, so there is no annotation for it to rest on.
    tx.samples.set_label(sample, None, votes=0, annotation_id=0, state=state, now=now)
