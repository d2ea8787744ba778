"""Rounds as lists show them, kept while they do not change: to read one is to parse the metrics of all its classes."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping

from al_service import __version__
from al_service.api.loop_answers import RoundFields
from al_service.api.shapes import round_fields
from al_service.domain.progress import Progress
from al_service.loop.ports import Transaction

ROUNDS_KEPT = 4096
#: From so many rounds on, reading all of a project's at once is quicker than one by one.
MANY = 8


class RoundCards:
    """round id -> its fields in a list, without progress. Thread-safe; one per installed API."""

    def __init__(self) -> None:
        self._known: OrderedDict[int, tuple[str, RoundFields]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, tx: Transaction, project_id: int, versions: Mapping[int, str]) -> dict[int, RoundFields]:
        """Fields of each of these rounds of the project; only those whose version is new are read.

        Args:
            versions: as `tx.rounds.versions` gave them in the same transaction.
        """
        with self._lock:
            known = {round_id: self._known[round_id] for round_id in versions if round_id in self._known}
        found = {round_id: card for round_id, (version, card) in known.items() if versions[round_id] == version}
        missing = [round_id for round_id in versions if round_id not in found]
        # One more: the open round may be newer than these.
        all_rounds = tx.rounds.all(project_id, limit=len(versions) + 1) if len(missing) > MANY else None
        records = all_rounds if all_rounds is not None else [tx.rounds.get(round_id) for round_id in missing]
        fresh = {record.id: round_fields(record, None) for record in records if record.id in missing}
        self._keep(versions, fresh)
        return found | fresh

    def _keep(self, versions: Mapping[int, str], fresh: Mapping[int, RoundFields]) -> None:
        with self._lock:
            for round_id, card in fresh.items():
                self._known[round_id] = (versions[round_id], card)
                self._known.move_to_end(round_id)
            while len(self._known) > ROUNDS_KEPT:
                self._known.popitem(last=False)


def list_etag(versions: Mapping[int, str], progress: Progress | None) -> str:
    """The tag of a list of rounds, from their versions and the open one's progress, without making the list."""
    return hashlib.sha256(repr((__version__, list(versions.items()), progress)).encode()).hexdigest()[:32]
