"""Next assignment and submit at 1, 8 and 32 labelers, and the floor under them, in turns within one run.

The queue is long enough never to run dry. Ours and the floor run under the same gunicorn settings at the same time, but
only one of them is asked at a time, by the same clients.
"""

import hashlib
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import requests

from al_service.cli.processes import free_port
from al_service.domain.records import NewSample
from al_service.domain.states import Role, Split
from al_service.loop.services import Services
from al_service.settings import Settings, environment_of
from benchmarks.figures import Lines, median_of, percentiles_ms
from benchmarks.load import Order, Person, Tally
from benchmarks.service import in_process, processes, started

PROJECT = "bench"
CLASS_NAMES = tuple("0123456789")
THINK_S = 1.0


@dataclass(frozen=True)
class Size:
    """How long it takes: labelers at a time, runs, seconds per measurement, samples waiting in the queue."""

    labelers: tuple[int, ...] = (1, 8, 32)
    runs: int = 5
    seconds: float = 4.0
    queued: int = 20_000


QUICK = Size(runs=1, seconds=1.0, queued=3_000)


@dataclass(frozen=True)
class Case:
    """One measurement of ours and the floor's answer to it."""

    name: str
    count: int = 1
    think_s: float = 0.0


CASES = (Case("count=1"), Case("count=5", count=5))
PACED = Case("count=5, thinking", count=5, think_s=THINK_S)


def run(lines: Lines, *, quick: bool) -> None:
    """Every case at every number of labelers."""
    size = QUICK if quick else Size()
    with tempfile.TemporaryDirectory(prefix="bench-labelers-") as folder, _servers(Path(folder), size) as (ours, floor):
        found: dict[tuple[Case, int], list[dict[str, Tally]]] = {}
        for _ in range(size.runs):
            for labelers in size.labelers:
                cases = (*CASES, PACED) if labelers == size.labelers[-1] else CASES
                for case in cases:
                    found.setdefault((case, labelers), []).append(_measured(case, labelers, size, ours, floor))
    for (case, labelers), runs in found.items():
        _report(lines, case, labelers, size.seconds, runs)


@contextmanager
def _servers(folder: Path, size: Size) -> Iterator[tuple[Order, Order]]:
    """Our service with a long queue and signed-in people, and the floor; as orders to be filled in."""
    with in_process(folder / "ours") as loop:
        fill_queue(loop.services, size.queued)
        loop.work()
    floor = Settings(data_dir=folder / "floor", port=free_port("127.0.0.1", 0))
    floor.data_dir.mkdir()
    command = [sys.executable, "-m", "benchmarks.floor_server"]
    with (
        processes(folder / "ours", workers=0) as (settings, services),
        started(command, floor.data_dir / "log", environment_of(floor), f"{floor.url}/health"),
    ):
        people = [sign_in(services, settings.url, number) for number in range(max(size.labelers))]
        order = Order(settings.host, settings.port, "label", people, size.seconds, project=PROJECT, class_name="3")
        yield order, replace(order, port=floor.port)


def fill_queue(services: Services, count: int) -> None:
    """A project whose first round asks for every one of `count` samples; nobody looks at their images here."""
    settings = {"labels_per_round": count, "auto_start": False}
    project = services.projects.create(PROJECT, CLASS_NAMES, settings)
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(count)]
    rows = [NewSample(sha256, sha256, 8, 8, "PNG", 200, Split.POOL) for sha256 in hashes]
    with services.store.write() as tx:
        tx.samples.add_many(project.id, rows, services.clock())
    services.rounds.start(PROJECT)


def sign_in(services: Services, url: str, number: int) -> Person:
    """A labeler with a session, as a browser has it."""
    name, password = f"labeler-{number}", secrets.token_urlsafe(9)
    services.accounts.ensure_user(name, Role.LABELER, password)
    with requests.Session() as http:
        answer = http.post(f"{url}/api/v1/session", json={"name": name, "password": password}, timeout=60)
        answer.raise_for_status()
        cookie = "; ".join(f"{key}={value}" for key, value in http.cookies.items())
        return Person(cookie, answer.json()["csrf_token"])


def _measured(case: Case, labelers: int, size: Size, ours: Order, floor: Order) -> dict[str, Tally]:
    """One run: the floor, ours, the floor without its commit."""
    crowd = {"people": ours.people[:labelers], "count": case.count, "think_s": case.think_s}
    orders = {"commit": floor, "label": ours, "constant": floor}
    return {what: send(replace(order, what=what, **crowd)) for what, order in orders.items()}


def send(order: Order) -> Tally:
    """Let another process carry out the order."""
    command = [sys.executable, "-m", "benchmarks.load"]
    ran = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=True)
    return Tally(**json.loads(ran.stdout))


def _report(lines: Lines, case: Case, labelers: int, seconds: float, runs: list[dict[str, Tally]]) -> None:
    for route in ("next_assignment", "submit"):
        ours = _figures([run["label"].seconds[route] for run in runs], seconds)
        floor = _figures([run["commit"].seconds["commit"] for run in runs], seconds)
        bare = _figures([run["constant"].seconds["constant"] for run in runs], seconds)
        lines.add(
            route,
            runs=len(runs),
            case=case.name,
            labelers=labelers,
            ours=ours,
            floor=floor,
            floor_without_commit=bare,
            ratio=_ratio([run["label"].seconds[route] for run in runs], [run["commit"].seconds["commit"] for run in runs]),
            errors=sum(len(run["label"].errors) for run in runs),
        )
    rates = [sum(map(len, run["label"].seconds.values())) / seconds for run in runs]
    floors = [len(run["commit"].seconds["commit"]) / seconds for run in runs]
    figures: dict[str, Any] = {
        "ours": {
            "requests_per_s": statistics.median(rates),
            "labels_per_s": statistics.median(len(run["label"].seconds["submit"]) / seconds for run in runs),
        },
        "floor": {"requests_per_s": statistics.median(floors)},
        "ratio": statistics.median(ours / floor for ours, floor in zip(rates, floors, strict=True)),
    }
    lines.add("throughput", runs=len(runs), case=case.name, labelers=labelers, **figures)


def _figures(runs: list[list[float]], seconds: float) -> dict[str, float]:
    return median_of([{**percentiles_ms(run), "requests_per_s": len(run) / seconds} for run in runs])


def _ratio(ours: list[list[float]], floor: list[list[float]]) -> dict[str, float]:
    """Ours over the floor within each run; the median over runs."""
    pairs = [(percentiles_ms(mine), percentiles_ms(its)) for mine, its in zip(ours, floor, strict=True)]
    return median_of([{key.removesuffix("_ms"): mine[key] / its[key] for key in mine} for mine, its in pairs])
