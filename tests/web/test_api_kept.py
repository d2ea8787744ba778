"""Slow answers are kept: a broker that hangs and a crowd of health checks must not hold the web threads."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from al_service.api.kept import Kept
from al_service.errors import UnavailableError
from tests.web.conftest import Clock, World

#: Seconds after which a test that hangs fails.
PATIENCE_S = 20
CROWD = 16


class Gate:
    """Something slow: counts who comes in, and holds them while it is closed."""

    def __init__(self, answer: Callable[[], str]) -> None:
        self.answer = answer
        self.calls = 0
        self.entered = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def __call__(self) -> str:
        self.calls += 1
        self.entered.set()
        assert self.open.wait(PATIENCE_S)
        return self.answer()

    def close(self) -> None:
        self.entered.clear()
        self.open.clear()


def silent() -> str:
    raise UnavailableError("the broker is silent", retry_after_s=3)


def test_an_answer_is_kept_for_two_seconds():
    clock, gate = Clock(), Gate(lambda: "good")
    kept = Kept(gate, clock)
    assert [kept.get() for _ in range(3)] == ["good"] * 3
    clock.advance(1.9)
    kept.get()
    assert gate.calls == 1
    clock.advance(0.1)
    kept.get()
    assert gate.calls == 2


def test_a_failure_is_kept_too_and_raised_anew_with_its_details():
    clock, gate = Clock(), Gate(silent)
    kept = Kept(gate, clock)
    found = []
    for _ in range(3):
        with pytest.raises(UnavailableError, match="the broker is silent") as caught:
            kept.get()
        found.append(caught.value)
    assert gate.calls == 1
    assert len({id(error) for error in found}) == 3
    assert found[-1].details == {"retry_after_s": 3}
    gate.answer = lambda: "back"
    clock.advance(2)
    assert kept.get() == "back"


def test_a_clock_that_was_set_back_does_not_keep_an_answer():
    clock, gate = Clock(), Gate(lambda: "good")
    kept = Kept(gate, clock)
    kept.get()
    clock.now -= timedelta(hours=1)
    kept.get()
    assert gate.calls == 2


def test_a_bug_reaches_its_caller_and_the_next_one_asks_again():
    answers = iter([ZeroDivisionError, "good"])

    def ask() -> str:
        answer = next(answers)
        if isinstance(answer, str):
            return answer
        raise answer

    kept = Kept(ask, Clock())
    with pytest.raises(ZeroDivisionError):
        kept.get()
    assert kept.get() == "good"


def test_while_one_caller_asks_the_others_get_the_last_answer_at_once():
    clock, gate = Clock(), Gate(lambda: "old")
    kept = Kept(gate, clock)
    kept.get()
    gate.answer = lambda: "new"
    gate.close()
    clock.advance(60)
    with ThreadPoolExecutor(2) as pool:
        asking = pool.submit(kept.get)
        assert gate.entered.wait(PATIENCE_S)
        assert pool.submit(kept.get).result(PATIENCE_S) == "old"
        assert not asking.done()
        gate.open.set()
        assert asking.result(PATIENCE_S) == "new"
    assert (kept.get(), gate.calls) == ("new", 2)


def test_the_very_first_callers_wait_for_one_run():
    gate = Gate(lambda: "good")
    gate.close()
    kept = Kept(gate, Clock())
    coming = threading.Barrier(CROWD + 1)

    def come() -> str:
        coming.wait(PATIENCE_S)
        return kept.get()

    with ThreadPoolExecutor(CROWD) as pool:
        crowd = [pool.submit(come) for _ in range(CROWD)]
        coming.wait(PATIENCE_S)
        assert gate.entered.wait(PATIENCE_S)
        assert not any(one.done() for one in crowd)
        gate.open.set()
        assert [one.result(PATIENCE_S) for one in crowd] == ["good"] * CROWD
    assert gate.calls == 1


def test_a_frozen_broker_holds_one_thread_whoever_asks(world: World):
    world.project()
    viewer, client = world.api("viewer"), world.app.test_client()
    assert viewer.get("/projects/birds/summary").json["workers"] != []
    frozen = Gate(silent)
    world.queue.check = frozen
    frozen.close()
    world.clock.advance(2)
    with ThreadPoolExecutor(2) as pool:
        held = pool.submit(world.api("viewer", "rob").get, "/projects/birds/summary")
        assert frozen.entered.wait(PATIENCE_S)
        summary = pool.submit(viewer.get, "/projects/birds/summary").result(PATIENCE_S)
        assert [worker["name"] for worker in summary.json["workers"]] == ["inline"]
        assert 'rq_workers{state="idle"} 1.0' in pool.submit(client.get, "/metrics").result(PATIENCE_S).text
        assert pool.submit(client.get, "/health/ready").result(PATIENCE_S).status_code == 200
        frozen.open.set()
        assert held.result(PATIENCE_S).json["workers"] is None
    assert viewer.get("/projects/birds/summary").json["workers"] is None
    assert client.get("/health/ready").json["parts"]["broker"] == {"ok": False, "detail": "the broker is silent"}
    assert 'al_up{part="broker"} 0.0' in client.get("/metrics").text
    assert frozen.calls == 1


def test_a_crowd_of_readiness_checks_writes_once(world: World):
    written = Gate(lambda: "")
    put = world.artifacts.put
    world.artifacts.put = lambda name, data: (written(), put(name, data))
    written.close()
    with ThreadPoolExecutor(CROWD) as pool:
        crowd = [pool.submit(world.app.test_client().get, "/health/ready") for _ in range(CROWD)]
        assert written.entered.wait(PATIENCE_S)
        written.open.set()
        assert {one.result(PATIENCE_S).status_code for one in crowd} == {200}
    assert written.calls == 1
    world.clock.advance(2)
    assert world.app.test_client().get("/health/ready").status_code == 200
    assert written.calls == 2
