"""What reviewers look through, in SQL: one walk along an index gives candidates, the other filters pick among them.

However large the project, a page looks at LOOKED_MAX candidates at most and says where to go on. Every kind of list has
an index that leads to its first rows, so without further filters a page looks at little more than it shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from al_service.domain.records import Project
from al_service.domain.review import (
    COUNT_MAX,
    SURE,
    Place,
    ReviewFilter,
    ReviewKind,
    ReviewPage,
    ReviewRow,
    Said,
)
from al_service.domain.states import Lane, SampleState, SelectionState, Split
from al_service.storage.annotations import ACTIVE, ANSWERS, SELECT, annotation_from, is_undone
from al_service.storage.column_types import ID
from al_service.storage.dialect import chunks
from al_service.storage.queue import LIKELIEST, LIKELIEST_TODAY, TODAY
from al_service.storage.samples import SAMPLE_COLUMNS, SAMPLE_WITH_CLASS, sample_from
from al_service.storage.schema import (
    DISPUTED,
    REVIEWED,
    annotations,
    assignments,
    classes,
    gold,
    is_,
    labels,
    rounds,
    sample_counts,
    samples,
    selections,
    users,
)
from al_service.storage.selections import likely_from

#: Candidates that one page looks at, at most.
LOOKED_MAX = 2000
PLACE = "place_"
ID_MAX = 2**63 - 1
#: Lists of samples that have a label.
OF_LABELS = (ReviewKind.LABELLED, ReviewKind.SUSPICIOUS)
STATE_OF = {ReviewKind.FLAGGED: SampleState.FLAGGED, ReviewKind.SKIPPED: SampleState.SKIPPED}
ANSWER = annotations.alias("answer")
LATER = annotations.alias("later")
GOLD_CLASSES = classes.alias("gold_classes")
Select = sa.Select[Any]
Condition = sa.ColumnElement[bool]
Column = sa.Column[Any]


@dataclass(frozen=True)
class Walk:
    """A way along an index, from above downwards, that leads to candidates.

    Attributes:
        sample_id: where the rows have it.
        prefix: the columns that the index begins with, and their values.
        places: the columns behind them, which the order goes by.
        only: the condition of a partial index.
        answers_of: the rows are answers, of all people or of one; None: they are not.
    """

    sample_id: Column
    prefix: tuple[tuple[Column, Any], ...]
    places: tuple[Column, ...]
    only: sa.TextClause | None = None
    answers_of: Literal["all", "one"] | None = None

    def step(self, after: Place | None, block: int) -> Select:
        """The next `block` rows behind that place.

        The last column of the prefix is a range and part of the order, not an equality: only so can the index named
        here, and no other one of the table, give that order. (Else PostgreSQL walks from the newest row of all
        projects, and hopes.)
        """
        *equal, (last, value) = self.prefix
        behind = [sa.literal(number, ID) for number in after or (ID_MAX,) * len(self.places)]
        named = [column.label(f"{PLACE}{at}") for at, column in enumerate(self.places)]
        in_order = (last, *self.places)
        lowest = sa.literal(value, last.type)
        here = [column == fixed for column, fixed in equal]
        steps = sa.select(*named, self.sample_id.label("sample_id"))
        steps = steps.where(*here, last >= lowest, sa.tuple_(*in_order) < sa.tuple_(lowest, *behind))
        if self.only is not None:
            steps = steps.where(self.only)
        return steps.order_by(*(column.desc() for column in in_order)).limit(block)


def candidates(
    project_id: int, wanted: ReviewFilter, splits: Sequence[Split], after: Place | None, block: int
) -> Select:
    """The next `block` candidates behind a place, each with what the order goes by (place_0, place_1), its sample, and
    whether it is one of those that are wanted.
    """
    walks = _walks(project_id, wanted, splits)
    steps = [walk.step(after, block) for walk in walks]
    together = sa.union_all(*(sa.select(step.subquery()) for step in steps)) if len(steps) > 1 else steps[0]
    found = together.subquery("candidate")
    places = [found.c[f"{PLACE}{at}"] for at in range(wanted.place_length)]
    of_sample = labels.c.sample_id == samples.c.id
    source = found.join(samples, samples.c.id == found.c.sample_id).outerjoin(labels, of_sample)
    fits = sa.and_(samples.c.split.in_(splits), *_conditions(wanted, walks[0], found))
    statement = sa.select(*places, found.c.sample_id, sa.case((fits, True), else_=False).label("fits"))
    return statement.select_from(source).order_by(*(place.desc() for place in places)).limit(block)


def _walks(project_id: int, wanted: ReviewFilter, splits: Sequence[Split]) -> list[Walk]:
    """The way that leads past the fewest candidates; by the state of samples one for each split."""
    of_project = (samples.c.project_id, project_id)
    state = STATE_OF.get(wanted.kind)
    if state is not None:
        in_state = (samples.c.state, state)
        return [
            Walk(samples.c.id, (of_project, (samples.c.split, split), in_state), (samples.c.id,)) for split in splits
        ]
    if wanted.kind is ReviewKind.DISPUTED:
        return [Walk(samples.c.id, (of_project,), (samples.c.dissent, samples.c.id), sa.text(DISPUTED))]
    if wanted.kind is ReviewKind.REVIEWED:
        believed = ((labels.c.project_id, project_id),)
        return [Walk(labels.c.sample_id, believed, (labels.c.annotation_id,), sa.text(REVIEWED))]
    if wanted.kind is ReviewKind.GOLD:
        return [Walk(gold.c.sample_id, ((gold.c.project_id, project_id),), (gold.c.sample_id,))]
    return [_walk_of_many(project_id, wanted)]


def _walk_of_many(project_id: int, wanted: ReviewFilter) -> Walk:
    """As `_walks`, of the kinds that may be nearly everything."""
    if wanted.round_id is not None:
        chosen = ((selections.c.round_id, wanted.round_id),)
        return Walk(selections.c.sample_id, chosen, (selections.c.sample_id,))
    said, believed = (annotations.c.project_id, project_id), (labels.c.project_id, project_id)
    if wanted.user_id is not None:
        by_user = (said, (annotations.c.user_id, wanted.user_id))
        return Walk(annotations.c.sample_id, by_user, (annotations.c.id,), answers_of="one")
    if wanted.class_id is not None:
        of_class = (believed, (labels.c.class_id, wanted.class_id))
        return Walk(labels.c.sample_id, of_class, (labels.c.annotation_id,))
    if wanted.kind in OF_LABELS:
        return Walk(labels.c.sample_id, (believed,), (labels.c.annotation_id,))
    return Walk(annotations.c.sample_id, (said,), (annotations.c.id,), answers_of="all")


def _conditions(wanted: ReviewFilter, walk: Walk, found: "sa.Subquery") -> list[Condition]:
    """What the candidates of a walk still have to be."""
    conditions: list[sa.ColumnElement[bool]] = []
    if walk.answers_of is not None:
        conditions.append(_is_last_answer(found, of_person=walk.answers_of == "one"))
    elif wanted.user_id is not None:
        conditions.append(_has_answer(found, ANSWER.c.user_id == wanted.user_id))
    elif wanted.kind is ReviewKind.ANSWERED:
        conditions.append(_has_answer(found))
    if wanted.kind in OF_LABELS:
        conditions.append(labels.c.sample_id.is_not(None))
    if wanted.kind is ReviewKind.SUSPICIOUS:
        conditions += [~labels.c.is_reviewed, _was_sure_of_another(found)]
    if wanted.class_id is not None:
        conditions.append(labels.c.class_id == wanted.class_id)
    if wanted.round_id is not None:
        chosen = (selections.c.round_id == wanted.round_id) & (selections.c.sample_id == found.c.sample_id)
        conditions.append(_there_is(selections, chosen, of=found))
    return conditions


def _was_sure_of_another(found: "sa.Subquery") -> Condition:
    """True where the model that chose the sample was sure of another class than the one that its label has today."""
    opinion = (
        annotations.join(assignments, assignments.c.id == annotations.c.assignment_id)
        .join(selections, selections.c.id == assignments.c.selection_id)
        .join(LIKELIEST, LIKELIEST.c.id == selections.c.likely[(0, 0)].as_integer())
        .join(TODAY, TODAY.c.id == LIKELIEST_TODAY)
    )
    is_sure = selections.c.likely[(0, 1)].as_float() >= SURE
    differs = (TODAY.c.id != labels.c.class_id) & TODAY.c.retired_at.is_(None)
    return _there_is(opinion, annotations.c.id == labels.c.annotation_id, is_sure, differs, of=found, beside=labels)


def _there_is(
    where: "sa.FromClause", *conditions: Condition, of: "sa.FromClause", beside: "sa.FromClause | None" = None
) -> Condition:
    """EXISTS as a look-up for each row: PostgreSQL may turn EXISTS itself into one scan of everything."""
    one: Select = sa.select(sa.literal_column("1")).select_from(where).where(*conditions).limit(1)
    return one.correlate(of, *([] if beside is None else [beside])).scalar_subquery().is_not(None)


def _has_answer(found: "sa.Subquery", *conditions: Condition) -> Condition:
    counts = is_(ANSWER.c.kind, *ANSWERS) & ~is_undone(ANSWER)
    return _there_is(ANSWER, ANSWER.c.sample_id == found.c.sample_id, counts, *conditions, of=found)


def _is_last_answer(found: "sa.Subquery", *, of_person: bool) -> Condition:
    """True where the candidate's annotation counts and is the newest of its sample (of its person) that does."""
    later = [LATER.c.sample_id == ANSWER.c.sample_id, LATER.c.id > ANSWER.c.id, is_(LATER.c.kind, *ANSWERS)]
    if of_person:
        later.append(LATER.c.user_id == ANSWER.c.user_id)
    is_last = ~sa.exists().where(*later, ~is_undone(LATER)).correlate(ANSWER)
    counts = is_(ANSWER.c.kind, *ANSWERS) & ~is_undone(ANSWER)
    return _there_is(ANSWER, ANSWER.c.id == found.c[f"{PLACE}0"], counts, is_last, of=found)


