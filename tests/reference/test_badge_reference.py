"""BADGE against its definition on explicit gradients, and its draws against the chances the paper gives them."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from al_service.acquisition.badge import badge, diverse_gradients


def explicit_gradients(probabilities: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
    """(N, C D): the gradient of the cross-entropy at the likeliest class, by autograd, one sample at a time."""
    rows = []
    for outputs, row in zip(probabilities, embeddings, strict=True):
        # A head that gives these outputs: all of the logit from the bias.
        weight = torch.zeros((len(outputs), len(row)), dtype=torch.float64, requires_grad=True)
        logits = weight @ torch.from_numpy(row) + torch.from_numpy(outputs).log()
        torch.nn.functional.cross_entropy(logits[None], torch.tensor([int(outputs.argmax())])).backward()
        rows.append(weight.grad.flatten().numpy().copy())
    return np.array(rows)


def slow_badge(gradients: np.ndarray, k: int, rng: np.random.Generator) -> list[int]:
    """k-means++ on explicit gradients: after every pick every clock is brought up."""
    left = rng.standard_exponential(len(gradients))
    chosen = [int(np.argmax(np.linalg.norm(gradients, axis=1)))]
    while len(chosen) < k:
        speed = np.min([((gradients - gradients[one]) ** 2).sum(1) for one in chosen], axis=0)
        free = [position for position in range(len(gradients)) if position not in chosen]
        if max(speed[free]) == 0:
            chosen += sorted(free, key=left.__getitem__)[: k - len(chosen)]
            break
        moving = [position for position in free if speed[position] > 0]
        first = min(moving, key=lambda position: left[position] / speed[position])
        left = left - speed * (left[first] / speed[first])
        chosen.append(first)
    return chosen


def pool_of(n: int, classes: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(classes), size=n), rng.normal(size=(n, width))


@pytest.mark.parametrize("places", [1, 6, 1000])
@pytest.mark.parametrize("seed", range(8))
def test_the_picks_are_those_of_explicit_gradients_under_the_same_random_numbers(seed, places):
    probabilities, embeddings = pool_of(70, 5, 6, seed)
    gradients = explicit_gradients(probabilities, embeddings)
    tensors = torch.from_numpy(probabilities), torch.from_numpy(embeddings)
    positions, lengths, distances = diverse_gradients(*tensors, 50, np.random.default_rng(seed), places=places)
    chosen = positions.tolist()
    assert chosen == slow_badge(gradients, 50, np.random.default_rng(seed))
    np.testing.assert_allclose(lengths.numpy(), np.linalg.norm(gradients[chosen], axis=1), rtol=1e-12)
    assert distances[0] == np.inf
    for pick in range(1, 50):
        nearest = np.linalg.norm(gradients[chosen[:pick]] - gradients[chosen[pick]], axis=1).min()
        assert float(distances[pick]) == pytest.approx(nearest, rel=1e-9)


def test_every_second_and_third_pick_has_the_chance_that_its_squared_distances_give_it():
    probabilities, embeddings = pool_of(6, 3, 2, seed=1)
    gradients = explicit_gradients(probabilities, embeddings)
    squared = ((gradients[:, None] - gradients) ** 2).sum(2)
    first = int(np.argmax((gradients**2).sum(1)))
    chance = {}
    for second, third in itertools.permutations([one for one in range(6) if one != first], 2):
        after_first, after_both = squared[first], np.minimum(squared[first], squared[second])
        chance[second, third] = after_first[second] / after_first.sum() * after_both[third] / after_both.sum()
    assert sum(chance.values()) == pytest.approx(1)
    rng, draws = np.random.default_rng(0), 4000
    found = dict.fromkeys(chance, 0)
    for _ in range(draws):
        one, second, third = badge(probabilities, embeddings, 3, rng=rng).tolist()
        assert one == first
        found[second, third] += 1
    expected = np.array(list(chance.values())) * draws
    assert stats.chisquare(list(found.values()), expected).pvalue > 0.01


def test_copies_of_the_picks_are_drawn_uniformly_once_nothing_else_is_left():
    probabilities = np.repeat([[0.6, 0.4], [0.3, 0.7]], 3, axis=0)
    embeddings = np.repeat([[1.0, 2.0], [2.0, -1.0]], 3, axis=0)
    rng, draws = np.random.default_rng(0), 3000
    thirds = [int(badge(probabilities, embeddings, 3, rng=rng)[2]) for _ in range(draws)]
    # 0 is always first; of 3, 4 and 5 one is second; the third is one of the other four.
    counts = np.bincount(thirds, minlength=6)
    assert counts[0] == 0
    expected = np.array([1 / 4, 1 / 4, 1 / 6, 1 / 6, 1 / 6]) * draws
    assert stats.chisquare(counts[1:], expected).pvalue > 0.01
