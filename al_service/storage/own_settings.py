"""What people have set for themselves, in SQL."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from al_service.storage.dialect import insert_into
from al_service.storage.schema import user_settings


class SqlOwnSettingRows:
    """As in `loop.project_ports.OwnSettingRows`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def get(self, user_id: int) -> dict[str, Any]:
        """What this person has set; empty when nothing."""
        statement = sa.select(user_settings.c.settings).where(user_settings.c.user_id == user_id)
        found: dict[str, Any] | None = self._connection.execute(statement).scalar_one_or_none()
        return found or {}

    def put(self, user_id: int, values: dict[str, Any], now: datetime) -> None:
        """Replace it."""
        insert = insert_into(self._connection, user_settings).values(user_id=user_id, settings=values, updated_at=now)
        changed = {"settings": insert.excluded.settings, "updated_at": insert.excluded.updated_at}
        self._connection.execute(insert.on_conflict_do_update(index_elements=["user_id"], set_=changed))
