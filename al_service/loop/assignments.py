"""The people's queue: leases on selections, in the selector's order, for everyone.

A lease lasts minutes, is renewed by the page's heartbeat and released when the page closes. One open lease per
selection and slot is a database constraint; the code here only has to be fair.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from al_service.domain.records import Assignment, LeaseBegun, Offer, Project, User
from al_service.domain.states import AssignmentState
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.batches import open_reserve
from al_service.loop.gold import with_gold
from al_service.loop.look_alikes import in_groups
from al_service.loop.ports import Admission, Store, Transaction
from al_service.loop.progress import WhyEmpty, why_empty

COUNT_MAX = 100
#: The share of a lease's time that must be over before asking again renews it.
RENEWED_AFTER = 1 / 3


class LeaseOverError(ConflictError):
    """The lease ended; an answer is still welcome and is kept as an extra vote."""

    code = "lease_over"


@dataclass(frozen=True)
class Lease:
    """What `lease_next` gives: the samples this person now holds, or why there are none; and how many groups of
    look-alikes wait in the project, where they were asked for.
    """

    project: Project
    assignments: tuple[Assignment, ...]
    why_empty: WhyEmpty | None
    groups_waiting: int | None


class Assignments:
    """Lease, renew, release, expire."""

    def __init__(self, store: Store, clock: Callable[[], datetime], lease_ttl_s: float) -> None:
        self._store = store
        self._clock = clock
        self._ttl = timedelta(seconds=lease_ttl_s)

    def lease_next(
        self,
        project_name: str,
        user: User,
        count: int,
        *,
        look_alike: bool = False,
        admission: Admission | None = None,
    ) -> Lease:
        """Hold up to `count` samples for this person: what they already hold first, then the next free ones; with
        `look_alike` those by groups of look-alikes, as `in_groups` says.

        What is held is renewed when a third of its time is over, so that asking often writes little.

        Asking again without answering gives the same samples, so a reloaded page wastes nothing. Where the batch is
        used up while the next round is at work, its reserve is opened, as far as it is asked for.

        Raises:
            InvalidInputError: count outside 1..100.
            NotFoundError: no such project, or it is archived.
            What the admission raises.
        """
        if not 1 <= count <= COUNT_MAX:
            raise InvalidInputError(f"count={count} is outside 1..{COUNT_MAX}", count=count)
        now = self._clock()

        def begin(tx: Transaction) -> Callable[[], Lease]:
            admit = admitted(tx, admission)
            begun = tx.queue.begin_lease(project_name, user.id, now, wanted=count, until=now + self._ttl)

            def go_on() -> Lease:
                admit()
                return lease(tx, begun())

            return go_on

        def lease(tx: Transaction, begun: LeaseBegun) -> Lease:
            project = _active(tx, begun.project, project_name)
            held = self._renewed(tx, project, user, begun.held, now)[:count]
            if begun.taken is None or not _is_in(tx, project, begun.taken):
                offers = _free_for(tx, project, user, count - len(held), beside=held if look_alike else None)
            else:
                offers = _gold_instead(tx, project, user, begun.taken)
                held += [] if offers else [begun.taken]
            held += tx.queue.add_assignments(offers, user.id, now + self._ttl, now)
            groups = tx.queue.groups_waiting(project.id) if look_alike else None
            return Lease(project, tuple(held), None if held else why_empty(tx, project, user), groups)

        return self._store.write_together(begin, about=user.id)

    def _renewed(
        self, tx: Transaction, project: Project, user: User, held: list[Assignment], now: datetime
    ) -> list[Assignment]:
        """What this person holds; all of it for the full time again, once any of it has used up a third."""
        if all(lease.lease_expires_at > now + self._ttl * (1 - RENEWED_AFTER) for lease in held):
            return held
        tx.queue.extend_assignments(project.id, user.id, now + self._ttl)
        return [replace(lease, lease_expires_at=now + self._ttl) for lease in held]

    def renew(self, assignment_id: int, user: User) -> Assignment:
        """Extend a lease by the full time.

        Raises:
            LeaseOverError: it was answered, released or has expired.
            NotFoundError: no such assignment, or another person's.
        """
        now = self._clock()
        with self._store.write() as tx:
            assignment = own_assignment(tx, assignment_id, user)
            # Without the lock an answer that commits between reading and writing would be overwritten.
            tx.projects.lock(assignment.sample.project_id)
            tx.queue.expire_in(assignment.sample.project_id, now)
            assignment = tx.queue.get_assignment(assignment_id)
            if assignment.state is not AssignmentState.OPEN:
                raise LeaseOverError(f"assignment {assignment_id} is {assignment.state}; ask for the next one")
            tx.queue.set_assignment(assignment_id, AssignmentState.OPEN, expires_at=now + self._ttl)
            return tx.queue.get_assignment(assignment_id)

    def release(self, assignment_id: int, user: User) -> None:
        """Give a lease back; one that is over already is left as it is."""
        with self._store.write() as tx:
            tx.projects.lock(own_assignment(tx, assignment_id, user).sample.project_id)
            if tx.queue.get_assignment(assignment_id).state is AssignmentState.OPEN:
                tx.queue.set_assignment(assignment_id, AssignmentState.RELEASED)

    def expire(self) -> int:
        """End every lease whose time is over; how many."""
        now = self._clock()
        with self._store.write() as tx:
            return tx.queue.expire(now)


def _is_in(tx: Transaction, project: Project, taken: Assignment) -> bool:
    """Whether it is the project's; else it is given back."""
    if taken.sample.project_id == project.id:
        return True
    tx.queue.set_assignment(taken.id, AssignmentState.RELEASED)
    return False


