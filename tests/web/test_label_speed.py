"""The next image is in hand when a key is pressed, also while sixteen others label over HTTP on the same server.

Milliseconds are measured by `python -m benchmarks page`; here nothing depends on how fast the machine is.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import requests
from playwright.sync_api import expect

from al_service.domain.records import NewSample
from al_service.domain.states import Split
from al_service.loop.ports import image_name
from benchmarks.load import Order, Person
from tests.web.browser import PASSWORD, Site, Visit, chromium, migrated_database, site, visit, wait_until
from tests.web.labelling import LABEL, expect_unsaved, in_view

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
ROOT = Path(__file__).parents[2]
LABELERS, ANSWERS, POOL = 16, 40, 1500
#: Longer than any machine needs; the crowd is ended when the browser is done.
FAR_S = 3600.0

#: What is on the screen when the handlers of a key press have run, before anything else can happen.
WATCH = """() => {
    window.seen = [];
    addEventListener("keydown", () => {
        const stage = document.querySelector("#stage");
        const image = document.querySelector("#frame img");
        const isThere = Boolean(image?.complete && image.naturalWidth);
        window.seen.push([stage.dataset.state, Number(stage.dataset.sample), isThere]);
    });
}"""
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def crowded(site: Site, count: int) -> None:
    """A round that asks for `count` samples; all of them show the same image."""
    site.person("mia")
    data = site.artifacts.get(image_name(_only_image(site)))
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    for sha256 in hashes:
        site.artifacts.put(image_name(sha256), data)
    project = site.services.projects.create("birds", ["sparrow", "finch", "robin"], {"auto_start": False})
    rows = [NewSample(f"{sha256}.png", sha256, 8, 8, "PNG", len(data), Split.POOL) for sha256 in hashes]
    with site.store.write() as tx:
        ids = [found for found in tx.samples.add_many(project.id, rows, site.services.clock()) if found is not None]
    site.ask("birds", ids)


def _only_image(site: Site) -> str:
    (sample_id,) = site.project("one", ["bird"], 1)
    with site.store.read() as tx:
        return tx.samples.get(sample_id).sha256


def person(site: Site, name: str) -> Person:
    """Somebody signed in, as a browser has it."""
    site.person(name)
    with requests.Session() as http:
        answer = http.post(f"{site.url}/api/v1/session", json={"name": name, "password": PASSWORD}, timeout=60)
        assert answer.status_code == 200, answer.text
        cookie = "; ".join(f"{key}={value}" for key, value in http.cookies.items())
        return Person(cookie, answer.json()["csrf_token"])


@contextmanager
def at_work(site: Site, count: int) -> Iterator[None]:
    """That many people label over HTTP for the block, each as fast as the server lets them."""
    people = [person(site, f"labeler-{number}") for number in range(count)]
    port = int(site.url.rpartition(":")[2])
    order = Order("127.0.0.1", port, "label", people, FAR_S, think_s=0.3, project="birds", class_name="finch")
    command = [sys.executable, "-m", "benchmarks.load"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as crowd:
        assert crowd.stdin is not None
        crowd.stdin.write(json.dumps(asdict(order)).encode())
        crowd.stdin.close()
        try:
            yield
            assert crowd.poll() is None, "the crowd went home early"
        finally:
            crowd.terminate()


def labelled(site: Site) -> int:
    return site.services.projects.summary("birds").counts.labelled


def test_the_next_image_is_in_hand_while_sixteen_others_label(site: Site, visit: OpenVisit) -> None:
    crowded(site, POOL)
    page = visit().sign_in("mia", LABEL)
    first = in_view(page)
    page.evaluate(WATCH)
    with at_work(site, LABELERS):
        wait_until(lambda: labelled(site) >= LABELERS)
        before = labelled(site)
        for _ in range(ANSWERS):
            page.evaluate(PAINTED)
            page.keyboard.press("1")
            # A person is not faster than the server saves, but is not held up by it either.
            expect_unsaved(page, 0)
        by_others = labelled(site) - before - ANSWERS
    seen = page.evaluate("window.seen")
    assert by_others >= LABELERS, "others were at work all the time"
    assert [(state, is_there) for state, _, is_there in seen] == [("image", True)] * ANSWERS
    shown = [first, *(sample_id for _, sample_id, _ in seen)]
    assert len(set(shown)) == ANSWERS + 1
    assert [site.label_of(sample_id) for sample_id in shown[:-1]] == ["sparrow"] * ANSWERS
    expect(page.locator("#banner")).to_be_hidden()
