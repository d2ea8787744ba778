"""The append-only log of answers in SQL. Nothing here updates or deletes an annotation; triggers would refuse it.

On PostgreSQL ids come from a sequence, which is handed out before the commit. Whoever appends therefore locks the
project first, so that its ids become visible in order and a round's watermark cannot overtake a slower writer.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from al_service.domain.records import Annotation, NewAnnotation
from al_service.domain.states import AnnotationKind, SampleState, Split
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.storage.column_types import ID
from al_service.storage.dialect import chunks, insert_into, is_postgres, wait_for
from al_service.storage.prepared import Prepared
from al_service.storage.projects import SqlProjectRows, class_meant, unknown_class
from al_service.storage.samples import LEARNING_SPLITS, upsert_labels
from al_service.storage.schema import PEOPLES_LABELS, annotations, assignments, classes, is_, projects, samples
from al_service.storage.schema import labels as labels_table

ANSWERS = (AnnotationKind.LABEL, AnnotationKind.SKIP, AnnotationKind.FLAG)


#: Aliases are made once: making one copies every column of the table.
UNDO = annotations.alias("undo")


def is_undone(answer: "sa.FromClause" = annotations) -> "sa.ColumnElement[bool]":
    """True for annotations that another row takes back."""
    return sa.exists().where(UNDO.c.undoes_id == answer.c.id).correlate(answer)


#: The class that an answer named; `classes` in the same statement is what that is today.
NAMED = classes.alias("named")
#: Id of what the class of an answer is today: itself, also when it was split, or what it was merged into.
CLASS_TODAY = sa.func.coalesce(NAMED.c.merged_into_id, NAMED.c.id)
SELECT: "sa.Select[Any]" = (
    sa.select(annotations, classes.c.name.label("class_name"), is_undone().label("is_undone"))
    .select_from(annotations)
    .outerjoin(NAMED, NAMED.c.id == annotations.c.class_id)
    .outerjoin(classes, classes.c.id == CLASS_TODAY)
)
ACTIVE = SELECT.where(is_(annotations.c.kind, *ANSWERS), ~is_undone())
# Made once, because every answer needs them. Parameter of the first: of_sample.
ACTIVE_OF_SAMPLE = ACTIVE.where(annotations.c.sample_id == sa.bindparam("of_sample", type_=ID)).order_by(
    annotations.c.id
)
PREPARED_OF_SAMPLE = Prepared(ACTIVE_OF_SAMPLE)
FILLED = [column.name for column in annotations.c if column.name != "id"]
ADD_ON_SQLITE, ADD_ON_POSTGRES = (
    Prepared(insert(annotations).on_conflict_do_nothing().returning(annotations.c.id), columns=FILLED)
    for insert in (sqlite.insert, postgresql.insert)
)
#: With an id that PostgreSQL's sequence gave before.
ADD_AS = Prepared(postgresql.insert(annotations).on_conflict_do_nothing(), columns=[*FILLED, "id"])


class SqlAnnotationRows:
    """As in `loop.sample_ports.AnnotationRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, annotation: NewAnnotation, now: datetime) -> Annotation:
        """Append. ConflictError when (user, client_key) or undoes_id is there already."""
        wait_for(self._connection, projects, annotation.project_id)
        class_id = None
        if annotation.class_name is not None:
            meant = class_meant(self._connection, annotation.project_id, annotation.class_name)
            class_id, annotation = meant.id, replace(annotation, class_name=meant.name)
        added = self.add_if_new(annotation, class_id, now)
        if added is None:
            raise self._collision(annotation)
        return added

    def add_if_new(self, annotation: NewAnnotation, class_id: int | None, now: datetime) -> Annotation | None:
        """Append; None when (user, client_key) or undoes_id is there already. The caller has locked the project and
        knows the id of the class.
        """
        statement = ADD_ON_POSTGRES if is_postgres(self._connection) else ADD_ON_SQLITE
        row = statement.row(self._connection, _values(annotation, class_id, now))
        return None if row is None else _added(row.id, annotation, now)

    def add_as(self, annotation_id: int, annotation: NewAnnotation, class_id: int | None, now: datetime) -> Annotation:
        """As `add_if_new`, under an id that was kept for it with the knowledge that its key is new (`Asked`)."""
        values = _values(annotation, class_id, now) | {"id": annotation_id}
        ADD_AS.change_later(self._connection, values, missing=partial(_key_was_used, annotation))
        return _added(annotation_id, annotation, now)

    def _collision(self, annotation: NewAnnotation) -> ConflictError:
        known = self.find_by_key(annotation.user_id, annotation.client_key)
        if known is not None:
            return ConflictError(
                f"client_key {annotation.client_key!r} was used for annotation {known.id}", annotation=known.id
            )
        return ConflictError(
            f"annotation {annotation.undoes_id} was taken back already", annotation=annotation.undoes_id
        )

    def add_labels(
        self, project_id: int, user_id: int, labels: Sequence[tuple[int, str]], client_key_prefix: str, now: datetime
    ) -> None:
        """Append one `label` annotation for each (sample_id, class_name) and set the samples' labels.

        Idempotent by client key (prefix + sample id): what is there already, label included, stays as it is. Old names
        mean what their class is today.

        Raises:
            InvalidInputError: a class or a sample that the project does not have; nothing was stored.
        """
        wait_for(self._connection, projects, project_id)
        book = SqlProjectRows(self._connection).class_book(project_id)
        meant = {name: book.meant(name) for _, name in labels}
        known = {name: found.id for name, found in meant.items() if found is not None}
        unknown = next((name for _, name in labels if name not in known), None)
        if unknown is not None:
            raise unknown_class(unknown, [info.name for info in book.active])
        splits = self._splits(project_id, [sample_id for sample_id, _ in labels])
        for part in chunks(labels):
            rows = [
                _import_row(project_id, user_id, sample_id, known[name], client_key_prefix, now)
                for sample_id, name in part
            ]
            self._store_labels(project_id, rows, splits, now)

    def _store_labels(
        self, project_id: int, rows: Sequence[dict[str, Any]], splits: dict[int, Split], now: datetime
    ) -> None:
        statement = insert_into(self._connection, annotations).on_conflict_do_nothing()
        returning = statement.returning(annotations.c.id, annotations.c.sample_id, annotations.c.class_id)
        made = [
            {
                "sample_id": row.sample_id,
                "project_id": project_id,
                "split": splits[row.sample_id],
                "class_id": row.class_id,
                "votes": 1,
                "is_reviewed": False,
                "annotation_id": row.id,
            }
            for row in self._connection.execute(returning, rows)
        ]
        if made:
            upsert_labels(self._connection, made, now)
            ids = [row["sample_id"] for row in made]
            changed = samples.c.id.in_(ids) & (samples.c.state != SampleState.LABELLED)
            self._connection.execute(sa.update(samples).where(changed).values(state=SampleState.LABELLED))

    def _splits(self, project_id: int, sample_ids: Sequence[int]) -> dict[int, Split]:
        found: dict[int, Split] = {}
        for part in chunks(sample_ids):
            statement = sa.select(samples.c.id, samples.c.split).where(
                samples.c.project_id == project_id, samples.c.id.in_(part)
            )
            found.update({row.id: row.split for row in self._connection.execute(statement)})
        missing = next((sample_id for sample_id in sample_ids if sample_id not in found), None)
        if missing is not None:
            raise InvalidInputError(f"sample {missing} is not in project {project_id}", sample=missing)
        return found

    def find_by_key(self, user_id: int, client_key: str) -> Annotation | None:
        """The annotation that this person's client made under that key, or None."""
        statement = SELECT.where(annotations.c.user_id == user_id, annotations.c.client_key == client_key)
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else annotation_from(row)

    def get(self, annotation_id: int) -> Annotation:
        """The annotation, or NotFoundError."""
        row = self._connection.execute(SELECT.where(annotations.c.id == annotation_id)).one_or_none()
        if row is None:
            raise NotFoundError(f"no annotation with id {annotation_id}", annotation=annotation_id)
        return annotation_from(row)

    def active_of_sample(self, sample_id: int) -> list[Annotation]:
        """Answers (label, skip, flag) of a sample that are not undone, oldest first."""
        return [annotation_from(row) for row in PREPARED_OF_SAMPLE.rows(self._connection, {"of_sample": sample_id})]

    def active_of_selection(self, sample_id: int, selection_id: int) -> list[Annotation]:
        """Answers to that selection of the sample that are not undone, oldest first."""
        leases = sa.select(assignments.c.id).where(assignments.c.selection_id == selection_id)
        statement = ACTIVE_OF_SAMPLE.where(annotations.c.assignment_id.in_(leases))
        return [annotation_from(row) for row in self._connection.execute(statement, {"of_sample": sample_id})]

    def with_labels(self, sample_ids: Sequence[int]) -> set[int]:
        """Those of the samples that have an answer with a class that is not undone."""
        statement = ACTIVE.where(is_(annotations.c.kind, AnnotationKind.LABEL))
        found: set[int] = set()
        for part in chunks(sample_ids):
            rows = self._connection.execute(statement.where(annotations.c.sample_id.in_(part)))
            found.update(row.sample_id for row in rows)
        return found

    def latest_flags(self, sample_ids: Sequence[int]) -> dict[int, Annotation]:
        """The newest flag of each of the samples that is not undone; samples without one are left out."""
        statement = ACTIVE.where(is_(annotations.c.kind, AnnotationKind.FLAG)).order_by(annotations.c.id)
        found: dict[int, Annotation] = {}
        for part in chunks(sample_ids):
            for row in self._connection.execute(statement.where(annotations.c.sample_id.in_(part))):
                found[row.sample_id] = annotation_from(row)
        return found

    def recent_of_user(self, project_id: int, user_id: int, limit: int) -> list[Annotation]:
        """This person's answers that are not undone, newest first."""
        mine = (annotations.c.project_id == project_id) & (annotations.c.user_id == user_id)
        statement = ACTIVE.where(mine).order_by(annotations.c.id.desc()).limit(limit)
        return [annotation_from(row) for row in self._connection.execute(statement)]

    def latest_id(self, project_id: int) -> int:
        """Highest annotation id of the project, 0 when there is none: the watermark of a round that starts now."""
        statement = sa.select(sa.func.max(annotations.c.id)).where(annotations.c.project_id == project_id)
        return self._connection.execute(statement).scalar_one() or 0

    def new_label_count(self, project_id: int, watermark: int) -> int:
        """Labelled pool and train samples whose label changed after that watermark."""
        statement = sa.select(sa.func.count()).where(
            labels_table.c.project_id == project_id,
            labels_table.c.annotation_id > watermark,
            is_(labels_table.c.split, *LEARNING_SPLITS),
        )
        return self._connection.execute(statement).scalar_one()

    def labels_since(self, project_id: int, since: datetime) -> int:
        """Label annotations by people (not imports) since then, for labels per minute."""
        statement = sa.select(sa.func.count()).where(
            annotations.c.project_id == project_id,
            annotations.c.created_at >= since,
            sa.text(PEOPLES_LABELS),
        )
        return self._connection.execute(statement).scalar_one()


def _key_was_used(annotation: NewAnnotation) -> ConflictError:
    return ConflictError(f"client_key {annotation.client_key!r} was used for another answer a moment ago")


def _values(annotation: NewAnnotation, class_id: int | None, now: datetime) -> dict[str, Any]:
    """The columns of a new row, without its id."""
    _check_kind(annotation, class_id)
    values = {**_fields(annotation), "class_id": class_id, "is_import": False, "created_at": now}
    del values["class_name"]
    return values


def _added(annotation_id: int, annotation: NewAnnotation, now: datetime) -> Annotation:
    return Annotation(id=annotation_id, is_undone=False, created_at=now.astimezone(UTC), **_fields(annotation))


def _fields(annotation: NewAnnotation) -> dict[str, Any]:
    return {name: getattr(annotation, name) for name in NewAnnotation.__dataclass_fields__}


def _check_kind(annotation: NewAnnotation, class_id: int | None) -> None:
    if (annotation.class_name is None) != (class_id is None):
        raise InvalidInputError(f"class {annotation.class_name!r} does not go with class_id={class_id}")
    if annotation.kind is AnnotationKind.LABEL and class_id is None:
        raise InvalidInputError("an annotation of kind label needs a class name")
    if (annotation.kind is AnnotationKind.UNDO) != (annotation.undoes_id is not None):
        raise InvalidInputError(
            f"an annotation of kind {annotation.kind} does not go with undoes_id={annotation.undoes_id}"
        )


def _import_row(
    project_id: int, user_id: int, sample_id: int, class_id: int, prefix: str, now: datetime
) -> dict[str, Any]:
    return {
        "project_id": project_id,
        "sample_id": sample_id,
        "user_id": user_id,
        "kind": AnnotationKind.LABEL,
        "class_id": class_id,
        "client_key": f"{prefix}{sample_id}",
        "is_extra_vote": False,
        "is_import": True,
        "is_review": False,
        "saw_suggestion": False,
        "created_at": now,
    }


def annotation_from(row: "sa.Row[Any]") -> Annotation:
    """An annotation from a row of SELECT."""
    return Annotation(
        id=row.id,
        project_id=row.project_id,
        sample_id=row.sample_id,
        user_id=row.user_id,
        assignment_id=row.assignment_id,
        kind=row.kind,
        class_name=row.class_name,
        client_key=row.client_key,
        lead_time_s=row.lead_time_s,
        model_version=row.model_version,
        is_extra_vote=row.is_extra_vote,
        undoes_id=row.undoes_id,
        is_undone=bool(row.is_undone),
        created_at=row.created_at,
        is_review=row.is_review,
        saw_suggestion=row.saw_suggestion,
    )
