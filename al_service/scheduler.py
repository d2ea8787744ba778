"""The scheduler process: looks every half second, and makes true what the database says should be.

Every step is safe to repeat and safe to run twice at once (the database's constraints decide), so any number of
schedulers may run, and one that is killed loses nothing. One project's trouble never stops the others.
"""

import logging
import signal
import threading
from collections.abc import Callable
from functools import partial
from types import FrameType

from al_service.errors import AlServiceError, ConflictError
from al_service.loop.services import Services

log = logging.getLogger(__name__)


class Scheduler:
    """One look at the world per `tick`."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def tick(self) -> int:
        """Expire leases, release and announce jobs, close answered rounds, estimate skills, start due rounds, clear
        away old uploads; how many things were done.
        """
        done = self._safely("expire leases", self._services.assignments.expire)
        done += self._safely("advance the projects", self._advance_all)
        done += self._safely("clear away old uploads", self._services.uploads.sweep)
        # Last, because it may have to wait for a broker that does not answer.
        return done + self._safely("reconcile jobs", self._services.jobs.reconcile)

    def _advance_all(self) -> int:
        projects = self._services.projects.all()
        return sum(self._safely(f"advance {project.name}", partial(self._advance, project.id)) for project in projects)

    def _advance(self, project_id: int) -> int:
        closed = self._services.rounds.close_if_answered(project_id)
        # On its own: rounds go on without skills.
        estimate = partial(self._services.skills.estimate_if_due, project_id)
        self._safely(f"estimate skills in project {project_id}", estimate)
        started = self._services.rounds.start_if_due(project_id)
        return (closed is not None) + (started is not None)

    def _safely(self, what: str, step: Callable[[], int]) -> int:
        try:
            return int(step())
        except ConflictError as error:
            log.debug("%s: another scheduler was faster: %s", what, error)
        except AlServiceError as error:
            log.warning("%s: %s", what, error)
        except Exception:
            # The top of a process that must not die of one project's trouble: logged whole, tried at the next look.
            log.exception("%s: unexpected", what)
        return 0

    def run(self, stop: threading.Event, tick_s: float) -> None:
        """Tick until `stop` is set."""
        while not stop.is_set():
            self.tick()
            stop.wait(tick_s)


def serve(services: Services, tick_s: float) -> int:
    """Run until SIGTERM or SIGINT."""
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    log.info("scheduler looks every %s s", tick_s)
    Scheduler(services).run(stop, tick_s)
    return 0
