"""Trainings under way, kept among the artifacts, so that the next attempt goes on where a killed one stopped."""

import json
import logging
from collections.abc import Callable

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

    def first_list(self, name: str, now: Callable[[], list[str]]) -> list[str]:
        """The content hashes that the first attempt had, in its order; at the first attempt those of `now`, kept.

        People label and import while a training is under way, and a state fits only the images it was made with. Where
        the list is damaged, or could not be kept, it is made again, and a state that does not fit is refused later.
        """
        file = f"{self._prefix}{name}.json"
        try:
            return _list_of_text(self._artifacts.get(file))
        except NotFoundError:
            pass
        except (ValueError, RecursionError) as error:
            log.warning("%s is damaged and made again: %s", file, error)
        hashes = now()
        try:
            self._artifacts.put(file, json.dumps(hashes).encode())
        except UnavailableError as error:
            log.warning("the images of a training were not kept: %s", error)
        return hashes

    def clear(self) -> None:
        """Remove them all: the training is over and its result stored."""
        for name in self._artifacts.names(self._prefix):
            self._artifacts.delete(name)

    def _name(self, name: str) -> str:
        return f"{self._prefix}{name}.safetensors"


def _list_of_text(data: bytes) -> list[str]:
    """Raises ValueError or RecursionError for anything else."""
    found = json.loads(data)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"it holds a {type(found).__name__}, expected a list of content hashes")
    return found
