"""Facility location against the plain greedy algorithm, over all pairs and over lists, and against the best choice."""

import itertools

import numpy as np
import pytest
import torch

from al_service.acquisition.facility_location import LIST_LENGTH, most_representative
from tests.reference.test_herding_reference import slow_greedy


def similarity_of(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    cosine = rows @ others.T / np.linalg.norm(rows, axis=1)[:, None] / np.linalg.norm(others, axis=1)
    return (1 + cosine) / 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labelled_count", [0, 3])
@pytest.mark.parametrize("lists", [False, True])
def test_lazy_picks_are_those_of_looking_at_every_candidate(seed, weighted, labelled_count, lists):
    rng = np.random.default_rng(seed)
    rows, labelled = rng.normal(size=(150, 5)), rng.normal(size=(labelled_count, 5))
    weights = rng.random(150) if weighted else np.ones(150)
    similarity = similarity_of(rows, rows)
    if lists:  # sample n is represented by its own row's nearest and by itself
        np.fill_diagonal(similarity, 2)
        kept = np.argsort(-similarity, axis=1)[:, : LIST_LENGTH + 1]
        listed = np.zeros_like(similarity)
        np.put_along_axis(listed, kept, np.take_along_axis(similarity, kept, 1), 1)
        similarity = np.minimum(listed, 1).T
    picks, gains = slow_greedy(similarity, 60, weights, similarity_of(rows, labelled).max(1, initial=0))
    positions, found = most_representative(
        torch.from_numpy(rows),
        60,
        torch.from_numpy(weights),
        torch.from_numpy(labelled),
        held_max=10 if lists else 1000,
    )
    np.testing.assert_allclose(found, gains, rtol=1e-4, atol=1e-5)
    assert positions.tolist() == picks


@pytest.mark.parametrize("seed", range(10))
def test_represents_at_least_1_minus_1_over_e_of_what_the_best_choice_does(seed):
    rows = np.random.default_rng(seed).normal(size=(12, 3))
    similarity = similarity_of(rows, rows)
    best = max(similarity[list(three)].max(0).sum() for three in itertools.combinations(range(12), 3))
    _, gains = most_representative(torch.from_numpy(rows), 3, None, None)
    assert float(gains.sum()) >= (1 - 1 / np.e) * best - 1e-6
