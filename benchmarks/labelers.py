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

import requests

from al_service.cli.processes import free_port
from al_service.domain.records import Chosen, NewSample
from al_service.domain.states import Role, Split
from al_service.loop.services import Services
from al_service.settings import Settings, environment_of
from al_service.storage.dialect import chunks
from benchmarks.figures import Lines, median_of, percentiles_ms
from benchmarks.load import Order, Person, Tally
from benchmarks.service import InProcess, cpu_seconds, in_process, processes, started

PROJECT = "bench"
CLASS_NAMES = tuple("0123456789")
THINK_S = 1.0
#: In one transaction. PostgreSQL walks past every earlier version of a counter that the transaction has changed.
ROWS_AT_ONCE = 5_000


@dataclass(frozen=True)
class Size:
    """How long it takes: labelers at a time, runs, seconds per measurement, samples waiting in the
    queue, and whether people who think are measured too."""

    labelers: tuple[int, ...] = (1, 8, 32)
    runs: int = 5
    seconds: float = 3.0
    queued: int = 60_000
    paced: bool = True


QUICK = Size(runs=1, seconds=0.8, queued=5_000, paced=False)


@dataclass(frozen=True)
class Case:
    """One measurement of ours and the floor's answer to it."""

    name: str
    count: int = 1
    think_s: float = 0.0


CASES = (Case("count=1"), Case("count=5", count=5))
PACED = Case("count=5, thinking", count=5, think_s=THINK_S)


@dataclass(frozen=True)
class Server:
    """A server under load: whom to ask, and whose processor time counts."""

    order: Order
    process_id: int


@dataclass(frozen=True)
class Measured:
    """What one crowd saw of one server, and processor time per request."""

    tally: Tally
    cpu_ms: float | None


def run(lines: Lines, *, quick: bool) -> None:
    """Every case at every number of labelers."""
    size = QUICK if quick else Size()
    with tempfile.TemporaryDirectory(prefix="bench-labelers-") as folder, servers(Path(folder), size) as (ours, floor):
        found: dict[tuple[Case, int], list[dict[str, Measured]]] = {}
        for _ in range(size.runs):
            for labelers in size.labelers:
                cases = (*CASES, PACED) if size.paced and labelers == size.labelers[-1] else CASES
                for case in cases:
                    found.setdefault((case, labelers), []).append(_measured(case, labelers, ours, floor))
    for (case, labelers), runs in found.items():
        _report(lines, case, labelers, size.seconds, runs)


@contextmanager
def servers(folder: Path, size: Size) -> Iterator[tuple[Server, Server]]:
    """Our service with a long queue and signed-in people, and the floor."""
    with in_process(folder / "ours") as loop:
        fill_queue(loop, size.queued)
    floor = Settings(data_dir=folder / "floor", port=free_port("127.0.0.1", 0))
    floor.data_dir.mkdir()
    command = [sys.executable, "-m", "benchmarks.floor_server"]
    with (
        processes(folder / "ours", workers=0) as (settings, services),
        started(command, floor.data_dir / "log", environment_of(floor), f"{floor.url}/health") as child,
    ):
        people = [sign_in(services, settings.url, number) for number in range(max(size.labelers))]
        order = Order(settings.host, settings.port, "label", people, size.seconds, project=PROJECT, class_name="3")
        web = int((settings.data_dir / "run" / "web.pid").read_text())
        yield Server(order, web), Server(replace(order, port=floor.port), child.pid)


def fill_queue(loop: InProcess, count: int) -> None:
    """A project whose first round asks for every one of `count` samples; nobody looks at their images here.

    The round itself chooses one. The others are put beside it through the store: choosing looks at images, for
    near-copies, and there are none.
    """
    services = loop.services
    settings = {"labels_per_round": 1, "reserve_factor": 0.0, "auto_start": False, "strategy": "random"}
    project = services.projects.create(PROJECT, CLASS_NAMES, settings)
    for numbers in chunks(range(count), ROWS_AT_ONCE):
        hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]
        rows = [NewSample(sha256, sha256, 8, 8, "PNG", 200, Split.POOL) for sha256 in hashes]
        with services.store.write() as tx:
            tx.samples.add_many(project.id, rows, services.clock())
    services.rounds.start(PROJECT)
    loop.work()
    (record,) = services.rounds.all(PROJECT)
    with services.store.read() as tx:
        (first,) = tx.queue.selections(record.id)
        others = [sample_id for sample_id, _ in tx.samples.selectable(project.id) if sample_id != first.sample_id]
    picks = [
        Chosen(sample_id, rank, first.score, first.reason) for rank, sample_id in enumerate(others, first.rank + 1)
    ]
    for part in chunks(picks, ROWS_AT_ONCE):
        with services.store.write() as tx:
            tx.queue.add_selections(record.id, part)


