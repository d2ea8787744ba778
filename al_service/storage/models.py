"""The model registry in SQL: models, and the append-only history of which one was the project's."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.domain.model_kinds import ModelKind, PromotionAction
from al_service.domain.records import ModelRecord, Promotion
from al_service.errors import NotFoundError
from al_service.storage.schema import models, promotions, rounds

_SELECT = sa.select(models, rounds.c.number.label("round_number")).outerjoin(rounds, rounds.c.id == models.c.round_id)


class SqlModelRows:
    """As in `loop.round_ports.ModelRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, model: ModelRecord) -> ModelRecord:
        """Store a model's record (its id and round_number are ignored and made anew)."""
        values = {column.name: getattr(model, column.name) for column in models.c if column.name != "id"}
        values["class_names"] = list(model.class_names)
        statement = sa.insert(models).values(values).returning(models.c.id)
        return self.get(self._connection.execute(statement).scalar_one())

    def get(self, model_id: int) -> ModelRecord:
        """The model, or NotFoundError."""
        found = self._find(models.c.id == model_id)
        if found is None:
            raise NotFoundError(f"no model with id {model_id}", model=model_id)
        return found

    def find_of_round(self, round_id: int) -> ModelRecord | None:
        """The newest model of a round, or None."""
        return self._find(models.c.round_id == round_id)

    def find_by_hash(self, project_id: int, kind: ModelKind, model_hash: str) -> ModelRecord | None:
        """The newest model of that kind with exactly these weights, or None."""
        return self._find(models.c.project_id == project_id, models.c.kind == kind, models.c.model_hash == model_hash)

    def find_newest(self, project_id: int, kind: ModelKind) -> ModelRecord | None:
        """The newest model of that kind, or None."""
        return self._find(models.c.project_id == project_id, models.c.kind == kind)

    def backbones(self, project_id: int, network_name: str, image_px: int) -> list[ModelRecord]:
        """All backbones of that network for images of that side, newest first."""
        statement = _SELECT.where(
            models.c.project_id == project_id,
            models.c.kind == ModelKind.BACKBONE,
            models.c.network_name == network_name,
            models.c.image_px == image_px,
        ).order_by(models.c.id.desc())
        return [_model(row) for row in self._connection.execute(statement)]

    def all(self, project_id: int, *, limit: int = 200) -> list[ModelRecord]:
        """Models, newest first."""
        statement = _SELECT.where(models.c.project_id == project_id).order_by(models.c.id.desc()).limit(limit)
        return [_model(row) for row in self._connection.execute(statement)]

    def add_promotion(
        self, model: ModelRecord, action: PromotionAction, *, user_id: int | None, reason: str, now: datetime
    ) -> Promotion:
        """Append: from now on this is the project's model."""
        values = {
            "project_id": model.project_id,
            "model_id": model.id,
            "action": action,
            "user_id": user_id,
            "reason": reason,
            "at": now,
        }
        row = self._connection.execute(sa.insert(promotions).values(values).returning(promotions)).one()
        return _promotion(row)

    def promotions(self, project_id: int) -> list[Promotion]:
        """The whole history of a project, oldest first."""
        statement = sa.select(promotions).where(promotions.c.project_id == project_id).order_by(promotions.c.id)
        return [_promotion(row) for row in self._connection.execute(statement)]

    def find_promoted(self, project_id: int) -> ModelRecord | None:
        """The project's model, or None while there is none."""
        newest = (
            sa.select(promotions.c.model_id)
            .where(promotions.c.project_id == project_id)
            .order_by(promotions.c.id.desc())
            .limit(1)
        )
        return self._find(models.c.id == newest.scalar_subquery())

    def _find(self, *conditions: "sa.ColumnElement[bool]") -> ModelRecord | None:
        statement = _SELECT.where(*conditions).order_by(models.c.id.desc()).limit(1)
        row = self._connection.execute(statement).one_or_none()
        return None if row is None else _model(row)


def _model(row: "sa.Row[Any]") -> ModelRecord:
    return ModelRecord(
        id=row.id,
        project_id=row.project_id,
        round_id=row.round_id,
        artifact=row.artifact,
        model_hash=row.model_hash,
        data_fingerprint=row.data_fingerprint,
        metrics=row.metrics,
        created_at=row.created_at,
        kind=row.kind,
        name=row.name,
        network_name=row.network_name,
        image_px=row.image_px,
        class_names=tuple(row.class_names),
        byte_count=row.byte_count,
        backbone_id=row.backbone_id,
        round_number=row.round_number,
    )


def _promotion(row: "sa.Row[Any]") -> Promotion:
    return Promotion(
        id=row.id,
        project_id=row.project_id,
        model_id=row.model_id,
        action=row.action,
        user_id=row.user_id,
        reason=row.reason,
        at=row.at,
    )
