"""A real browser in front of the real service: pages, API, SQLite, files; only the images and the people are made up.

`chromium` is the browser of the machine, `site` a service on a free port, `visit` opens pages as a person and fails the
test at its end when a page wrote an error to the console or asked another server for anything.
"""

import hashlib
import io
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from werkzeug.serving import make_server

from al_service.api.install import install
from al_service.domain.records import Annotation, Chosen, Job, NewSample, Round
from al_service.domain.states import Role, Split, Stage
from al_service.job_queue.inline_queue import InlineQueue
from al_service.loop.ports import image_name
from al_service.loop.rounds import StageResult
from al_service.loop.services import Services, assemble
from al_service.loop.uploads import UploadLimits
from al_service.settings import Settings
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.store import SqlStore
from annotator_ui import create_app

BROWSER_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "a long password"
WAIT_MS = 15_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser; a machine without one fails, because pages that nobody opened are not tested.

    One per module: while playwright runs, no other test in this thread could use asyncio.
    """
    found = next((path for name in BROWSER_NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.fail(f"no browser found (looked for {', '.join(BROWSER_NAMES)}); Debian: apt-get install chromium")
    expect.set_options(timeout=WAIT_MS)  # a busy machine polls late; playwright itself waits 5 s
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=BROWSER_ARGUMENTS)
        yield browser
        browser.close()


class Site:
    """One running service and shortcuts to bring it into a state."""

    def __init__(self, folder: Path, database: Path) -> None:
        self.store = SqlStore(f"sqlite:///{database}")
        self.queue = InlineQueue(lambda job: None)
        self.artifacts = FileArtifacts(folder / "artifacts")
        self.services: Services = assemble(
            self.store,
            self.queue,
            self.artifacts,
            lambda: datetime.now(UTC),
            lease_ttl_s=300.0,
            upload_limits=UploadLimits(bytes_max=2**20, files_max=100, part_bytes=20_000),
        )
        self.settings = Settings(data_dir=folder)
        self.app = create_app(self.services, self.settings, secret_key="only for tests")
        install(self.app, self.services, self.settings)
        self._server = make_server("127.0.0.1", 0, self.app, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.store.close()

    def person(self, name: str, role: Role | str = Role.LABELER) -> None:
        """Somebody who can sign in."""
        self.services.accounts.ensure_user(name, Role(role), PASSWORD)

    def project(self, name: str, classes: list[str], count: int, **settings: Any) -> list[int]:
        """A project with small images that all differ; the sample ids."""
        project = self.services.projects.create(name, classes, {"auto_start": False, **settings})
        samples = [self._sample(name, position) for position in range(count)]
        with self.store.write() as tx:
            ids = tx.samples.add_many(project.id, samples, self.services.clock())
        return [sample_id for sample_id in ids if sample_id is not None]

    def _sample(self, project: str, position: int) -> NewSample:
        image = Image.new("RGB", (8, 8), (position * 31 % 256, position * 57 % 256, len(project) * 9 % 256))
        image.putpixel((position % 8, position // 8 % 8), (255, 255, 255))
        out = io.BytesIO()
        image.save(out, "PNG")
        sha256 = hashlib.sha256(out.getvalue()).hexdigest()
        self.artifacts.put(image_name(sha256), out.getvalue())
        return NewSample(f"{position}.png", sha256, 8, 8, "PNG", len(out.getvalue()), Split.POOL)

    def ask(
        self,
        project: str,
        sample_ids: list[int],
        reserve: Sequence[int] = (),
        likely: Sequence[tuple[str, float]] = (),
        heat_maps: dict[str, Any] | None = None,
    ) -> Round:
        """A round that asks people for these samples, in this order, with those in reserve; likely: what the model
        thinks of each of them; heat_maps: what the round says of them.
        """
        class_ids = {info.name: info.id for info in self.services.projects.get(project).classes}
        opinion = tuple((class_ids[name], chance) for name, chance in likely) or None
        picks = [
            Chosen(sample_id, rank, 1.0, {"code": "margin", "between": [0, 1]}, likely=opinion)
            for rank, sample_id in enumerate([*sample_ids, *reserve])
        ]
        return self._round(project, {}, picks[: len(sample_ids)], picks[len(sample_ids) :], heat_maps)

    def measured_round(self, project: str, metrics: dict[str, Any]) -> Round:
        """A round that is over: it trained, was measured, and asked nobody."""
        return self._round(project, metrics, [])

    def _round(
        self,
        project: str,
        metrics: dict[str, Any],
        chosen: list[Chosen],
        reserve: Sequence[Chosen] = (),
        heat_maps: dict[str, Any] | None = None,
    ) -> Round:
        record, is_new = self.services.rounds.start(project)
        assert is_new
        record = self._finish(record, StageResult({}, Stage.SELECT, metrics=metrics))
        facts = {"chosen": len(chosen), **({} if heat_maps is None else {"heat_maps": heat_maps})}
        return self._finish(record, StageResult(facts, Stage.ANNOTATE, chosen=chosen, reserve=reserve))

    def _finish(self, record: Round, result: StageResult) -> Round:
        return self.services.rounds.complete_stage(self.claim_stage(record), record.stage, result)

    def claim_stage(self, record: Round) -> Job:
        """The job of a round's current stage, as its worker has it."""
        return self.claim(self.services.jobs.get(record.stage_record(record.stage).job_id or 0))

    def claim(self, job: Job) -> Job:
        """That job, running."""
        claimed = self.services.jobs.claim(job.id, job.attempt, "worker-1")
        assert claimed is not None
        return claimed

    def answers(self, sample_id: int) -> list[Annotation]:
        """Answers of a sample that count."""
        with self.store.read() as tx:
            return tx.annotations.active_of_sample(sample_id)

    def holders(self, project: str) -> dict[str, int]:
        """Who holds how many images."""
        return self.services.projects.summary(project).holders

    def label_of(self, sample_id: int) -> str | None:
        """What the project believes of a sample."""
        with self.store.read() as tx:
            return tx.samples.get(sample_id).class_name


