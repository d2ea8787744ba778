"""The loss of each sample against its formula, written out slowly."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from al_service.learning.losses import class_weights, margins, sample_losses


def drawn(seed: int, count: int = 6, classes: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    return (
        torch.from_numpy(3 * rng.standard_normal((count, classes)).astype(np.float32)),
        torch.from_numpy(rng.integers(0, classes, count)),
    )


@given(seed=st.integers(0, 99), smoothing=st.sampled_from([0.0, 0.1, 0.5]), gamma=st.sampled_from([0.0, 0.5, 2.0]))
def test_a_loss_is_the_sum_over_classes_that_its_page_says(seed, smoothing, gamma):
    logits, targets = drawn(seed)
    found = sample_losses(logits, targets, label_smoothing=smoothing, focal_gamma=gamma)
    for row, target in enumerate(targets.tolist()):
        exponentials = [math.exp(value) for value in logits[row].tolist()]
        expected = 0.0
        for one, value in enumerate(exponentials):
            p = value / sum(exponentials)
            q = smoothing / 4 + (1 - smoothing if one == target else 0)
            expected += q * (1 - p) ** gamma * -math.log(p)
        assert float(found[row]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_slopes_are_finite_where_the_network_is_certain(gamma):
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0], [0.0, 0.0]], requires_grad=True)
    losses = sample_losses(logits, torch.tensor([0, 0, 0]), focal_gamma=gamma)
    losses.sum().backward()
    assert torch.isfinite(losses).all() and torch.isfinite(logits.grad).all()
    assert float(losses.detach()[1]) == pytest.approx(200, rel=1e-3)


def test_a_margin_is_the_given_labels_lead_over_the_next_class():
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [5.0, 5.0, 0.0]])
    assert margins(logits, torch.tensor([0, 1, 1])).tolist() == [1.0, -2.0, 0.0]
    assert margins(torch.zeros(2, 1), torch.tensor([0, 0])).isnan().all()


def test_balanced_classes_weigh_the_same_in_sum():
    labels = np.array([0] * 90 + [2] * 10)
    found = class_weights(labels, 4).numpy()
    assert found[0] * 90 == pytest.approx(found[2] * 10)
    assert found[labels].mean() == pytest.approx(1)
    assert np.isfinite(found).all()
