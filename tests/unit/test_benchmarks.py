"""The benchmarks' own arithmetic, and their cheap parts on tiny data."""

import json
from pathlib import Path

import numpy as np
import pytest

from al_service.domain.project_config import ProjectConfig
from benchmarks import floor_server, load, rounds, strategies
from benchmarks.figures import Lines, mean_interval, median_of, percentiles_ms, rounded
from benchmarks.image_sets import ImageSet
from benchmarks.labelers import fill_queue
from benchmarks.service import cpu_seconds, in_process
from benchmarks.simulation import Curve, Plan, Simulation

TINY = ProjectConfig(epochs_max=2)


@pytest.fixture
def two_greys() -> ImageSet:
    """Dark and light squares, every one different."""
    rng = np.random.default_rng(0)
    classes = np.arange(60) % 2
    pixels = (classes[:, None, None, None] * 150 + rng.integers(0, 80, (60, 8, 8, 3))).astype(np.uint8)
    return ImageSet("greys", pixels, classes, tuple(f"{number:064x}" for number in range(60)), 2)


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


def test_area_and_labels_needed() -> None:
    curve = Curve("random", 0, (10, 20, 40), (0.5, 0.7, 0.9))
    assert strategies.aubc(curve, 2) == pytest.approx((10 * 0.6 + 20 * 0.8) / 30)
    assert strategies.labels_needed([curve], 0.8) == pytest.approx(30)
    assert strategies.labels_needed([curve], 0.4) == 10
    assert strategies.labels_needed([curve], 0.95) is None


def test_a_simulation_repeats_itself_and_strategies_share_their_start(two_greys: ImageSet) -> None:
    simulation = Simulation(two_greys, Plan((6, 12), TINY), seed=1)
    ours = simulation.curve("margin+k_center")
    assert ours == Simulation(two_greys, Plan((6, 12), TINY), seed=1).curve("margin+k_center")
    assert ours.accuracy[0] == simulation.curve("random").accuracy[0]


def test_a_report_compares_with_random_seed_by_seed(tmp_path: Path) -> None:
    study = strategies.Study("greys", 60, (10, 20), (40,), ("random", "margin"), (0, 1))
    curves = [Curve("random", seed, (10, 20, 40), (0.5, 0.6, 0.8)) for seed in (0, 1)]
    curves += [Curve("margin", seed, (10, 20), (0.5, 0.7)) for seed in (0, 1)]
    lines = Lines("strategies", tmp_path)
    strategies.report(lines, study, curves)
    found = [json.loads(line) for line in lines.path.read_text().splitlines()]
    assert [(line["strategy"], line["labels"]) for line in found if line["what"] == "accuracy"] == [
        ("random", 10),
        ("random", 20),
        ("random", 40),
        ("margin", 10),
        ("margin", 20),
    ]
    assert found[-1]["what"] == "against_random"
    assert (found[-1]["aubc_difference"], found[-1]["accuracy_difference"]) == (0.05, 0.1)
    assert found[-1]["random_needs"] == {"10": 10, "20": 30}


def test_the_floor_commits_what_it_acknowledges(tmp_path: Path) -> None:
    client = floor_server.create_floor(tmp_path / "floor.db").test_client()
    assert client.post("/constant", json={}).get_json() == {"id": 0}
    assert [client.post("/commit", json={"n": n}).get_json()["id"] for n in range(3)] == [1, 2, 3]
    assert client.post("/commit", json={}).status_code == 201


def test_the_queue_is_as_long_as_asked_and_a_person_empties_it(tmp_path: Path) -> None:
    with in_process(tmp_path) as loop:
        fill_queue(loop.services, 25)
        loop.work()
        (record,) = loop.services.rounds.all("bench")
        assert record.selected_count == 25
        person = loop.services.accounts.ensure_user("somebody", "labeler")
        with loop.services.store.read() as tx:
            classes = {sha256: "3" for _, sha256 in tx.samples.selectable(record.project_id)}
        assert rounds.answer_batch(loop.services, person, classes) == 25


def test_tallies_add_up() -> None:
    one = load.Tally({"submit": [0.1]}, {"submit": 1}, 2, [])
    one.merge(load.Tally({"submit": [0.2], "commit": [0.3]}, {"submit": 1}, 3, ["no"]))
    assert one == load.Tally({"submit": [0.1, 0.2], "commit": [0.3]}, {"submit": 2}, 5, ["no"])


def test_processor_time_of_nobody_is_unknown() -> None:
    assert cpu_seconds(2**30) is None
