"""A crowd in a process of its own: closed-loop clients over HTTP, so that they share no lock with the server.

Run as `python -m benchmarks.load`: the order comes as JSON on standard input, what came back goes as JSON to standard
output. Only the standard library, so that the client takes little of the machine that it shares. What differs between
servers is in `labeled_servers`.
"""

import http.client
import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.labeled_servers import QUEUES, Held, Queue, Request

TIMEOUT_S = 60.0
#: A client that was refused so often stops: the figures say so, and a broken server is not asked for ever.
ERRORS_MAX = 20


@dataclass(frozen=True)
class Person:
    """A signed-in labeler."""

    cookie: str
    csrf_token: str


@dataclass(frozen=True)
class Order:
    """What the crowd does.

    Args:
        what: a queue of `labeled_servers` ("label": ours, "label_studio": the peer), whose samples are leased and
            answered one after the other; or the floor's route "commit" or "constant".
        people: one thread each; the floor only counts them.
        seconds: measured, after `warm_up_s` that are not.
        count: samples per lease.
        think_s: mean pause before an answer (exponential); 0: none.
        answers: the crowd also stops after so many answers of all together; 0: only when the time is over.
    """

    host: str
    port: int
    what: str
    people: list[Person]
    seconds: float
    warm_up_s: float = 0.5
    count: int = 1
    think_s: float = 0.0
    project: str = ""
    class_name: str = ""
    answers: int = 0


@dataclass
class Tally:
    """What came back.

    Args:
        seconds: by route, of every request that was sent within the measured time.
        in_time: by route, how many answers came within the measured time.
        requests: all, warm-up included.
        errors: what went wrong, in words; one for each request that was refused or failed.
        held: (sample, person's number, since, until) for every sample that a person held, warm-up included, by one
            clock for all processes of the machine.
        acknowledged: (sample, person's number, key) for every answer that the server said it has stored.
        elapsed_s: measured time that was used; shorter than ordered when the answers were all given.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    in_time: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    errors: list[str] = field(default_factory=list)
    held: list[tuple[int, int, float, float]] = field(default_factory=list)
    acknowledged: list[tuple[int, int, str]] = field(default_factory=list)
    elapsed_s: float = 0.0

    def merge(self, other: "Tally") -> None:
        """Add what another client counted in the same time."""
        for route, values in other.seconds.items():
            self.seconds.setdefault(route, []).extend(values)
        for route, count in other.in_time.items():
            self.in_time[route] = self.in_time.get(route, 0) + count
        self.requests += other.requests
        self.errors += other.errors
        self.held += other.held
        self.acknowledged += other.acknowledged
        self.elapsed_s = max(self.elapsed_s, other.elapsed_s)


class Tickets:
    """How many samples the crowd may still ask for, all together; without a number there is always one left."""

    def __init__(self, answers: int) -> None:
        self._left = answers or float("inf")
        self._lock = threading.Lock()

    def take(self, wanted: int) -> int:
        """Up to `wanted` of them; 0 when there are none left."""
        with self._lock:
            taken = int(min(wanted, self._left))
            self._left -= taken
        return taken


class Client:
    """One person at work."""

    def __init__(self, order: Order, number: int, begin: float, tickets: Tickets) -> None:
        person = order.people[number]
        self._order = order
        self._number = number
        self._queue: Queue | None = QUEUES[order.what](order.project) if order.what in QUEUES else None
        self._begin, self._end = begin, begin + order.seconds
        self._has_work = True
        self._tickets = tickets
        self._http = http.client.HTTPConnection(order.host, order.port, timeout=TIMEOUT_S)
        self._headers = {"Content-Type": "application/json", "Cookie": person.cookie}
        self._headers["X-CSRF-Token" if self._queue is None else self._queue.csrf_header] = person.csrf_token
        self._random = random.Random(number)
        self.tally = Tally()

    def run(self) -> None:
        """Work until the time is over, the answers are given, there is no work or the server has refused too often."""
        step: Callable[[int], None] = self._floor if self._queue is None else self._label
        try:
            while self._has_work and time.monotonic() < self._end and len(self.tally.errors) < ERRORS_MAX:
                allowed = self._tickets.take(self._order.count)
                if not allowed:
                    break
                step(allowed)
        except (OSError, http.client.HTTPException) as error:
            self.tally.errors.append(repr(error))
        self.tally.elapsed_s = min(time.monotonic(), self._end) - self._begin
        self._http.close()

    def _floor(self, _count: int) -> None:
        self._think()
        body = {"class_name": self._order.class_name, "client_key": uuid.uuid4().hex, "lead_time": 1.5}
        self._send(Request(self._order.what, "POST", f"/{self._order.what}", body))

    def _label(self, count: int) -> None:
        assert self._queue is not None
        reply = self._send(self._queue.lease(count))
        since = time.monotonic()
        found = [] if reply is None else self._queue.held(reply)
        if reply is not None and not found:
            self.tally.errors.append(f"no work: {reply}")
            self._has_work = False
        for held in found:
            self._think()
            self._answer(self._queue, held, since)

    def _answer(self, queue: Queue, held: Held, since: float) -> None:
        key = uuid.uuid4().hex
        until = time.monotonic()
        reply = self._send(queue.answer(held, self._order.class_name, key))
        self.tally.held.append((held.sample_id, self._number, since, until))
        if reply is not None:
            self.tally.acknowledged.append((held.sample_id, self._number, queue.stored_key(reply, key)))

    def _think(self) -> None:
        if self._order.think_s:
            time.sleep(self._random.expovariate(1 / self._order.think_s))

    def _send(self, request: Request) -> dict[str, Any] | None:
        """The reply's fields, or None when the server refused."""
        data = None if request.body is None else json.dumps(request.body)
        started = time.monotonic()
        self._http.request(request.method, request.path, data, self._headers)
        reply = self._http.getresponse()
        text = reply.read()
        ended = time.monotonic()
        if reply.status >= 300:
            self.tally.errors.append(f"{request.path}: {reply.status} {text[:200]!r}")
            return None
        self._count(request.route, started, ended)
        fields: dict[str, Any] = json.loads(text)
        return fields

    def _count(self, route: str, started: float, ended: float) -> None:
        tally = self.tally
        tally.requests += 1
        if self._begin <= started <= self._end:
            tally.seconds.setdefault(route, []).append(ended - started)
        if self._begin <= ended <= self._end:
            tally.in_time[route] = tally.in_time.get(route, 0) + 1


def run(order: Order) -> Tally:
    """Let the crowd work; what all of them counted."""
    begin = time.monotonic() + order.warm_up_s
    tickets = Tickets(order.answers)
    clients = [Client(order, number, begin, tickets) for number in range(len(order.people))]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = Tally()
    for client in clients:
        total.merge(client.tally)
    return total


def main() -> None:
    """Read the order, work, write the tally."""
    fields = json.load(sys.stdin)
    fields["people"] = [Person(**person) for person in fields["people"]]
    json.dump(asdict(run(Order(**fields))), sys.stdout)


if __name__ == "__main__":
    main()
