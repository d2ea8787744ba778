"""Spread labels against the dense solution; the probe that learns from them, and where it must not."""

import numpy as np
import pytest

from al_service.learning.evaluation import accuracy_gain
from al_service.learning.neighbours import nearest
from al_service.learning.probe import fit_probe
from al_service.learning.semi_supervised import (
    InvalidSpreadingError,
    label_spreading,
    spread,
    spread_probe,
    sureness,
)


def first_of_each(labels: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([np.flatnonzero(labels == one)[:count] for one in range(10)])


def slow_spread(embeddings: np.ndarray, rows: np.ndarray, labels: np.ndarray, classes: int, alpha: float) -> np.ndarray:
    """Every matrix dense, the system solved directly."""
    graph = nearest(embeddings, 5)
    weights = np.zeros((len(embeddings), len(embeddings)))
    for one, (others, distances) in enumerate(zip(graph.indices, graph.distances, strict=True)):
        for other, distance in zip(others, distances, strict=True):
            close = max(1 - float(distance), 0) ** 3
            weights[one, other] += close
            weights[other, one] += close
    degree = weights.sum(1)
    smooth = weights / np.sqrt(np.outer(degree, degree))
    given = np.zeros((len(embeddings), classes))
    given[rows, labels] = 1
    found = np.linalg.solve(np.eye(len(embeddings)) - alpha * smooth, given)
    found *= (given.sum(0) + 1) / (len(rows) + classes) / found.sum(0)
    return found / found.sum(1, keepdims=True)


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.99])
def test_spread_labels_solve_their_equation(alpha):
    rng = np.random.default_rng(0)
    embeddings, labels = rng.normal(size=(60, 5)), np.array([0, 1, 2, 1])
    found = spread(nearest(embeddings, 5), np.arange(4), labels, 3, alpha=alpha)
    np.testing.assert_allclose(found, slow_spread(embeddings, np.arange(4), labels, 3, alpha), atol=1e-5)


def test_labels_follow_the_shape_of_the_pool_where_a_line_cannot():
    # Two half circles, one label on each.
    angles = np.linspace(0, np.pi, 100)
    points = np.concatenate(
        [np.stack([np.cos(angles), np.sin(angles)], 1), np.stack([1 - np.cos(angles), 0.5 - np.sin(angles)], 1)]
    )
    # Cosine sees directions only: lifted, directions are places.
    lifted = np.concatenate([points - points.mean(0), np.full((200, 1), 1.5)], 1)
    found = label_spreading(lifted[[50, 150]], [0, 1], np.delete(lifted, [50, 150], 0), 2, k=5)
    assert (found.argmax(1) == np.repeat([0, 1], 99)).all()


def test_spreading_knows_more_digits_than_the_plain_probe_with_few_labels(flat):
    embeddings, labels = flat
    rows = first_of_each(labels[:1400], 2)
    rest = np.setdiff1d(np.arange(1400), rows)
    soft = label_spreading(embeddings[rows], labels[rows], embeddings[rest], 10)
    assert soft.shape == (1380, 10)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-5)
    assert (soft.argmax(1) == labels[rest]).mean() > 0.8
    found = spread_probe(embeddings[rows], labels[rows], embeddings[rest], 10)
    assert found.unlabelled == 1380 and 1000 < found.used <= 1380
    plain = fit_probe(embeddings[rows], labels[rows], 10)
    np.testing.assert_array_equal(found.plain.weights, plain.weights)
    right = [probe.probabilities(embeddings[1400:]).argmax(1) == labels[1400:] for probe in (found.plain, found.spread)]
    gain, (low, high) = accuracy_gain(*right)
    assert 0.05 < low < gain < high
    assert gain == pytest.approx(right[1].mean() - right[0].mean())


