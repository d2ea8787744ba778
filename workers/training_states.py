"""Trainings under way, kept among the artifacts, so that the next attempt goes on where a killed one stopped."""

import logging

from al_service.errors import NotFoundError, UnavailableError
from al_service.loop.ports import Artifacts

log = logging.getLogger(__name__)


class KeptStates:
    """As in `round_model.TrainingStates`.

    Args:
        artifacts: where they are kept.
        prefix: of their names; of one round or job.
    """

    def __init__(self, artifacts: Artifacts, prefix: str) -> None:
        self._artifacts, self._prefix = artifacts, prefix

    def find(self, name: str) -> bytes | None:
        """The state kept under that name, or None."""
        try:
            return self._artifacts.get(self._name(name))
        except NotFoundError:
            return None

    def keep(self, name: str, state: bytes) -> bool:
        """Replace the state of that name; False where that fails: training goes on, and the state before stays."""
        try:
            self._artifacts.put(self._name(name), state)
        except UnavailableError as error:
            log.warning("the state of a training was not kept: %s", error)
            return False
        return True

    def clear(self) -> None:
        """Remove them all: the training is over and its result stored."""
        for name in self._artifacts.names(self._prefix):
            self._artifacts.delete(name)

    def _name(self, name: str) -> str:
        return f"{self._prefix}{name}.safetensors"
