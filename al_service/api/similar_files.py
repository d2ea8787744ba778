"""The similar images that select jobs stored, read once and kept for a while: people ask for one after the other."""

import json
import threading
from collections import OrderedDict

from al_service.loop.ports import Artifacts

FILES_KEPT = 4

#: (sample id, distance) of the nearest images by sample id, the nearest first.
Similar = dict[int, list[tuple[int, float]]]


class SimilarFiles:
    """artifact name -> its content. Thread-safe; one per installed API.

    A file holds 20 pairs for each sample of a batch and its reserve: 60 KB for 200 of them.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts
        self._known: OrderedDict[str, Similar] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, name: str) -> Similar:
        """The content of that file; NotFoundError where it has gone."""
        with self._lock:
            if name in self._known:
                self._known.move_to_end(name)
                return self._known[name]
        stored = json.loads(self._artifacts.get(name))
        found = {
            int(own): [(int(other), float(distance)) for other, distance in pairs] for own, pairs in stored.items()
        }
        with self._lock:
            self._known[name] = found
            while len(self._known) > FILES_KEPT:
                self._known.popitem(last=False)
        return found
