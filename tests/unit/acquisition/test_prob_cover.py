"""ProbCover: balls, the radius, and what follows when all is covered."""

import numpy as np
import pytest
import torch

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.prob_cover import most_covering, prob_cover, radius
from al_service.errors import InvalidInputError
from tests.unit.acquisition.geometry_selectors import blobs


@pytest.mark.parametrize("seed", range(5))
def test_of_a_big_and_a_small_heap_each_gives_one(seed):
    rows = blobs((90, 10), seed)
    assert sorted(prob_cover(rows, 2, clusters=2) // 90) == [0, 1]
    assert prob_cover(rows, 2, delta=12.0)[0] < 90


def test_the_last_row_of_a_pool_that_is_no_whole_number_of_blocks_can_be_chosen():
    rows = np.concatenate([np.random.default_rng(0).normal(size=(4100, 2)) * 0.01, [[50.0, 50.0]]])
    assert 4100 in prob_cover(rows, 2, delta=1.0)


def test_what_is_labelled_covers():
    line = np.array([[0.0], [1.0], [2.0], [8.0], [9.0]])
    assert prob_cover(line, 2, delta=1.5).tolist() == [1, 3]
    assert prob_cover(line, 1, labelled=np.array([[0.9]]), delta=1.5).tolist() == [3]


def test_once_all_is_covered_the_farthest_follow():
    line = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [10.5]])
    positions, counts = most_covering(torch.from_numpy(line), 6, None, 2.5)
    assert counts.tolist() == [3, 3, 0, 0, 0, 0]
    assert positions[:2].tolist() == [0, 3]
    assert positions[2:].tolist() == [2, 1, 4, 5]


def test_copies_of_a_chosen_sample_cover_nothing_new_even_with_balls_of_no_size():
    rows = np.repeat(np.random.default_rng(0).normal(size=(6, 5)) + 100, 3, axis=0)
    positions, counts = most_covering(torch.from_numpy(rows.astype(np.float32)), 18, None, 0.0)
    assert counts.tolist() == [3] * 6 + [0] * 12
    assert (positions[:6] // 3).tolist() == list(range(6))


def test_the_radius_is_the_largest_whose_balls_are_pure():
    """Two heaps of 50 on a line: at most 5 of 100 samples may see one of the other heap."""
    rows = np.concatenate([np.arange(50.0), np.arange(50.0) + 60])[:, None]
    delta = radius(torch.from_numpy(rows), clusters=2)
    distances = np.abs(rows - rows.T)
    labels = np.arange(100) // 50
    nearest_other = np.where(labels[:, None] == labels, np.inf, distances).min(1)
    assert (nearest_other > delta).mean() >= 0.95
    assert (nearest_other > delta * (1 + 1e-5)).mean() < 0.95


def test_one_cluster_has_no_limit_to_its_radius():
    rows = np.random.default_rng(0).normal(size=(30, 3))
    assert radius(torch.from_numpy(rows), clusters=1) == np.inf
    _, counts = most_covering(torch.from_numpy(rows), 3, None, np.inf)
    assert counts.tolist() == [30, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta": -1.0}, "delta is -1.0, expected a number from 0 up"),
        ({"delta": float("nan")}, "delta is nan"),
        ({"clusters": 0}, "clusters is 0, expected at least 1"),
        ({"purity": 1.5}, "purity is 1.5"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        prob_cover(np.ones((5, 2)), 2, **arguments)


def test_labelled_of_another_width_are_refused():
    with pytest.raises(InvalidArrayError, match="labelled has width 3, expected 2"):
        prob_cover(np.ones((5, 2)), 2, labelled=np.ones((1, 3)))
