"""A crowd in a process of its own: closed-loop clients over HTTP, so that they share no lock with the server.

Run as `python -m benchmarks.load`: the order comes as JSON on standard input, what came back goes as JSON to standard
output. Only the standard library, so that the client takes little of the machine that it shares.
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

TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Person:
    """A signed-in labeler."""

    cookie: str
    csrf_token: str


@dataclass(frozen=True)
class Order:
    """What the crowd does.

    Args:
        what: "label" (lease, answer, again), or the floor's route "commit" or "constant".
        people: one thread each; the floor only counts them.
        seconds: measured, after `warm_up_s` that are not.
        count: samples per lease.
        think_s: mean pause before an answer (exponential); 0: none.
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


@dataclass
class Tally:
    """What came back.

    Args:
        seconds: by route, of every request that was sent within the measured time.
        in_time: by route, how many answers came within the measured time.
        requests: all, warm-up included.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    in_time: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    errors: list[str] = field(default_factory=list)

    def merge(self, other: "Tally") -> None:
        """Add what another client counted."""
        for route, values in other.seconds.items():
            self.seconds.setdefault(route, []).extend(values)
        for route, count in other.in_time.items():
            self.in_time[route] = self.in_time.get(route, 0) + count
        self.requests += other.requests
        self.errors += other.errors


class Client:
    """One person at work."""

    def __init__(self, order: Order, person: Person, number: int, begin: float) -> None:
        self._order = order
        self._begin, self._end = begin, begin + order.seconds
        self._http = http.client.HTTPConnection(order.host, order.port, timeout=TIMEOUT_S)
        self._headers = {
            "Content-Type": "application/json",
            "Cookie": person.cookie,
            "X-CSRF-Token": person.csrf_token,
        }
        self._random = random.Random(number)
        self.tally = Tally()

    def run(self) -> None:
        """Work until the time is over."""
        step: Callable[[], None] = self._label if self._order.what == "label" else self._floor
        try:
            while time.monotonic() < self._end and not self.tally.errors:
                step()
        except (OSError, http.client.HTTPException) as error:
            self.tally.errors.append(repr(error))
        self._http.close()

    def _floor(self) -> None:
        self._think()
        self._post(self._order.what, f"/{self._order.what}", self._answer())

    def _label(self) -> None:
        path = f"/api/v1/projects/{self._order.project}/assignments"
        leased = self._post("next_assignment", path, {"count": self._order.count})
        if not leased.get("assignments"):
            self.tally.errors.append(f"no work: {leased}")
        for assignment in leased.get("assignments", ()):
            self._think()
            self._post("submit", f"/api/v1/assignments/{assignment['id']}/annotation", self._answer())

    def _answer(self) -> dict[str, object]:
        return {"class_name": self._order.class_name, "client_key": uuid.uuid4().hex, "lead_time": 1.5}

    def _think(self) -> None:
        if self._order.think_s:
            time.sleep(self._random.expovariate(1 / self._order.think_s))

    def _post(self, route: str, path: str, body: dict[str, object]) -> dict[str, object]:
        data = json.dumps(body)
        started = time.monotonic()
        self._http.request("POST", path, data, self._headers)
        reply = self._http.getresponse()
        text = reply.read()
        ended = time.monotonic()
        if reply.status >= 300:
            self.tally.errors.append(f"{path}: {reply.status} {text[:200]!r}")
            return {}
        self._count(route, started, ended)
        return json.loads(text)

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
    clients = [Client(order, person, number, begin) for number, person in enumerate(order.people)]
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
