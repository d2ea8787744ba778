"""Samples, what is believed of them, and rows that imports rejected, in SQL."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from al_service.domain.records import LabelledImage, NewSample, PoolCounts, RejectedRow, Sample
from al_service.domain.states import SampleState, SelectionState, Split
from al_service.errors import InvalidInputError, NotFoundError
from al_service.storage.column_types import ID, KEY_BYTES_MAX, UtcTime
from al_service.storage.dialect import chunks, insert_into, is_postgres, wait_for
from al_service.storage.pool_counts import count_pool
from al_service.storage.prepared import Prepared
from al_service.storage.projects import class_meant, unknown_class
from al_service.storage.schema import (
    annotations,
    classes,
    is_,
    job_rejections,
    labels,
    projects,
    sample_counts,
    selections,
)
from al_service.storage.schema import samples as samples_table

#: A sample with the name of its class, for `sample_from`.
SAMPLE_WITH_CLASS = samples_table.outerjoin(labels, labels.c.sample_id == samples_table.c.id).outerjoin(
    classes, classes.c.id == labels.c.class_id
)
SAMPLE_COLUMNS = (
    *(column.label(f"sample_{column.name}") for column in samples_table.c),
    classes.c.name.label("sample_class_name"),
    labels.c.version.label("sample_label_version"),
)
SELECT = sa.select(*SAMPLE_COLUMNS).select_from(SAMPLE_WITH_CLASS)
LEARNING_SPLITS = (Split.POOL, Split.TRAIN)
# Made once, because every answer needs them. Parameters: wanted, new_state, new_dissent.
SET_STATE = Prepared(
    sa.update(samples_table)
    .where(samples_table.c.id == sa.bindparam("wanted", type_=ID))
    .values(
        state=sa.bindparam("new_state", type_=samples_table.c.state.type),
        dissent=sa.bindparam("new_dissent", type_=sa.BigInteger()),
    )
)


#: The version of a label where there was none: how many answers the sample ever got. It only grows, so a version that
#: somebody saw before the label was taken away does not come back.
FIRST_VERSION = (
    sa.select(sa.func.count())
    .where(annotations.c.sample_id == samples_table.c.id)
    .correlate(samples_table)
    .scalar_subquery()
)


def _label(insert: "type[postgresql.Insert] | type[sqlite.Insert]") -> "sa.UpdateBase":
    """The statement of `set_label`; parameters: wanted, class_name, new_votes, rests_on, now_reviewed, now."""
    believed = (
        sa.select(
            samples_table.c.id,
            samples_table.c.project_id,
            samples_table.c.split,
            classes.c.id,
            sa.bindparam("new_votes", type_=sa.BigInteger()),
            sa.bindparam("rests_on", type_=ID),
            FIRST_VERSION,
            sa.bindparam("now", type_=UtcTime()),
            sa.bindparam("now_reviewed", type_=sa.Boolean()),
        )
        .join_from(samples_table, classes, classes.c.project_id == samples_table.c.project_id)
        .where(
            samples_table.c.id == sa.bindparam("wanted", type_=ID),
            classes.c.name == sa.bindparam("class_name"),
            classes.c.retired_at.is_(None),
        )
    )
    of_sample = ("sample_id", "project_id", "split")
    names = (*of_sample, "class_id", "votes", "annotation_id", "version", "updated_at", "is_reviewed")
    statement = insert(labels).from_select(names, believed)
    fresh = statement.excluded
    same = labels.c.class_id == fresh.class_id
    return statement.on_conflict_do_update(
        index_elements=[labels.c.sample_id],
        set_={
            "class_id": fresh.class_id,
            "votes": fresh.votes,
            "annotation_id": sa.case((same, labels.c.annotation_id), else_=fresh.annotation_id),
            "version": labels.c.version + 1,
            "updated_at": fresh.updated_at,
            "is_reviewed": fresh.is_reviewed,
        },
    )


LABEL_ON_SQLITE, LABEL_ON_POSTGRES = Prepared(_label(sqlite.Insert)), Prepared(_label(postgresql.Insert))


class SqlSampleRows:
    """As in `loop.sample_ports.SampleRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add_many(self, project_id: int, samples: Sequence[NewSample], now: datetime) -> list[int | None]:
        """Store what is new; in order of input the new id, or None where external id or content hash was known."""
        # Two imports would meet in the unique indexes in different orders (a deadlock on PostgreSQL).
        wait_for(self._connection, projects, project_id)
        statement = insert_into(self._connection, samples_table).on_conflict_do_nothing()
        returning = statement.returning(samples_table.c.id, samples_table.c.external_id, samples_table.c.sha256)
        made: dict[tuple[str, str], int] = {}
        for part in chunks(samples):
            rows = [_sample_row(project_id, sample, now) for sample in part]
            for row in self._connection.execute(returning, rows):
                made[row.external_id, row.sha256] = row.id
        # pop: of two equal rows in one call the first is the new one.
        return [made.pop((sample.external_id, sample.sha256), None) for sample in samples]

    def find_by_external_ids(self, project_id: int, external_ids: Sequence[str]) -> dict[str, Sample]:
        """Known samples by external id."""
        found = self._read_where_in(project_id, samples_table.c.external_id, external_ids)
        return {sample.external_id: sample for sample in found}

    def _read_where_in(self, project_id: int, column: "sa.Column[str]", values: Sequence[str]) -> Iterable[Sample]:
        statement = (
            sa.select(*SAMPLE_COLUMNS).select_from(SAMPLE_WITH_CLASS).where(samples_table.c.project_id == project_id)
        )
        for part in chunks(list(dict.fromkeys(values))):
            for row in self._connection.execute(statement.where(column.in_(part))):
                yield sample_from(row)

    def get(self, sample_id: int) -> Sample:
        """The sample, or NotFoundError."""
        return get_sample(self._connection, sample_id)

    def get_many(self, sample_ids: Iterable[int]) -> dict[int, Sample]:
        """The samples by id, or NotFoundError naming the smallest id that is missing."""
        wanted = list(dict.fromkeys(sample_ids))
        parts = (SELECT.where(samples_table.c.id.in_(part)) for part in chunks(wanted))
        found = {row.sample_id: sample_from(row) for part in parts for row in self._connection.execute(part)}
        if len(found) < len(wanted):
            raise _no_sample(min(set(wanted) - set(found)))
        return found

    def state_counts(self, project_id: int) -> Counter[tuple[Split, SampleState]]:
        """How many samples of each split are in which state.

        Cost: a few rows, which triggers keep.
        """
        kept = sa.select(sample_counts).where(sample_counts.c.project_id == project_id)
        rows = self._connection.execute(kept)
        return Counter({(Split(row.split), SampleState(row.state)): row.count for row in rows})

    def counts(self, project_id: int) -> PoolCounts:
        """Counts by state, consistent with each other (one statement).

        Cost: one look-up for each open selection and open lease.
        """
        return count_pool(self._connection, project_id)

    def class_counts(self, project_id: int) -> dict[str, int]:
        """Labelled pool and train samples by class of today (0 for classes without any), in class order."""
        here = (labels.c.project_id == project_id) & labels.c.split.in_(LEARNING_SPLITS)
        count = (
            sa.select(labels.c.class_id, sa.func.count().label("labelled"))
            .where(here)
            .group_by(labels.c.class_id)
            .subquery()
        )
        statement = (
            sa.select(classes.c.name, sa.func.coalesce(count.c.labelled, 0).label("labelled"))
            .outerjoin(count, count.c.class_id == classes.c.id)
            .where(classes.c.project_id == project_id, classes.c.retired_at.is_(None))
            .order_by(classes.c.position)
        )
        return {row.name: row.labelled for row in self._connection.execute(statement)}

    def in_state(
        self, project_id: int, state: SampleState, splits: Sequence[Split], *, after: int, limit: int
    ) -> list[Sample]:
        """Samples of these splits in that state with an id above `after`, by id, at most `limit`.

        Cost: at most `limit` entries of ix_samples_by_state for each split.
        """
        found: list[Sample] = []
        for split in splits:
            here = (samples_table.c.project_id == project_id) & (samples_table.c.split == split)
            statement = SELECT.where(here, samples_table.c.state == state, samples_table.c.id > after)
            rows = self._connection.execute(statement.order_by(samples_table.c.id).limit(limit))
            found += [sample_from(row) for row in rows]
        return sorted(found, key=lambda sample: sample.id)[:limit]

    def selectable(
        self, project_id: int, first_id: int | None = None, last_id: int | None = None
    ) -> list[tuple[int, str]]:
        """(sample_id, sha256) of unlabelled pool samples, by id. Samples with an open selection are included.

        With first_id or last_id only those of this range, both ends included.
        """
        statement = sa.select(samples_table.c.id, samples_table.c.sha256).where(_unlabelled(project_id, Split.POOL))
        if first_id is not None:
            statement = statement.where(samples_table.c.id >= first_id)
        if last_id is not None:
            statement = statement.where(samples_table.c.id <= last_id)
        return [(row.id, row.sha256) for row in self._connection.execute(statement.order_by(samples_table.c.id))]

    def selectable_ranges(self, project_id: int, size: int) -> list[tuple[int, int, int]]:
        """(first id, last id, how many) of consecutive stretches of `selectable`, each of `size` samples, the last one
        of what is left.

        Raises:
            InvalidInputError: size below 1.

        Cost: two look-ups a range, together two walks along ix_samples_by_state; only the ranges are in memory. (A
        window function numbers and groups all rows in a temporary table: 16 times slower at a million samples.)
        """
        if size < 1:
            raise InvalidInputError(f"size={size}: a range holds at least 1 sample", size=size)
        after = sa.bindparam("after", type_=ID)
        ids = sa.select(samples_table.c.id).where(_unlabelled(project_id, Split.POOL), samples_table.c.id > after)
        in_order = ids.order_by(samples_table.c.id).limit(1)
        last_of_range = in_order.offset(size - 1)
        found = []
        first, last = self._id_after(in_order, 0), self._id_after(last_of_range, 0)
        while first is not None and last is not None:
            found.append((first, last, size))
            first, last = self._id_after(in_order, last), self._id_after(last_of_range, last)
        if first is not None:
            rest = ids.subquery()
            left = sa.select(sa.func.max(rest.c.id), sa.func.count())
            highest, count = self._connection.execute(left, {"after": first - 1}).one()
            found.append((first, highest, count))
        return found

    def _id_after(self, statement: "sa.Select[Any]", after: int) -> int | None:
        found: int | None = self._connection.execute(statement, {"after": after}).scalar_one_or_none()
        return found

    def newest_selectable_at(self, project_id: int) -> datetime | None:
        """When the newest of the `selectable` samples was stored; None when there is none.

        Cost: the last entry of ix_samples_by_state.
        """
        statement = sa.select(samples_table.c.created_at).where(_unlabelled(project_id, Split.POOL))
        last = statement.order_by(samples_table.c.id.desc()).limit(1)
        found: datetime | None = self._connection.execute(last).scalar_one_or_none()
        return found

    def flag_unreadable(self, sample_ids: Sequence[int]) -> int:
        """Flag those of the samples that are unlabelled and that no open selection asks for; how many."""
        asked = sa.exists().where(
            selections.c.sample_id == samples_table.c.id, is_(selections.c.state, SelectionState.OPEN)
        )
        statement = sa.update(samples_table).where(is_(samples_table.c.state, SampleState.UNLABELLED), ~asked)
        flagged = 0
        for part in chunks(sample_ids):
            some = statement.where(samples_table.c.id.in_(part)).values(state=SampleState.FLAGGED)
            flagged += self._connection.execute(some).rowcount
        return flagged

    def unlabelled_evaluation_ids(self, project_id: int) -> list[int]:
        """Evaluation samples without label that are not in the queue, by id."""
        queued = sa.exists().where(
            selections.c.sample_id == samples_table.c.id, is_(selections.c.state, SelectionState.OPEN)
        )
        statement = (
            sa.select(samples_table.c.id)
            .where(_unlabelled(project_id, Split.EVALUATION), ~queued)
            .order_by(samples_table.c.id)
        )
        return list(self._connection.execute(statement).scalars())

    def training_set(self, project_id: int, watermark: int) -> list[LabelledImage]:
        """Labelled pool and train samples whose label rests on annotations with id <= watermark, by sample id."""
        return self._labelled(project_id, LEARNING_SPLITS, labels.c.annotation_id <= watermark)

    def evaluation_set(self, project_id: int) -> list[LabelledImage]:
        """Labelled evaluation samples, by sample id."""
        return self._labelled(project_id, (Split.EVALUATION,), sa.true())

    def _labelled(
        self, project_id: int, splits: Sequence[Split], condition: "sa.ColumnElement[bool]"
    ) -> list[LabelledImage]:
        statement = (
            sa.select(labels.c.sample_id, samples_table.c.sha256, classes.c.name, labels.c.class_id)
            .join(samples_table, samples_table.c.id == labels.c.sample_id)
            .join(classes, classes.c.id == labels.c.class_id)
            .where(labels.c.project_id == project_id, labels.c.split.in_(splits), condition)
            .order_by(labels.c.sample_id)
        )
        rows = self._connection.execute(statement)
        return [LabelledImage(row.sample_id, row.sha256, row.name, row.class_id) for row in rows]

    def image_sizes(self, project_id: int, limit: int) -> list[tuple[int, int]]:
        """(width, height) of the first `limit` samples, for choosing image_px."""
        statement = (
            sa.select(samples_table.c.width, samples_table.c.height)
            .where(samples_table.c.project_id == project_id)
            .order_by(samples_table.c.id)  # the same ones each time: a side that moves costs all stored embeddings
            .limit(limit)
        )
        return [(row.width, row.height) for row in self._connection.execute(statement)]

    def set_label(
        self,
        sample: Sample,
        class_name: str | None,
        *,
        votes: int,
        annotation_id: int,
        state: SampleState,
        now: datetime,
        dissent: int = 0,
        is_reviewed: bool = False,
    ) -> None:
        """What the project now believes of the sample, which was read in this transaction: class (None: no label), how
        many votes, resting on which annotation, how far people disagree about it, whether a reviewer decided.

        A label whose class stays the same keeps the annotation it rests on: a further vote for it is no new label, and
        must not move it behind the watermark of a round that is training.

        Raises:
            InvalidInputError: the class is not one of the project's, or state and class disagree.
        """
        if (state is SampleState.LABELLED) != (class_name is not None):
            raise InvalidInputError(f"sample {sample.id}: state {state} does not go with class {class_name!r}")
        if (sample.state, sample.dissent) != (state, dissent):
            changed = {"wanted": sample.id, "new_state": state, "new_dissent": dissent}
            SET_STATE.change_later(self._connection, changed)
        if class_name is not None:
            statement = LABEL_ON_POSTGRES if is_postgres(self._connection) else LABEL_ON_SQLITE
            values = {
                "wanted": sample.id,
                "class_name": class_name,
                "new_votes": votes,
                "rests_on": annotation_id,
                "now": now,
                "now_reviewed": is_reviewed,
            }
            statement.change_later(
                self._connection,
                values,
                missing=lambda: unknown_class(class_name, ()),
            )
        elif sample.class_name is not None:
            self._connection.execute(sa.delete(labels).where(labels.c.sample_id == sample.id))

    def add_rejections(self, job_id: int, rows: Sequence[RejectedRow]) -> None:
        """Rows of an import that became no sample. The same (job, external id) again changes nothing.

        Ids that are no storable text are what such a report is about: their bad characters are stored escaped.
        """
        statement = insert_into(self._connection, job_rejections).on_conflict_do_nothing()
        for part in chunks(rows):
            values = [
                {"job_id": job_id, "external_id": _shown(row.external_id), "reason": _shown(row.reason)} for row in part
            ]
            self._connection.execute(statement, values)

    def rejections(self, job_id: int, limit: int) -> list[RejectedRow]:
        """Rejected rows of one import, in order."""
        statement = (
            sa.select(job_rejections.c.external_id, job_rejections.c.reason)
            .where(job_rejections.c.job_id == job_id)
            .order_by(job_rejections.c.id)
            .limit(limit)
        )
        return [RejectedRow(row.external_id, row.reason) for row in self._connection.execute(statement)]


def get_sample(connection: sa.Connection, sample_id: int) -> Sample:
    """The sample, or NotFoundError."""
    row = connection.execute(SELECT.where(samples_table.c.id == sample_id)).one_or_none()
    if row is None:
        raise _no_sample(sample_id)
    return sample_from(row)


def sample_from(row: "sa.Row[Any]") -> Sample:
    """A sample from a row that has SAMPLE_COLUMNS."""
    return Sample(
        id=row.sample_id,
        project_id=row.sample_project_id,
        external_id=row.sample_external_id,
        sha256=row.sample_sha256,
        width=row.sample_width,
        height=row.sample_height,
        format=row.sample_format,
        byte_count=row.sample_byte_count,
        split=row.sample_split,
        state=row.sample_state,
        metadata=row.sample_metadata,
        class_name=row.sample_class_name,
        created_at=row.sample_created_at,
        label_version=row.sample_label_version,
        dissent=row.sample_dissent,
    )


def upsert_labels(connection: sa.Connection, rows: Sequence[dict[str, Any]], now: datetime) -> None:
    """Make these the labels of their samples, at most `CHUNK`; a label that was there gets the next version number."""
    statement = insert_into(connection, labels)
    fresh = statement.excluded
    changes = {name: fresh[name] for name in ("class_id", "votes", "annotation_id", "updated_at")}
    upsert = statement.on_conflict_do_update(
        index_elements=[labels.c.sample_id], set_={**changes, "version": labels.c.version + 1}
    )
    ids = [row["sample_id"] for row in rows]
    counted = sa.select(annotations.c.sample_id, sa.func.count()).where(annotations.c.sample_id.in_(ids))
    of_sample = connection.execute(counted.group_by(annotations.c.sample_id)).all()
    versions = {row[0]: row[1] for row in of_sample}
    connection.execute(
        upsert, [{**row, "version": versions.get(row["sample_id"], 1), "updated_at": now} for row in rows]
    )


def class_id_of(connection: sa.Connection, project_id: int, class_name: str) -> int:
    """Id of the class of today that the name means; InvalidInputError naming the known ones when there is none."""
    return class_meant(connection, project_id, class_name).id


def _sample_row(project_id: int, sample: NewSample, now: datetime) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "external_id": sample.external_id,
        "sha256": sample.sha256,
        "width": sample.width,
        "height": sample.height,
        "format": sample.format,
        "byte_count": sample.byte_count,
        "split": sample.split,
        "state": SampleState.UNLABELLED,
        "metadata": sample.metadata,
        "created_at": now,
        "dissent": 0,
    }


def _unlabelled(project_id: int, split: Split) -> "sa.ColumnElement[bool]":
    return sa.and_(
        samples_table.c.project_id == project_id,
        samples_table.c.split == split,
        samples_table.c.state == SampleState.UNLABELLED,
    )


def _no_sample(sample_id: int) -> NotFoundError:
    return NotFoundError(f"no sample with id {sample_id}", sample=sample_id)


def _shown(text: str) -> str:
    clean = text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")
    return clean.encode("utf-8")[:KEY_BYTES_MAX].decode("utf-8", "ignore")
