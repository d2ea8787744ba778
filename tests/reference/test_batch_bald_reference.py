"""BatchBALD against its definition: every joint answer written out, every candidate tried for every pick."""

import itertools
import math

import numpy as np
import pytest
import torch

from al_service.acquisition import scores
from al_service.acquisition.batch_bald import most_informative


def joint_entropy(batch: np.ndarray) -> float:
    """Nats, of the labels of (n, M, C) samples together, over all C^n answers."""
    samples, passes, classes = batch.shape
    total = 0.0
    for answer in itertools.product(range(classes), repeat=samples):
        chance = sum(math.prod(batch[one, m, c] for one, c in enumerate(answer)) for m in range(passes)) / passes
        total -= chance * math.log(chance) if chance > 0 else 0
    return total


def information(batch: np.ndarray) -> float:
    """Nats that the labels tell about which pass is right."""
    conditional = -np.where(batch > 0, batch * np.log(np.where(batch > 0, batch, 1)), 0).sum(2).mean(1)
    return joint_entropy(batch) - float(conditional.sum())


def slow_batch_bald(pool: np.ndarray, k: int) -> tuple[list[int], list[float]]:
    chosen: list[int] = []
    found: list[float] = []
    for _ in range(k):
        tried = [-1.0 if one in chosen else information(pool[[*chosen, one]]) for one in range(len(pool))]
        chosen.append(int(np.argmax(np.round(tried, 11))))
        found.append(max(tried))
    return chosen, found


def mixture() -> np.ndarray:
    """batchbald_redux's example: four variables of 4 classes, each from one distribution to another in 20 steps."""
    starts = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    ends = np.array([[0.3, 0.3, 0.2, 0.2], [0.2, 0.3, 0.3, 0.2], [0.2, 0.2, 0.3, 0.3], [0.3, 0.2, 0.2, 0.3]])
    share = np.linspace(0, 1, 20)[None, :, None]
    return starts[:, None] * (1 - share) + ends[:, None] * share


def pool_of(n: int, passes: int, classes: int, seed: int, sharpness: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 1, classes)) * 2 + rng.normal(size=(n, passes, classes)) * sharpness
    exponentials = np.exp(logits)
    return exponentials / exponentials.sum(2, keepdims=True)


def informative(pool: np.ndarray, k: int, joint_samples: int, seed: int = 0):
    return most_informative(torch.from_numpy(pool), k, np.random.default_rng(seed), joint_samples)


def test_the_published_example():
    found = informative(mixture(), 4, 1000)
    np.testing.assert_allclose(found.information, [0.0307156, 0.0596196, 0.0869107, 0.1127530], atol=1e-7)
    assert found.positions.tolist() == [0, 1, 2, 3] and found.is_exact.all()
    np.testing.assert_allclose(found.joint_entropy[0], 1.2376, atol=1e-4)
    expected = [joint_entropy(mixture()[:n]) for n in (1, 2, 3, 4)]
    np.testing.assert_allclose(found.joint_entropy, expected, rtol=1e-12)


def test_uniform_labels_have_an_entropy_of_ln_c_each_and_tell_nothing():
    found = informative(np.full((6, 20, 4), 0.25), 4, 1000)
    np.testing.assert_allclose(found.joint_entropy, np.log(4) * np.arange(1, 5))
    assert found.positions.tolist() == [0, 1, 2, 3] and found.information.abs().max() < 1e-12


@pytest.mark.parametrize(("passes", "classes", "k"), [(6, 2, 5), (5, 3, 4), (3, 4, 3), (1, 3, 3), (8, 4, 4)])
def test_exact_picks_and_informations_are_those_of_the_slow_version(passes, classes, k):
    for seed in range(3):
        pool = pool_of(12, passes, classes, seed)
        chosen, expected = slow_batch_bald(pool, k)
        found = informative(pool, k, classes**k)
        assert found.positions.tolist() == chosen
        np.testing.assert_allclose(found.information, expected, atol=1e-11)
        assert found.is_exact.all()


@pytest.mark.parametrize("seed", range(4))
def test_sampled_joint_entropy_is_within_1_percent_of_exact(seed):
    pool = pool_of(25, 12, 4, seed)
    found = informative(pool, 6, 200, seed)
    assert found.is_exact.tolist() == [True, True, True, True, False, False]
    for n in (5, 6):
        batch = pool[found.positions[:n].numpy()]
        assert float(found.joint_entropy[n - 1]) == pytest.approx(joint_entropy(batch), rel=0.01)
        assert float(found.information[n - 1]) == pytest.approx(information(batch), rel=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_sampled_picks_tell_as_much_as_exact_ones(seed):
    pool = pool_of(30, 10, 3, seed)
    exact, sampled = informative(pool, 7, 3**7), informative(pool, 7, 100, seed)
    assert exact.is_exact.all() and not sampled.is_exact.all()
    told = information(pool[sampled.positions.numpy()])
    assert told >= 0.99 * float(exact.information[-1])


def test_gains_never_grow_and_the_information_is_at_most_log_of_the_passes():
    found = informative(pool_of(200, 8, 5, 1), 60, 5000)
    gains = np.diff(found.information.numpy(), prepend=0)
    assert (gains >= 0).all() and (np.diff(gains[found.is_exact.numpy()]) <= 1e-12).all()
    assert float(found.information[-1]) == pytest.approx(np.log(8), rel=0.01)


def test_the_first_pick_is_the_highest_bald_and_its_information_bald_in_nats():
    pool = pool_of(300, 9, 6, 2)
    found, bald = informative(pool, 1, 1000), scores.bald(pool) * np.log(6)
    assert int(found.positions[0]) == bald.argmax()
    assert float(found.information[0]) == pytest.approx(bald.max(), abs=1e-12)


def test_information_by_an_independent_simulation_of_many_answers():
    pool, draws = pool_of(400, 20, 10, 3, sharpness=0.4), 20_000
    found = informative(pool, 25, 2000)
    rng = np.random.default_rng(4)
    right, weights = rng.integers(0, 20, draws), np.zeros((draws, 20))
    for q in pool[found.positions.numpy()]:
        answers = (rng.random(draws)[:, None] > q.cumsum(1)[right]).sum(1).clip(max=9)
        weights += np.log(q[:, answers].T)
    beliefs = np.exp(weights - weights.max(1, keepdims=True))
    beliefs /= beliefs.sum(1, keepdims=True)
    simulated = np.log(20) + (beliefs * np.log(beliefs + 1e-300)).sum(1).mean()
    assert float(found.information[-1]) == pytest.approx(simulated, rel=0.02)