def sign_in(services: Services, url: str, number: int) -> Person:
    """A labeler with a session, as a browser has it."""
    name, password = f"labeler-{number}", secrets.token_urlsafe(9)
    services.accounts.ensure_user(name, Role.LABELER, password)
    with requests.Session() as http:
        answer = http.post(f"{url}/api/v1/session", json={"name": name, "password": password}, timeout=60)
        answer.raise_for_status()
        cookie = "; ".join(f"{key}={value}" for key, value in http.cookies.items())
        return Person(cookie, answer.json()["csrf_token"])


def _measured(case: Case, labelers: int, ours: Server, floor: Server) -> dict[str, Measured]:
    """One run: the floor, ours, the floor without its commit."""
    found = {}
    for what, server in (("commit", floor), ("label", ours), ("constant", floor)):
        people = ours.order.people[:labelers]
        order = replace(server.order, what=what, people=people, count=case.count, think_s=case.think_s)
        found[what] = measure(order, server.process_id)
    return found


def measure(order: Order, process_id: int) -> Measured:
    """Let a crowd in another process carry out the order."""
    command = [sys.executable, "-m", "benchmarks.load"]
    before = cpu_seconds(process_id)
    ran = subprocess.run(command, input=json.dumps(asdict(order)), capture_output=True, text=True, check=True)
    after = cpu_seconds(process_id)
    tally = Tally(**json.loads(ran.stdout))
    if before is None or after is None or not tally.requests:
        return Measured(tally, None)
    return Measured(tally, (after - before) / tally.requests * 1000)


def _report(lines: Lines, case: Case, labelers: int, seconds: float, runs: list[dict[str, Measured]]) -> None:
    errors = [error for run in runs for error in run["label"].tally.errors]
    floor = [run["commit"].tally.seconds.get("commit", []) for run in runs]
    bare = [run["constant"].tally.seconds.get("constant", []) for run in runs]
    for route in ("next_assignment", "submit"):
        ours = [run["label"].tally.seconds.get(route, []) for run in runs]
        if not all((*ours, *floor, *bare)):
            print(f"labelers: no {route} in time at {labelers} labelers, {case.name}; errors: {errors[:1]}")
            continue
        pairs = [(percentiles_ms(mine), percentiles_ms(its)) for mine, its in zip(ours, floor, strict=True)]
        ratios = [{key.removesuffix("_ms"): mine[key] / its[key] for key in mine} for mine, its in pairs]
        figures = {
            "ours": median_of([mine for mine, _ in pairs]),
            "floor": median_of([its for _, its in pairs]),
            "floor_without_commit": median_of([percentiles_ms(run) for run in bare]),
            "ratio": median_of(ratios),
        }
        lines.add(route, runs=len(runs), case=case.name, labelers=labelers, **figures, errors=len(errors))
    _report_throughput(lines, case, labelers, seconds, runs)


def _report_throughput(
    lines: Lines, case: Case, labelers: int, seconds: float, runs: list[dict[str, Measured]]
) -> None:
    rates = {what: [sum(run[what].tally.in_time.values()) / seconds for run in runs] for what in ("label", "commit")}
    labels = [run["label"].tally.in_time.get("submit", 0) / seconds for run in runs]
    figures: dict[str, dict[str, float]] = {
        "ours": {
            "requests_per_s": statistics.median(rates["label"]),
            "labels_per_s": statistics.median(labels),
        },
        "floor": {"requests_per_s": statistics.median(rates["commit"])},
        "ratio": {"requests_per_s": _median_ratio(rates["label"], rates["commit"])},
    }
    cpu = [(run["label"].cpu_ms, run["commit"].cpu_ms) for run in runs]
    ours = [mine for mine, _ in cpu if mine is not None]
    floor = [its for _, its in cpu if its]
    if len(ours) == len(floor) == len(runs):
        figures["ours"]["cpu_ms_per_request"] = statistics.median(ours)
        figures["floor"]["cpu_ms_per_request"] = statistics.median(floor)
        figures["ratio"]["cpu_ms_per_request"] = _median_ratio(ours, floor)
    lines.add("throughput", runs=len(runs), case=case.name, labelers=labelers, **figures)


def _median_ratio(ours: list[float], floor: list[float]) -> float:
    return statistics.median(mine / its for mine, its in zip(ours, floor, strict=True))
