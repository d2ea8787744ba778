"""Simulated people who label over HTTP: sign in, lease, look at the image, answer, wait when there is no work.

They know the truth by the image's bytes, not by any id, so they work through exactly the doors that people use. Used by
`al demo`, by the tests that kill processes, and by the load benchmark.
"""

import hashlib
import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from al_service.errors import InvalidInputError, UnavailableError
from al_service.ingest.rows import SourceRow
from al_service.ingest.sources import open_source

log = logging.getLogger(__name__)
TIMEOUT_S = 30.0
RETRY_S = 0.5


@dataclass(frozen=True)
class Truth:
    """What the simulated people know: content hash -> class name."""

    class_of_hash: Mapping[str, str]
    class_names: tuple[str, ...]


def read_truth(location: str, scratch: Path) -> Truth:
    """Read every labelled image of a source and note its class under its content hash.

    Raises:
        InvalidSourceError: it cannot be opened.
        InvalidInputError: it brings no labels, so nobody could answer.
    """
    known: dict[str, str] = {}
    scratch.mkdir(parents=True, exist_ok=True)
    with open_source(location, labels="auto", scratch=scratch) as source:
        for row in source:
            if isinstance(row, SourceRow) and row.label is not None:
                try:
                    known[hashlib.sha256(row.read()).hexdigest()] = row.label
                except InvalidInputError as error:
                    log.debug("%s: %s", row.external_id, error)
        class_names = source.classes
    if not known:
        raise InvalidInputError(
            f"{location} brings no labels; the demo's simulated labelers need them: use class folders (class/file.jpg)"
        )
    return Truth(known, class_names)


@dataclass
class Behaviour:
    """How a simulated person works.

    Attributes:
        error_rate: share of answers that name a wrong class, in [0, 1].
        think_s: mean seconds per image (exponential); 0 = as fast as the server.
        count: samples held at a time.
    """

    error_rate: float = 0.0
    think_s: float = 0.05
    count: int = 4
    seed: int = 0


@dataclass
class Tally:
    """What one person did; `acknowledged` maps client_key -> (sample_id, class_name) of every 2xx answer."""

    acknowledged: dict[str, tuple[int, str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


class SimulatedLabeler:
    """One person with a session of their own. `run` blocks until `stop` is set; nothing it meets ends it."""

    def __init__(self, url: str, project: str, name: str, password: str, truth: Truth, behaviour: Behaviour) -> None:
        self._api = f"{url}/api/v1"
        self._url = url
        self._project = project
        self._name = name
        self._password = password
        self._truth = truth
        self._behaviour = behaviour
        # Simulated mistakes and pauses, not secrets.
        self._random = random.Random(f"{behaviour.seed}/{name}")  # noqa: S311
        self._http = requests.Session()
        self.tally = Tally()

    def run(self, stop: threading.Event) -> None:
        """Label until told to stop; a server that does not answer is tried again like a person would."""
        while not stop.is_set():
            try:
                self._sign_in()
                while not stop.is_set():
                    self._one_batch(stop)
            except (requests.RequestException, UnavailableError) as error:
                log.debug("%s: %s", self._name, error)
                stop.wait(RETRY_S)

    def _sign_in(self) -> None:
        answer = self._http.post(
            f"{self._api}/session", json={"name": self._name, "password": self._password}, timeout=TIMEOUT_S
        )
        if answer.status_code != 200:
            raise UnavailableError(f"{self._name} cannot sign in: {answer.status_code} {answer.text[:200]}")
        self._http.headers["X-CSRF-Token"] = answer.json()["csrf_token"]

    def _one_batch(self, stop: threading.Event) -> None:
        leased = self._post(f"/projects/{self._project}/assignments", {"count": self._behaviour.count})
        if leased["why_empty"] is not None:
            stop.wait(min(2.0, float(leased["why_empty"]["retry_after_s"])))
            return
        for assignment in leased["assignments"]:
            if stop.is_set():
                return
            self._answer(assignment)

    def _answer(self, assignment: dict[str, Any]) -> None:
        started = time.monotonic()
        class_name = self._look(assignment["sample_id"])
        if self._behaviour.think_s:
            time.sleep(self._random.expovariate(1 / self._behaviour.think_s))
        body: dict[str, Any] = {"client_key": uuid.uuid4().hex, "lead_time": time.monotonic() - started}
        body.update({"class_name": class_name} if class_name else {"flag": True})
        # Sent again under the same key until the server says something: an answer is never lost and never doubled.
        while True:
            try:
                reply = self._http.post(
                    f"{self._api}/assignments/{assignment['id']}/annotation", json=body, timeout=TIMEOUT_S
                )
            except requests.RequestException:
                time.sleep(RETRY_S)
                continue
            if reply.status_code in (200, 201):
                self.tally.acknowledged[body["client_key"]] = (assignment["sample_id"], class_name or "")
                return
            if reply.status_code < 500 and reply.status_code not in (401, 429):
                self.tally.refused.append(f"{reply.status_code} {reply.text[:300]}")
                return
            time.sleep(RETRY_S)
            if reply.status_code == 401:
                self._sign_in()

    def _look(self, sample_id: int) -> str | None:
        image = self._http.get(f"{self._api}/samples/{sample_id}/image", timeout=TIMEOUT_S)
        image.raise_for_status()
        right = self._truth.class_of_hash.get(hashlib.sha256(image.content).hexdigest())
        if right is not None and self._random.random() < self._behaviour.error_rate:
            wrong = [name for name in self._truth.class_names if name != right]
            return self._random.choice(wrong) if wrong else right
        return right

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._http.post(self._api + path, json=body, timeout=TIMEOUT_S)
        if reply.status_code >= 400:
            raise UnavailableError(f"{path}: {reply.status_code} {reply.text[:200]}")
        document: dict[str, Any] = reply.json()
        return document


def start_crowd(labelers: list[SimulatedLabeler], stop: threading.Event) -> list[threading.Thread]:
    """One daemon thread per person."""
    threads = [
        threading.Thread(target=labeler.run, args=(stop,), name=f"labeler-{number}", daemon=True)
        for number, labeler in enumerate(labelers)
    ]
    for thread in threads:
        thread.start()
    return threads
