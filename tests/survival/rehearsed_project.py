"""One project under way in a running service: people label over HTTP all the time while a test looks and strikes.

Rows are read straight from the database file; changes go through the doors that people and programs use.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import requests

from al_service.domain.states import QUEUE_OF_JOB, JobKind, Role
from al_service.rehearsal.labelers import Behaviour, SimulatedLabeler, Truth, start_crowd
from tests.survival.freezing import frozen
from tests.survival.running_service import PATIENCE_S, RunningService

#: A round starts after every few labels, while most of its batch is still with the people: they go on during a crash.
LOOP = {"labels_per_round": 40, "trigger_labels": 10, "epochs_max": 16}
#: Often enough to meet a stage of some ten milliseconds, and the moment before it.
GLANCE_S, BLINK_S = 0.004, 0.001
#: A reply that has left the server is with its reader after this.
ON_ITS_WAY_S = 0.2
ENGINEER = "ada"


@dataclass(frozen=True)
class CaughtJob:
    """A job that runs in a worker that stands still, or waits while that worker cannot take it."""

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
    def caught(self, kind: str) -> Iterator[CaughtJob]:
        """A worker stands still in the middle of a job of that kind.

        A stage that was over before the worker stood still is tried again with the next round, until one was caught;
        so is a worker that holds the database's lock, because nobody else could do anything then.
        """
        while True:
            job = self.service.wait_for(lambda: self._running_job(kind), f"a {kind} job runs", every_s=GLANCE_S)
            pid = int(job["worker"].rsplit("-", 2)[1])
            with frozen(pid):
                if _is_same(job, self._running_job(kind)) and self.service.can_be_written():
                    yield CaughtJob(job["id"], job["attempt"], job["number"] or 0, pid)
                    return

    @contextmanager
    def caught_waiting(self, kind: str) -> Iterator[CaughtJob]:
        """The one worker stands still and has not taken a job of that kind, whose message waits at the broker.

        Train jobs are rung by the scheduler, so the worker stands still before; a worker rings for the stages after
        it by itself and takes them at once, so those are tried with each round until one was caught.
        """
        pid = self.service.pid("worker-1")
        while True:
            look = self._is_idle if kind == "train" else partial(self._waiting_job, kind)
            self.service.wait_for(look, f"a moment before a {kind} job begins", every_s=BLINK_S)
            with frozen(pid):
                if not look() or not self.service.can_be_written():
                    continue
                if kind == "train":
                    self.service.wait_for(lambda: self._message(kind), f"a {kind} job waits at the broker")
                if (job := self._message(kind)) is not None:
                    yield CaughtJob(job["id"], job["attempt"], job["number"], pid)
                    return

    @contextmanager
    def caught_before_reply(self) -> Iterator[int]:
        """The gunicorn worker stands still after an answer was committed and before its sender heard of it."""
        while True:
            before = self.stored_count()
            self.service.wait_for(lambda before=before: self.stored_count() > before, "an answer", every_s=BLINK_S)
            pid = self.service.web_child()
            with frozen(pid):
                time.sleep(ON_ITS_WAY_S)
                if self.stored_count() > sum(len(person.tally.acknowledged) for person in self.people):
                    yield pid
                    return

    def stored_count(self) -> int:
        """Answers of people that are in the log."""
        answers = "SELECT count(*) AS n FROM annotations WHERE project_id = ? AND NOT is_import"
        return int(self.one(answers, self.id)["n"])

    def _running_job(self, kind: str) -> sqlite3.Row | None:
        """A job of that kind that has done a part of its work: cold starts have none."""
        self.last_round()
        some_work = {
            "train": "rounds.label_count > 0 AND jobs.progress_done > 0",
            "ingest": "EXISTS (SELECT 1 FROM samples WHERE samples.project_id = jobs.project_id)",
        }.get(kind, "rounds.label_count > 0")
        return self._job(kind, f"jobs.state = 'running' AND {some_work}")

    def _is_idle(self) -> bool:
        """True when people have work and the worker has none."""
        active = "SELECT 1 FROM jobs WHERE project_id = ? AND state IN ('queued', 'running')"
        return self.last_round()["state"] == "annotating" and not self.rows(active, self.id)

    def _waiting_job(self, kind: str) -> sqlite3.Row | None:
        self.last_round()
        return self._job(kind, "jobs.state = 'queued' AND rounds.label_count > 0")

    def _message(self, kind: str) -> sqlite3.Row | None:
        """The waiting job of that kind if its message is in the broker's queue."""
        if (job := self._waiting_job(kind)) is None:
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


def _is_same(job: sqlite3.Row, now: sqlite3.Row | None) -> bool:
    return now is not None and (job["id"], job["attempt"]) == (now["id"], now["attempt"])


def engineers_token(service: RunningService) -> str:
    """A fresh token of the one engineer."""
    accounts = service.services.accounts
    accounts.ensure_user(ENGINEER, Role.ENGINEER)
    return accounts.create_token(ENGINEER)[1]
