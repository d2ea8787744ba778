"""The arithmetic of the queue's load test, and its crowd against our own server."""

import json
import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks import floor_server, load
from benchmarks.figures import Lines
from benchmarks.labeled_servers import Held, LabelStudioQueue, OurQueue
from benchmarks.labelers import CLASS_NAMES, PROJECT, Measured, fill_queue, sign_in
from benchmarks.load import Order, Person, Tally, Tickets
from benchmarks.postgres_server import PostgresServer
from benchmarks.process_memory import Memory, highest, memory_of, watched
from benchmarks.queue_load import QUICK, Server, Size, stored_answers, turn_order
from benchmarks.queue_load_report import (
    FLOOR,
    LARGE,
    PEER,
    SMALL,
    given_to_two,
    held_by_two_at_once,
    promises,
    report,
)
from benchmarks.service import in_process, processes


def tally(next_s: float, submit_s: float, answers: int, seconds: float = 10.0) -> Tally:
    """A crowd that gave so many answers in that time."""
    return Tally(
        {"next_assignment": [next_s] * answers, "submit": [submit_s] * answers},
        {"next_assignment": answers, "submit": answers},
        2 * answers,
        elapsed_s=seconds,
    )


def floor_tally(commit_s: float, requests: int, seconds: float = 10.0) -> Tally:
    """A crowd at the floor."""
    return Tally({"commit": [commit_s] * requests}, {"commit": requests}, requests, elapsed_s=seconds)


def test_a_sample_is_held_by_two_only_when_a_second_person_gets_it_before_the_first_has_answered() -> None:
    spans = {
        "one after the other": [(1, 0, 1.0, 2.0), (1, 1, 2.0, 3.0)],
        "at once": [(2, 0, 1.0, 2.0), (2, 1, 1.5, 3.0)],
        "at once, not next to each other in time": [(3, 0, 1.0, 9.0), (3, 0, 2.0, 3.0), (3, 1, 4.0, 5.0)],
        "twice to one person": [(4, 0, 1.0, 2.0), (4, 0, 1.5, 3.0)],
    }
    found = {name: held_by_two_at_once(Tally(held=held)) for name, held in spans.items()}
    assert found == {
        "one after the other": 0,
        "at once": 1,
        "at once, not next to each other in time": 1,
        "twice to one person": 0,
    }
    assert {name: given_to_two(Tally(held=held)) for name, held in spans.items()} == found | {"one after the other": 1}


def test_an_acknowledged_answer_that_is_not_stored_is_lost() -> None:
    told = Tally(acknowledged=[(1, 0, "a"), (2, 0, "b"), (3, 1, "c")], errors=["no"])
    stored = {(1, "a"), (3, "b"), (9, "z")}
    assert promises(told, stored) == {
        "acknowledged": 3,
        "lost": 2,
        "given_to_two": 0,
        "held_by_two_at_once": 0,
        "errors": 1,
    }


def test_two_acknowledgements_that_rest_on_one_stored_answer_are_a_loss() -> None:
    assert promises(Tally(acknowledged=[(1, 0, "a"), (1, 1, "a")]), {(1, "a")})["lost"] == 1


def test_ratios_are_taken_within_a_turn_and_held_against_the_limits(tmp_path: Path) -> None:
    slow, fast = (
        {
            FLOOR: Measured(floor_tally(0.001 * busy, int(1000 / busy)), 0.5 * busy),
            SMALL: Measured(tally(0.002 * busy, 0.004 * busy, int(200 / busy)), 1.0 * busy),
            LARGE: Measured(tally(0.003 * busy, 0.004 * busy, int(100 / busy)), 1.5 * busy),
            PEER: Measured(tally(0.2 * busy, 0.2 * busy, int(10 / busy)), None),
        }
        for busy in (2, 1)
    )
    lines = Lines("queue_load", tmp_path)
    report(lines, "sqlite", 8, [slow, fast])
    found = [json.loads(line) for line in lines.path.read_text().splitlines()]
    by_server = {(line["what"], line.get("server")): line for line in found}
    assert by_server["server", SMALL]["answers_per_s"] == 15.0
    assert by_server["server", PEER]["errors"] == 0 and "cpu_ms_per_request" not in by_server["server", PEER]
    floor = by_server["against_floor", SMALL]
    assert (floor["times"], floor["is_met"]) == (
        {"seconds_per_request": 2.5, "next_assignment_p50": 2.0, "submit_p50": 4.0, "cpu_ms_per_request": 2.0},
        True,
    )
    assert by_server["against_floor", LARGE]["is_met"] is False
    growth = by_server["pool_growth", None]
    assert (growth["times"], growth["is_met"]) == ({"p50": 1.5, "cpu_ms_per_request": 1.5}, False)
    assert (by_server["against_peer", SMALL]["times"], by_server["against_peer", SMALL]["is_met"]) == (20.0, True)
    assert (by_server["against_peer", LARGE]["times"], by_server["against_peer", LARGE]["is_met"]) == (10.0, False)


