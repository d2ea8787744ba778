"""The label page in a real browser: from the key press to the next image on the screen, alone and beside a crowd.

One person answers in Chromium at the pace of `PAUSE_S`; on the same `al up`, in the same project, sixteen others label
over HTTP from another process. The floor under each figure is one frame of this browser on this machine.
"""

import hashlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from al_service.domain.records import NewSample
from al_service.domain.states import Role, Split
from al_service.loop.ports import image_name
from al_service.loop.services import Services
from al_service.settings import Settings
from benchmarks.figures import Lines, percentiles_ms
from benchmarks.labelers import CLASS_NAMES, PROJECT, sign_in
from benchmarks.load import Order, Person
from benchmarks.service import in_process, processes

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
IMAGE_PX = (800, 600)
LABELERS = 16
PAUSE_S = 0.4
PASSWORD = "a long password"


@dataclass(frozen=True)
class Size:
    """Answers per case, and images in the queue."""

    answers: int = 200
    queued: int = 9_000


QUICK = Size(answers=30, queued=2_500)


@dataclass(frozen=True)
class Case:
    """Who else is there: how many, and how long they look at an image (0: they never rest)."""

    name: str
    labelers: int = 0
    think_s: float = 0.0

    def answers(self, size: Size) -> int:
        """How many images the person in the browser answers; few where the others would empty the queue meanwhile."""
        return size.answers // 4 if self.labelers and not self.think_s else size.answers


CASES = (
    Case("alone"),
    Case(f"{LABELERS} others, thinking 1 s", LABELERS, 1.0),
    Case(f"{LABELERS} others, never resting", LABELERS),
)

#: Answers a number of images; for each the milliseconds from the event of the key to the frame after the next image,
#: and whether that image was already decoded. `frame`: the time between two frames when nothing happens.
ANSWER = """async ({ count, pause_ms }) => {
    const stage = document.querySelector("#stage");
    const pause = (ms) => new Promise((done) => setTimeout(done, ms));
    const painted = () => new Promise((done) => requestAnimationFrame(() => {
        const channel = new MessageChannel();
        channel.port1.onmessage = () => done(performance.now());
        channel.port2.postMessage(0);
    }));
    const frames = [];
    let at = await painted();
    for (let n = 0; n < 20; n += 1) {
        const next = await painted();
        frames.push(next - at);
        at = next;
    }
    const took = [];
    let waited = 0;
    for (let n = 0; n < count; n += 1) {
        await pause(pause_ms * (0.5 + Math.random()));
        while (stage.dataset.state !== "image") await pause(5);
        const before = stage.dataset.sample;
        const pressed = performance.now();
        const [key, code] = [String(n % 10), `Digit${n % 10}`];
        document.dispatchEvent(new KeyboardEvent("keydown", { key, code, bubbles: true }));
        if (stage.dataset.state !== "image" || stage.dataset.sample === before) waited += 1;
        while (stage.dataset.state !== "image" || stage.dataset.sample === before) await pause(1);
        took.push(await painted() - pressed);
    }
    return { took, waited, frames };
}"""


def run(lines: Lines, *, quick: bool) -> None:
    """Every case, one after the other on the same server."""
    # The browser's driver is a development dependency, and only wanted here.
    from playwright.sync_api import sync_playwright

    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        print(f"page: left out, no browser found (looked for {', '.join(BROWSERS)})")
        return
    size = QUICK if quick else Size()
    with (
        tempfile.TemporaryDirectory(prefix="bench-page-") as folder,
        _served(Path(folder), size) as (settings, services),
        sync_playwright() as playwright,
    ):
        services.accounts.ensure_user("mia", Role.LABELER, PASSWORD)
        people = [sign_in(services, settings.url, number) for number in range(LABELERS)]
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
        page.request.post(f"{settings.url}/api/v1/session", data={"name": "mia", "password": PASSWORD})
        for case in CASES:
            page.goto(f"{settings.url}/projects/{PROJECT}/label")
            page.wait_for_selector("#stage[data-state=image]")
            with _crowd(settings, people[: case.labelers], case.think_s) if case.labelers else nullcontext():
                told = page.evaluate(ANSWER, {"count": case.answers(size), "pause_ms": PAUSE_S * 1000})
            _report(lines, case, told)
        browser.close()


@contextmanager
def _served(folder: Path, size: Size) -> Iterator[tuple[Settings, Services]]:
    """`al up` with a long queue of photographs that have to be sent and decoded one by one."""
    with in_process(folder / "data") as loop:
        _fill(loop.services, size.queued)
        loop.work()
    with processes(folder / "data", workers=0) as (settings, services):
        yield settings, services


def _fill(services: Services, count: int) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(coarse).resize(IMAGE_PX, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    data = out.getvalue()
    settings = {"labels_per_round": count, "auto_start": False, "strategy": "random"}
    project = services.projects.create(PROJECT, CLASS_NAMES, settings)
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    for sha256 in hashes:
        services.artifacts.put(image_name(sha256), data)
    rows = [NewSample(sha256, sha256, *IMAGE_PX, "JPEG", len(data), Split.POOL) for sha256 in hashes]
    with services.store.write() as tx:
        tx.samples.add_many(project.id, rows, services.clock())
    services.rounds.start(PROJECT)


@contextmanager
def _crowd(settings: Settings, people: list[Person], think_s: float) -> Iterator[None]:
    """People who label over HTTP, from a process of their own, for the block."""
    order = Order(
        settings.host, settings.port, "label", people, 3600.0, think_s=think_s, project=PROJECT, class_name="3"
    )
    command = [sys.executable, "-m", "benchmarks.load"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as crowd:
        assert crowd.stdin is not None
        crowd.stdin.write(json.dumps(asdict(order)).encode())
        crowd.stdin.close()
        try:
            yield
            if crowd.poll() is not None:
                print("page: the crowd ran out of work; the last figures are of a quieter server", file=sys.stderr)
        finally:
            crowd.terminate()


def _report(lines: Lines, case: Case, told: dict[str, Any]) -> None:
    figures = percentiles_ms([value / 1000 for value in told["took"]])
    frame_ms = statistics.median(told["frames"])
    lines.add(
        "key_to_next_image",
        runs=1,
        case=case.name,
        labelers=case.labelers,
        answers=len(told["took"]),
        **figures,
        frame_ms=frame_ms,
        ratio={"p50": figures["p50_ms"] / frame_ms},
        waited=told["waited"],
    )
