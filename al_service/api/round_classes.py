"""The class names a round had, for the words of a reason: they never change once the round exists, so they are kept."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from al_service.loop.ports import Store

ROUNDS_KEPT = 256


class RoundClasses:
    """round id -> class names in class_index order. Thread-safe; one per installed API."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[int, tuple[str, ...]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, round_ids: Iterable[int]) -> dict[int, tuple[str, ...]]:
        """Names for each of these rounds; unknown ones are read in one transaction."""
        wanted = set(round_ids)
        with self._lock:
            found = {round_id: self._known[round_id] for round_id in wanted if round_id in self._known}
        missing = wanted - set(found)
        if missing:
            with self._store.read() as tx:
                fresh = {round_id: tx.rounds.get(round_id).class_names for round_id in sorted(missing)}
            found.update(fresh)
            self._keep(fresh)
        return found

    def _keep(self, fresh: dict[int, tuple[str, ...]]) -> None:
        with self._lock:
            self._known.update(fresh)
            while len(self._known) > ROUNDS_KEPT:
                self._known.popitem(last=False)
