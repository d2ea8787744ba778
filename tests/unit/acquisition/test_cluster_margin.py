"""Cluster-Margin: clusters, margins and turns."""

import numpy as np
import pytest
import torch

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.cluster_margin import agglomerate, cluster_margin
from al_service.errors import InvalidInputError
from tests.unit.acquisition.geometry_selectors import blobs


def outputs(margins: np.ndarray) -> np.ndarray:
    return np.stack([(1 + margins) / 2, (1 - margins) / 2], 1)


def test_a_certain_sample_is_not_looked_at_however_far():
    margins = np.array([0.1, 0.1, 0.1, 0.1, 0.9])
    chosen = cluster_margin(outputs(margins), np.arange(5.0)[:, None], 2, clusters=np.arange(5), margin_factor=2)
    assert chosen.tolist() == [0, 1]


def test_smaller_clusters_come_first_and_turns_go_round():
    clusters = np.array([0, 0, 0, 0, 0, 1, 1, 2])
    margins = np.array([0.5, 0.1, 0.2, 0.3, 0.4, 0.6, 0.05, 0.9])
    chosen = cluster_margin(outputs(margins), np.zeros((8, 1)), 8, clusters=clusters)
    assert chosen.tolist() == [7, 6, 1, 5, 2, 3, 4, 0]


def test_the_redundant_heap_does_not_fill_the_batch():
    rows = blobs((80, 10, 10))
    margins = np.concatenate([np.full(80, 0.01), np.full(20, 0.05)])
    clusters = agglomerate(torch.from_numpy(rows), count=3).numpy()
    chosen = cluster_margin(outputs(margins), rows, 9, clusters=clusters, margin_factor=12)
    assert np.bincount(np.searchsorted([80, 90], chosen, side="right")).tolist() == [3, 3, 3]


def test_linked_samples_of_one_heap_are_one_cluster_and_others_join_it():
    sizes = (300, 200, 100)
    heaps = np.repeat(np.arange(3), sizes)
    for most in (600, 60):
        labels = agglomerate(torch.from_numpy(blobs(sizes)), count=3, samples_max=most).numpy()
        assert len(set(zip(heaps.tolist(), labels.tolist(), strict=True))) == 3
    some = torch.tensor([5, 599, 301])
    whole = agglomerate(torch.from_numpy(blobs(sizes)), count=3, samples_max=60)
    part = agglomerate(torch.from_numpy(blobs(sizes)), which=some, count=3, samples_max=60)
    assert part.tolist() == whole[some].tolist()


def test_copies_are_in_one_cluster():
    rows = np.repeat(np.random.default_rng(0).normal(size=(30, 4)), 4, axis=0)[
        np.random.default_rng(1).permutation(120)
    ]
    labels = agglomerate(torch.from_numpy(rows)).numpy()
    places = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    assert len(set(zip(places.tolist(), labels.tolist(), strict=True))) == 30


@pytest.mark.parametrize("count", [1, 2, 3])
def test_pools_too_small_to_link(count):
    chosen = cluster_margin(outputs(np.linspace(0, 1, count)), np.ones((count, 2)), count)
    assert chosen.tolist() == list(range(count))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"clusters": np.zeros(4, int)}, InvalidArrayError, r"clusters have shape \(4,\)"),
        ({"clusters": np.zeros(5)}, InvalidArrayError, "expected .5,. whole numbers"),
        ({"margin_factor": 0}, InvalidInputError, "margin_factor is 0, expected at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        cluster_margin(outputs(np.ones(5) / 2), np.ones((5, 2)), 2, **arguments)


def test_as_many_probabilities_as_embeddings():
    with pytest.raises(InvalidArrayError, match="embeddings have 5 rows for 4 rows of probabilities"):
        cluster_margin(outputs(np.ones(4) / 2), np.ones((5, 2)), 2)