def test_a_graph_may_be_kept(flat):
    embeddings, labels = flat[0][:300], flat[1][:300]
    rows = np.array([5, 250, 17, 80])
    graph = nearest(embeddings, 15)
    rest = np.setdiff1d(np.arange(300), rows)
    whole = spread(graph, rows, labels[rows], 10)
    np.testing.assert_allclose(
        whole[rest], label_spreading(embeddings[rows], labels[rows], embeddings[rest], 10), atol=1e-5
    )


def test_the_order_of_the_pool_does_not_matter(flat):
    embeddings, labels = flat[0][:200], flat[1][:200]
    order = np.random.default_rng(0).permutation(180)
    straight = label_spreading(embeddings[:20], labels[:20], embeddings[20:], 10)
    mixed = label_spreading(embeddings[:20], labels[:20], embeddings[20:][order], 10)
    np.testing.assert_allclose(mixed, straight[order], atol=1e-4)


def test_what_no_label_reaches_stays_undecided():
    far = np.array([[0.0, 1.0]] * 4)
    found = label_spreading(np.array([[1.0, 0.0], [2.0, 0.0]]), [0, 0], far, 3, k=2)
    np.testing.assert_allclose(found, 1 / 3, atol=1e-6)
    probe = spread_probe(np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([0, 1]), far, 3, k=1)
    assert probe.used == 0 and probe.spread is probe.plain


def test_little_of_everything(flat):
    embeddings, labels = flat
    none = label_spreading(embeddings[:3], labels[:3], embeddings[:0], 10)
    assert none.shape == (0, 10)
    assert spread_probe(embeddings[:3], labels[:3], embeddings[:0], 10).used == 0
    one = label_spreading(embeddings[:1], [4], embeddings[1:2], 10)
    assert one.argmax(1).tolist() == [4]
    single_class = spread_probe(embeddings[:5], np.zeros(5, int), embeddings[5:50], 1)
    assert single_class.spread.probabilities(embeddings[:2]).tolist() == [[1], [1]]


def test_sureness_of_one_class_is_certain():
    assert sureness(np.ones((2, 1))).tolist() == [1, 1]
    assert sureness(np.array([[0.5, 0.2, 0.3]])).tolist() == pytest.approx([0.2])


def test_no_difference_is_reported_as_not_known_to_the_last():
    right = np.array([True, False])
    gain, (low, high) = accuracy_gain(right, right)
    assert gain == 0 and low < 0 < high


def test_a_plain_head_that_is_there_is_taken_and_a_large_pool_is_drawn_from(flat):
    embeddings, labels = flat
    rows = first_of_each(labels[:400], 2)
    plain = fit_probe(embeddings[rows], labels[rows], 10)
    found = spread_probe(embeddings[rows], labels[rows], embeddings[400:700], 10, plain=plain)
    assert found.plain is plain
    part = spread_probe(embeddings[rows], labels[rows], embeddings[400:700], 10, plain=plain, seed=1, pool_max=100)
    assert part.unlabelled == 100
    again = spread_probe(embeddings[rows], labels[rows], embeddings[400:700], 10, plain=plain, seed=1, pool_max=100)
    np.testing.assert_array_equal(again.spread.weights, part.spread.weights)


def test_what_does_not_fit_is_refused():
    rows = np.random.default_rng(0).normal(size=(6, 3))
    graph = nearest(rows, 2)
    for labelled, labels, options, text in (
        ([], [], {}, "no labels"), ([0, 1], [0], {}, r"expected \(2,\)"), ([0], [3], {}, "expected 0 to 2"),
        ([0], [0.5], {}, "float64"), ([6], [0], {}, "0 to 5"), ([0, 0], [0, 0], {}, "distinct"),
        ([0], [0], {"alpha": 1.0}, "alpha is 1.0"),
    ):  # fmt: skip
        with pytest.raises(InvalidSpreadingError, match=text):
            spread(graph, labelled, labels, 3, **options)
    with pytest.raises(InvalidSpreadingError, match="no labels"):
        label_spreading(rows[:0], [], rows, 3)