def test_the_crowd_stops_after_the_answers_it_was_to_give() -> None:
    tickets = Tickets(5)
    assert [tickets.take(2) for _ in range(4)] == [2, 2, 1, 0]
    assert [Tickets(0).take(3) for _ in range(2)] == [3, 3]


def test_the_most_people_give_the_large_pool_its_answers_and_everybody_else_works_by_the_clock() -> None:
    size = Size(turns=4, answers=10_000, labelers=(1, 32))
    server = Server(Order("h", 1, "label", [Person("", "")] * 32, 0.0), 1)
    counted = turn_order(server, LARGE, 32, size)
    assert (counted.answers, counted.warm_up_s, len(counted.people)) == (2_500, 0.0, 32)
    small = turn_order(server, SMALL, 32, size)
    assert small.seconds == size.seconds
    assert 0 < small.answers * size.turns * len(size.labelers) <= size.small, "the small pool lasts for all turns"
    timed = [turn_order(server, name, number, size) for name, number in ((LARGE, 1), (FLOOR, 32))]
    assert {(order.answers, order.seconds) for order in timed} == {(0, size.seconds)}
    assert turn_order(server, PEER, 32, size).seconds == size.peer_seconds
    assert QUICK.small * 10 <= QUICK.large


def test_label_studio_is_asked_as_its_page_asks() -> None:
    queue = LabelStudioQueue("7")
    assert queue.lease(1).path == "/api/projects/7/next"
    assert queue.held({"id": 12, "data": {}}) == [Held(12, 12)]
    said = queue.answer(Held(12, 12), "cat", "key")
    assert (said.path, said.body["result"][0]["value"]) == ("/api/tasks/12/annotations/", {"choices": ["cat"]})
    assert queue.stored_key({"id": 31}, "key") == "31"
    assert OurQueue("p").stored_key({}, "key") == "key"


def test_memory_of_this_process_is_known_and_of_nobody_is_not() -> None:
    with watched(os.getpid()) as samples:
        own = memory_of(os.getpid())
    assert own is not None and own.rss_mb >= own.pss_mb > 10
    most = highest(samples)
    assert most is not None and most.rss_mb > 10
    assert memory_of(2**30) is None
    assert highest([]) is None
    assert highest([Memory(1.0, 5.0), Memory(2.0, 3.0)]) == Memory(2.0, 5.0)


def test_the_floor_commits_to_postgresql_too(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database("floor")
    with closing(floor_server.PostgresAnswers(url)) as answers:
        client = floor_server.create_floor(answers).test_client()
        assert [client.post("/commit", json={"n": n}).get_json()["id"] for n in range(2)] == [1, 2]


def test_what_a_crowd_was_told_is_in_the_database(tmp_path: Path) -> None:
    with in_process(tmp_path) as loop:
        fill_queue(loop, 30)
    with processes(tmp_path, workers=0) as (settings, services):
        people = [sign_in(services, settings.url, number) for number in range(3)]
        order = Order(
            settings.host, settings.port, "label", people, 60.0, 0.0, project=PROJECT, class_name=CLASS_NAMES[0]
        )
        told = load.run(replace(order, answers=20))
        stored = stored_answers(settings.database)
        assert (told.errors, told.in_time["submit"], len(stored)) == ([], 20, 20)
        assert promises(told, stored) == {
            "acknowledged": 20, "lost": 0, "given_to_two": 0, "held_by_two_at_once": 0, "errors": 0,
        }  # fmt: skip
        assert 0 < told.elapsed_s < order.seconds
        rest = load.run(order)
        assert rest.in_time["submit"] == 10
        assert len(rest.errors) == 3 and all("no work" in error for error in rest.errors)
