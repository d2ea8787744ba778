"""The probe against scikit-learn at the same objective, and against the definition of its optimum."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from al_service.learning.probe import fit_probe


def blobs(count: int, width: int, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    class_indices = np.concatenate([np.arange(classes), rng.integers(0, classes, count - classes)])
    centres = rng.normal(size=(classes, width)) / np.sqrt(width) * 3
    spread = rng.uniform(0.1, 5, width)
    return ((centres[class_indices] + rng.normal(size=(count, width))) * spread + 7).astype(np.float32), class_indices


@pytest.mark.parametrize("l2", [1.0, 0.1, 0.01])
@pytest.mark.parametrize(("count", "width", "classes"), [(300, 20, 4), (40, 90, 3), (60, 60, 5), (5000, 8, 3)])
def test_the_probe_is_scikit_learns_logistic_regression_on_scaled_embeddings(count, width, classes, l2):
    embeddings, class_indices = blobs(count, width, classes, seed=count)
    probe = fit_probe(embeddings, class_indices, classes, l2=l2)
    exact = embeddings.astype(np.float64)
    mean, scale = exact.mean(0), exact.std(0)
    reference = LogisticRegression(C=1 / (l2 * count), tol=1e-8, max_iter=10_000)
    reference.fit((exact - mean) / scale, class_indices)
    assert probe.converged
    np.testing.assert_allclose(probe.weights * scale, reference.coef_, atol=1e-4)
    np.testing.assert_allclose(
        probe.logits(embeddings), reference.decision_function((exact - mean) / scale), atol=1e-3, rtol=1e-4
    )


def test_at_the_optimum_autograd_finds_no_slope():
    embeddings, _ = blobs(150, 30, 4, seed=1)
    rng = np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(4) * 0.3, 150)
    weights = rng.uniform(0, 3, 150)
    probe = fit_probe(embeddings, soft, 4, l2=0.03, sample_weights=weights)
    exact, shares = torch.from_numpy(embeddings).double(), torch.from_numpy(weights / weights.sum())
    mean = shares @ exact
    scale = (shares @ (exact - mean).square()).sqrt()
    scaled = (torch.from_numpy(probe.weights).double() * scale).requires_grad_()
    bias = (torch.from_numpy(probe.bias).double() + torch.from_numpy(probe.weights).double() @ mean).requires_grad_()
    logits = (exact - mean) / scale @ scaled.T + bias
    losses = -(torch.from_numpy(soft) * logits.log_softmax(1)).sum(1)
    objective = shares @ losses + 0.03 / 2 * scaled.square().sum()
    objective.backward()
    assert probe.objective == pytest.approx(objective.item(), rel=1e-6)
    assert scaled.grad is not None and bias.grad is not None
    # float32 weights are what is left.
    assert scaled.grad.abs().max() < 1e-5 and bias.grad.abs().max() < 1e-5
