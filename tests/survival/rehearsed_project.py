"""One project under way in a running service: people label over HTTP all the time while a test looks and strikes.

Rows are read straight from the database file; changes go through the doors that people and programs use.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from al_service.domain.states import QUEUE_OF_JOB, JobKind, Role
from al_service.rehearsal.labelers import Behaviour, SimulatedLabeler, Truth, start_crowd
from tests.survival.freezing import frozen
from tests.survival.running_service import PATIENCE_S, RunningService

#: A round starts after every few labels, while most of its batch is still with the people: they go on during a crash.
LOOP = {"labels_per_round": 40, "trigger_labels": 10, "epochs_max": 25}
#: Often enough to meet a stage of a few milliseconds.
GLANCE_S = 0.001
ENGINEER = "ada"


@dataclass(frozen=True)
class CaughtJob:
    """A job whose worker stands still: it runs there, or waits at the broker while that worker cannot take it."""

    id: int
    attempt: int
    round_number: int
    worker_pid: int


class RehearsedProject:
    """A project with its people, who come and go (`at_work`); what was acknowledged to them adds up.

    Args:
        images: class folders; only the evaluation samples are imported with their labels.
        settings: of the project, besides LOOP.
        people: how many; each thinks `think_s` seconds in the mean.
    """

    def __init__(
        self,
        service: RunningService,
        name: str,
        images: Path,
        truth: Truth,
        settings: dict[str, Any] | None = None,
        *,
        people: int = 4,
        think_s: float = 0.6,
    ) -> None:
        self.service, self.name, self.images = service, name, images
        #: True once everything up to now was shown to be in order.
        self.is_proven = False
        self._http = requests.Session()
        self._http.headers["Authorization"] = f"Bearer {engineers_token(service)}"
        body = {"name": name, "classes": list(truth.class_names), "settings": LOOP | (settings or {})}
        assert self.call("POST", "/projects", json=body).status_code == 201
        self.id = int(self.one("SELECT id FROM projects WHERE name = ?", name)["id"])
        self.people = [self._person(number, truth, think_s) for number in range(1, people + 1)]

    def _person(self, number: int, truth: Truth, think_s: float) -> SimulatedLabeler:
        name, password = f"labeler-{number}", f"the password of {number}"
        self.service.services.accounts.ensure_user(name, Role.LABELER, password)
        behaviour = Behaviour(think_s=think_s, count=2, seed=number)
        return SimulatedLabeler(self.service.url, self.name, name, password, truth, behaviour)

    # -- what people and programs do -----------------------------------------------------------------------------

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        """Ask the API as the engineer."""
        return self._http.request(method, f"{self.service.url}/api/v1{path}", timeout=PATIENCE_S, **more)

    def import_images(self) -> int:
        """Queue the import; its job id."""
        body = {"location": str(self.images), "use_labels": "evaluation"}
        answer = self.call("POST", f"/projects/{self.name}/imports", json=body)
        assert answer.status_code == 202, answer.text
        return int(answer.json()["job"]["id"])

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """People label for the block; when it ends well, each has had the answer to all that was sent."""
        stop = threading.Event()
        threads = start_crowd(self.people, stop)
        try:
            yield
        finally:
            stop.set()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive(), f"{thread.name} never got an answer\n{self.service.last_words()}"

    def put_away(self) -> None:
        """End the loop, so that the worker is free for the next project."""
        for row in self.rows("SELECT max(number) AS number FROM rounds WHERE project_id = ?", self.id):
            self.call("POST", f"/projects/{self.name}/rounds/{row['number'] or 0}/cancel")
        assert self.call("DELETE", f"/projects/{self.name}").status_code == 204
        self._http.close()

    # -- looking -------------------------------------------------------------------------------------------------

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """As in `RunningService.rows`."""
        return self.service.rows(sql, *values)

    def one(self, sql: str, *values: Any) -> sqlite3.Row:
        """The only row."""
        (row,) = self.rows(sql, *values)
        return row

    def last_round(self) -> sqlite3.Row:
        """The round with the highest number, or one of number 0."""
        newest = "SELECT id, number, state, stage, error FROM rounds WHERE project_id = ? ORDER BY number DESC LIMIT 1"
        found = self.rows(newest, self.id) or self.rows("SELECT 0 id, 0 number, '' state, '' stage, '' error")
        assert found[0]["state"] not in ("failed", "cancelled"), f"{dict(found[0])}\n{self.service.last_words()}"
        return found[0]

    def unlabelled(self) -> int:
        """Samples that can still be asked."""
        pool = "project_id = ? AND split = 'pool' AND state = 'unlabelled'"
        return int(self.one(f"SELECT count(*) AS n FROM samples WHERE {pool}", self.id)["n"])

    def run_on(self, number: int) -> None:
        """Wait until that round is closed and the loop has gone all the way round once more."""

        def look() -> bool:
            last = self.last_round()
            return int(last["number"]) > max(1, number) and last["state"] in ("annotating", "closed")

        self.service.wait_for(look, f"round {number} of {self.name} is closed and the next one asks people")

    # -- striking ------------------------------------------------------------------------------------------------

    @contextmanager
    def caught(self, kind: str, *, waiting: bool = False) -> Iterator[CaughtJob]:
        """The worker stands still in the middle of a job of that kind, or (waiting) before it could take it.

        A stage that was over before the worker stood still is tried again with the next round, until one was caught.
        """
        while True:
            worker_pid = self.service.pid("worker-1")
            look = self._waiting_job if waiting else self._running_job
            job = self.service.wait_for(lambda look=look: look(kind), f"a {kind} job comes", every_s=GLANCE_S)
            with frozen(worker_pid):
                after = look(kind)
                if after is not None and (after["id"], after["attempt"]) == (job["id"], job["attempt"]):
                    assert waiting or int(job["worker"].rsplit("-", 2)[1]) == worker_pid
                    yield CaughtJob(job["id"], job["attempt"], job["number"] or 0, worker_pid)
                    return

    def _running_job(self, kind: str) -> sqlite3.Row | None:
        """A job of that kind that has done a part of its work: cold starts have none."""
        self.last_round()
        some_work = {
            "train": "jobs.progress_text = 'training' AND jobs.progress_done > 0",
            "ingest": "EXISTS (SELECT 1 FROM samples WHERE samples.project_id = jobs.project_id)",
        }.get(kind, "rounds.label_count > 0")
        return self._job(kind, f"jobs.state = 'running' AND {some_work}")

    def _waiting_job(self, kind: str) -> sqlite3.Row | None:
        """A job of that kind whose message waits in the broker's queue."""
        self.last_round()
        job = self._job(kind, f"jobs.state = 'queued' AND (rounds.label_count > 0 OR jobs.kind = '{JobKind.INGEST}')")
        if job is None:
            return None
        with self.service.broker() as client:
            queue = f"rq:queue:{QUEUE_OF_JOB[JobKind(kind)]}"
            return job if client.lpos(queue, f"al-{job['id']}-{job['attempt']}") is not None else None

    def _job(self, kind: str, condition: str) -> sqlite3.Row | None:
        wanted = "jobs.project_id = ? AND jobs.kind = ?"
        columns = "jobs.id, jobs.attempt, jobs.worker, rounds.number"
        joined = "jobs LEFT JOIN rounds ON rounds.id = jobs.round_id"
        found = self.rows(f"SELECT {columns} FROM {joined} WHERE {wanted} AND {condition}", self.id, kind)
        return found[0] if found else None


def engineers_token(service: RunningService) -> str:
    """A fresh token of the one engineer."""
    accounts = service.services.accounts
    accounts.ensure_user(ENGINEER, Role.ENGINEER)
    return accounts.create_token(ENGINEER)[1]
