"""Projects and their classes in SQL."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from al_service.domain.class_book import ClassBook, KnownClass, plain_name
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import ClassInfo, Project
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.storage.dialect import insert_into, is_postgres, wait_for
from al_service.storage.prepared import Prepared
from al_service.storage.schema import class_aliases, classes, projects

CLASS_NAMES_SHOWN = 20
#: A project with its classes, a row for each. The settings come as their text, which `_config` reads once, not once for
#: every class and every lease.
WITH_CLASSES = (
    sa.select(
        *(column for column in projects.c if column.name != "config"),
        sa.cast(projects.c.config, sa.Text).label("config_text"),
        classes.c.id.label("class_id"),
        classes.c.name.label("class_name"),
        classes.c.position,
    )
    .select_from(projects)
    .outerjoin(classes, (classes.c.project_id == projects.c.id) & classes.c.retired_at.is_(None))
    .order_by(projects.c.id, classes.c.position)
)
# Made once, because every lease needs it. Parameter: wanted.
BY_NAME = Prepared(WITH_CLASSES.where(projects.c.name == sa.bindparam("wanted")))
#: On PostgreSQL, before `BY_NAME`.
LOCK_BY_NAME = Prepared(
    sa.select(projects.c.id).where(projects.c.name == sa.bindparam("wanted")).with_for_update(key_share=True)
)


class SqlProjectRows:
    """As in `loop.project_ports.ProjectRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, name: str, class_names: Sequence[str], config: ProjectConfig, now: datetime) -> Project:
        """Store a new project; ConflictError when the name is taken."""
        values = {"name": name, "config": config.to_json(), "created_at": now}
        statement = (
            insert_into(self._connection, projects).values(values).on_conflict_do_nothing().returning(projects.c.id)
        )
        project_id = self._connection.execute(statement).scalar_one_or_none()
        if project_id is None:
            raise ConflictError(f"there is a project {name!r} already (perhaps archived)", project=name)
        self.add_classes(project_id, class_names)
        return self.get(project_id)

    def find(self, name: str) -> Project | None:
        """The project of that name (archived ones too), or None."""
        return next(iter(projects_from(BY_NAME.rows(self._connection, {"wanted": name}))), None)

    def get(self, project_id: int) -> Project:
        """The project, or NotFoundError."""
        found = projects_from(self._connection.execute(WITH_CLASSES.where(projects.c.id == project_id)))
        if not found:
            raise NotFoundError(f"no project with id {project_id}", project=project_id)
        return found[0]

    def all(self, *, archived: bool = False) -> list[Project]:
        """Projects by name (by code point, on both databases); archived ones only when asked."""
        wanted = WITH_CLASSES if archived else WITH_CLASSES.where(projects.c.archived_at.is_(None))
        return sorted(projects_from(self._connection.execute(wanted)), key=lambda project: project.name)

    def find_locked(self, name: str) -> Project | None:
        """As `find`, read after taking the project's lock, so that nothing in it changes before the commit."""
        if is_postgres(self._connection):
            LOCK_BY_NAME.change_later(self._connection, {"wanted": name})
        return self.find(name)

    def lock(self, project_id: int) -> None:
        """Make others that lock this project wait until this transaction ends (SQLite: all writers already do)."""
        wait_for(self._connection, projects, project_id)

    def add_classes(self, project_id: int, class_names: Sequence[str], *, split_from_id: int | None = None) -> None:
        """Append classes whose name no class has or had, in the given order; positions never change."""
        self.lock(project_id)
        book = self.class_book(project_id)
        fresh = [name for name in dict.fromkeys(map(plain_name, class_names)) if book.named(name) is None]
        if fresh:
            # Classes are never removed, only retired, so their number is the next position.
            rows = [
                {"project_id": project_id, "name": name, "position": at, "split_from_id": split_from_id}
                for at, name in enumerate(fresh, len(book.classes))
            ]
            self._connection.execute(sa.insert(classes), rows)

    def class_book(self, project_id: int) -> ClassBook:
        """Every class that the project has or had, with all names."""
        here = sa.select(classes).where(classes.c.project_id == project_id).order_by(classes.c.position)
        known = [
            KnownClass(row.id, row.name, row.position, row.retired_at, row.merged_into_id, row.split_from_id)
            for row in self._connection.execute(here)
        ]
        names = sa.select(class_aliases.c.name, class_aliases.c.class_id).where(
            class_aliases.c.project_id == project_id
        )
        return ClassBook(tuple(known), {row.name: row.class_id for row in self._connection.execute(names)})

    def set_config(self, project_id: int, config: ProjectConfig) -> None:
        """Replace the settings; running rounds keep their own copy."""
        self._update(project_id, config=config.to_json())

    def set_archived(self, project_id: int, now: datetime | None) -> None:
        """Archive (a time) or bring back (None)."""
        self._update(project_id, archived_at=now)

    def _update(self, project_id: int, **values: object) -> None:
        done = self._connection.execute(sa.update(projects).where(projects.c.id == project_id).values(values))
        if done.rowcount == 0:
            raise NotFoundError(f"no project with id {project_id}", project=project_id)


def projects_from(rows: Iterable[Any]) -> list[Project]:
    """Projects from rows of WITH_CLASSES."""
    heads: dict[int, Any] = {}
    infos: dict[int, list[ClassInfo]] = {}
    for row in rows:
        heads[row.id] = row
        known = infos.setdefault(row.id, [])
        if row.class_id is not None:
            known.append(ClassInfo(row.class_id, row.class_name, row.position))
    return [
        Project(
            id=row.id,
            name=row.name,
            classes=tuple(infos[row.id]),
            config=_config(row.config_text),
            created_at=row.created_at,
            archived_at=row.archived_at,
        )
        for row in heads.values()
    ]


@lru_cache(maxsize=256)
def _config(text: str) -> ProjectConfig:
    """Settings from their stored text; they are read at every lease and hardly ever changed."""
    return ProjectConfig.from_json(json.loads(text))


def class_ids(connection: sa.Connection, project_id: int) -> dict[str, int]:
    """Name -> id of the classes of today, in position order."""
    here = (classes.c.project_id == project_id) & classes.c.retired_at.is_(None)
    statement = sa.select(classes.c.name, classes.c.id).where(here).order_by(classes.c.position)
    return {row.name: row.id for row in connection.execute(statement)}


def class_meant(connection: sa.Connection, project_id: int, class_name: str) -> KnownClass:
    """The class of today that the name means; InvalidInputError naming the known ones when there is none."""
    book = SqlProjectRows(connection).class_book(project_id)
    found = book.meant(class_name)
    if found is None:
        raise unknown_class(class_name, [info.name for info in book.active])
    return found


def unknown_class(class_name: str, known: Sequence[str]) -> InvalidInputError:
    """The error for a label whose class the project does not have; names those that are known here."""
    shown = ", ".join(known[:CLASS_NAMES_SHOWN]) + (
        f" and {len(known) - CLASS_NAMES_SHOWN} more" if len(known) > CLASS_NAMES_SHOWN else ""
    )
    return InvalidInputError(
        f"{class_name!r} is not a class of the project" + (f"; classes: {shown}" if shown else ""),
        class_name=class_name,
    )