class SqlReviewListRows:
    """As in `loop.sample_ports.ReviewListRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def page(
        self, project_id: int, wanted: ReviewFilter, splits: Sequence[Split], *, after: Place | None, limit: int
    ) -> ReviewPage:
        """At most `limit` samples behind that place.

        Cost: without further filters than the walk's own one block of little more than `limit` rows along an index;
        else blocks of more and more, LOOKED_MAX rows and one block at most.
        """
        found: list[int] = []
        place, looked, block = after, 0, limit + limit // 4 + 1
        while looked < LOOKED_MAX:
            rows = self._connection.execute(candidates(project_id, wanted, splits, place, block)).all()
            for row in rows:
                if row.fits and len(found) == limit:
                    return ReviewPage(self._rows(found), place)
                if row.fits:
                    found.append(row.sample_id)
                place = tuple(row[: wanted.place_length])
            if len(rows) < block:
                return ReviewPage(self._rows(found), None)
            looked += block
            block = min(4 * block, LOOKED_MAX)
        return ReviewPage(self._rows(found), place)

    def _rows(self, sample_ids: Sequence[int]) -> tuple[ReviewRow, ...]:
        found: dict[int, ReviewRow] = {}
        for part in chunks(sample_ids):
            said = self._said(part)
            for row in self._connection.execute(FACTS.where(samples.c.id.in_(part))):
                found[row.sample_id] = _review_row(row, said.get(row.sample_id, []))
        return tuple(found[sample_id] for sample_id in sample_ids)

    def _said(self, sample_ids: Sequence[int]) -> dict[int, list["sa.Row[Any]"]]:
        statement = VOTES.where(annotations.c.sample_id.in_(sample_ids)).order_by(annotations.c.id)
        found: dict[int, list[sa.Row[Any]]] = {}
        for row in self._connection.execute(statement):
            found.setdefault(row.sample_id, []).append(row)
        return found

    def log(self, sample_id: int) -> list[Said]:
        """Everything that was ever said of a sample, what was taken back included, oldest first."""
        statement = LOG.where(annotations.c.sample_id == sample_id).order_by(annotations.c.id)
        return [_said(row) for row in self._connection.execute(statement)]

    def counts(self, project_id: int, splits: Sequence[Split]) -> dict[ReviewKind, int]:
        """Samples of each kind but `answered` and `suspicious`; those that no table keeps as numbers up to
        COUNT_MAX + 1.
        """
        kept = sa.select(sample_counts.c.state, sa.func.sum(sample_counts.c.count).label("number"))
        kept = kept.where(sample_counts.c.project_id == project_id, sample_counts.c.split.in_(splits))
        by_state = {
            row.state: int(row.number) for row in self._connection.execute(kept.group_by(sample_counts.c.state))
        }
        found = {
            kind: by_state.get(state.value, 0)
            for kind, state in {ReviewKind.LABELLED: SampleState.LABELLED, **STATE_OF}.items()
        }
        disputed = sa.select(samples.c.id).where(samples.c.project_id == project_id, sa.text(DISPUTED))
        found[ReviewKind.DISPUTED] = self._count(disputed.where(samples.c.split.in_(splits)))
        reviewed = sa.select(labels.c.sample_id).where(labels.c.project_id == project_id, sa.text(REVIEWED))
        found[ReviewKind.REVIEWED] = self._count(reviewed.where(labels.c.split.in_(splits)))
        golden = sa.select(gold.c.sample_id).join(samples, samples.c.id == gold.c.sample_id)
        found[ReviewKind.GOLD] = self._count(golden.where(gold.c.project_id == project_id, samples.c.split.in_(splits)))
        return found

    def _count(self, statement: Select) -> int:
        counted = sa.select(sa.func.count()).select_from(statement.limit(COUNT_MAX + 1).subquery())
        return int(self._connection.execute(counted).scalar_one())

    def people(self, project: Project) -> list[str]:
        """Names of who gave answers in the project, in order. Cost: one look-up for each person of the service."""
        answered = sa.exists().where(annotations.c.project_id == project.id, annotations.c.user_id == users.c.id)
        return list(self._connection.execute(sa.select(users.c.name).where(answered).order_by(users.c.name)).scalars())


IS_ASKED = sa.exists().where(
    selections.c.sample_id == samples.c.id,
    is_(selections.c.state, SelectionState.OPEN),
    ~is_(selections.c.lane, Lane.GOLD),
)
FACTS: Select = sa.select(
    *SAMPLE_COLUMNS,
    labels.c.is_reviewed,
    GOLD_CLASSES.c.name.label("gold_class"),
    IS_ASKED.label("is_asked"),
).select_from(
    SAMPLE_WITH_CLASS.outerjoin(gold, gold.c.sample_id == samples.c.id).outerjoin(
        GOLD_CLASSES, GOLD_CLASSES.c.id == gold.c.class_id
    )
)
_AUTHOR = sa.select(users.c.name).where(users.c.id == annotations.c.user_id).correlate(annotations).scalar_subquery()
LOG: Select = SELECT.add_columns(_AUTHOR.label("by"))
#: Answers that count, each with the selection it answers.
VOTES: Select = (
    ACTIVE.add_columns(
        _AUTHOR.label("by"),
        selections.c.round_id,
        rounds.c.number.label("round_number"),
        selections.c.rank,
        selections.c.reason,
        selections.c.lane,
        selections.c.likely,
    )
    .outerjoin(assignments, assignments.c.id == annotations.c.assignment_id)
    .outerjoin(selections, selections.c.id == assignments.c.selection_id)
    .outerjoin(rounds, rounds.c.id == selections.c.round_id)
)


def _review_row(row: "sa.Row[Any]", votes: Sequence["sa.Row[Any]"]) -> ReviewRow:
    asked = next((vote for vote in reversed(votes) if vote.lane in (Lane.BATCH, Lane.TASK)), None)
    return ReviewRow(
        sample=sample_from(row),
        is_reviewed=bool(row.is_reviewed),
        gold_class=row.gold_class,
        is_asked=bool(row.is_asked),
        round_id=None if asked is None else asked.round_id,
        round_number=None if asked is None else asked.round_number,
        rank=None if asked is None else asked.rank,
        reason=None if asked is None else asked.reason,
        votes=tuple(_said(vote) for vote in votes),
        likely=None if asked is None else likely_from(asked.likely),
    )


def _said(row: "sa.Row[Any]") -> Said:
    return Said(annotation_from(row), row.by, bool(row.is_import))
