"""Answers: stored once per client key, in one transaction with what follows from them; undo by a second row.

The answer leaves only after the commit, so an acknowledged label is on disk. A late answer (after the lease) is kept
as an extra vote.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from al_service.domain.records import (
    Annotation,
    Asked,
    Assignment,
    NewAnnotation,
    Project,
    RoundProgress,
    Sample,
    Selection,
    User,
)
from al_service.domain.states import (
    AnnotationKind,
    AssignmentState,
    Lane,
    Role,
    RoundState,
    SampleState,
    SelectionState,
)
from al_service.errors import ConflictError, InvalidInputError, NotFoundError, PermissionDeniedError
from al_service.loop.assignments import admitted, check_own
from al_service.loop.class_names import class_meant
from al_service.loop.consensus import Belief, believe, rules_for
from al_service.loop.disputes import store_belief
from al_service.loop.ports import Admission, Store, Transaction

CLIENT_KEY_LENGTH_MAX = 200
#: Keys that the service makes itself; clients cannot take them.
RESERVED_KEY_PREFIX = "al:"
LEAD_TIME_MAX_S = 86_400.0
#: Of a selection's reason: how many votes in all settle a sample that is asked again because a class was split.
VOTES_NEEDED = "votes"


class ClientKeyReusedError(ConflictError):
    """The same client key came with another sample or another answer: a bug in the client, nothing was stored."""

    code = "client_key_reused"


class AlreadyUndoneError(ConflictError):
    """Somebody took that answer back already."""

    code = "already_undone"


def check_client_key(key: str) -> None:
    """InvalidInputError for a key that is empty, too long, or of the kind that the service makes itself."""
    if not 1 <= len(key) <= CLIENT_KEY_LENGTH_MAX:
        raise InvalidInputError(f"client_key needs 1 to {CLIENT_KEY_LENGTH_MAX} characters, got {len(key)}")
    if key.startswith(RESERVED_KEY_PREFIX):
        raise InvalidInputError(f"client_key {key!r}: keys that start with {RESERVED_KEY_PREFIX!r} are ours")


@dataclass(frozen=True)
class Answer:
    """What a person said about an assignment: exactly one of a class, a skip or a flag."""

    kind: AnnotationKind
    class_name: str | None
    client_key: str
    lead_time_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind is AnnotationKind.UNDO or (self.kind is AnnotationKind.LABEL) != (self.class_name is not None):
            raise InvalidInputError("an answer is exactly one of class_name, skip or flag")
        check_client_key(self.client_key)
        lead = self.lead_time_s
        if lead is not None and not (math.isfinite(lead) and 0 <= lead <= LEAD_TIME_MAX_S):
            raise InvalidInputError(f"lead_time={lead} is outside 0..{LEAD_TIME_MAX_S:.0f} seconds")


@dataclass(frozen=True)
class Stored:
    """An answer as it was stored, whether it is new, and how far people are with the round after it."""

    annotation: Annotation
    is_new: bool
    progress: RoundProgress | None


class Annotations:
    """Annotate and undo."""

    def __init__(self, store: Store, clock: Callable[[], datetime], lease_ttl_s: float) -> None:
        self._store = store
        self._clock = clock
        self._ttl = timedelta(seconds=lease_ttl_s)

    def annotate(self, assignment_id: int, user: User, answer: Answer, *, admission: Admission | None = None) -> Stored:
        """Store an answer; one whose key was seen before is the same annotation again.

        An old name of a class means what that class is today, so what was on its way during a rename or a merge counts.

        Raises:
            NotFoundError: no such assignment of this person.
            UnknownClassError: the class is not one of the project's.
            ClassWasSplitError: it was one; the person has to look again.
            ClientKeyReusedError: the key belongs to another answer.
            What the admission raises.
        """
        now = self._clock()

        def begin(tx: Transaction) -> Callable[[], tuple[Annotation, bool, Callable[[], RoundProgress | None]]]:
            admit = admitted(tx, admission)
            asked = tx.queue.asked(assignment_id, user.id, answer.class_name, answer.client_key)

            def go_on() -> tuple[Annotation, bool, Callable[[], RoundProgress | None]]:
                admit()
                return store(tx, _with_class(tx, asked(), user, answer))

            return go_on

        def store(tx: Transaction, asked: Asked) -> tuple[Annotation, bool, Callable[[], RoundProgress | None]]:
            assignment, sample = asked.assignment, asked.assignment.sample
            check_own(assignment, user)
            annotation = _add(tx, asked, user, answer, now)
            is_new = annotation is not None
            if annotation is None:
                annotation = _same_answer(tx, asked, user, answer)
            else:
                if assignment.state is AssignmentState.OPEN:
                    tx.queue.set_assignment(assignment_id, AssignmentState.ANSWERED)
                else:
                    # Whoever got the sample again meanwhile has answered it now, and is not asked a second time.
                    tx.queue.answer_leases(sample.id, user.id)
                answers = [annotation] if asked.is_first else tx.annotations.active_of_sample(sample.id)
                settle(tx, sample, assignment.selection, annotation, answers, now)
            return annotation, is_new, tx.rounds.asking(sample.project_id)

        annotation, is_new, progress = self._store.write_together(begin, about=user.id)
        return Stored(annotation, is_new, progress())

    def undo(self, annotation_id: int, user: User) -> tuple[Annotation, Assignment | None]:
        """Take an answer back (own ones; reviewers anyone's): the undo row, and a fresh lease on the sample for its
        author.

        No lease comes back when the sample still has enough other votes, another answer of the same person, or a newer
        round that asks for it already.

        Raises:
            NotFoundError, PermissionDeniedError, AlreadyUndoneError.
        """
        now = self._clock()
        with self._store.write() as tx:
            original = tx.annotations.get(annotation_id)
            if original.user_id != user.id and not user.role.covers(Role.REVIEWER):
                raise PermissionDeniedError(
                    f"annotation {annotation_id} is somebody else's; reviewers can take it back"
                )
            project = tx.projects.get(original.project_id)
            tx.projects.lock(project.id)
            original = tx.annotations.get(annotation_id)
            if original.kind is AnnotationKind.UNDO:
                raise InvalidInputError(
                    f"annotation {annotation_id} is an undo itself; answer the sample again instead"
                )
            if original.is_undone:
                raise AlreadyUndoneError(f"annotation {annotation_id} was taken back already")
            undo = tx.annotations.add(undo_of(original, user), now)
            if original.user_id != user.id:
                details = {"annotation": original.id, "author": original.user_id}
                tx.accounts.add_audit(
                    user_id=user.id, action="annotation.undo", subject=project.name, details=details, now=now
                )
            sample = tx.samples.get(original.sample_id)
            answers = tx.annotations.active_of_sample(sample.id)
            if original.assignment_id is None:
                settle(tx, sample, None, undo, answers, now)
                return undo, None
            lease = tx.queue.get_assignment(original.assignment_id)
            selection = lease.selection
            reopened = settle(tx, sample, selection, undo, answers, now)
            still_answers = any(one.user_id == user.id and one.kind is not AnnotationKind.SKIP for one in answers)
            if not reopened or still_answers or original.user_id != user.id:
                return undo, None
            return undo, self._lease_again(tx, project, lease, user, now)

    def _lease_again(
        self, tx: Transaction, project: Project, before: Assignment, user: User, now: datetime
    ) -> Assignment | None:
        selection = before.selection
        if project.archived_at is not None:
            return None
        if any(held.selection.id == selection.id for held in tx.queue.open_assignments_of_user(project.id, user.id)):
            return None
        slot = tx.queue.free_slot(selection.id)
        if slot >= selection.overlap:
            return None
        fresh = tx.queue.add_assignment(tx.queue.get_selection(selection.id), user.id, slot, now + self._ttl, now)
        if before.suggestion_asked_at is not None:
            # What somebody has seen they do not forget by taking their answer back.
            seen_at = before.suggestion_seen_at
            tx.queue.mark_suggestion(fresh.id, asked_at=before.suggestion_asked_at, seen_at=seen_at)
        return fresh

    def recent(self, project_name: str, user: User, limit: int = 20) -> list[Annotation]:
        """This person's last answers that are not undone, newest first."""
        with self._store.read() as tx:
            project = tx.projects.find(project_name)
            if project is None:
                raise NotFoundError(f"no project {project_name!r}", project=project_name)
            return tx.annotations.recent_of_user(project.id, user.id, limit)


def _add(tx: Transaction, asked: Asked, user: User, answer: Answer, now: datetime) -> Annotation | None:
    """The new annotation, or None when there is one of that key already."""
    if answer.class_name is not None and asked.class_id is None:
        return None
    new = _new_annotation(asked, user, answer, now)
    if asked.annotation_id is not None:
        return tx.annotations.add_as(asked.annotation_id, new, asked.class_id, now)
    return tx.annotations.add_if_new(new, asked.class_id, now)


def _with_class(tx: Transaction, asked: Asked, user: User, answer: Answer) -> Asked:
    """What the answer rests on, with the class that looks the same where none has exactly that name."""
    if answer.class_name is None or asked.class_id is not None:
        return asked
    meant = tx.projects.class_book(asked.assignment.sample.project_id).meant(answer.class_name)
    if meant is None:
        return asked
    return tx.queue.asked(asked.assignment.id, user.id, meant.name, answer.client_key)()


def _same_answer(tx: Transaction, asked: Asked, user: User, answer: Answer) -> Annotation:
    """The annotation of that key, if it is this answer; its class may have been renamed, merged or split since."""
    assignment = asked.assignment
    known = tx.annotations.find_by_key(user.id, answer.client_key)
    said = asked.class_name
    if answer.class_name is not None and said is None:
        project = tx.projects.get(assignment.sample.project_id)
        book = tx.projects.class_book(project.id)
        split = book.split_of(answer.class_name)
        if known is None or split is None:
            class_meant(project, book, answer.class_name)
        said = None if split is None else split.name
    if known is None:
        raise RuntimeError(f"client_key {answer.client_key!r} was taken a moment ago, under the project's lock")
    if (known.assignment_id, known.kind, known.class_name) != (assignment.id, answer.kind, said):
        raise ClientKeyReusedError(
            f"client_key {answer.client_key!r} belongs to annotation {known.id}, another answer; make one per answer",
            annotation=known.id,
        )
    return known


def _new_annotation(asked: Asked, user: User, answer: Answer, now: datetime) -> NewAnnotation:
    assignment = asked.assignment
    late = assignment.state is not AssignmentState.OPEN or assignment.lease_expires_at < now
    return NewAnnotation(
        project_id=assignment.sample.project_id,
        sample_id=assignment.sample.id,
        user_id=user.id,
        assignment_id=assignment.id,
        kind=answer.kind,
        class_name=asked.class_name,
        client_key=answer.client_key,
        lead_time_s=answer.lead_time_s,
        model_version=_model_version(assignment.selection),
        is_extra_vote=late,
        saw_suggestion=assignment.suggestion_seen_at is not None,
    )


def _model_version(selection: Selection) -> str | None:
    """The model that was there when the sample was chosen."""
    number = selection.reason.get("round") if selection.round_number is None else selection.round_number
    return None if number is None else f"round-{number}"


def undo_of(original: Annotation, user: User) -> NewAnnotation:
    """The row with which this person takes that answer back."""
    return NewAnnotation(
        project_id=original.project_id,
        sample_id=original.sample_id,
        user_id=user.id,
        assignment_id=original.assignment_id,
        kind=AnnotationKind.UNDO,
        class_name=None,
        client_key=f"{RESERVED_KEY_PREFIX}undo-{original.id}",
        undoes_id=original.id,
    )


def settle(
    tx: Transaction,
    sample: Sample,
    selection: Selection | None,
    cause: Annotation,
    answers: Sequence[Annotation],
    now: datetime,
) -> bool:
    """Recompute what is believed of the sample and move its selection; True when that selection is open now.

    Sample, selection and answers (not undone, oldest first) were read in this transaction, after the project was
    locked; the cause is one of the answers, or took one back. selection: what the cause answered; None: an import or a
    reviewer's verdict.
    """
    if selection is not None and selection.lane is Lane.GOLD:
        if not any(answer.is_review for answer in answers):
            # Its verdict was taken back meanwhile: the answer counts as one about any other sample.
            settle(tx, sample, None, cause, answers, now)
        return _settle_gold(tx, sample, selection, cause)
    if _is_excluded(sample, cause, answers):
        return False
    if selection is not None and selection.lane is Lane.TASK and not is_relabelling(selection):
        return _settle_task(tx, sample, selection, cause, answers, now)
    # An answer may come after a newer round has asked for the sample: what was asked last counts, and moves.
    standing = selection
    if selection is None or selection.state is not SelectionState.OPEN:
        standing = _asked_last(tx, sample, selection)
    belief = settle_label(tx, sample, standing, cause.id, answers, now)
    if standing is None:
        return False
    is_open = _move(tx, standing, belief.selection_state)
    return is_open and selection is not None and standing.id == selection.id


def _settle_gold(tx: Transaction, sample: Sample, selection: Selection, cause: Annotation) -> bool:
    """The class of gold is known; an answer to it only says how well this person does."""
    if cause.kind is not AnnotationKind.UNDO:
        return _move(tx, selection, SelectionState.DONE)
    if tx.lanes.is_gold(sample.id):
        return _move(tx, selection, SelectionState.OPEN)
    # Nobody is measured by it any more.
    _move(tx, selection, SelectionState.RETIRED)
    return False


def is_relabelling(selection: Selection) -> bool:
    """True for what asks again because a class was split: all votes on the sample count for it, as for a round's."""
    return selection.lane is Lane.TASK and VOTES_NEEDED in selection.reason


def settle_label(
    tx: Transaction,
    sample: Sample,
    asked: Selection | None,
    cause_id: int,
    answers: Sequence[Annotation],
    now: datetime,
) -> Belief:
    """Recompute and store what is believed of the sample, whatever becomes of the selection that asked last.

    Its label rests on the annotation `cause_id` where its class changes.
    """
    # What was asked counts, not what the project's settings say by now; an import asks one person.
    overlap, max_skips = (asked.overlap, asked.max_skips) if asked is not None else (1, 1)
    if asked is not None and is_relabelling(asked):
        overlap = int(asked.reason[VOTES_NEEDED])
    rules = rules_for(tx, sample.project_id, answers)
    belief = believe(answers, overlap=overlap, max_skips=max_skips, rules=rules)
    store_belief(tx, sample, belief, cause_id, answers, now)
    return belief


def settle_again(tx: Transaction, sample: Sample, now: datetime) -> tuple[SampleState, int]:
    """Recompute what is believed of a sample whose answers mean something else since a class was merged or split: its
    state, and how many people have a vote on it.
    """
    answers = tx.annotations.active_of_sample(sample.id)
    asked = _asked_last(tx, sample, None)
    belief = settle_label(tx, sample, asked, answers[-1].id if answers else 0, answers, now)
    if asked is not None and asked.state is SelectionState.FLAGGED and belief.state is SampleState.LABELLED:
        _move(tx, asked, SelectionState.DONE)
    return belief.state, len({answer.user_id for answer in answers if answer.kind is AnnotationKind.LABEL})


def _asked_last(tx: Transaction, sample: Sample, answered: Selection | None) -> Selection | None:
    """By a round, or because a class was split; what the answer was to where nothing stands."""
    waiting = tx.queue.find_open_selection(sample.id)
    known = (answered, waiting if waiting is None or is_relabelling(waiting) else None)
    found = [one for one in known if one is not None and is_relabelling(one)]
    standing = tx.queue.find_standing_selection(sample.id)
    if standing is not None:
        found.append(standing)
    return max(found, key=lambda one: one.id) if found else answered


def _settle_task(
    tx: Transaction, sample: Sample, task: Selection, cause: Annotation, answers: Sequence[Annotation], now: datetime
) -> bool:
    """As `settle`, of what somebody asked for by hand: it is over when it has as many answers as it asked for. They are
    votes like the others; a sample that was labelled stays so, with the class that most now name. One skip ends it:
    then the votes that there are decide, and without any a round may choose the sample another time.
    """
    rules = rules_for(tx, sample.project_id, answers)
    own = tx.annotations.active_of_selection(sample.id, task.id)
    over = believe(own, overlap=task.overlap, max_skips=task.max_skips, rules=rules).selection_state
    votes = len({answer.user_id for answer in answers if answer.kind is AnnotationKind.LABEL})
    is_labelled = sample.state is SampleState.LABELLED
    needed = 1 if is_labelled else votes if over is SelectionState.SKIPPED and votes else task.overlap
    max_skips = tx.projects.get(sample.project_id).config.max_skips
    belief = believe(answers, overlap=needed, max_skips=max_skips, rules=rules)
    store_belief(tx, sample, belief, cause.id, answers, now)
    return _move(tx, task, over)


def _move(tx: Transaction, selection: Selection, target: SelectionState) -> bool:
    """Bring the selection into that state, as far as it may still change; True when it is open then."""
    current = selection.state
    if target is SelectionState.OPEN and current is not target:
        if current is SelectionState.RETIRED:
            return False
        if _is_over(tx, selection):
            target = SelectionState.RETIRED
    if current is not target:
        tx.queue.set_selection_state(selection.id, target)
        is_known = SelectionState.DONE in (current, target)
        if selection.copy_group is not None and selection.round_id is not None and is_known:
            tx.lanes.put_copies_in_order(selection.round_id, selection.copy_group)
    return target is SelectionState.OPEN


def _is_over(tx: Transaction, selection: Selection) -> bool:
    """What a cancelled round asked has left the queue for good; so has what somebody asks for anew by hand."""
    if selection.round_id is not None and tx.rounds.get(selection.round_id).state is RoundState.CANCELLED:
        return True
    return selection.lane is not Lane.GOLD and tx.queue.find_open_selection(selection.sample_id) is not None


def _is_excluded(sample: Sample, cause: Annotation, answers: Sequence[Annotation]) -> bool:
    """Whether a reviewer took the sample out for good and this answer brings no class that would say otherwise.

    A sample that is skipped without a skip or a flag was excluded: `Lanes.exclude` takes those back.
    """
    aside = (AnnotationKind.SKIP, AnnotationKind.FLAG)
    before = any(answer.kind in aside for answer in answers if answer.id != cause.id)
    return sample.state is SampleState.SKIPPED and cause.kind in aside and not before
