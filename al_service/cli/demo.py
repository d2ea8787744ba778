"""`al demo`: the main job, end to end, on this machine: real images, real processes, simulated people over HTTP.

It starts `al up` on a data folder of its own, imports images, lets simulated labelers work, and prints each round.
The page is open for a real person all the while.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import click
import requests
from rich.console import Console
from rich.live import Live

from al_service.bootstrap import open_services
from al_service.cli.demo_table import HEADINGS, print_line, round_cells, round_table
from al_service.cli.processes import free_port
from al_service.cli.session import Session
from al_service.domain.states import Role
from al_service.errors import AlServiceError, InvalidInputError, UnavailableError
from al_service.ingest.digits import write_digits
from al_service.loop.services import Services
from al_service.rehearsal.labelers import Behaviour, SimulatedLabeler, Truth, read_truth, start_crowd
from al_service.settings import Settings, environment_of
from al_service.supervisor import tied_to_parent

PROJECT = "demo"
DATA_DIR = Path("demo-data")
MARKER = ".al-demo"
START_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.5
#: So long the demo waits for a service that does not answer: `al up` starts what died again within seconds.
PATIENCE_S = 60.0
#: A batch is this share of the pool, within these limits, so that a small folder gets several rounds too.
BATCH_SHARE, BATCH_MIN, BATCH_MAX = 0.02, 10, 200


@dataclass(frozen=True)
class Options:
    """What the demo was asked for."""

    images: str | None
    rounds: int
    labelers: int
    error_rate: float
    think_s: float
    strategy: str
    network: str
    batch: int | None
    exit_at_end: bool


@click.command()
@click.option(
    "--images", metavar="DIR|ARCHIVE", help="Images in class folders (default: the digits that scikit-learn ships)."
)
@click.option(
    "--rounds",
    type=click.IntRange(1),
    envvar="AL_DEMO_ROUNDS",
    default=8,
    show_default=True,
    help="Rounds the simulated labelers work for.",
)
@click.option("--labelers", type=click.IntRange(0, 64), default=4, show_default=True, help="Simulated people.")
@click.option(
    "--error-rate",
    type=click.FloatRange(0, 1),
    default=0.0,
    show_default=True,
    help="Share of their answers that are wrong.",
)
@click.option(
    "--think",
    "think_s",
    type=click.FloatRange(0, 60),
    default=0.2,
    show_default=True,
    help="Mean seconds they look at an image.",
)
@click.option("--strategy", default="auto", show_default=True, help="How samples are chosen.")
@click.option("--network", default="small_cnn", show_default=True, help="small_cnn or a torchvision network.")
@click.option("--batch", type=click.IntRange(1), help="Labels per round (default: 2 % of the images, 10 to 200).")
@click.option(
    "--exit",
    "exit_at_end",
    is_flag=True,
    envvar="AL_DEMO_EXIT",
    help="Stop after the last round instead of serving on.",
)
@click.pass_obj
def demo(session: Session, /, **given: Any) -> None:
    """The whole loop on real images, with simulated labelers and a page for you."""
    options = Options(**given)
    session.flags.setdefault("data_dir", None)
    if session.flags["data_dir"] is None and "AL_DATA_DIR" not in os.environ:
        session.flags["data_dir"] = DATA_DIR
    settings = session.settings
    settings = replace(settings, data_dir=settings.data_dir.resolve(), port=free_port(settings.host, settings.port))
    _fresh_folder(settings.data_dir)
    console = Console()
    images = options.images or _write_digits(settings.data_dir / "images", console)
    location = images if images.startswith("torchvision:") else str(Path(images).resolve())
    signal.signal(signal.SIGTERM, _interrupt)
    with _running(settings, console), contextlib.suppress(KeyboardInterrupt):
        Demo(options, settings, location, console).run()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo like Ctrl-C: everything it started is ended with it."""
    raise KeyboardInterrupt


