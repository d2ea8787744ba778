"""Class changes in SQL: what a class holds, and the statements that rename, merge and split one.

Labels, gold and selections are changed in place; annotations never are. Their class is read through
`annotations.CLASS_TODAY`, so a merge touches none of them, and a split appends one undo for each vote that it takes
back. Everything here is set-based: a class of a hundred thousand images takes seconds, not minutes.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import AskedAgain, Relabelling
from al_service.domain.states import AnnotationKind, AssignmentState, Lane, SampleState, SelectionState, Split
from al_service.storage.annotations import ANSWERS, is_undone
from al_service.storage.column_types import ID
from al_service.storage.dialect import chunks, insert_into
from al_service.storage.schema import (
    annotations,
    annotator_skills,
    assignments,
    class_aliases,
    classes,
    examples,
    gold,
    is_,
    labels,
    samples,
    selections,
)

#: What a selection's reason says when it asks again because of a split.
SPLIT_CODE = "class_split"
#: Client keys of undos by which a split takes votes back begin with this; nobody took them back by hand.
SPLIT_KEY_PREFIX = "al:split-"
#: Behind what people ask for by hand, before the batch.
TURN = 1
#: Of samples: where votes decided something.
SETTLED = is_(samples.c.state, SampleState.LABELLED, SampleState.FLAGGED)


def _votes(class_ids: Collection[int]) -> "sa.ColumnElement[bool]":
    """True for votes for one of these classes that nobody took back."""
    return is_(annotations.c.kind, AnnotationKind.LABEL) & annotations.c.class_id.in_(class_ids) & ~is_undone()


def _answers_by_sample(
    project_id: int, first: "sa.ColumnElement[int]", second: "sa.ColumnElement[int]"
) -> "sa.Subquery":
    """For each sample whether an answer that nobody took back is of the first and of the second kind (1 or 0).

    Cost: one pass over the project's annotations; looking at each sample instead takes five times as long.
    """
    statement = sa.select(
        annotations.c.sample_id, sa.func.max(first).label("first"), sa.func.max(second).label("second")
    ).where(annotations.c.project_id == project_id, is_(annotations.c.kind, *ANSWERS), ~is_undone())
    return statement.group_by(annotations.c.sample_id).subquery("answers")


class SqlClassRows:
    """As in `loop.project_ports.ClassRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    # -- counting ------------------------------------------------------------------------------------------------

    def label_counts(self, project_id: int) -> dict[int, dict[Split, int]]:
        """Labelled samples by class and split; classes and splits without any are left out."""
        statement = (
            sa.select(labels.c.class_id, labels.c.split, sa.func.count().label("found"))
            .where(labels.c.project_id == project_id)
            .group_by(labels.c.class_id, labels.c.split)
        )
        counts: dict[int, dict[Split, int]] = {}
        for row in self._connection.execute(statement):
            counts.setdefault(row.class_id, {})[row.split] = row.found
        return counts

    def vote_count(self, project_id: int, class_ids: Collection[int]) -> int:
        """Votes for one of these classes that nobody took back. Cost: one pass over the project's annotations."""
        here = sa.select(sa.func.count()).select_from(annotations).where(annotations.c.project_id == project_id)
        return self._connection.execute(here.where(_votes(class_ids))).scalar_one()

    def gold_count(self, class_id: int) -> int:
        """Samples that are gold of this class."""
        here = sa.select(sa.func.count()).select_from(gold).where(gold.c.class_id == class_id)
        return self._connection.execute(here).scalar_one()

    def relabelling(self, project_id: int) -> dict[int, Relabelling]:
        """Of each class that was split: how many images were asked again, and how many of them still wait.

        Cost: one pass over the project's selections.
        """
        here = (selections.c.project_id == project_id) & is_(selections.c.lane, Lane.TASK)
        statement = sa.select(selections.c.reason, selections.c.state).where(here)
        asked: Counter[int] = Counter()
        waiting: Counter[int] = Counter()
        for row in self._connection.execute(statement):
            if row.reason.get("code") == SPLIT_CODE:
                asked[row.reason["class_id"]] += 1
                waiting[row.reason["class_id"]] += row.state is SelectionState.OPEN
        return {class_id: Relabelling(count, waiting[class_id]) for class_id, count in asked.items()}

    # -- renaming and merging --------------------------------------------------------------------------------------

    def rename(self, project_id: int, class_id: int, old_name: str, new_name: str) -> None:
        """Give a class a name that none has, that it had itself before, or that one merged into it has; the old name
        goes on to mean it.
        """
        run = self._connection.execute
        mine = (classes.c.project_id == project_id) & (classes.c.name == new_name)
        holder = run(sa.select(classes.c.id).where(mine)).scalar_one_or_none()
        if holder is not None:
            # They swap names: both go on to mean the same class.
            run(sa.update(classes).where(classes.c.id == holder).values(name=f"al:{holder}"))
        known = (class_aliases.c.project_id == project_id) & (class_aliases.c.name == new_name)
        run(sa.delete(class_aliases).where(known))
        run(sa.update(classes).where(classes.c.id == class_id).values(name=new_name))
        if holder is not None:
            run(sa.update(classes).where(classes.c.id == holder).values(name=old_name))
        else:
            run(sa.insert(class_aliases).values(project_id=project_id, name=old_name, class_id=class_id))

    def retire(self, class_id: int, now: datetime, *, into_id: int | None = None) -> None:
        """The class is none of today's any more. into_id: what it and all that was merged into it means from now on."""
        here = classes.c.id == class_id
        self._connection.execute(sa.update(classes).where(here).values(retired_at=now, merged_into_id=into_id))
        if into_id is not None:
            before = classes.c.merged_into_id == class_id
            self._connection.execute(sa.update(classes).where(before).values(merged_into_id=into_id))

    def move_labels(self, project_id: int, class_id: int, into_id: int, now: datetime) -> None:
        """Labels, gold and examples of one class become those of another; each label is a version further."""
        mine = (labels.c.project_id == project_id) & labels.c.split.in_(tuple(Split)) & (labels.c.class_id == class_id)
        values = {"class_id": into_id, "version": labels.c.version + 1, "updated_at": now}
        self._connection.execute(sa.update(labels).where(mine).values(values))
        for table in (gold, examples):
            of_class = (table.c.project_id == project_id) & (table.c.class_id == class_id)
            self._connection.execute(sa.update(table).where(of_class).values(class_id=into_id))

    def settled_with_votes_of_both(self, project_id: int, first: Collection[int], second: Collection[int]) -> list[int]:
        """Labelled and flagged samples with votes for a class of the first and of the second kind, by id."""
        kinds = [
            sa.case((is_(annotations.c.kind, AnnotationKind.LABEL) & annotations.c.class_id.in_(ids), 1), else_=0)
            for ids in (first, second)
        ]
        answers = _answers_by_sample(project_id, *kinds)
        joined = samples.join(answers, answers.c.sample_id == samples.c.id)
        statement = sa.select(samples.c.id).select_from(joined).where(SETTLED, answers.c.first == 1)
        statement = statement.where(answers.c.second == 1).order_by(samples.c.id)
        return list(self._connection.execute(statement).scalars())

    def forget_skills(self, project_id: int) -> None:
        """How well people label was estimated with other classes; it is estimated anew."""
        self._connection.execute(sa.delete(annotator_skills).where(annotator_skills.c.project_id == project_id))

    # -- splitting -------------------------------------------------------------------------------------------------

    def settled_by(self, project_id: int, class_ids: Collection[int]) -> list[AskedAgain]:
        """Samples that are labelled, or flagged as votes disagree, with votes for one of these classes, by content
        hash: in any first part of them all kinds of images are mixed as in the whole.
        """
        is_vote = is_(annotations.c.kind, AnnotationKind.LABEL) & annotations.c.class_id.in_(class_ids)
        answers = _answers_by_sample(project_id, sa.case((is_vote, 1), else_=0), sa.case((is_vote, 0), else_=1))
        # A flag without any other answer is a job's that could not read the image.
        is_mixed = answers.c.second == 1
        here = SETTLED & (is_(samples.c.state, SampleState.LABELLED) | is_mixed)
        statement = sa.select(samples.c.id, samples.c.sha256, answers.c.second.label("mixed")).select_from(
            samples.join(answers, answers.c.sample_id == samples.c.id)
        )
        rows = self._connection.execute(statement.where(answers.c.first == 1, here).order_by(samples.c.sha256))
        return [AskedAgain(row.id, row.sha256, bool(row.mixed)) for row in rows]

    def take_back_votes(self, project_id: int, class_ids: Collection[int], user_id: int, now: datetime) -> None:
        """Append an undo, in this person's name, for every vote for these classes."""
        taken = sa.select(
            annotations.c.project_id,
            annotations.c.sample_id,
            sa.literal(user_id, ID),
            annotations.c.assignment_id,
            sa.literal(AnnotationKind.UNDO, annotations.c.kind.type),
            sa.literal(SPLIT_KEY_PREFIX) + sa.cast(annotations.c.id, sa.String()),
            sa.false(),
            sa.false(),
            annotations.c.id,
            sa.literal(now, annotations.c.created_at.type),
            sa.false(),
            sa.false(),
        ).where(annotations.c.project_id == project_id, _votes(class_ids))
        names = (
            "project_id",
            "sample_id",
            "user_id",
            "assignment_id",
            "kind",
            "client_key",
            "is_extra_vote",
            "is_import",
            "undoes_id",
            "created_at",
            "is_review",
            "saw_suggestion",
        )
        self._connection.execute(sa.insert(annotations).from_select(names, taken.order_by(annotations.c.id)))

    def unlabel(self, sample_ids: Sequence[int]) -> None:
        """These labelled samples have no label any more."""
        for part in chunks(sorted(sample_ids)):  # neighbours lie on the same pages
            self._connection.execute(sa.delete(labels).where(labels.c.sample_id.in_(part)))
            here = sa.update(samples).where(samples.c.id.in_(part))
            self._connection.execute(here.values(state=SampleState.UNLABELLED, dissent=0))

    def ask_again(self, project_id: int, rows: Sequence[dict[str, Any]]) -> int:
        """Put these samples into the queue, in this order, behind other wishes and before the batch; how many. One that
        an open selection asks for already is passed over; leases of before that ask nobody any more are given back.

        Args:
            rows: sample_id, reason, overlap (answers that are missing), max_skips.
        """
        shared = {
            "project_id": project_id,
            "rank": 0,
            "state": SelectionState.OPEN,
            "is_reserve": False,
            "lane": Lane.TASK,
            "turn": TURN,
        }
        statement = insert_into(self._connection, selections).on_conflict_do_nothing().returning(selections.c.id)
        self._give_back(project_id, {row["sample_id"] for row in rows})
        made = 0
        for part in chunks(rows):
            made += len(self._connection.execute(statement, [shared | row for row in part]).all())
        return made

    def _give_back(self, project_id: int, sample_ids: Collection[int]) -> None:
        held = (assignments.c.project_id == project_id) & is_(assignments.c.state, AssignmentState.OPEN)
        joined = assignments.join(selections, selections.c.id == assignments.c.selection_id)
        leases = sa.select(assignments.c.id, selections.c.sample_id).select_from(joined)
        found = self._connection.execute(leases.where(held, ~is_(selections.c.state, SelectionState.OPEN)))
        for part in chunks([row.id for row in found if row.sample_id in sample_ids]):
            here = sa.update(assignments).where(assignments.c.id.in_(part))
            self._connection.execute(here.values(state=AssignmentState.RELEASED))

    def drop_gold(self, project_id: int, class_id: int) -> int:
        """Gold of this class is none any more, and nobody is asked for it as such; how many. Examples of it are none
        any more either.
        """
        of_class = (gold.c.project_id == project_id) & (gold.c.class_id == class_id)
        asking = is_(selections.c.lane, Lane.GOLD) & is_(selections.c.state, SelectionState.OPEN)
        its = asking & selections.c.sample_id.in_(sa.select(gold.c.sample_id).where(of_class))
        self._connection.execute(sa.update(selections).where(its).values(state=SelectionState.RETIRED))
        shown = (examples.c.project_id == project_id) & (examples.c.class_id == class_id)
        self._connection.execute(sa.delete(examples).where(shown))
        return self._connection.execute(sa.delete(gold).where(of_class)).rowcount
