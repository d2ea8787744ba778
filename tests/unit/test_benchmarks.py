"""The benchmarks' own arithmetic, and their cheap parts on tiny data."""

import json
from pathlib import Path

import numpy as np
import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.simulation.plan import Plan
from benchmarks import floor_server, load, rounds, strategies
from benchmarks.figures import Lines, mean_interval, median_of, percentiles_ms, rounded
from benchmarks.image_sets import ImageSet
from benchmarks.labelers import fill_queue
from benchmarks.service import cpu_seconds, in_process


def test_lines_are_json_with_benchmark_runs_and_machine(tmp_path: Path) -> None:
    lines = Lines("demo", tmp_path)
    lines.add("what", runs=3, ours={"p50_ms": 1.23456})
    (line,) = map(json.loads, lines.path.read_text().splitlines())
    assert (line["benchmark"], line["what"], line["runs"], line["ours"]) == ("demo", "what", 3, {"p50_ms": 1.235})
    assert {"cores", "python", "torch"} <= set(line["machine"])


def test_figures() -> None:
    assert percentiles_ms([0.001] * 99 + [1.0])["p99_ms"] < 1000
    assert median_of([{"a": 1}, {"a": 5}, {"a": 2}]) == {"a": 2}
    assert rounded([np.float32(0.33333333)]) == [0.3333]
    mean, (low, high) = mean_interval([1.0, 2.0, 3.0])
    assert mean == 2.0 and low == pytest.approx(2 - 4.303 / 3**0.5, abs=1e-3) and high == pytest.approx(4 - low)
    assert mean_interval([0.5]) == (0.5, [0.5, 0.5])


def test_a_comparison_writes_curves_and_what_they_say_together(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 2
    pixels = (classes[:, None, None, None] * 150 + rng.integers(0, 80, (60, 8, 8, 3))).astype(np.uint8)
    greys = ImageSet("greys", pixels, classes, tuple(f"{number:064x}" for number in range(60)), 2)
    plan = Plan(initial=6, batch=6, budget=12, random_budget=18, config=ProjectConfig(epochs_max=2))
    comparison = strategies.Comparison("greys", 60, plan, ("random", "margin", "of the future"), (0, 1))
    lines = Lines("strategies", tmp_path)
    strategies.compare(lines, comparison, strategies.of_images(greys), processes=1)
    found = [json.loads(line) for line in lines.path.read_text().splitlines()]
    assert sorted((line["strategy"], line["seed"]) for line in found if line["what"] == "curve") == [
        ("margin", 0), ("margin", 1), ("random", 0), ("random", 1),
    ]  # fmt: skip
    assert [(line["strategy"], line["labels"]) for line in found if line["what"] == "accuracy"] == [
        ("random", 6), ("random", 12), ("random", 18), ("margin", 6), ("margin", 12),
    ]  # fmt: skip
    assert found[-1]["what"] == "against_random"
    assert found[-1]["at_own_final"]["random_measured_to"] == 18


def test_the_floor_commits_what_it_acknowledges(tmp_path: Path) -> None:
    client = floor_server.create_floor(floor_server.SqliteAnswers(tmp_path / "floor.db")).test_client()
    assert client.post("/constant", json={}).get_json() == {"id": 0}
    assert [client.post("/commit", json={"n": n}).get_json()["id"] for n in range(3)] == [1, 2, 3]
    assert client.post("/commit", json={}).status_code == 201


def test_the_queue_is_as_long_as_asked_and_a_person_empties_it(tmp_path: Path) -> None:
    with in_process(tmp_path) as loop:
        fill_queue(loop, 25)
        (record,) = loop.services.rounds.all("bench")
        with loop.services.store.read() as tx:
            assert [pick.rank for pick in tx.queue.selections(record.id)] == list(range(25))
        person = loop.services.accounts.ensure_user("somebody", "labeler")
        with loop.services.store.read() as tx:
            classes = {sha256: "3" for _, sha256 in tx.samples.selectable(record.project_id)}
        assert rounds.answer_batch(loop.services, person, classes) == 25


def test_tallies_add_up() -> None:
    one = load.Tally({"submit": [0.1]}, {"submit": 1}, 2, [], [(7, 0, 1.0, 2.0)], [(7, 0, "a")], 3.0)
    one.merge(load.Tally({"submit": [0.2], "commit": [0.3]}, {"submit": 1}, 3, ["no"], [(8, 1, 1.0, 2.0)], [], 4.0))
    held, acknowledged = [(7, 0, 1.0, 2.0), (8, 1, 1.0, 2.0)], [(7, 0, "a")]
    together = load.Tally(
        {"submit": [0.1, 0.2], "commit": [0.3]}, {"submit": 2}, 5, ["no"], held, acknowledged, elapsed_s=4.0
    )
    assert one == together


def test_processor_time_of_nobody_is_unknown() -> None:
    assert cpu_seconds(2**30) is None