def wait_until(is_so: Callable[[], bool], seconds: float = WAIT_MS / 1000) -> None:
    """Wait for something that no page shows.

    Raises:
        TimeoutError: it did not come true.
    """
    give_up_at = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"not so within {seconds} s")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database to copy: migrating takes longer than opening a page."""
    path = tmp_path_factory.mktemp("pages") / "al.db"
    store = SqlStore(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture
def site(tmp_path: Path, migrated_database: Path) -> Iterator[Site]:
    for suffix in ("", "-wal", "-shm"):
        source = migrated_database.with_name(f"{migrated_database.name}{suffix}")
        if source.exists():
            shutil.copy(source, tmp_path / source.name)
    made = Site(tmp_path, tmp_path / migrated_database.name)
    yield made
    made.close()


@dataclass
class Visit:
    """One person's browser, with what its pages complained about and asked for."""

    site: Site
    context: BrowserContext
    page: Page
    errors: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> Page:
        """Note what the page writes to the console and what it asks for."""
        page.set_default_timeout(WAIT_MS)
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        return page

    def sign_in(self, name: str, path: str = "/") -> Page:
        """Sign in through the API and open a page."""
        answer = self.context.request.post(f"{self.site.url}/api/v1/session", data={"name": name, "password": PASSWORD})
        assert answer.ok, answer.text()
        self.page.goto(self.site.url + path)
        return self.page

    def expect_errors(self, *parts: str) -> None:
        """These errors were meant to happen: a browser writes every refused or lost request to its console."""
        self.expected.extend(parts)

    def unexpected_errors(self) -> list[str]:
        """The others. To be asked at the end, since the browser may write down a lost request late."""
        return [text for text in self.errors if not any(part in text for part in self.expected)]


@pytest.fixture
def visit(chromium: Browser, site: Site) -> Iterator[Callable[..., Visit]]:
    """Open a browser for one more person; keyword arguments go to the browser context."""
    visits: list[Visit] = []

    def open_one(**options: Any) -> Visit:
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 800}, "reduced_motion": "reduce", **options}
        )
        one = Visit(site, context, context.new_page())
        one.watch(one.page)
        visits.append(one)
        return one

    yield open_one
    for one in visits:
        one.context.close()
    for one in visits:
        assert one.unexpected_errors() == []
        away = [url for url in one.requests if not url.startswith((f"{site.url}/", "data:", "blob:"))]
        assert away == []
