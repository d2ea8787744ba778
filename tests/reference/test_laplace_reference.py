"""The posterior of the head against a dense Hessian by automatic differentiation, and against Kronecker's product."""

import numpy as np
import pytest
import torch

from al_service.learning.laplace import fit_laplace
from al_service.learning.probe import Probe, fit_probe

CLASSES = 3


def blobs(count: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    centres = rng.normal(size=(CLASSES, width)) * 1.5
    return (centres[labels] + rng.normal(size=(count, width))) * rng.uniform(0.2, 4, width) + 3, labels


def scaled(samples: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = np.average(samples, axis=0, weights=weights)
    return mean, np.sqrt(np.average((samples - mean) ** 2, axis=0, weights=weights))


def dense_precision(probe: Probe, samples: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The Hessian of L times the probe's objective, in (C, D + 1) parameters on scaled embeddings."""
    mean, scale = scaled(samples, weights)
    rows = torch.from_numpy(np.hstack([(samples - mean) / scale, np.ones((len(samples), 1))]))
    at = torch.from_numpy(np.hstack([probe.weights * scale, (probe.bias + probe.weights @ mean)[:, None]]))

    def objective(flat: torch.Tensor) -> torch.Tensor:
        parameters = flat.view(CLASSES, -1)
        losses = torch.nn.functional.cross_entropy(rows @ parameters.T, torch.from_numpy(labels), reduction="none")
        shares = torch.from_numpy(weights / weights.sum())
        return len(samples) * (shares @ losses + probe.l2 / 2 * parameters[:, :-1].square().sum())

    return torch.autograd.functional.hessian(objective, at.flatten().double()).numpy()


def covariance_of_differences(covariance: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(n (C - 1), n (C - 1)): of the logits less the last class's, at scaled rows that end with 1."""
    to_difference = np.hstack([np.eye(CLASSES - 1), -np.ones((CLASSES - 1, 1))])
    jacobian = np.vstack([np.kron(to_difference, row) for row in rows])
    return jacobian @ covariance @ jacobian.T


def drawn_differences(posterior, samples: np.ndarray, members: int = 6000) -> np.ndarray:
    """(M, n (C - 1)), of drawn heads less the probe."""
    heads = posterior.sample(members, seed=1)
    weights = heads.weights.astype(np.float64) - posterior.probe.weights
    bias = heads.bias.astype(np.float64) - posterior.probe.bias
    logits = np.einsum("nd,mcd->mnc", samples, weights) + bias[:, None]
    return (logits[..., :-1] - logits[..., -1:]).reshape(members, -1)


def assert_drawn_from(found: np.ndarray, covariance: np.ndarray) -> None:
    """Mean 0 and that covariance, within 5 standard errors of either."""
    deviations = np.sqrt(np.diag(covariance))
    errors = (found.T @ found / len(found) - covariance) / np.outer(deviations, deviations)
    assert np.abs(errors).max() < 5 * np.sqrt(2 / len(found))
    assert np.abs(found.mean(0) / deviations).max() < 5 / np.sqrt(len(found))


@pytest.mark.parametrize(("count", "width"), [(60, 4), (7, 12)])
@pytest.mark.parametrize("weighted", [False, True])
def test_heads_are_drawn_from_the_dense_posterior(count, width, weighted):
    samples, labels = blobs(count, width, seed=count)
    weights = np.random.default_rng(0).integers(1, 4, count).astype(float) if weighted else np.ones(count)
    probe = fit_probe(samples, labels, CLASSES, l2=0.05, sample_weights=weights)
    posterior = fit_laplace(probe, samples, sample_weights=weights)
    assert posterior.form == "exact" and posterior.jitter == 0
    precision = dense_precision(probe, samples, labels, weights)
    # The pseudo-inverse leaves out the one direction without curvature: all biases alike.
    covariance = np.linalg.pinv(precision, rcond=1e-9, hermitian=True)
    tests = np.random.default_rng(3).normal(size=(4, width)) * samples.std(0) * 2 + samples.mean(0)
    mean, scale = scaled(samples, weights)
    rows = np.hstack([(tests - mean) / scale, np.ones((4, 1))])
    assert_drawn_from(drawn_differences(posterior, tests), covariance_of_differences(covariance, rows))


def test_kronecker_heads_are_drawn_from_the_product_of_its_two_parts():
    samples, labels = blobs(80, 4, seed=5)
    probe = fit_probe(samples, labels, CLASSES, l2=0.05)
    posterior = fit_laplace(probe, samples, form="kronecker")
    p = probe.probabilities(samples).astype(np.float64)
    mean, scale = scaled(samples, np.ones(80))
    rows = np.hstack([(samples - mean) / scale, np.ones((80, 1))])
    class_part = np.diag(p.mean(0)) - p.T @ p / 80
    prior = 80 * probe.l2 * np.kron(np.eye(CLASSES), np.diag([1.0] * 4 + [0.0]))
    covariance = np.linalg.pinv(80 * np.kron(class_part, rows.T @ rows / 80) + prior, rcond=1e-6, hermitian=True)
    tests = np.random.default_rng(3).normal(size=(3, 4)) * samples.std(0) * 2 + samples.mean(0)
    test_rows = np.hstack([(tests - mean) / scale, np.ones((3, 1))])
    assert_drawn_from(drawn_differences(posterior, tests), covariance_of_differences(covariance, test_rows))


def test_both_forms_agree_where_every_prediction_is_the_same():
    samples, labels = blobs(60, 4, seed=6)
    probe = fit_probe(samples, labels, CLASSES, l2=1000.0)
    exact, kronecker = (
        drawn_differences(fit_laplace(probe, samples, l2=0.05, form=form), samples[:3])
        for form in ("exact", "kronecker")
    )
    np.testing.assert_allclose(kronecker.std(0), exact.std(0), rtol=0.06)
