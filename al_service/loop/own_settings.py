"""What a person has set for themselves, the same in every browser: theme and keys. The pages say what it means."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from al_service.loop.ports import Store


class OwnSettings:
    """Read and change."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def get(self, user_id: int) -> dict[str, Any]:
        """What this person has set: any of `theme` and `keys`."""
        with self._store.read() as tx:
            return tx.own_settings.get(user_id)

    def change(self, user_id: int, values: dict[str, Any]) -> dict[str, Any]:
        """Set what is given, keep the rest; all that is set now."""
        with self._store.write() as tx:
            tx.accounts.get_user(user_id)
            # Of two browsers at once the later one's value counts, for each setting by itself.
            merged = {**tx.own_settings.get(user_id), **values}
            tx.own_settings.put(user_id, merged, self._clock())
            return merged
