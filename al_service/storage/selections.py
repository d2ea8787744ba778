"""Selections in SQL: the batches that rounds chose, and which of them a person may be given now."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, Likely, Offer, Selection
from al_service.domain.states import AnnotationKind, AssignmentState, Lane, SampleState, SelectionState, Split
from al_service.errors import NotFoundError
from al_service.storage.annotations import ANSWERS, is_undone
from al_service.storage.column_types import ID
from al_service.storage.dialect import chunks
from al_service.storage.prepared import Prepared
from al_service.storage.samples import SAMPLE_COLUMNS, SAMPLE_WITH_CLASS, sample_from
from al_service.storage.schema import annotations, assignments, is_, rounds, samples, selection_counts, selections

OPEN = is_(selections.c.state, SelectionState.OPEN)
RESERVE = is_(selections.c.state, SelectionState.RESERVE)
#: Chosen by a round; the others were asked for by hand, or are gold.
IN_BATCH = is_(selections.c.lane, Lane.BATCH)
#: A selection with its round's number, if it has a round, for `selection_from`.
SELECTION_WITH_ROUND = selections.outerjoin(rounds, rounds.c.id == selections.c.round_id)
SELECTION_COLUMNS = (
    *(column.label(f"selection_{column.name}") for column in selections.c),
    rounds.c.number.label("round_number"),
)


SELECT = sa.select(*SELECTION_COLUMNS).select_from(SELECTION_WITH_ROUND)

# The two statements of `free_selections`, made once from the parts that follow: making them takes longer than running
# them. Their parameters are project_id, user_id and limit.
#
# What was asked for by hand comes first, then the batch. A selection of the batch counts all votes on its sample; one
# by hand counts the answers to itself, because it may ask about a sample that is labelled already, or a person again.
PROJECT_ID = sa.bindparam("project_id", type_=ID)
USER_ID = sa.bindparam("user_id", type_=ID)
VOTE = annotations.alias("vote")
ANSWER = annotations.alias("answer")
ANSWERED = assignments.alias("answered")
SKIP = annotations.alias("skip")
OTHER = selections.alias("other")
#: Not by the index of the person's answers, which are many; those to one sample are few.
IS_OWN = sa.func.coalesce(ANSWER.c.user_id, 0) == USER_ID

OPEN_LEASE = (assignments.c.selection_id == selections.c.id) & is_(assignments.c.state, AssignmentState.OPEN)
IS_HELD = sa.exists().where(OPEN_LEASE)
LEASE_COUNT = sa.select(sa.func.count()).where(OPEN_LEASE).correlate(selections).scalar_subquery()
#: People with a vote, as loop.consensus counts them: several answers of one person are one vote.
VOTE_COUNT = (
    sa.select(sa.func.count(VOTE.c.user_id.distinct()))
    .where(VOTE.c.sample_id == selections.c.sample_id, is_(VOTE.c.kind, AnnotationKind.LABEL), ~is_undone(VOTE))
    .correlate(selections)
    .scalar_subquery()
)
#: People with a vote to the very selection. A flag ends it, and so does a skip, where it does not allow more of them.
ANSWER_COUNT = (
    sa.select(sa.func.count(VOTE.c.user_id.distinct()))
    .select_from(VOTE.join(ANSWERED, ANSWERED.c.id == VOTE.c.assignment_id))
    .where(VOTE.c.sample_id == selections.c.sample_id, ANSWERED.c.selection_id == selections.c.id)
    .where(is_(VOTE.c.kind, AnnotationKind.LABEL), ~is_undone(VOTE))
    .correlate(selections)
    .scalar_subquery()
)
#: A scalar look-up by primary key: neither planner can turn it into a join that starts from the samples.
SAMPLE_STATE = sa.select(samples.c.state).where(samples.c.id == selections.c.sample_id).scalar_subquery()
SKIPPED_SAMPLES = sa.select(SKIP.c.sample_id).where(
    SKIP.c.project_id == PROJECT_ID,
    SKIP.c.user_id == USER_ID,
    is_(SKIP.c.kind, AnnotationKind.SKIP),
    ~is_undone(SKIP),
)


def _has_answer(*kinds: AnnotationKind) -> "sa.ColumnElement[bool]":
    """True where this person has an answer of these kinds that is not undone."""
    of_sample = ANSWER.c.sample_id == selections.c.sample_id
    return _found(sa.select(ANSWER.c.id).where(of_sample, IS_OWN, is_(ANSWER.c.kind, *kinds), ~is_undone(ANSWER)))


def _found(few: "sa.Select[Any]") -> "sa.ColumnElement[bool]":
    """Whether there is such an answer, looked up for each selection: PostgreSQL may turn an EXISTS into a join that
    reads everything the person ever answered.
    """
    return few.limit(1).correlate(selections).scalar_subquery().is_not(None)


def _answered_this() -> "sa.ColumnElement[bool]":
    """True where this person has an answer to the very selection that is not undone."""
    joined = ANSWER.join(ANSWERED, ANSWERED.c.id == ANSWER.c.assignment_id)
    here = (ANSWER.c.sample_id == selections.c.sample_id) & (ANSWERED.c.selection_id == selections.c.id)
    mine = sa.select(ANSWER.c.id).select_from(joined).where(here, IS_OWN)
    return _found(mine.where(is_(ANSWER.c.kind, *ANSWERS), ~is_undone(ANSWER)))


#: An open selection, gold aside, asks for the sample.
IS_ASKED = sa.exists().where(
    OTHER.c.sample_id == selections.c.sample_id,
    is_(OTHER.c.state, SelectionState.OPEN),
    ~is_(OTHER.c.lane, Lane.GOLD),
)
#: Samples that this person holds by any selection, also by one that left the queue with its round.
IN_OWN_HANDS = (
    sa.select(OTHER.c.sample_id)
    .select_from(OTHER.join(assignments, assignments.c.selection_id == OTHER.c.id))
    .where(is_(assignments.c.state, AssignmentState.OPEN))
    .where(assignments.c.project_id == PROJECT_ID, assignments.c.user_id == USER_ID)
)
LIMIT = sa.bindparam("limit", type_=ID)
MINE_TO_GIVE = SELECT.where(
    selections.c.project_id == PROJECT_ID,
    OPEN,
    sa.func.coalesce(selections.c.assigned_to_id, USER_ID) == USER_ID,
    selections.c.sample_id.not_in(IN_OWN_HANDS),
)
#: What is held stands at the head of the queue: one look at all leases takes less time than one at each of these.
HELD_BY_ANYBODY = sa.select(assignments.c.selection_id).where(
    assignments.c.project_id == PROJECT_ID, is_(assignments.c.state, AssignmentState.OPEN)
)
MAY_BE_GIVEN = (
    MINE_TO_GIVE.where(IN_BATCH, (selections.c.overlap > 1) | selections.c.id.not_in(HELD_BY_ANYBODY))
    .where(is_(SAMPLE_STATE, SampleState.UNLABELLED))
    .where(selections.c.overlap > LEASE_COUNT + VOTE_COUNT)
    .order_by(selections.c.turn, selections.c.round_id, selections.c.rank, selections.c.id)
    .limit(LIMIT)
)
#: A person who was named is asked even if they answered the sample before: somebody wants to hear it again. Gold whose
#: verdict was taken back may be asked as any other sample: then not both ways.
BY_HAND = (
    MINE_TO_GIVE.where(~IN_BATCH, selections.c.overlap > LEASE_COUNT + ANSWER_COUNT, ~_answered_this())
    .where((selections.c.assigned_to_id == USER_ID) | ~_has_answer(*ANSWERS))
    .where(~is_(selections.c.lane, Lane.GOLD) | ~IS_ASKED)
    .order_by(selections.c.turn, selections.c.id)
    .limit(LIMIT)
)


def _offered(*parts: "sa.Select[Any]", limit: "sa.ColumnElement[Any]" = LIMIT) -> "sa.Select[Any]":
    """These selections with their samples, one part after the other. A limit inside keeps both planners from starting
    with the samples.
    """
    placed = [
        sa.select(part.add_columns(sa.literal_column(str(at)).label("part")).subquery())
        for at, part in enumerate(parts)
    ]
    few = (sa.union_all(*placed) if len(placed) > 1 else placed[0]).cte("chosen")
    # PostgreSQL believes that finding them is so dear that reading all samples for them does not matter any more,
    # unless it plans the two apart.
    few = few.prefix_with("MATERIALIZED", dialect="postgresql")
    offered = sa.select(few, *SAMPLE_COLUMNS).select_from(
        few.join(SAMPLE_WITH_CLASS, samples.c.id == few.c.selection_sample_id)
    )
    # What somebody moved forward comes first, also before what was asked for by hand.
    forward = sa.case((few.c.selection_turn < 0, few.c.selection_turn), else_=0)
    in_order = (
        forward,
        few.c.part,
        few.c.selection_turn,
        few.c.selection_round_id,
        few.c.selection_rank,
        few.c.selection_id,
    )
    return offered.order_by(*in_order).limit(limit)


FRESH = _offered(BY_HAND, MAY_BE_GIVEN.where(~_has_answer(*ANSWERS)))


def fresh(limit: int) -> "sa.Select[Any]":
    """`FRESH` with its limit written into it. Where that is a parameter, PostgreSQL plans the statement anew at every
    run, which takes several times as long as the run.
    """
    written: sa.ColumnElement[Any] = sa.literal_column(str(limit))
    parts = (BY_HAND, MAY_BE_GIVEN.where(~_has_answer(*ANSWERS)))
    return _offered(*(part.limit(written) for part in parts), limit=written)


FRESH_BY_LIMIT = {limit: Prepared(fresh(limit)) for limit in (1, 3, 10, 30, 100)}
ONLY_SKIPPED = selections.c.sample_id.in_(SKIPPED_SAMPLES) & ~_has_answer(AnnotationKind.LABEL, AnnotationKind.FLAG)
#: The statement of `free_of_group`; parameters: also round_id, look_alike.
OF_GROUP = _offered(
    MAY_BE_GIVEN.where(
        ~_has_answer(*ANSWERS),
        selections.c.round_id == sa.bindparam("round_id", type_=ID),
        selections.c.look_alike == sa.bindparam("look_alike", type_=ID),
        selections.c.turn == 0,
    )
)
SKIPPED = _offered(
    MINE_TO_GIVE.where(is_(selections.c.lane, Lane.TASK), selections.c.overlap > LEASE_COUNT + ANSWER_COUNT)
    .where(ONLY_SKIPPED)
    .order_by(selections.c.turn, selections.c.id)
    .limit(LIMIT),
    MAY_BE_GIVEN.where(ONLY_SKIPPED),
)
#: Samples that somebody holds by any selection, also by one that left the queue with its round. Leases are few, and
#: the statement is not tied to a row, so it runs once.
IN_HANDS = (
    sa.select(OTHER.c.sample_id)
    .select_from(OTHER.join(assignments, assignments.c.selection_id == OTHER.c.id))
    .where(is_(assignments.c.state, AssignmentState.OPEN))
)
#: The statement of `open_reserve`; parameters: project_id, limit. Leases are those of the project: two indexes hold the
#: open ones, and SQLite took now the one, now the other.
WAITING = (
    sa.select(selections.c.id)
    .where(selections.c.project_id == PROJECT_ID, RESERVE, is_(SAMPLE_STATE, SampleState.UNLABELLED), ~IS_ASKED)
    .where(selections.c.sample_id.not_in(IN_HANDS.where(assignments.c.project_id == PROJECT_ID)))
    .order_by(selections.c.round_id, selections.c.rank, selections.c.id)
    .limit(sa.bindparam("limit", type_=ID))
)


#: Parameters: wanted, new_state.
SET_STATE = Prepared(
    sa.update(selections)
    .where(selections.c.id == sa.bindparam("wanted", type_=ID))
    .values(state=sa.bindparam("new_state", type_=selections.c.state.type))
)


class SqlSelectionRows:
    """The selections' half of `loop.queue_ports.QueueRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add_selections(self, round_id: int, chosen: Sequence[Chosen], *, max_skips: int | None = None) -> None:
        """Store a round's batch and reserve, each pick in its own state. (round, sample) is unique; so is a sample's
        open one. max_skips: of all of them; None: as the round's settings say.
        """
        statement = sa.select(rounds.c.project_id, rounds.c.config).where(rounds.c.id == round_id)
        row = self._connection.execute(statement).one_or_none()
        if row is None:
            raise NotFoundError(f"no round with id {round_id}", round=round_id)
        config = ProjectConfig.from_json(row.config)
        of_round = {
            "project_id": row.project_id,
            "round_id": round_id,
            "max_skips": config.skips_asked if max_skips is None else max_skips,
            "lane": Lane.BATCH,
            "turn": 0,
        }
        # Asked for ids, SQLAlchemy sends PostgreSQL many rows in one statement, and its triggers count once for all of
        # them. Row by row, each walks past every earlier version of the counts that this transaction has made.
        insert = sa.insert(selections).returning(selections.c.id)
        for part in chunks(chosen):
            rows = [of_round | _selection_row(pick, config) for pick in part]
            self._connection.execute(insert, rows).all()

    def retire_open_selections(self, project_id: int, *, except_round_id: int) -> int:
        """Retire open selections of other rounds that nobody holds, except evaluation ones; how many. The reserve of
        other rounds is retired along with them.
        """
        evaluation = sa.exists().where(samples.c.id == selections.c.sample_id, is_(samples.c.split, Split.EVALUATION))
        here = (selections.c.project_id == project_id) & (selections.c.round_id != except_round_id)
        self._retire(RESERVE & here)
        return self._retire(OPEN & here & ~evaluation & ~IS_HELD)

    def retire_all(self, round_id: int) -> int:
        """Retire every open and reserve selection of one round, held ones too; how many. An answer of a holder is still
        welcome.
        """
        return self._retire((OPEN | RESERVE) & (selections.c.round_id == round_id))

    def _retire(self, condition: "sa.ColumnElement[bool]") -> int:
        statement = sa.update(selections).where(condition)
        return self._connection.execute(statement.values(state=SelectionState.RETIRED)).rowcount

    def selections(self, round_id: int) -> list[Selection]:
        """A round's batch by rank, without its reserve."""
        return self._of_round(round_id, ~selections.c.is_reserve)

    def reserve_selections(self, round_id: int) -> list[Selection]:
        """A round's reserve by rank: what still waits, and what was opened or replaced."""
        return self._of_round(round_id, selections.c.is_reserve)

    def _of_round(self, round_id: int, which: "sa.ColumnElement[bool]") -> list[Selection]:
        statement = SELECT.where(selections.c.round_id == round_id, which)
        ordered = statement.order_by(selections.c.rank, selections.c.id)
        return [selection_from(row) for row in self._connection.execute(ordered)]

    def reserve_count(self, project_id: int) -> int:
        """Selections of the project that wait in reserve."""
        return self._count(selections.c.project_id == project_id, RESERVE)

    def open_reserve(self, project_id: int, limit: int) -> int:
        """Open the first selections in reserve, by round and rank, whose samples can still be asked; how many.

        Cost: one row of ix_selections_reserve for each selection opened or passed over.
        """
        ids = list(self._connection.execute(WAITING, {"project_id": project_id, "limit": limit}).scalars())
        for part in chunks(ids):
            opened = sa.update(selections).where(selections.c.id.in_(part)).values(state=SelectionState.OPEN)
            self._connection.execute(opened)
        return len(ids)

    def get_selection(self, selection_id: int) -> Selection:
        """The selection, or NotFoundError."""
        row = self._connection.execute(SELECT.where(selections.c.id == selection_id)).one_or_none()
        if row is None:
            raise _no_selection(selection_id)
        return selection_from(row)

    def askable(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples that are unlabelled, that no open selection asks for and that nobody holds."""
        asked = sa.exists().where(selections.c.sample_id == samples.c.id, OPEN, ~is_(selections.c.lane, Lane.GOLD))
        free = sa.select(samples.c.id).where(
            is_(samples.c.state, SampleState.UNLABELLED), ~asked, samples.c.id.not_in(IN_HANDS)
        )
        found: set[int] = set()
        for part in chunks(sample_ids):
            found.update(self._connection.execute(free.where(samples.c.id.in_(part))).scalars())
        return found

    def find_open_selection(self, sample_id: int) -> Selection | None:
        """The open selection that asks for this sample (there is at most one, gold aside), or None."""
        asking = SELECT.where(selections.c.sample_id == sample_id, OPEN, ~is_(selections.c.lane, Lane.GOLD))
        row = self._connection.execute(asking).one_or_none()
        return None if row is None else selection_from(row)

    def find_standing_selection(self, sample_id: int) -> Selection | None:
        """The newest selection of this sample by a round that is neither retired nor in reserve: what people were asked
        last; or None.

        Cost: one row of an index for each round of the project.
        """
        of_sample = sa.select(samples.c.project_id).where(samples.c.id == sample_id).scalar_subquery()
        here = selections.c.round_id.in_(sa.select(rounds.c.id).where(rounds.c.project_id == of_sample))
        asked = ~is_(selections.c.state, SelectionState.RETIRED) & ~is_(selections.c.state, SelectionState.RESERVE)
        statement = SELECT.where(here, selections.c.sample_id == sample_id, asked)
        row = self._connection.execute(statement.order_by(selections.c.id.desc()).limit(1)).one_or_none()
        return None if row is None else selection_from(row)

    def asks_more_skips(self, round_id: int, most: int) -> bool:
        """Whether an open selection of the round waits for more skips than that."""
        here = (selections.c.round_id == round_id) & OPEN & (selections.c.max_skips > most)
        return self._connection.execute(sa.select(selections.c.id).where(here).limit(1)).first() is not None

    def lower_skips(self, round_id: int, most: int) -> list[int]:
        """Open selections of the round wait for at most so many skips from now on; the samples of those that change, by
        rank.
        """
        here = (selections.c.round_id == round_id) & OPEN & (selections.c.max_skips > most)
        chosen = sa.select(selections.c.sample_id).where(here).order_by(selections.c.rank)
        found = list(self._connection.execute(chosen).scalars())
        self._connection.execute(sa.update(selections).where(here).values(max_skips=most))
        return found

    def set_selection_state(self, selection_id: int, state: SelectionState) -> None:
        """Change a selection's state. ConflictError when another selection already asks for the sample."""
        values = {"wanted": selection_id, "new_state": state}
        SET_STATE.change_later(self._connection, values, missing=partial(_no_selection, selection_id))

    def free_selections(self, project_id: int, user_id: int, limit: int, *, skipped: bool = True) -> list[Offer]:
        """Open selections this person may be given now: fewer leases and votes than overlap asks, not held and not
        answered by this person, and meant for nobody else. First those by hand (also of labelled samples), by turn;
        then those of rounds whose sample has no active label, by turn, round, rank. Ones that this person skipped come
        last, or not at all unless `skipped`.

        Two statements, so that the first can stop at `limit` along its indexes however long the queue is; only when
        it finds too few does the second look through what this person skipped.

        Cost: one row of the index for each selection given or passed over.
        """
        values = {"project_id": project_id, "user_id": user_id, "limit": limit}
        enough = next((size for size in FRESH_BY_LIMIT if size >= limit), None)
        if enough is None:
            found = list(self._connection.execute(FRESH, values))
        else:
            found = FRESH_BY_LIMIT[enough].rows(self._connection, values)[:limit]
        if skipped and len(found) < limit:
            values["limit"] = limit - len(found)
            found = [*found, *self._connection.execute(SKIPPED, values)]
        return [Offer(selection_from(row), sample_from(row)) for row in found]

    def free_of_group(self, project_id: int, user_id: int, round_id: int, look_alike: int, limit: int) -> list[Offer]:
        """As `free_selections`, of one group of look-alikes; those that were moved back, skipped or answered by this
        person are left out.

        Cost: one row of an index for each open selection of the project's rounds.
        """
        group = {"round_id": round_id, "look_alike": look_alike}
        values = {"project_id": project_id, "user_id": user_id, "limit": limit, **group}
        return [Offer(selection_from(row), sample_from(row)) for row in self._connection.execute(OF_GROUP, values)]

    def groups_waiting(self, project_id: int) -> int:
        """How many groups of look-alikes have an open selection that was not moved back.

        Cost: one row of an index for each open selection of the project.
        """
        columns = (selections.c.round_id, selections.c.look_alike)
        waiting = (selections.c.project_id == project_id) & OPEN & IN_BATCH & (selections.c.turn == 0)
        groups = sa.select(*columns).where(waiting, selections.c.look_alike.is_not(None)).distinct().subquery()
        return self._connection.execute(sa.select(sa.func.count()).select_from(groups)).scalar_one()

    def has_open(self, project_id: int) -> bool:
        """Whether a selection of the project is open, evaluation ones included, gold aside."""
        here = (selections.c.project_id == project_id) & OPEN & ~is_(selections.c.lane, Lane.GOLD)
        return self._connection.execute(sa.select(selections.c.id).where(here).limit(1)).first() is not None

    def open_count_of_round(self, round_id: int) -> int:
        """Open selections of one round, its reserve included."""
        counted = sa.select(sa.cast(sa.func.coalesce(sa.func.sum(selection_counts.c.count), 0), sa.BigInteger()))
        here = (selection_counts.c.round_id == round_id) & is_(selection_counts.c.state, SelectionState.OPEN)
        return self._connection.execute(counted.where(here)).scalar_one()

    def _count(self, *conditions: "sa.ColumnElement[bool]") -> int:
        return self._connection.execute(
            sa.select(sa.func.count()).select_from(selections).where(*conditions)
        ).scalar_one()


def selection_from(row: "sa.Row[Any]") -> Selection:
    """A selection from a row that has SELECTION_COLUMNS."""
    return Selection(
        id=row.selection_id,
        round_id=row.selection_round_id,
        round_number=row.round_number,
        sample_id=row.selection_sample_id,
        rank=row.selection_rank,
        score=row.selection_score,
        reason=row.selection_reason,
        state=row.selection_state,
        overlap=row.selection_overlap,
        max_skips=row.selection_max_skips,
        is_reserve=row.selection_is_reserve,
        lane=row.selection_lane,
        turn=row.selection_turn,
        assigned_to_id=row.selection_assigned_to_id,
        copy_group=row.selection_copy_group,
        look_alike=row.selection_look_alike,
        likely=likely_from(row.selection_likely),
    )


def likely_from(stored: "list[list[Any]] | None") -> Likely | None:
    return None if stored is None else tuple((int(class_id), float(chance)) for class_id, chance in stored)


def _selection_row(pick: Chosen, config: ProjectConfig) -> dict[str, Any]:
    return {
        "overlap": config.overlap if pick.overlap is None else pick.overlap,
        "sample_id": pick.sample_id,
        "rank": pick.rank,
        "score": pick.score,
        "reason": pick.reason,
        "state": pick.state,
        "is_reserve": pick.is_reserve,
        "copy_group": pick.copy_group,
        "look_alike": pick.look_alike,
        "likely": None if pick.likely is None else [list(entry) for entry in pick.likely],
    }


def _no_selection(selection_id: int) -> NotFoundError:
    return NotFoundError(f"no selection with id {selection_id}", selection=selection_id)
