"""The people of a project: what each did lately, how fast, and what the model's suggestions do to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from al_service.domain.pull import Pull, pull_of
from al_service.domain.records import PersonWork
from al_service.errors import InvalidInputError
from al_service.loop.assignments import active_project
from al_service.loop.ports import Store

DAYS_MAX = 3650


@dataclass(frozen=True)
class Team:
    """What a project's people did in the last `days`; pulls by user id, of all time: they need many answers."""

    days: int
    people: tuple[PersonWork, ...]
    pulls: Mapping[int, Pull]


class People:
    """Who works in a project, and how it goes."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def team(self, project_name: str, days: int) -> Team:
        """What each person of the project did in the last `days`.

        Raises:
            NotFoundError: no such project, or it is archived.
            InvalidInputError: days outside 1..3650.
        """
        if not 1 <= days <= DAYS_MAX:
            raise InvalidInputError(f"days={days} is outside 1..{DAYS_MAX}", days=days)
        since = self._clock() - timedelta(days=days)
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            work = tx.people.work(project.id, since)
            counts = tx.queue.suggestion_counts(project.id)
        user_ids = {count.user_id for count in counts}
        pulls = {user_id: pull_of(count for count in counts if count.user_id == user_id) for user_id in user_ids}
        return Team(days, tuple(work), pulls)
