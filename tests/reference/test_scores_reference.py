"""Every score against its formula, written row by row in plain Python loops."""

import math

import numpy as np
import pytest

from al_service.acquisition import scores


def entropy(row) -> float:
    return -sum(p * math.log(p) for p in row if p > 0)


def kl(row, other) -> float:
    return sum(p * math.log(p / q) for p, q in zip(row, other, strict=True) if p > 0)


def votes(passes) -> list[float]:
    cast = [int(np.argmax(row)) for row in passes]
    return [cast.count(one) / len(cast) for one in range(len(passes[0]))]


def distance_to_one_hot(row, class_index: int) -> float:
    return math.sqrt(sum((p - (one == class_index)) ** 2 for one, p in enumerate(row)))


def sorted_row(row) -> list[float]:
    return sorted(row, reverse=True)


OF_ROWS = {
    "least_confidence": lambda row: (1 - max(row)) * len(row) / (len(row) - 1),
    "margin": lambda row: 1 - (sorted_row(row)[0] - sorted_row(row)[1]),
    "ratio": lambda row: sorted_row(row)[1] / sorted_row(row)[0],
    "entropy": lambda row: entropy(row) / math.log(len(row)),
}
OF_PASSES = {
    "predictive_entropy": lambda q: entropy(q.mean(0)) / math.log(q.shape[1]),
    "consensus_entropy": lambda q: entropy(q.mean(0)) / math.log(q.shape[1]),
    "expected_entropy": lambda q: np.mean([entropy(row) for row in q]) / math.log(q.shape[1]),
    "bald": lambda q: (entropy(q.mean(0)) - np.mean([entropy(row) for row in q])) / math.log(min(q.shape)),
    "mean_kl": lambda q: np.mean([kl(row, q.mean(0)) for row in q]) / math.log(min(q.shape)),
    "mean_std": lambda q: 2 * np.mean([np.std(q[:, one]) for one in range(q.shape[1])]),
    "variation_ratio": lambda q: (1 - max(votes(q))) * q.shape[1] / (q.shape[1] - 1),
    "vote_entropy": lambda q: entropy(votes(q)) / math.log(min(q.shape)),
}
OF_ROWS_AND_EMBEDDINGS = {
    "gradient_norm": lambda row, h: distance_to_one_hot(row, int(np.argmax(row))) * np.linalg.norm(h),
    "expected_gradient_length": lambda row, h: sum(
        p * distance_to_one_hot(row, one) * np.linalg.norm(h) for one, p in enumerate(row)
    ),
}


def rows_of(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).dirichlet(np.full(shape[-1], 0.4), size=shape[:-1])
    rows[0] = 0
    rows[0, ..., 0] = 1
    return rows


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("name", OF_ROWS)
def test_a_score_of_rows_is_its_formula(name, classes):
    rows = rows_of(40, classes)
    np.testing.assert_allclose(scores.get(name).function(rows), [OF_ROWS[name](row) for row in rows], atol=1e-14)


@pytest.mark.parametrize(("passes", "classes"), [(3, 6), (9, 4), (5, 2)])
@pytest.mark.parametrize("name", OF_PASSES)
def test_a_score_of_passes_is_its_formula(name, passes, classes):
    sampled = rows_of(40, passes, classes)
    np.testing.assert_allclose(scores.get(name).function(sampled), [OF_PASSES[name](q) for q in sampled], atol=1e-14)


@pytest.mark.parametrize("name", OF_ROWS_AND_EMBEDDINGS)
def test_a_gradient_score_is_its_formula(name):
    rows, embeddings = rows_of(40, 5), np.random.default_rng(1).normal(size=(40, 7))
    expected = [OF_ROWS_AND_EMBEDDINGS[name](row, h) for row, h in zip(rows, embeddings, strict=True)]
    np.testing.assert_allclose(scores.get(name).function(rows, embeddings), expected, atol=1e-13)


def test_the_gradient_lengths_are_those_that_backward_passes_find():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    weights, embeddings = torch.tensor(rng.normal(size=(4, 7)), requires_grad=True), rng.normal(size=(12, 7))
    expected, firsts, rows = [], [], []
    for h in torch.from_numpy(embeddings):
        p = (weights @ h).softmax(0)
        lengths = [torch.autograd.grad(-p[one].log(), weights, retain_graph=True)[0].norm().item() for one in range(4)]
        rows.append(p.detach().numpy())
        expected.append(float(rows[-1] @ lengths))
        firsts.append(lengths[int(p.argmax())])
    np.testing.assert_allclose(scores.expected_gradient_length(np.array(rows), embeddings), expected, rtol=1e-12)
    np.testing.assert_allclose(scores.gradient_norm(np.array(rows), embeddings), firsts, rtol=1e-12)


def test_dropquery_is_its_formula():
    rows, sampled = rows_of(40, 5), rows_of(40, 6, 5, seed=1)
    expected = [np.mean([np.argmax(one) != np.argmax(row) for one in q]) for row, q in zip(rows, sampled, strict=True)]
    np.testing.assert_allclose(scores.dropquery(rows, sampled), expected)


@pytest.mark.parametrize(("passes", "classes", "targets"), [(7, 3, 5), (3, 5, 70), (1, 2, 2)])
def test_epig_is_its_formula(passes, classes, targets):
    sampled, of_targets = rows_of(9, passes, classes), rows_of(targets, passes, classes, seed=1)
    expected = []
    for q in sampled:
        informations = []
        for other in of_targets:
            joint = sum(np.outer(one, two) for one, two in zip(q, other, strict=True)) / passes
            informations.append(entropy(q.mean(0)) + entropy(other.mean(0)) - entropy(joint.ravel()))
        expected.append(np.mean(informations))
    np.testing.assert_allclose(scores.epig(sampled, of_targets), expected, atol=1e-12)
