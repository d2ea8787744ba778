"""What people ask for by hand: this sample again, sooner, by so many people, or by this person.

A sample that waits in the queue is moved there; for any other a selection of its own is made, also for a sample that is
labelled already (a second opinion). It is over when it has its answers; they are votes like any others.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from al_service.domain.records import TURN_OF_COPIES, Project, Sample, Selection, User
from al_service.domain.states import AnnotationKind, Lane, Role, SampleState, SelectionState, Split
from al_service.errors import InvalidInputError, NotFoundError
from al_service.loop.annotations import is_relabelling
from al_service.loop.assignments import active_project, locked_project
from al_service.loop.ports import Store, Transaction

SAMPLES_MAX = 1000
ANSWERS_MAX = 20
PRIORITY_MAX = 9


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        sample_ids: in the order in which they are asked.
        user_name: the person who is asked, about a labelled sample also if they answered before; None: anybody who has
            not.
        answers: how many people answer each of them; None: as many as the queue asks already, else one.
        priority: -9 to 9; higher is asked sooner, 0 as usual.
    """

    sample_ids: tuple[int, ...]
    user_name: str | None = None
    answers: int | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.sample_ids) <= SAMPLES_MAX or len(set(self.sample_ids)) < len(self.sample_ids):
            raise InvalidInputError(f"sample_ids needs 1 to {SAMPLES_MAX} different ids, got {len(self.sample_ids)}")
        if self.answers is not None and not 1 <= self.answers <= ANSWERS_MAX:
            raise InvalidInputError(f"answers={self.answers} is outside 1..{ANSWERS_MAX}")
        if not -PRIORITY_MAX <= self.priority <= PRIORITY_MAX:
            raise InvalidInputError(f"priority={self.priority} is outside -{PRIORITY_MAX}..{PRIORITY_MAX}")
        if self.user_name is not None and (self.answers or 1) > 1:
            raise InvalidInputError(f"answers={self.answers}: one person gives one answer; name nobody, or ask for 1")


@dataclass(frozen=True)
class Task:
    """An open selection that was asked for or moved by hand, with its sample and the name of who is to answer."""

    selection: Selection
    sample: Sample
    user_name: str | None

    @property
    def priority(self) -> int:
        """As in `Wish`."""
        return -self.selection.turn


