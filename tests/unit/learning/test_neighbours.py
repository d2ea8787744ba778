"""Nearest neighbours against their definition; what they say of labels, against labels that were spoiled on purpose."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from al_service.learning import neighbours
from al_service.learning.neighbours import (
    InvalidNeighboursError,
    knn_accuracy,
    knn_disagreement,
    nearest,
)
from al_service.learning.probe import held_out_probabilities


def spoiled(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """The labels, exactly that share of them replaced by another class."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))[: round(share * len(labels))]
    wrong = labels.copy()
    wrong[rows] = (labels[rows] + rng.integers(1, 10, len(rows))) % 10
    return wrong


@pytest.mark.parametrize("metric", neighbours.METRICS)
def test_neighbours_are_scikit_learns(metric):
    rng = np.random.default_rng(0)
    queries, references = rng.normal(size=(30, 6)) + 100, rng.normal(size=(41, 6)) + 100
    slow = NearestNeighbors(n_neighbors=8, metric=metric, algorithm="brute").fit(references)
    distances, indices = slow.kneighbors(queries)
    found = nearest(queries, 8, references, metric=metric)
    if metric == "euclidean":
        np.testing.assert_array_equal(found.indices, indices)
    np.testing.assert_allclose(found.distances, distances, atol=2e-6, rtol=2e-5)
    itself = NearestNeighbors(n_neighbors=8, metric=metric, algorithm="brute").fit(queries - 100).kneighbors()
    among = nearest(torch.from_numpy(queries - 100), 8, metric=metric)
    np.testing.assert_array_equal(among.indices, itself[1])
    np.testing.assert_allclose(among.distances, itself[0], atol=2e-6)


@pytest.mark.parametrize("metric", neighbours.METRICS)
def test_more_rows_than_a_block_holds(metric):
    rows = np.random.default_rng(0).normal(size=(9000, 4))
    found = nearest(rows, 3, metric=metric)
    some = np.array([0, 2047, 2048, 8191, 8192, 8999])
    slow = NearestNeighbors(n_neighbors=4, metric=metric, algorithm="brute").fit(rows).kneighbors(rows[some])
    np.testing.assert_array_equal(found.indices[some], slow[1][:, 1:])
    np.testing.assert_allclose(found.distances[some], slow[0][:, 1:], atol=2e-6)


def test_half_precision_and_read_only_memory_maps(tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float16)
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", np.float16, "r", shape=(50, 8))
    np.testing.assert_array_equal(nearest(mapped, 5).indices, nearest(rows.astype(np.float32), 5).indices)


def test_equal_embeddings_are_their_own_neighbours_but_never_themselves():
    found = nearest(np.ones((6, 3)), 4, metric="euclidean")
    assert all(row not in set(near) and len(set(near)) == 4 for row, near in enumerate(found.indices.tolist()))
    assert not found.distances.any()
    assert nearest(np.zeros((3, 2)), 2).distances.tolist() == [[1, 1]] * 3


@pytest.mark.parametrize(("count", "width"), [(0, 0), (1, 0), (2, 1), (4, 3)])
def test_fewer_others_than_k(count, width):
    rows = np.random.default_rng(0).normal(size=(count, 3))
    assert nearest(rows, 5).indices.shape == (count, width) if count else True
    assert knn_disagreement(rows, np.zeros(count, int)).tolist() == [0] * count


def test_spoiled_labels_disagree_with_their_neighbours(flat):
    embeddings, labels = flat
    wrong = spoiled(labels, 0.1, seed=0)
    suspicion = knn_disagreement(embeddings, wrong)
    assert ((suspicion >= 0) & (suspicion <= 1)).all()
    suspects = np.argsort(-suspicion, kind="stable")[: (wrong != labels).sum()]
    # Measured on these digits: 0.965 of the flips are among the most suspicious tenth.
    assert (wrong != labels)[suspects].mean() > 0.93


def test_the_knn_probe(flat):
    embeddings, labels = flat
    assert knn_accuracy(embeddings[:1000], labels[:1000], embeddings[1000:], labels[1000:]) > 0.95
    assert knn_accuracy(embeddings[:5], labels[:5], embeddings[:5], labels[:5], k=1) == 1
    assert knn_accuracy(np.ones((3, 2)), [1, 1, 0], np.ones((2, 2)), [1, 0], k=3) == 0.5


def test_what_was_held_out_was_not_seen(flat):
    embeddings, labels = flat[0][:12], np.array([0, 1] * 5 + [2, 3])
    rows = held_out_probabilities(embeddings, labels, 5, l2=0.1)
    assert rows.shape == (12, 5)
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)
    assert rows[10].tolist() == [0, 0, 1, 0, 0]
    one = held_out_probabilities(embeddings[:1], labels[:1], 2, l2=0.1)
    assert one.tolist() == [[1, 0]]


def test_what_does_not_fit_is_refused():
    rows, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 1, 0, 1])
    for arguments, options, text in (
        ((rows, 0), {}, "k is 0"), ((rows, 1), {"metric": "l1"}, "cosine, euclidean"), ((rows[0], 1), {}, r"\(3,\)"),
        ((rows, 1, rows[:, :2]), {}, r"\(4, 2\)"), ((rows, 1, rows[:0]), {}, "no references"),
        ((rows * np.nan, 1), {}, "NaN"),
    ):  # fmt: skip
        with pytest.raises(InvalidNeighboursError, match=text):
            nearest(*arguments, **options)
    with pytest.raises(InvalidNeighboursError, match=r"expected \(4,\)"):
        knn_disagreement(rows, labels[:2])
    with pytest.raises(InvalidNeighboursError, match="no test samples"):
        knn_accuracy(rows, labels, rows[:0], labels[:0])
