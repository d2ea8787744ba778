"""What people ask for by hand, and gold, in SQL: selections that no round chose, and samples whose class is known."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import TURN_OF_COPIES, Gold, GoldResult, Likely, Offer, Sample, Selection
from al_service.domain.states import AnnotationKind, Lane, SelectionState
from al_service.errors import ConflictError
from al_service.storage.annotations import ANSWERS, CLASS_TODAY, NAMED, is_undone
from al_service.storage.dialect import chunks, insert_into
from al_service.storage.projects import class_meant
from al_service.storage.samples import SAMPLE_COLUMNS, SAMPLE_WITH_CLASS, sample_from
from al_service.storage.schema import annotations, assignments, classes, gold, is_, rounds, samples, selections, users
from al_service.storage.selections import (
    IN_BATCH,
    IN_OWN_HANDS,
    LIMIT,
    OPEN,
    PROJECT_ID,
    SELECT,
    SELECTION_COLUMNS,
    USER_ID,
    likely_from,
    selection_from,
)

IS_GOLD = is_(selections.c.lane, Lane.GOLD)
WITH_SAMPLE: "sa.Select[Any]" = sa.select(*SELECTION_COLUMNS, *SAMPLE_COLUMNS).select_from(
    SAMPLE_WITH_CLASS.join(selections, selections.c.sample_id == samples.c.id).outerjoin(
        rounds, rounds.c.id == selections.c.round_id
    )
)
GOLD_CLASSES = classes.alias("gold_classes")
GOLD_WITH_SAMPLE: "sa.Select[Any]" = sa.select(
    *SAMPLE_COLUMNS, GOLD_CLASSES.c.name.label("gold_class"), gold.c.user_id.label("gold_by"), gold.c.created_at
).select_from(
    SAMPLE_WITH_CLASS.join(gold, gold.c.sample_id == samples.c.id).join(
        GOLD_CLASSES, GOLD_CLASSES.c.id == gold.c.class_id
    )
)
#: What the model thought of a gold sample when a round chose it last. Cost: one row of an index for each round.
LAST_OPINION = (
    sa.select(selections.c.likely)
    .where(selections.c.sample_id == gold.c.sample_id, selections.c.likely.is_not(None))
    .where(selections.c.round_id.in_(sa.select(rounds.c.id).where(rounds.c.project_id == gold.c.project_id)))
    .where(~is_(selections.c.state, SelectionState.RETIRED, SelectionState.RESERVE))
    .order_by(selections.c.id.desc())
    .limit(1)
    .correlate(gold)
    .scalar_subquery()
)

# Made once, because many leases need them.
ANSWERED_BY_THEM = sa.exists().where(
    annotations.c.sample_id == gold.c.sample_id,
    annotations.c.user_id == USER_ID,
    is_(annotations.c.kind, *ANSWERS),
    ~is_undone(),
)
ASKED_OTHERWISE = sa.exists().where(
    selections.c.sample_id == gold.c.sample_id,
    is_(selections.c.state, SelectionState.OPEN),
    (selections.c.assigned_to_id == USER_ID) | ~IS_GOLD,
)
#: The statement of `gold_for`; parameters: project_id, user_id, limit.
FREE_GOLD = (
    GOLD_WITH_SAMPLE.add_columns(LAST_OPINION.label("likely"))
    .where(gold.c.project_id == PROJECT_ID, ~ANSWERED_BY_THEM, ~ASKED_OTHERWISE)
    .where(gold.c.sample_id.not_in(IN_OWN_HANDS))
    .order_by(gold.c.sample_id)
    .limit(LIMIT)
)
FREE_GOLD_WITH_OPINION = FREE_GOLD.where(LAST_OPINION.is_not(None))
#: The statement of `with_gold_before`; parameters: project_id, user_id, selection_ids.
BESIDE = selections.c.reason["beside"].as_integer()
GIVEN_BEFORE = sa.select(BESIDE).where(
    selections.c.sample_id.in_(sa.select(gold.c.sample_id).where(gold.c.project_id == PROJECT_ID)),
    selections.c.round_id.is_(None),
    IS_GOLD,
    selections.c.assigned_to_id == USER_ID,
    BESIDE.in_(sa.bindparam("selection_ids", expanding=True)),
)


class SqlLaneRows:
    """As in `loop.queue_ports.LaneRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

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
        """An open selection that no round chose; ConflictError when one asks for the sample already."""
        values = {
            "project_id": sample.project_id,
            "sample_id": sample.id,
            "rank": 0,
            "reason": reason,
            "state": SelectionState.OPEN,
            "overlap": answers,
            "max_skips": 1,
            "is_reserve": False,
            "lane": lane,
            "turn": turn,
            "assigned_to_id": user_id,
            "likely": None if likely is None else [list(entry) for entry in likely],
        }
        statement = insert_into(self._connection, selections).values(values).on_conflict_do_nothing()
        made = self._connection.execute(statement.returning(selections.c.id)).scalar_one_or_none()
        if made is None:
            raise ConflictError(f"sample {sample.id} is asked for already", sample=sample.id)
        return selection_from(self._connection.execute(SELECT.where(selections.c.id == made)).one())

    def steer(self, selection_id: int, *, turn: int, user_id: int | None, answers: int | None = None) -> None:
        """Move a selection in the order, set who may have it (None: anybody) and how many answer it (None: as many as
        before).
        """
        values: dict[str, Any] = {"turn": turn, "assigned_to_id": user_id}
        if answers is not None:
            values["overlap"] = answers
        self._connection.execute(sa.update(selections).where(selections.c.id == selection_id).values(values))

    def by_hand(self, project_id: int, *, after: int, limit: int) -> list[Offer]:
        """Open selections that somebody asked for, moved forward or gave to a person, with an id above `after`, by id;
        gold aside.
        """
        here = (selections.c.project_id == project_id) & OPEN & ~IS_GOLD & (selections.c.id > after)
        moved = ~IN_BATCH | selections.c.assigned_to_id.is_not(None) | selections.c.turn.not_in((0, TURN_OF_COPIES))
        rows = self._connection.execute(WITH_SAMPLE.where(here, moved).order_by(selections.c.id).limit(limit))
        return [Offer(selection_from(row), sample_from(row)) for row in rows]

    def kept_for(self, project_id: int) -> dict[str, int]:
        """User name -> how many open selections only they may have, gold aside."""
        statement = (
            sa.select(users.c.name, sa.func.count().label("kept"))
            .join(selections, selections.c.assigned_to_id == users.c.id)
            .where(selections.c.project_id == project_id, OPEN, ~IS_GOLD)
            .group_by(users.c.name)
        )
        return dict(sorted((row.name, row.kept) for row in self._connection.execute(statement)))

    def unassign(self, user_id: int) -> int:
        """What only this person may have is for anybody; how many. Their gold leaves the queue."""
        mine = OPEN & (selections.c.assigned_to_id == user_id)
        statement = sa.update(selections)
        self._connection.execute(statement.where(mine, IS_GOLD).values(state=SelectionState.RETIRED))
        return self._connection.execute(statement.where(mine, ~IS_GOLD).values(assigned_to_id=None)).rowcount

    def put_copies_in_order(self, round_id: int, copy_group: int) -> None:
        """Near-copies come last in their round's batch while one of them is labelled, else in their own place."""
        of_group = (selections.c.round_id == round_id) & (selections.c.copy_group == copy_group)
        other = selections.alias("other")
        same = (other.c.round_id == round_id) & (other.c.copy_group == copy_group)
        is_known = sa.exists().where(same, is_(other.c.state, SelectionState.DONE))
        turn = sa.case((is_known, TURN_OF_COPIES), else_=0)
        waiting = of_group & is_(selections.c.state, SelectionState.OPEN, SelectionState.RESERVE)
        statement = sa.update(selections).where(waiting, selections.c.turn.in_((0, TURN_OF_COPIES)))
        self._connection.execute(statement.values(turn=turn))

    def with_secret_class(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples whose class nobody may see who labels: somebody is asked for it now, or it is gold."""
        is_asked = sa.exists().where(selections.c.sample_id == samples.c.id, OPEN)
        is_gold = sa.exists().where(gold.c.sample_id == samples.c.id)
        secret = sa.select(samples.c.id).where(is_asked | is_gold)
        found: set[int] = set()
        for part in chunks(sample_ids):
            found.update(self._connection.execute(secret.where(samples.c.id.in_(part))).scalars())
        return found

    def set_gold(self, sample: Sample, class_name: str, user_id: int, now: datetime) -> None:
        """This sample's class is known for sure; InvalidInputError for a class that the project does not have."""
        meant = class_meant(self._connection, sample.project_id, class_name)
        values = {"project_id": sample.project_id, "class_id": meant.id, "user_id": user_id, "created_at": now}
        statement = insert_into(self._connection, gold).values(sample_id=sample.id, **values)
        self._connection.execute(statement.on_conflict_do_update(index_elements=[gold.c.sample_id], set_=values))

    def is_gold(self, sample_id: int) -> bool:
        """Whether people are measured by this sample."""
        here = sa.select(gold.c.sample_id).where(gold.c.sample_id == sample_id)
        return self._connection.execute(here).one_or_none() is not None

    def remove_gold(self, sample_id: int) -> bool:
        """No gold any more, and nobody is asked for it as such; False when it was none."""
        asking = selections.c.sample_id == sample_id
        retired = sa.update(selections).where(asking, IS_GOLD, OPEN).values(state=SelectionState.RETIRED)
        self._connection.execute(retired)
        return self._connection.execute(sa.delete(gold).where(gold.c.sample_id == sample_id)).rowcount > 0

    def golds(self, project_id: int, *, after: int = 0, limit: int = 1000) -> list[Gold]:
        """Gold of a project with a sample id above `after`, by sample id."""
        here = (gold.c.project_id == project_id) & (gold.c.sample_id > after)
        rows = self._connection.execute(GOLD_WITH_SAMPLE.where(here).order_by(gold.c.sample_id).limit(limit))
        return [Gold(sample_from(row), row.gold_class, row.gold_by, row.created_at) for row in rows]

    def gold_for(self, project_id: int, user_id: int, limit: int, *, with_opinion: bool = False) -> list[Gold]:
        """Gold that this person neither answered nor has in hand, by sample id; with_opinion: only what a round chose
        by a model that had an opinion of it.
        """
        statement = FREE_GOLD_WITH_OPINION if with_opinion else FREE_GOLD
        rows = self._connection.execute(statement, {"project_id": project_id, "user_id": user_id, "limit": limit})
        return [
            Gold(sample_from(row), row.gold_class, row.gold_by, row.created_at, likely_from(row.likely)) for row in rows
        ]

    def with_gold_before(self, project_id: int, user_id: int, selection_ids: Sequence[int]) -> set[int]:
        """Those of the selections before which this person was given gold, by the reason stored with it.

        Cost: one look-up in an index for each gold of the project.
        """
        values = {"project_id": project_id, "user_id": user_id, "selection_ids": list(selection_ids)}
        return set(self._connection.execute(GIVEN_BEFORE, values).scalars())

    def gold_results(self, project_id: int) -> list[GoldResult]:
        """How each person's labels of gold agree with it, by user id; skips, flags and what was undone do not count."""
        joined = (
            annotations.join(assignments, assignments.c.id == annotations.c.assignment_id)
            .join(selections, selections.c.id == assignments.c.selection_id)
            .join(gold, gold.c.sample_id == annotations.c.sample_id)
            .outerjoin(NAMED, NAMED.c.id == annotations.c.class_id)
        )
        right = sa.func.sum(sa.case((gold.c.class_id == CLASS_TODAY, 1), else_=0))
        statement = (
            sa.select(annotations.c.user_id, sa.func.count().label("answered"), right.label("right"))
            .select_from(joined)
            .where(
                gold.c.project_id == project_id, IS_GOLD, is_(annotations.c.kind, AnnotationKind.LABEL), ~is_undone()
            )
            .group_by(annotations.c.user_id)
            .order_by(annotations.c.user_id)
        )
        return [GoldResult(row.user_id, row.answered, int(row.right)) for row in self._connection.execute(statement)]
