"""Votes that several people gave, classes that are known for sure, and people's skills, in SQL.

Only the newest answers of a project are read, however many there are: `recent` bounds the cost.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.annotator_skill import Skill, skill_from_json, skill_to_json
from al_service.domain.states import AnnotationKind
from al_service.storage.annotations import CLASS_TODAY, NAMED, is_undone
from al_service.storage.schema import annotations, annotator_skills, classes, gold, is_


class SqlSkillRows:
    """As in `loop.queue_ports.SkillRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def votes(self, project_id: int, recent: int) -> list[tuple[int, int, int]]:
        """(sample_id, user_id, class_id) of samples with two people's labels or with a known class, oldest first."""
        labels = _labels(project_id, recent)
        mine = labels.where(~sa.column("is_review"), ~sa.column("is_import")).subquery("mine")
        nth = sa.func.row_number().over(partition_by=(mine.c.sample_id, mine.c.user_id), order_by=mine.c.id.desc())
        ranked = sa.select(mine, nth.label("nth")).subquery("ranked")
        latest = ranked.c.nth == 1
        people = sa.func.count().over(partition_by=ranked.c.sample_id).label("people")
        votes = sa.select(ranked, people).where(latest).subquery("votes")
        judged = labels.where(sa.column("is_review")).subquery("judged")
        is_known = votes.c.sample_id.in_(sa.select(gold.c.sample_id).where(gold.c.project_id == project_id))
        is_judged = votes.c.sample_id.in_(sa.select(judged.c.sample_id))
        statement = (
            sa.select(votes.c.sample_id, votes.c.user_id, votes.c.class_id)
            .where((votes.c.people > 1) | is_known | is_judged)
            .order_by(votes.c.id)
        )
        return [(row.sample_id, row.user_id, row.class_id) for row in self._connection.execute(statement)]

    def known(self, project_id: int, recent: int) -> dict[int, int]:
        """sample_id -> class_id of what reviewers judged, and of gold, which counts more."""
        judged = _labels(project_id, recent).where(sa.column("is_review")).subquery("judged")
        verdicts = sa.select(judged.c.sample_id, judged.c.class_id).order_by(judged.c.id)
        found = {row.sample_id: row.class_id for row in self._connection.execute(verdicts)}
        statement = (
            sa.select(gold.c.sample_id, gold.c.class_id)
            .join(classes, classes.c.id == gold.c.class_id)
            .where(gold.c.project_id == project_id, classes.c.retired_at.is_(None))
        )
        found.update({row.sample_id: row.class_id for row in self._connection.execute(statement)})
        return found

    def all(self, project_id: int) -> dict[int, Skill]:
        """Skills by user_id."""
        statement = sa.select(annotator_skills.c.user_id, annotator_skills.c.skill).where(
            annotator_skills.c.project_id == project_id
        )
        return {row.user_id: skill_from_json(row.skill) for row in self._connection.execute(statement)}

    def updated_at(self, project_id: int) -> datetime | None:
        """When the skills were stored; None while there are none."""
        statement = sa.select(sa.func.max(annotator_skills.c.updated_at)).where(
            annotator_skills.c.project_id == project_id
        )
        found: datetime | None = self._connection.execute(statement).scalar_one()
        return found

    def replace(self, project_id: int, skills: Mapping[int, Skill], now: datetime) -> None:
        """These are the project's skills now, and no others. The caller has locked the project."""
        here = annotator_skills.c.project_id == project_id
        self._connection.execute(sa.delete(annotator_skills).where(here))
        rows = [
            {"project_id": project_id, "user_id": user_id, "skill": skill_to_json(skill), "updated_at": now}
            for user_id, skill in sorted(skills.items())
        ]
        if rows:
            self._connection.execute(sa.insert(annotator_skills), rows)


def _labels(project_id: int, recent: int) -> "sa.Select[Any]":
    """Labels among the newest answers that are not undone, each with the class that it means today."""
    newest = (
        sa.select(annotations)
        .where(annotations.c.project_id == project_id)
        .order_by(annotations.c.id.desc())
        .limit(recent)
        .subquery("newest")
    )
    return (
        sa.select(
            newest.c.id,
            newest.c.sample_id,
            newest.c.user_id,
            newest.c.is_review,
            newest.c.is_import,
            classes.c.id.label("class_id"),
        )
        .select_from(newest.join(NAMED, NAMED.c.id == newest.c.class_id).join(classes, classes.c.id == CLASS_TODAY))
        # A class that was split means nothing any more: nobody knows which of its parts an answer meant.
        .where(is_(newest.c.kind, AnnotationKind.LABEL), ~is_undone(newest), classes.c.retired_at.is_(None))
    )
