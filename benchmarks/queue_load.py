"""The queue under load: 1, 8 and 32 people who never rest, beside the floor and beside Label Studio, in one run.

Each database has a pool of 1,000,000 samples, a pool of 10,000 and a floor, each under its own server; all samples of a
pool wait in the queue. Servers run at the same time, but only one is asked at a time, in turns, by the same clients.
Figures of a turn are divided within that turn. 32 people give the pool of 1,000,000 ten thousand answers.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from al_service.cli.processes import free_port
from al_service.settings import Settings, environment_of
from al_service.storage.engine import create_engines
from al_service.storage.schema import annotations
from benchmarks import label_studio, postgres_server
from benchmarks.figures import Lines
from benchmarks.labelers import CLASS_NAMES, PROJECT, Measured, fill_queue, measure, sign_in
from benchmarks.load import Order, Tally
from benchmarks.process_memory import Memory, highest, watched
from benchmarks.queue_load_report import FLOOR, LARGE, PEER, SMALL, Turn, promises, report
from benchmarks.service import in_process, processes, started

DATABASES = ("sqlite", "postgresql")
PEER_DATABASE = "sqlite"
#: Ends a turn that is measured in answers on a server that gives none.
TURN_MAX_S = 600.0
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Size:
    """How long it takes: pools, people at a time, turns, seconds of a turn, the peer's, and the answers that the most
    people give the large pool in all turns together.
    """

    large: int = 1_000_000
    small: int = 10_000
    labelers: tuple[int, ...] = (1, 8, 32)
    turns: int = 4
    seconds: float = 4.0
    peer_seconds: float = 20.0
    answers: int = 10_000


QUICK = Size(large=20_000, small=2_000, labelers=(1, 32), turns=1, seconds=1.0, peer_seconds=3.0, answers=300)


@dataclass
class Server:
    """A server under load, what its memory was, and what its crowd was told in all turns."""

    order: Order
    process_id: int
    pool: int = 0
    stored: Callable[[], set[tuple[int, str]]] = set
    memory: list[Memory] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


def run(lines: Lines, *, quick: bool) -> None:
    """Both databases one after the other, the peer beside the one that it has itself."""
    size = QUICK if quick else Size()
    for database in DATABASES:
        if database == "postgresql" and not postgres_server.is_installed():
            print("queue_load: PostgreSQL is left out, it is not installed")
            continue
        with (
            tempfile.TemporaryDirectory(prefix="bench-queue-") as folder,
            servers(Path(folder), database, size) as found,
        ):
            for number, turns in _take_turns(found, size).items():
                report(lines, database, number, turns)
            for name, server in found.items():
                _report_promises(lines, database, name, server)


def _take_turns(found: dict[str, Server], size: Size) -> dict[int, list[Turn]]:
    """By number of people, for each turn what each server did."""
    turns: dict[int, list[Turn]] = {number: [] for number in size.labelers}
    for turn in range(size.turns):
        for number in size.labelers:
            # Every other turn backwards, so that whatever comes and goes on the machine favours nobody.
            names = list(found) if turn % 2 == 0 else list(reversed(found))
            asked = {name: _ask(found[name], turn_order(found[name], name, number, size)) for name in names}
            turns[number].append(asked)
            print(f"queue_load: turn {turn + 1} of {size.turns}, {number} people", file=sys.stderr, flush=True)
    return turns


def turn_order(server: Server, name: str, number: int, size: Size) -> Order:
    """What so many people do at that server in one turn."""
    order = replace(server.order, people=server.order.people[:number], warm_up_s=WARM_UP_S)
    if name == PEER:
        return replace(order, seconds=size.peer_seconds)
    if name == LARGE and number == max(size.labelers):
        return replace(order, seconds=TURN_MAX_S, answers=size.answers // size.turns, warm_up_s=0.0)
    if name == SMALL:
        # It has to last for all turns.
        return replace(order, seconds=size.seconds, answers=size.small // (size.turns * len(size.labelers)))
    return replace(order, seconds=size.seconds)


def _ask(server: Server, order: Order) -> Measured:
    with watched(server.process_id) as memory:
        measured = measure(order, server.process_id)
    server.memory += memory
    server.tally.merge(measured.tally)
    return measured


def _report_promises(lines: Lines, database: str, name: str, server: Server) -> None:
    """What was lost and given twice, and the memory at the most."""
    memory = highest(server.memory)
    if memory is not None:
        figures = {"peak_rss_mb": memory.rss_mb, "peak_pss_mb": memory.pss_mb}
        lines.add("memory", runs=1, database=database, server=name, pool=server.pool, **figures)
    if name == FLOOR:
        return
    lines.add("promises", runs=1, database=database, server=name, **promises(server.tally, server.stored()))


def stored_answers(database_url: str) -> set[tuple[int, str]]:
    """(sample, client key) of every answer in the database, read past the service on a connection of its own."""
    engines = create_engines(database_url, pool_size=1)
    with engines.reader.connect() as connection:
        rows = connection.execute(sa.select(annotations.c.sample_id, annotations.c.client_key))
        found = {(row.sample_id, row.client_key) for row in rows}
    engines.dispose()
    return found


@contextmanager
def servers(folder: Path, database: str, size: Size) -> Iterator[dict[str, Server]]:
    """The floor, ours with the small and the large pool and, where it is installed, the peer; all on one database."""
    with ExitStack() as stack:
        postgres = (
            stack.enter_context(postgres_server.running_postgres(on_disk=True)) if database == "postgresql" else None
        )

        def url(name: str) -> str:
            return "" if postgres is None else postgres.create_database(name)

        found = {FLOOR: stack.enter_context(_floor(folder / "floor", url("floor")))}
        for name, pool in ((SMALL, size.small), (LARGE, size.large)):
            found[name] = stack.enter_context(_ours(folder / name, url(name), pool, max(size.labelers)))
        people = found[LARGE].order.people
        found[FLOOR].order = replace(found[FLOOR].order, people=people)
        if database == PEER_DATABASE and (programs := label_studio.installed()) is not None:
            found[PEER] = stack.enter_context(_peer(programs, folder / PEER, size))
        elif database == PEER_DATABASE:
            print(f"queue_load: the peer is left out; {label_studio.VARIABLE} names no folder for it")
        if postgres is not None:
            # Autovacuum would do it within a minute or so, in the middle of a turn, and look at a million rows for as
            # long as the turns last. Not the tables that are still empty: it too passes them over, and a planner that
            # is sure they are empty reads them from end to end.
            for name in (SMALL, LARGE):
                postgres.execute("VACUUM (ANALYZE) samples, selections", database=name)
        yield found


@contextmanager
def _floor(folder: Path, database_url: str) -> Iterator[Server]:
    settings = Settings(data_dir=folder, port=free_port("127.0.0.1", 0), database_url=database_url)
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.floor_server"]
    with started(command, folder / "log", environment_of(settings), f"{settings.url}/health") as child:
        yield Server(Order(settings.host, settings.port, "commit", [], 0.0), child.pid)


@contextmanager
def _ours(folder: Path, database_url: str, pool: int, people: int) -> Iterator[Server]:
    """`al up` without workers, with everybody signed in and the whole pool in the queue."""
    with in_process(folder, database_url=database_url) as loop:
        fill_queue(loop, pool)
    with processes(folder, workers=0, database_url=database_url) as (settings, services):
        crowd = [sign_in(services, settings.url, number) for number in range(people)]
        order = Order(settings.host, settings.port, "label", crowd, 0.0, project=PROJECT, class_name=CLASS_NAMES[3])
        web = int((settings.data_dir / "run" / "web.pid").read_text())
        yield Server(order, web, pool, partial(stored_answers, settings.database))


@contextmanager
def _peer(programs: Path, folder: Path, size: Size) -> Iterator[Server]:
    people = max(size.labelers)
    with label_studio.running(programs, folder, people=people, tasks=size.small, class_names=CLASS_NAMES) as peer:
        print(f"queue_load: beside Label Studio {peer.version}", file=sys.stderr, flush=True)
        yield Server(peer.order, peer.process_id, size.small, peer.stored_answers)
