"""TypiClust: whose turn it is, and what is typical."""

import numpy as np
import pytest
import torch

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.typiclust import most_typical, typiclust
from al_service.errors import InvalidInputError
from tests.unit.acquisition.geometry_selectors import blobs


def heap_of(positions: np.ndarray, sizes: tuple[int, ...]) -> list[int]:
    return np.searchsorted(np.cumsum(sizes), positions, side="right").tolist()


def choose(rows: np.ndarray, k: int, labelled: np.ndarray | None = None, seed: int = 0, **rules: int) -> np.ndarray:
    return typiclust(rows, k, labelled, rng=np.random.default_rng(seed), **rules)


@pytest.mark.parametrize("seed", range(5))
def test_of_a_big_and_a_small_heap_each_gives_one_the_big_one_first(seed):
    assert heap_of(choose(blobs((90, 10), seed), 2, seed=seed), (90, 10)) == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_heaps_with_a_label_wait(seed):
    sizes = (60, 30, 10)
    rows = blobs(sizes, seed)
    labelled = blobs(sizes, seed + 50)[[3]]
    assert heap_of(choose(rows, 2, labelled, seed), sizes) == [1, 2]


def test_when_all_clusters_had_their_turn_the_round_begins_anew():
    sizes = (30, 20, 10)
    assert heap_of(choose(blobs(sizes), 7, clusters_max=3), sizes) == [0, 1, 2, 0, 1, 2, 0]


def test_clusters_too_small_to_be_typical_come_last():
    sizes = (20, 4)
    chosen = heap_of(choose(blobs(sizes), 20, clusters_max=2), sizes)
    assert chosen[:16] == [0] * 16 and 1 in chosen[16:18]


def test_a_sample_alone_in_its_cluster_has_no_distance():
    rows = torch.tensor([[0.0], [100.0]])
    positions, distances = most_typical(rows, 2, None, np.random.default_rng(0))
    assert sorted(positions.tolist()) == [0, 1]
    assert distances.tolist() == [np.inf, np.inf]


def test_parameters_and_widths_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="clusters_max is 0, expected at least 1"):
        choose(blobs((9,)), 2, clusters_max=0)
    with pytest.raises(InvalidArrayError, match="labelled has width 2, expected 4"):
        choose(blobs((9,)), 2, np.ones((3, 2)))


def test_more_labelled_than_clusters():
    rows = blobs((30, 20))
    assert len(set(choose(rows, 5, rows[:25] + 0.1, clusters_max=10).tolist())) == 5
