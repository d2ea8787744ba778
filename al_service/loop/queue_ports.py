"""Rows of the people's queue and of the people in it, as the loop needs them; each is a part of `ports.Transaction`."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from al_service.domain.annotator_skill import Skill
from al_service.domain.records import (
    Asked,
    Assignment,
    Chosen,
    Gold,
    GoldResult,
    LeaseBegun,
    Likely,
    Offer,
    PersonWork,
    Sample,
    Selection,
    SuggestionCount,
)
from al_service.domain.states import (
    AssignmentState,
    Lane,
    SelectionState,
)


class QueueRows(Protocol):
    """Selections and the leases on them."""

    def add_selections(self, round_id: int, chosen: Sequence[Chosen], *, max_skips: int | None = None) -> None:
        """Store a round's batch and reserve, each pick in its own state. (round, sample) is unique, so is an open
        selection per sample. max_skips: of all of them; None: as the round's settings say.
        """

    def retire_open_selections(self, project_id: int, *, except_round_id: int) -> int:
        """Retire open selections of other rounds that nobody holds, except evaluation ones; how many. The reserve of
        other rounds is retired along with them.
        """

    def retire_all(self, round_id: int) -> int:
        """Retire every open and reserve selection of one round, held ones too; how many. An answer of a holder is still
        welcome.
        """

    def selections(self, round_id: int) -> list[Selection]:
        """A round's batch by rank, without its reserve."""

    def reserve_selections(self, round_id: int) -> list[Selection]:
        """A round's reserve by rank: what still waits, and what was opened or replaced."""

    def reserve_count(self, project_id: int) -> int:
        """Selections of the project that wait in reserve."""

    def open_reserve(self, project_id: int, limit: int) -> int:
        """Open the first selections in reserve, by round and rank, whose samples can still be asked; how many."""

    def get_selection(self, selection_id: int) -> Selection:
        """The selection, or NotFoundError."""

    def find_open_selection(self, sample_id: int) -> Selection | None:
        """The open selection that asks for this sample (there is at most one, gold aside), or None."""

    def find_standing_selection(self, sample_id: int) -> Selection | None:
        """The newest selection of this sample by a round that is neither retired nor in reserve, or None."""

    def asks_more_skips(self, round_id: int, most: int) -> bool:
        """Whether an open selection of the round waits for more skips than that."""

    def lower_skips(self, round_id: int, most: int) -> list[int]:
        """Open selections of the round wait for at most so many skips from now on; the samples of those that change."""

    def set_selection_state(self, selection_id: int, state: SelectionState) -> None:
        """Change a selection's state."""

    def free_selections(self, project_id: int, user_id: int, limit: int, *, skipped: bool = True) -> list[Offer]:
        """Open selections this person may be given now: fewer leases and votes than overlap asks, not held and not
        answered by this person, and meant for nobody else. First those by hand (also of labelled samples), by turn;
        then those of rounds whose sample has no active label, by turn, round, rank. Ones that this person skipped come
        last, or not at all unless `skipped`."""

    def free_of_group(self, project_id: int, user_id: int, round_id: int, look_alike: int, limit: int) -> list[Offer]:
        """As `free_selections`, of one group of look-alikes; those that were moved back, skipped or answered by this
        person are left out."""

    def groups_waiting(self, project_id: int) -> int:
        """How many groups of look-alikes have an open selection that was not moved back."""

    def has_open(self, project_id: int) -> bool:
        """Whether a selection of the project is open, evaluation ones included, gold aside."""

    def open_count_of_round(self, round_id: int) -> int:
        """Open selections of one round."""

    def add_assignment(
        self, selection: Selection, user_id: int, slot: int, expires_at: datetime, now: datetime
    ) -> Assignment:
        """Lease. Raises ConflictError when the (selection, slot) already has an open lease (a database index says
        so).
        """

    def add_assignments(
        self, offers: Sequence[Offer], user_id: int, expires_at: datetime, now: datetime
    ) -> list[Assignment]:
        """Lease what was offered in this transaction, each in its first free slot. Raises as `add_assignment`."""

    def free_slot(self, selection_id: int) -> int:
        """The smallest slot number without an open lease, from 0."""

    def get_assignment(self, assignment_id: int) -> Assignment:
        """The assignment, or NotFoundError."""

    def begin_lease(
        self, project_name: str, user_id: int, now: datetime, *, wanted: int, until: datetime
    ) -> Callable[[], LeaseBegun]:
        """Take the project's lock and end what is over in it; then what is there for somebody who wants so many until
        then. It is asked at once and may be fetched later, in this transaction."""

    def asked(self, assignment_id: int, user_id: int, class_name: str | None, client_key: str) -> Callable[[], Asked]:
        """What an answer of this person to this assignment, under that key, rests on, read after taking its project's
        lock; or NotFoundError. It is asked at once and may be fetched later, in this transaction: then it knows of
        every answer to the sample that was fetched for before."""

    def open_assignments_of_user(self, project_id: int, user_id: int) -> list[Assignment]:
        """Leases this person holds, oldest first."""

    def set_assignment(self, assignment_id: int, state: AssignmentState, *, expires_at: datetime | None = None) -> None:
        """Change a lease's state and, if given, its end. NotFoundError, at the latest when the transaction ends."""

    def mark_suggestion(self, assignment_id: int, *, asked_at: datetime, seen_at: datetime | None) -> None:
        """This person asked what the model thinks, and was told (or not: None)."""

    def suggestion_counts(self, project_id: int) -> list[SuggestionCount]:
        """How often people's labels named the class that the model found likeliest, by person and by whether they asked
        for and saw it. Answers that were taken back do not count, nor does an opinion of a class that was split."""

    def answer_leases(self, sample_id: int, user_id: int) -> None:
        """Every open lease of this person on that sample is answered."""

    def extend_assignments(self, project_id: int, user_id: int, expires_at: datetime) -> None:
        """Give every lease that this person holds in the project a new end."""

    def release_all(self, user_id: int) -> int:
        """Give back every lease of this person, in all projects; how many."""

    def expire(self, now: datetime) -> int:
        """Turn open leases whose time is over into expired ones; how many."""

    def expire_in(self, project_id: int, now: datetime) -> None:
        """As `expire`, in one project."""

    def askable(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples that are unlabelled, that no open selection asks for and that nobody holds."""

    def held_sample_ids(self, project_id: int) -> set[int]:
        """Samples that somebody holds a lease on."""

    def holders(self, project_id: int) -> dict[str, int]:
        """User name -> how many open leases."""


class LaneRows(Protocol):
    """What people ask for by hand, and gold: selections that no round chose."""

    def add(
        self,
        sample: Sample,
        lane: Lane,
        *,
        answers: int,
        turn: int,
        user_id: int | None,
        reason: Any,
        likely: Likely | None = None,
    ) -> Selection:
        """An open selection that no round chose. Raises ConflictError when one asks for the sample already."""

    def steer(self, selection_id: int, *, turn: int, user_id: int | None, answers: int | None = None) -> None:
        """Move a selection in the order, set who may have it (None: anybody) and how many answer it (None: as many as
        before)."""

    def by_hand(self, project_id: int, *, after: int, limit: int) -> list[Offer]:
        """Open selections that somebody asked for, moved forward or gave to a person, with an id above `after`, by id;
        gold aside."""

    def kept_for(self, project_id: int) -> dict[str, int]:
        """User name -> how many open selections only they may have, gold aside."""

    def unassign(self, user_id: int) -> int:
        """What only this person may have is for anybody; how many. Their gold leaves the queue."""

    def put_copies_in_order(self, round_id: int, copy_group: int) -> None:
        """Near-copies come last in their round's batch while one of them is labelled, else in their own place."""

    def with_secret_class(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples whose class nobody may see who labels: somebody is asked for it now, or it is gold."""

    def set_gold(self, sample: Sample, class_name: str, user_id: int, now: datetime) -> None:
        """This sample's class is known for sure. Raises InvalidInputError for a class the project does not have."""

    def is_gold(self, sample_id: int) -> bool:
        """Whether people are measured by this sample."""

    def remove_gold(self, sample_id: int) -> bool:
        """No gold any more, and nobody is asked for it as such; False when it was none."""

    def golds(self, project_id: int, *, after: int = 0, limit: int = 1000) -> list[Gold]:
        """Gold of a project with a sample id above `after`, by sample id."""

    def gold_for(self, project_id: int, user_id: int, limit: int, *, with_opinion: bool = False) -> list[Gold]:
        """Gold that this person neither answered nor has in hand, by sample id; with_opinion: only what a round chose
        by a model that had an opinion of it."""

    def with_gold_before(self, project_id: int, user_id: int, selection_ids: Sequence[int]) -> set[int]:
        """Those of the selections before which this person was given gold, by the reason stored with it."""

    def gold_results(self, project_id: int) -> list[GoldResult]:
        """How each person's labels of gold agree with it, by user id; skips, flags and what was undone do not count."""


class SkillRows(Protocol):
    """What is needed to judge how well people label, and what came of it."""

    def votes(self, project_id: int, recent: int) -> list[tuple[int, int, int]]:
        """(sample_id, user_id, class_id): each person's latest label of samples that two people labelled or whose class
        is `known`, oldest first. Imports and verdicts are no votes; classes are what they mean today. Only the newest
        `recent` answers of the project are looked at."""

    def known(self, project_id: int, recent: int) -> dict[int, int]:
        """sample_id -> class_id of what reviewers judged among the newest `recent` answers, and of gold, which counts
        more."""

    def all(self, project_id: int) -> dict[int, Skill]:
        """Skills by user_id."""

    def updated_at(self, project_id: int) -> datetime | None:
        """When the skills were stored; None while there are none."""

    def replace(self, project_id: int, skills: Mapping[int, Skill], now: datetime) -> None:
        """These are the project's skills now, and no others. The caller has locked the project."""


class PeopleRows(Protocol):
    """What people did."""

    def work(self, project_id: int, since: datetime) -> list[PersonWork]:
        """What each person did in the project since then, by name; imports aside."""