class Tasks:
    """Ask, list, withdraw."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def ask(self, project_name: str, wish: Wish, user: User, *, evaluation: bool = False) -> list[Task]:
        """Ask for these samples; all of them, or none. Asking again for the same changes nothing.

        Raises:
            NotFoundError: a sample that is not of this project, or a person who is not there.
            InvalidInputError: a sample that was taken out of the queue; a person who may not label, or who has answered
                what still waits for others; fewer answers than there are.
        """
        now = self._clock()
        with self._store.write() as tx:
            project = locked_project(tx, project_name)
            person = None if wish.user_name is None else _person(tx, wish.user_name)
            samples = [_sample(tx, project, sample_id, evaluation=evaluation) for sample_id in wish.sample_ids]
            made = [_ask(tx, sample, wish, person, user) for sample in samples]
            details = {"samples": len(made), "user": wish.user_name, "priority": wish.priority, "answers": wish.answers}
            tx.accounts.add_audit(user_id=user.id, action="task.ask", subject=project.name, details=details, now=now)
        return [Task(selection, sample, wish.user_name) for selection, sample in zip(made, samples, strict=True)]

    def waiting(
        self, project_name: str, *, after: int = 0, limit: int = 100, evaluation: bool = False
    ) -> tuple[list[Task], int | None]:
        """What was asked for by hand and still waits, with a selection id above `after`, by id; and what the next page
        comes after (None: there is none).
        """
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            found = tx.lanes.by_hand(project.id, after=after, limit=limit)
            ids = {offer.selection.assigned_to_id for offer in found} - {None}
            names = {user_id: tx.accounts.get_user(user_id).name for user_id in ids if user_id is not None}
        seen = [
            Task(offer.selection, offer.sample, names.get(offer.selection.assigned_to_id or 0))
            for offer in found
            if evaluation or offer.sample.split is not Split.EVALUATION
        ]
        return seen, found[-1].selection.id if len(found) == limit else None

    def withdraw(self, selection_id: int, user: User) -> None:
        """Ask for it no longer: one by hand leaves the queue, one of a round is as any other of its batch.

        Raises:
            NotFoundError: nothing of that id was asked for by hand, or it is over.
        """
        now = self._clock()
        with self._store.write() as tx:
            selection = tx.queue.get_selection(selection_id)
            project_id = tx.samples.get(selection.sample_id).project_id
            tx.projects.lock(project_id)
            selection = tx.queue.get_selection(selection_id)
            if selection.state is not SelectionState.OPEN or not _is_by_hand(selection):
                raise NotFoundError(f"no open task {selection_id}", task=selection_id)
            if selection.lane is Lane.TASK:
                tx.queue.set_selection_state(selection_id, SelectionState.RETIRED)
            else:
                tx.lanes.steer(selection_id, turn=0, user_id=None)
            subject = tx.projects.get(project_id).name
            details = {"task": selection_id}
            tx.accounts.add_audit(user_id=user.id, action="task.withdraw", subject=subject, details=details, now=now)


def _is_by_hand(selection: Selection) -> bool:
    is_steered = selection.assigned_to_id is not None or selection.turn not in (0, TURN_OF_COPIES)
    return selection.lane is Lane.TASK or (selection.lane is Lane.BATCH and is_steered)


def _person(tx: Transaction, name: str) -> User:
    found = tx.accounts.find_user_locked(name)
    if found is None or not found.is_active:
        raise NotFoundError(f"no active person {name!r}", user=name)
    if not found.role.covers(Role.LABELER):
        raise InvalidInputError(f"{name} is a {found.role} and may not label; name somebody who may", user=name)
    return found


def _sample(tx: Transaction, project: Project, sample_id: int, *, evaluation: bool) -> Sample:
    sample = tx.samples.get(sample_id)
    hidden = sample.split is Split.EVALUATION and not evaluation
    if sample.project_id != project.id or hidden:
        raise NotFoundError(f"no sample with id {sample_id}", sample=sample_id)
    if sample.state in (SampleState.FLAGGED, SampleState.SKIPPED):
        raise InvalidInputError(f"sample {sample_id} is {sample.state}; put it back first", sample=sample_id)
    return sample


def _ask(tx: Transaction, sample: Sample, wish: Wish, person: User | None, asker: User) -> Selection:
    turn, user_id = -wish.priority, None if person is None else person.id
    waiting = tx.queue.find_open_selection(sample.id)
    if waiting is not None:
        answers = _answers_wanted(tx, waiting, wish, person)
        tx.lanes.steer(waiting.id, turn=turn, user_id=user_id, answers=answers)
        return tx.queue.get_selection(waiting.id)
    is_second = sample.state is SampleState.LABELLED
    reason = {"code": "second_opinion" if is_second else "task", "by": asker.id}
    return tx.lanes.add(sample, Lane.TASK, answers=wish.answers or 1, turn=turn, user_id=user_id, reason=reason)


def _answers_wanted(tx: Transaction, waiting: Selection, wish: Wish, person: User | None) -> int | None:
    """How many answers what waits is to have: never as few as it has already, or nobody would end it."""
    if person is None and wish.answers is None:
        return None
    sample_id = waiting.sample_id
    if is_relabelling(waiting):
        raise InvalidInputError(
            f"sample {sample_id} is asked again because its class was split; who answers it cannot be changed",
            sample=sample_id,
        )
    # A selection of a round counts all votes on its sample, one by hand the answers to itself.
    is_by_hand = waiting.lane is Lane.TASK
    given = (
        tx.annotations.active_of_selection(sample_id, waiting.id)
        if is_by_hand
        else tx.annotations.active_of_sample(sample_id)
    )
    voters = {one.user_id for one in given if one.kind is AnnotationKind.LABEL}
    if person is not None and person.id in {one.user_id for one in given}:
        raise InvalidInputError(
            f"{person.name} has answered sample {sample_id} already, and it still waits for others; name somebody else",
            sample=sample_id,
            user=person.name,
        )
    if wish.answers is not None and person is None and wish.answers <= len(voters):
        raise InvalidInputError(
            f"sample {sample_id} has {len(voters)} answers already; ask for more than that", sample=sample_id
        )
    return len(voters) + 1 if person is not None else wish.answers
