"""The benchmark of batch selectors: its pools, its plain algorithms and its objectives, on tiny data."""

import json
from dataclasses import replace

import numpy as np
import pytest

from al_service.acquisition.k_center import k_center
from benchmarks import batch_selectors
from benchmarks.batch_selectors import Selection, make_pool, measure, objective, plain, select
from benchmarks.figures import Lines

both = pytest.mark.parametrize("selector", ["k_center", "badge"])


@both
@pytest.mark.parametrize("kind", ["clusters", "classes", "sheet"])
def test_ours_picks_as_the_plain_algorithm_does(selector, kind):
    pool = make_pool(kind, 400)
    assert select(selector, pool, 60).tolist() == plain(selector, pool, 60)
    unlabelled = replace(pool, labelled=pool.labelled[:0])
    assert select(selector, unlabelled, 60).tolist() == plain(selector, unlabelled, 60)


def test_pools_are_the_same_for_the_same_size():
    first, again = make_pool("clusters", 300), make_pool("clusters", 300)
    np.testing.assert_array_equal(first.embeddings, again.embeddings)
    assert first.embeddings.dtype == np.float16 and len(first.labelled) == 100
    np.testing.assert_allclose(first.probabilities.sum(1), 1, atol=1e-5)


@both
def test_more_picks_leave_less(selector):
    pool = make_pool("clusters", 300)
    chosen = select(selector, pool, 80)
    assert objective(selector, pool, chosen) < objective(selector, pool, chosen[:8])


def test_the_objective_of_k_center_is_the_largest_distance_that_is_left():
    pool = make_pool("clusters", 200)
    chosen = k_center(pool.embeddings, 12, pool.labelled)
    centres = np.concatenate([pool.embeddings[chosen], pool.labelled]).astype(float)
    distances = np.linalg.norm(pool.embeddings[:, None].astype(float) - centres, axis=2)
    assert objective("k_center", pool, chosen) == pytest.approx(distances.min(1).max(), rel=1e-6)


@both
def test_a_measured_selection_tells_seconds_floor_and_memory(selector, capfd, tmp_path):
    selection = Selection(selector, "clusters", 500, 20, checked=5)
    measure(json.dumps(selection.__dict__), str(tmp_path))
    figures = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert figures["first_picks_identical_to_plain"] == 5
    assert figures["seconds"] > 0 and figures["floor_seconds"] > 0 and figures["peak_mb"] > 0
    assert len(np.load(tmp_path / "ours.npy")) == 20


def test_without_the_peer_ours_is_measured_alone_and_it_says_so(capfd, tmp_path, monkeypatch):
    monkeypatch.delenv(batch_selectors.PEER_VARIABLE, raising=False)
    lines = Lines("batch_selectors", tmp_path)
    batch_selectors.k_center_beside_peer(lines, quick=True)
    assert "BENCH_SKACTIVEML" in capfd.readouterr().out
    (line,) = map(json.loads, lines.path.read_text().splitlines())
    assert line["what"] == "ours_alone"
