"""How many samples of a project are in which state, in one statement whose cost does not grow with the pool.

Triggers keep `sample_counts` (project, split, state -> count). Who is free or leased follows from the open selections
and open leases, which are few; who is in no queue is the rest.
"""

from collections import Counter
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import PoolCounts
from al_service.domain.states import AssignmentState, SampleState, SelectionState, Split
from al_service.storage.column_types import ID
from al_service.storage.schema import assignments, is_, job_rejections, jobs, sample_counts, samples, selections

FREE, LEASED, REJECTED = "free", "leased", "rejected"


def count_pool(connection: sa.Connection, project_id: int) -> PoolCounts:
    """The counts, consistent with each other.

    Cost: a few rows, plus one look-up for each open selection and open lease of the project.
    """
    found: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(STATEMENT, {"project_id": project_id}):
        found[row.split, row.state] = row.number
    pool = {state: found[Split.POOL.value, state.value] for state in SampleState}
    free, leased = found[FREE, ""], found[LEASED, ""]
    return PoolCounts(
        total=sum(pool.values()),
        free=free,
        leased=leased,
        labelled=pool[SampleState.LABELLED],
        skipped=pool[SampleState.SKIPPED],
        flagged=pool[SampleState.FLAGGED],
        not_queued=pool[SampleState.UNLABELLED] - free - leased,
        evaluation_total=sum(found[Split.EVALUATION.value, state.value] for state in SampleState),
        evaluation_labelled=found[Split.EVALUATION.value, SampleState.LABELLED.value],
        train_total=sum(found[Split.TRAIN.value, state.value] for state in SampleState),
        train_labelled=found[Split.TRAIN.value, SampleState.LABELLED.value],
        rejected=found[REJECTED, ""],
    )


def _statement() -> "sa.CompoundSelect[Any]":
    project_id = sa.bindparam("project_id", type_=ID)
    kept = sa.select(sample_counts.c.split, sample_counts.c.state, sample_counts.c.count.label("number")).where(
        sample_counts.c.project_id == project_id
    )
    # Scalar look-ups by primary key: neither planner turns them into a scan of the samples.
    pool_unlabelled = sa.exists().where(
        samples.c.id == selections.c.sample_id,
        is_(samples.c.split, Split.POOL),
        is_(samples.c.state, SampleState.UNLABELLED),
    )
    held = (
        sa.select(selections.c.sample_id)
        .join(assignments, assignments.c.selection_id == selections.c.id)
        .where(assignments.c.project_id == project_id, is_(assignments.c.state, AssignmentState.OPEN), pool_unlabelled)
        .distinct()
        .cte("held")
    )
    free = (
        sa.select(sa.func.count())
        .select_from(selections)
        .where(
            selections.c.project_id == project_id,
            is_(selections.c.state, SelectionState.OPEN),
            selections.c.sample_id.not_in(sa.select(held.c.sample_id)),
            pool_unlabelled,
        )
    )
    rejected = (
        sa.select(sa.func.count())
        .select_from(job_rejections.join(jobs, jobs.c.id == job_rejections.c.job_id))
        .where(jobs.c.project_id == project_id)
    )
    return sa.union_all(
        kept,
        _named(FREE, free),
        _named(LEASED, sa.select(sa.func.count()).select_from(held)),
        _named(REJECTED, rejected),
    )


def _named(name: str, count: "sa.Select[int]") -> "sa.Select[Any]":
    return sa.select(sa.literal(name), sa.literal(""), count.scalar_subquery())


STATEMENT = _statement()
