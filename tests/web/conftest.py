"""A real service in a folder: SQLite store, files, inline queue, JSON API. The clock and the people are made up.

`world` makes projects, rounds and people; `world.api(role)` asks over HTTP and checks every answer against the model
that its route declares.
"""

import hashlib
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from PIL import Image
from pydantic import BaseModel
from werkzeug.test import TestResponse

from al_service.api.answers import ErrorAnswer
from al_service.api.install import all_routes, install
from al_service.domain.records import Chosen, NewSample, Round
from al_service.domain.states import Role, Split, Stage
from al_service.job_queue.inline_queue import InlineQueue
from al_service.loop.ports import image_name
from al_service.loop.rounds import StageResult
from al_service.loop.services import Services, assemble
from al_service.settings import Settings
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.store import SqlStore

PREFIX = "/api/v1"
PASSWORD = "correct horse battery"
ROUTES = list(all_routes())


@dataclass
class Clock:
    """The time, moved by hand."""

    now: datetime = field(default_factory=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Api:
    """HTTP as one caller; every answer under the prefix is checked against what its route declares."""

    def __init__(self, app: Flask, token: str | None = None) -> None:
        self.client = app.test_client()
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __call__(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more: Any) -> TestResponse:
        response = self.client.open(PREFIX + path, method=method, headers={**self.headers, **(headers or {})}, **more)
        check_answer(method, path, response)
        return response

    def get(self, path: str, **more: Any) -> TestResponse:
        return self("GET", path, **more)

    def post(self, path: str, json: Any = None, **more: Any) -> TestResponse:
        return self("POST", path, **({"json": json} if json is not None else {}), **more)

    def put(self, path: str, json: Any, **more: Any) -> TestResponse:
        return self("PUT", path, json=json, **more)

    def patch(self, path: str, json: Any, **more: Any) -> TestResponse:
        return self("PATCH", path, json=json, **more)

    def delete(self, path: str, **more: Any) -> TestResponse:
        return self("DELETE", path, **more)


def check_answer(method: str, path: str, response: TestResponse) -> None:
    """Fail unless the body is what the route table declares for this status."""
    if response.status_code >= 400:
        ErrorAnswer.model_validate_json(response.data)
        return
    if response.status_code == 304:
        assert response.data == b""
        return
    plain = path.partition("?")[0]
    rows = [route for route in ROUTES if route.method == method and path_pattern(route.path).fullmatch(plain)]
    assert rows, f"{method} {path} is in no row of the table"
    # A fixed word goes before an argument: /assignments/release is not /assignments/<id>.
    model = min(rows, key=lambda route: route.path.count("<")).answers[response.status_code]
    if model is None:
        assert response.data == b""
    elif issubclass(model, BaseModel):
        model.model_validate_json(response.data)


def path_pattern(path: str) -> re.Pattern[str]:
    """A pattern of concrete paths from a Flask rule."""
    return re.compile(re.sub(r"<int:\w+>", r"\\d+", re.sub(r"<(?!int:)\w+>", "[^/]+", path)))


class World:
    """One service and shortcuts to bring it into a state."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.clock = Clock()
        self.store = SqlStore(f"sqlite:///{database}")
        self.queue = InlineQueue(lambda job: None)
        self.artifacts = FileArtifacts(folder / "artifacts")
        self.services: Services = assemble(self.store, self.queue, self.artifacts, self.clock, lease_ttl_s=300.0)
        self.settings = Settings(data_dir=folder, secret_key="only for tests")
        self.app = Flask("world")
        install(self.app, self.services, self.settings)

    def token(self, role: Role | str, name: str | None = None) -> str:
        """A token of a person with that role, made when new."""
        user = self.services.accounts.ensure_user(name or f"the-{Role(role)}", Role(role))
        return self.services.accounts.create_token(user.name)[1]

    def api(self, role: Role | str | None, name: str | None = None) -> Api:
        """HTTP as that person; None: nobody."""
        return Api(self.app, None if role is None else self.token(role, name))

    def browser(self, role: Role | str, name: str = "mia") -> tuple[Api, str]:
        """HTTP with a session cookie, and its CSRF token."""
        self.services.accounts.ensure_user(name, Role(role), PASSWORD)
        api = Api(self.app)
        answer = api.post("/session", {"name": name, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return api, answer.json["csrf_token"]

    def project(self, name: str = "birds", *, count: int = 6, evaluation: int = 0, **settings: Any) -> list[int]:
        """A project with real images; the sample ids, evaluation ones last."""
        project = self.services.projects.create(name, ["cat", "dog"], {"auto_start": False, **settings})
        samples = [self._new_sample(name, position, position >= count) for position in range(count + evaluation)]
        with self.store.write() as tx:
            ids = tx.samples.add_many(project.id, samples, self.clock())
        assert None not in ids
        return [sample_id for sample_id in ids if sample_id is not None]

    def _new_sample(self, project: str, position: int, is_evaluation: bool) -> NewSample:
        image = Image.new("RGB", (90, 60), (position * 7 % 256, 40, len(project)))
        image.putpixel((position % 90, position // 90), (255, 255, 255))
        out = io.BytesIO()
        image.save(out, "PNG")
        data = out.getvalue()
        sha256 = hashlib.sha256(data).hexdigest()
        self.artifacts.put(image_name(sha256), data)
        split = Split.EVALUATION if is_evaluation else Split.POOL
        return NewSample(f"cat/{position}.png", sha256, 90, 60, "PNG", len(data), split, {"camera": "left"})

    def round(self, sample_ids: list[int], project: str = "birds") -> Round:
        """A round that asks people for these samples, in this order."""
        record, is_new = self.services.rounds.start(project)
        assert is_new
        record = self.finish_stage(
            record, StageResult({"skipped": "no labels yet"}, Stage.SELECT, metrics={"accuracy": 0.5})
        )
        chosen = [
            Chosen(sample_id, rank, 1.0 - rank / 100, {"code": "margin", "between": [0, 1]})
            for rank, sample_id in enumerate(sample_ids)
        ]
        return self.finish_stage(record, StageResult({"chosen": len(chosen)}, Stage.ANNOTATE, chosen=chosen))

    def finish_stage(self, record: Round, result: StageResult) -> Round:
        """As a worker: claim the current stage's job and hand in its result."""
        job = self.services.jobs.get(record.stage_record(record.stage).job_id or 0)
        claimed = self.services.jobs.claim(job.id, job.attempt, "worker-1")
        assert claimed is not None
        self.clock.advance(1.5)
        return self.services.rounds.complete_stage(claimed, record.stage, result)

    def lease(self, api: Api, count: int = 1, project: str = "birds") -> list[dict[str, Any]]:
        """The assignments that the caller holds now."""
        return list(api.post(f"/projects/{project}/assignments", {"count": count}).json["assignments"])


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database to copy: migrating takes longer than most tests."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    store = SqlStore(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture
def world(tmp_path: Path, empty_database: Path) -> Iterator[World]:
    database = tmp_path / "al.db"
    for suffix in ("", "-wal", "-shm"):
        source = empty_database.with_name(empty_database.name + suffix)
        if source.exists():
            shutil.copy(source, database.with_name(database.name + suffix))
    made = World(tmp_path, database)
    yield made
    made.store.close()