def _fresh_folder(folder: Path) -> None:
    """An empty data folder; only one that a demo made is ever emptied."""
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).exists():
            raise InvalidInputError(f"{folder} is not empty and was not made by `al demo`; choose another with --data")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / MARKER).write_text("made by `al demo`, emptied by the next one\n", encoding="utf-8")


def _write_digits(folder: Path, console: Console) -> str:
    count = write_digits(folder)
    console.print(f"wrote {count} handwritten digits as PNG files to {folder}")
    return str(folder)


@contextlib.contextmanager
def _running(settings: Settings, console: Console) -> Iterator[None]:
    """`al up` as a child process; ended, with all it started, when the block ends."""
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("AL_")}, **environment_of(settings)}
    log_path = settings.data_dir / "up.log"
    with log_path.open("wb") as log_file:
        child = subprocess.Popen(
            tied_to_parent([sys.executable, "-m", "al_service", "up"]),
            env=environment,
            stdout=log_file,
            stderr=log_file,
            start_new_session=True,
        )
    try:
        with console.status("starting broker, database, workers, scheduler and web server"):
            _wait_until_ready(settings, child, log_path)
        yield
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _wait_until_ready(settings: Settings, child: subprocess.Popen[bytes], log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise UnavailableError(f"`al up` ended at once; its last words:\n{_tail(log_path)}")
        with contextlib.suppress(requests.RequestException, ValueError):
            parts = requests.get(f"{settings.url}/health/ready", timeout=5).json()["parts"]
            if all(part["ok"] for part in parts.values()):
                return
        time.sleep(0.2)
    raise UnavailableError(
        f"the service did not become ready within {START_TIMEOUT_S:.0f} s; see {log_path}\n{_tail(log_path)}"
    )


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


class Demo:
    """One run against a service that is up."""

    def __init__(self, options: Options, settings: Settings, location: str, console: Console) -> None:
        self._options = options
        self._settings = settings
        self._location = location
        self._console = console
        self._url = settings.url
        self._stop = threading.Event()
        self._http = requests.Session()

    def run(self) -> None:
        """Accounts, images, people, rounds; then serve on until Ctrl-C unless told to exit."""
        services = open_services(self._settings)
        password = secrets.token_urlsafe(9)
        services.accounts.ensure_user("you", Role.ADMIN, password)
        _, token = services.accounts.create_token("you", name="demo", days=30)
        self._http.headers["Authorization"] = f"Bearer {token}"
        truth = self._read_truth()
        self._create_project(truth)
        self._import(truth)
        click.echo(f"\nlabel with them:  {self._url}/projects/{PROJECT}/label")
        click.echo(f"watch the board:  {self._url}/projects/{PROJECT}/board")
        click.echo(f"sign in as:       you   password: {password}\n")
        crowd = self._start_people(services, truth)
        try:
            self._show_rounds()
        finally:
            self._stop.set()
        for thread in crowd:
            thread.join(timeout=10)
        self._sum_up()
        if not self._options.exit_at_end:
            self._console.print("The simulated labelers went home; the page is still yours. Ctrl-C stops everything.")
            while True:
                time.sleep(3600)

    def _read_truth(self) -> Truth:
        with self._console.status("reading what the simulated labelers know"):
            return read_truth(self._location, self._settings.data_dir / "scratch" / "truth")

    def _create_project(self, truth: Truth) -> None:
        options = self._options
        images = len(truth.class_of_hash)
        batch = options.batch or max(BATCH_MIN, min(BATCH_MAX, round(images * BATCH_SHARE)))
        chosen = {"labels_per_round": batch, "strategy": options.strategy, "network": options.network}
        body = {"name": PROJECT, "classes": list(truth.class_names), "settings": chosen}
        self._call("POST", "/projects", json=body)

    def _import(self, truth: Truth) -> None:
        body = {"location": self._location, "labels": "auto", "use_labels": "evaluation"}
        job = self._call("POST", f"/projects/{PROJECT}/imports", json=body)["job"]
        with self._console.status("importing") as status:
            while job["state"] in ("queued", "running"):
                time.sleep(0.2)
                job = self._call("GET", f"/jobs/{job['id']}")["job"]
                total = job["progress"]["total"] or len(truth.class_of_hash)
                status.update(f"importing images: {job['progress']['done']} of {total}")
        if job["state"] != "done":
            raise UnavailableError(f"the import failed: {job['error']}")
        facts = job["result"]
        click.echo(
            f"imported {facts['added']} images ({facts['rejected']} rejected, {facts['exact_duplicates']} exact "
            f"duplicates); {facts['evaluation']} of them are kept aside to measure accuracy"
        )

    def _start_people(self, services: Services, truth: Truth) -> list[threading.Thread]:
        people = []
        for number in range(1, self._options.labelers + 1):
            name, password = f"labeler-{number}", secrets.token_urlsafe(12)
            services.accounts.ensure_user(name, Role.LABELER, password)
            behaviour = Behaviour(self._options.error_rate, self._options.think_s, seed=number)
            people.append(SimulatedLabeler(self._url, PROJECT, name, password, truth, behaviour))
        return start_crowd(people, self._stop)

    def _show_rounds(self) -> None:
        """A live table on a terminal, one line per finished round elsewhere; ends after the asked number of rounds."""
        printed = 0
        live = (
            Live(console=self._console, refresh_per_second=4) if self._console.is_terminal else contextlib.nullcontext()
        )
        if not self._console.is_terminal:
            print_line(HEADINGS)
        with live as screen:
            while True:
                rounds = self._call("GET", f"/projects/{PROJECT}/rounds")["rounds"]
                closed = [item for item in rounds if item["state"] == "closed"][: self._options.rounds]
                if screen is not None:
                    screen.update(round_table(rounds[: self._options.rounds]))
                for item in closed[printed:] if screen is None else ():
                    print_line(round_cells(item))
                printed = len(closed)
                if len(closed) >= self._options.rounds or self._finished(rounds):
                    return
                time.sleep(POLL_S)

    def _finished(self, rounds: list[dict[str, Any]]) -> bool:
        if rounds and rounds[-1]["state"] == "failed":
            raise UnavailableError(f"round {rounds[-1]['number']} failed: {rounds[-1]['error']}")
        if not rounds or rounds[-1]["state"] != "closed":
            return False
        counts = self._call("GET", f"/projects/{PROJECT}/summary")["counts"]
        return bool(counts["free"] + counts["leased"] + counts["not_queued"] == 0)

    def _sum_up(self) -> None:
        rounds = self._call("GET", f"/projects/{PROJECT}/rounds")["rounds"]
        measured = [item for item in rounds if item["metrics"].get("accuracy") is not None]
        if len(measured) > 1:
            first, last = measured[0], measured[-1]
            self._console.print(
                f"accuracy went from {first['metrics']['accuracy']:.3f} with {first['labels']} labels "
                f"to {last['metrics']['accuracy']:.3f} with {last['labels']} labels"
            )

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        reply = self._answer(method, f"{self._url}/api/v1{path}", **more)
        document: dict[str, Any] = reply.json()
        if reply.status_code >= 400:
            raise AlServiceError(f"{method} {path}: {document['error']['message']}")
        return document

    def _answer(self, method: str, url: str, **more: Any) -> requests.Response:
        """The server's answer. A question is asked again while nobody answers; a change is not: it may have been made.

        Raises:
            UnavailableError: nobody has answered for PATIENCE_S.
        """
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._http.request(method, url, timeout=PATIENCE_S, **more)
            except requests.RequestException as error:
                if method == "GET" and time.monotonic() < until:
                    time.sleep(POLL_S)
                    continue
                raise UnavailableError(
                    f"the service at {self._url} stopped answering; its last words are in "
                    f"{self._settings.data_dir / 'up.log'}. Start again with `al demo`"
                ) from error


COMMANDS = (demo,)
