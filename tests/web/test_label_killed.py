"""A real `al web` is killed in the middle of two hundred answers in the browser: none is lost, none is there twice."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import requests
from playwright.sync_api import expect

from al_service.supervisor import tied_to_parent
from tests.valkey_server import is_alive
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit, wait_until
from tests.web.labelling import LABEL, NETWORK_WORDS, birds, expect_in_view, expect_unsaved

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
ROOT = Path(__file__).parents[2]
START_S = 180.0
ANSWERS, KILLED_AT, STARTED_AT = 200, 100, 120


class WebProcess:
    """`al web` on the folder of a site, at an address that stays the same over its deaths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("AL_")}
        environment = own | {"AL_DATA_DIR": str(self.folder), "AL_PORT": str(self.port)}
        argv = tied_to_parent([sys.executable, "-m", "al_service", "web"])
        with (self.folder / "web.log").open("ab") as log:
            self._process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=log, stderr=log)
        wait_until(self._answers, START_S)

    def kill(self) -> None:
        """`kill -9` of gunicorn and of its worker; returns when both are gone."""
        assert self._process is not None
        master = self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()
        for pid in (master, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        wait_until(lambda: not any(is_alive(int(pid)) for pid in children))

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "web.log").read_text(encoding="utf-8")
        try:
            return requests.get(f"{self.url}/health", timeout=30).status_code == 200
        except requests.RequestException:
            return False


@pytest.fixture
def web(site: Site, tmp_path: Path) -> Iterator[WebProcess]:
    """Serves the site's folder in the place of the site itself."""
    if sys.platform != "linux":
        pytest.skip("reads /proc")
    process = WebProcess(tmp_path)
    site.url = process.url
    process.start()
    yield process
    process.kill()


def stored(folder: Path) -> list[tuple[int, str]]:
    """Sample and client key of every answer in the log, in its order."""
    with closing(sqlite3.connect(folder / "al.db")) as connection:
        return connection.execute("SELECT sample_id, client_key FROM annotations ORDER BY id").fetchall()


@pytest.mark.timeout(900)
def test_no_answer_is_lost_or_doubled_when_the_server_is_killed(site: Site, web: WebProcess, visit: OpenVisit) -> None:
    samples = birds(site, 250)
    one = visit()
    page = one.sign_in("mia", LABEL)
    for count, sample_id in enumerate(samples[:ANSWERS]):
        if count == STARTED_AT:
            expect(page.locator("#banner")).to_contain_text("The server does not answer.")
            assert len(stored(web.folder)) <= KILLED_AT + 1
            web.start()
        expect_in_view(page, sample_id)
        page.keyboard.press("123"[count % 3])
        if count == KILLED_AT:
            web.kill()
    expect_in_view(page, samples[ANSWERS])
    expect_unsaved(page, 0)
    rows = stored(web.folder)
    assert [sample_id for sample_id, _ in rows] == samples[:ANSWERS]
    assert len({key for _, key in rows}) == ANSWERS
    said = [site.label_of(sample_id) for sample_id in samples[: ANSWERS + 1]]
    assert said == [("sparrow", "finch", "robin")[count % 3] for count in range(ANSWERS)] + [None]
    one.expect_errors(*NETWORK_WORDS)