def _gold_instead(tx: Transaction, project: Project, user: User, taken: Assignment) -> list[Offer]:
    """The gold that is due before what was taken, which is given back then."""
    [first] = with_gold(tx, project, user, [Offer(taken.selection, taken.sample)])
    if first.selection.id == taken.selection.id:
        return []
    tx.queue.set_assignment(taken.id, AssignmentState.RELEASED)
    return [first]


def _free_for(
    tx: Transaction, project: Project, user: User, wanted: int, *, beside: Sequence[Assignment] | None
) -> list[Offer]:
    """Up to `wanted` selections that this person may be given now; the reserve makes up for what the batch lacks.

    beside: what the person holds, where look-alikes of it and of each other are wanted; None: one by one.
    """
    if wanted < 1:
        return []
    skipped = project.config.skip_policy != "others_only"
    found = tx.queue.free_selections(project.id, user.id, wanted, skipped=skipped)
    # Again as long as it helps: what was opened may be something that this very person has answered already.
    while len(found) < wanted and open_reserve(tx, project, wanted - len(found)):
        found = tx.queue.free_selections(project.id, user.id, wanted, skipped=skipped)
    if beside is not None:
        found = in_groups(tx, project, user, found, beside, wanted)
    return with_gold(tx, project, user, found)


def admitted(tx: Transaction, admission: Admission | None) -> Callable[[], None]:
    """The second half of an admission; nothing to do where none is asked for."""
    return (lambda: None) if admission is None else admission(tx)


def active_project(tx: Transaction, name: str) -> Project:
    """The project of that name, or NotFoundError (archived ones count as gone)."""
    return _active(tx, tx.projects.find(name), name)


def locked_project(tx: Transaction, name: str) -> Project:
    """As `active_project`, read after taking its lock, so that nothing in it changes before the commit."""
    return _active(tx, tx.projects.find_locked(name), name)


def _active(tx: Transaction, project: Project | None, name: str) -> Project:
    if project is None or project.archived_at is not None:
        known = ", ".join(item.name for item in tx.projects.all()) or "none yet"
        raise NotFoundError(f"no project {name!r}; there are: {known}", project=name)
    return project


def own_assignment(tx: Transaction, assignment_id: int, user: User) -> Assignment:
    """The assignment if it is this person's; other people's count as not there."""
    assignment = tx.queue.get_assignment(assignment_id)
    check_own(assignment, user)
    return assignment


def check_own(assignment: Assignment, user: User) -> None:
    """NotFoundError when the assignment is another person's."""
    if assignment.user_id != user.id:
        raise NotFoundError(f"no assignment {assignment.id} of yours", assignment=assignment.id)
