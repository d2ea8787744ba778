"""Skills from votes against the example of Dawid and Skene, slow versions by their equations, and draws with known
skills.
"""

import math
from collections import defaultdict

import numpy as np
import pytest

from al_service.domain.annotator_skill import Skill, weighted_vote
from al_service.domain.dawid_skene import estimate_skills
from al_service.domain.skill_models import PRIOR_ANSWERS, PRIOR_CORRECT

# Dawid and Skene 1979, table 1: five anaesthetists judge how fit 45 patients are, from 1 to 4, the first one thrice.
PATIENTS = (
    "111 1 1 1 1|333 4 3 3 4|112 2 1 2 2|222 3 1 2 1|222 3 2 2 2|222 3 3 2 2|122 2 1 1 1|333 3 4 3 3|222 2 2 2 3|"
    "232 2 2 2 3|444 4 4 4 4|222 3 3 4 3|111 1 1 1 1|222 3 2 1 2|121 1 1 1 1|111 2 1 1 1|111 1 1 1 1|111 1 1 1 1|"
    "222 2 2 2 1|222 1 3 2 2|222 2 2 2 2|222 2 2 2 1|222 3 2 2 2|221 2 2 2 2|111 1 1 1 1|111 1 1 1 1|232 2 2 2 2|"
    "111 1 1 1 1|111 1 1 1 1|112 1 1 2 1|111 1 1 1 1|333 3 2 3 3|111 1 1 1 1|222 2 2 2 2|222 3 2 3 2|433 4 3 4 3|"
    "221 2 2 3 2|232 3 2 3 3|333 3 4 3 2|111 1 1 1 1|111 1 1 1 1|121 2 1 1 1|232 2 2 2 2|121 1 1 1 1|222 2 2 2 2"
)
Votes = list[tuple[int, int, int]]


def anaesthetists() -> Votes:
    """All 315 judgements."""
    return [
        (patient, doctor, int(judged))
        for patient, row in enumerate(PATIENTS.split("|"), 1)
        for doctor, word in enumerate(row.split(), 1)
        for judged in word
    ]


def test_the_anaesthetists() -> None:
    """Class shares and the error rates of the first anaesthetist, as the paper prints them."""
    found = estimate_skills(anaesthetists(), by_confusion=True, prior_answers=0, gain_min=1e-12, turns_max=1000)
    assert [found.class_shares[judged] for judged in (1, 2, 3, 4)] == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)
    rows = [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    for judged, row in enumerate(rows, 1):
        assert list(found.skills[1].confusion[judged].values()) == pytest.approx(row, abs=0.005)
    assert found.skills[1].answers == 135 and found.skills[2].answers == 45
    # Patient 1 was judged 1 by all; the paper is unsure of patient 3 and a few more only.
    assert found.posteriors[1][1] == pytest.approx(1, abs=1e-4)


def slow_em(votes: Votes, turns: int, prior: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[float]]:
    """Equations 2.3 to 2.5 and 2.7 by whole arrays, smoothed: shares, confusions, posteriors, objectives."""
    samples, users, classes = (sorted({vote[side] for vote in votes}) for side in range(3))
    size = len(classes)
    counts = np.zeros((len(samples), len(users), size))
    for sample, user, vote in votes:
        counts[samples.index(sample), users.index(user), classes.index(vote)] += 1
    smooth = prior * np.where(np.eye(size) == 1, PRIOR_CORRECT, (1 - PRIOR_CORRECT) / (size - 1))
    posteriors = counts.sum(1) / counts.sum((1, 2))[:, None]
    objectives = []
    for _ in range(turns):
        shares = posteriors.sum(0) + prior / size
        shares /= shares.sum()
        confusions = np.einsum("nk,nul->ukl", posteriors, counts) + smooth
        confusions /= confusions.sum(2, keepdims=True)
        likelihoods = shares * np.exp(np.einsum("nul,ukl->nk", counts, np.log(confusions)))
        posteriors = likelihoods / likelihoods.sum(1, keepdims=True)
        density = prior / size * np.log(shares).sum() + (smooth * np.log(confusions)).sum()
        objectives.append(float(np.log(likelihoods.sum(1)).sum() + density))
    return shares, confusions, posteriors, objectives


def slow_coins(votes: Votes, classes: list[int], turns: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The one-coin model over every class, given or not: shares, accuracies, posteriors."""
    samples, users = (sorted({vote[side] for vote in votes}) for side in range(2))
    size = len(classes)
    posteriors = np.zeros((len(samples), size))
    for sample, _, vote in votes:
        posteriors[samples.index(sample), classes.index(vote)] += 1
    posteriors /= posteriors.sum(1, keepdims=True)
    shares = np.full(size, 1 / size)
    for _ in range(turns):
        shares = (posteriors.sum(0) + PRIOR_ANSWERS / size) / (len(samples) + PRIOR_ANSWERS)
        right, answers = np.zeros(len(users)), np.zeros(len(users))
        for sample, user, vote in votes:
            right[users.index(user)] += posteriors[samples.index(sample), classes.index(vote)]
            answers[users.index(user)] += 1
        accuracies = (right + PRIOR_ANSWERS * PRIOR_CORRECT) / (answers + PRIOR_ANSWERS)
        likelihoods = np.tile(shares, (len(samples), 1))
        for sample, user, vote in votes:
            accuracy = accuracies[users.index(user)]
            factors = np.full(size, (1 - accuracy) / (size - 1))
            factors[classes.index(vote)] = accuracy
            likelihoods[samples.index(sample)] *= factors
        posteriors = likelihoods / likelihoods.sum(1, keepdims=True)
    return shares, accuracies, posteriors


def drawn(seed: int, confusions: np.ndarray, samples: int, votes_each: int) -> tuple[Votes, dict[int, int]]:
    """Votes of people with these confusion matrices (people, true, answered), and the truth."""
    rng = np.random.default_rng(seed)
    people, size, _ = confusions.shape
    truth = {sample: int(rng.integers(size)) for sample in range(samples)}
    votes = [
        (sample, int(user), int(rng.choice(size, p=confusions[user, true])))
        for sample, true in truth.items()
        for user in rng.choice(people, votes_each, replace=False)
    ]
    return votes, truth


def coin(accuracy: float, size: int) -> np.ndarray:
    """The confusion matrix of somebody who is right so often and slips evenly."""
    return np.where(np.eye(size) == 1, accuracy, (1 - accuracy) / (size - 1))


@pytest.mark.parametrize("prior", [0.0, PRIOR_ANSWERS])
def test_confusion_matrices_are_those_of_the_equations(prior: float) -> None:
    votes, _ = drawn(1, np.stack([coin(accuracy, 3) for accuracy in (0.9, 0.8, 0.6, 0.5)]), 60, 3)
    found = estimate_skills(votes, by_confusion=True, prior_answers=prior, gain_min=-math.inf, turns_max=25)
    with np.errstate(divide="ignore"):
        shares, confusions, posteriors, objectives = slow_em(votes, 25, prior)
    assert list(found.class_shares.values()) == pytest.approx(shares)
    for user, skill in found.skills.items():
        ours = [list(row.values()) for row in skill.confusion.values()]
        np.testing.assert_allclose(ours, confusions[user], atol=1e-9)
        assert skill.accuracy == pytest.approx(float(shares @ np.diag(confusions[user])))
    for sample, posterior in found.posteriors.items():
        assert list(posterior.values()) == pytest.approx(posteriors[sample], abs=1e-9)
    assert found.objectives == pytest.approx(objectives)


def test_coins_are_the_model_over_all_classes_though_only_given_ones_are_looked_at() -> None:
    votes, _ = drawn(2, np.stack([coin(accuracy, 6) for accuracy in (0.9, 0.7, 0.5)]), 40, 2)
    classes = list(range(8))  # two that nobody gives
    found = estimate_skills(votes, class_ids=classes, by_confusion=False, gain_min=-math.inf, turns_max=15)
    shares, accuracies, posteriors = slow_coins(votes, classes, 15)
    assert [found.class_shares[class_id] for class_id in classes] == pytest.approx(shares)
    assert [skill.accuracy for skill in found.skills.values()] == pytest.approx(accuracies)
    for sample, posterior in found.posteriors.items():
        for class_id, chance in posterior.items():
            assert chance == pytest.approx(posteriors[sample, class_id], abs=1e-12)


def test_known_confusions_are_recovered() -> None:
    finch_for_sparrow = np.array([[0.6, 0.38, 0.02], [0.05, 0.9, 0.05], [0.02, 0.03, 0.95]])
    confusions = np.stack([coin(0.95, 3), coin(0.8, 3), finch_for_sparrow])
    votes, _ = drawn(3, confusions, 6000, 3)
    found = estimate_skills(votes)
    for user, skill in found.skills.items():
        ours = [list(row.values()) for row in skill.confusion.values()]
        np.testing.assert_allclose(ours, confusions[user], atol=0.04)


def test_known_coins_are_recovered_from_two_votes_a_sample() -> None:
    accuracies = [0.95, 0.9, 0.75, 0.5]
    votes, _ = drawn(4, np.stack([coin(accuracy, 10) for accuracy in accuracies]), 3000, 2)
    found = estimate_skills(votes, by_confusion=False)
    assert [skill.accuracy for skill in found.skills.values()] == pytest.approx(accuracies, abs=0.03)


def right_share(votes: Votes, truth: dict[int, int], skills: dict[int, Skill], size: int) -> float:
    """How often the weighted vote is the truth."""
    given: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for sample, user, vote in votes:
        given[sample].append((user, vote))
    return sum(weighted_vote(one, skills, range(size))[0] == truth[sample] for sample, one in given.items()) / len(
        truth
    )


@pytest.mark.parametrize("seed", range(5))
def test_weights_beat_the_majority_when_one_of_three_is_bad(seed: int) -> None:
    """And come close to what the true skills would give."""
    accuracies = [0.95, 0.8, 0.4]
    votes, truth = drawn(seed, np.stack([coin(accuracy, 4) for accuracy in accuracies]), 1000, 3)
    weighted = right_share(votes, truth, estimate_skills(votes, class_ids=range(4)).skills, 4)
    best = right_share(votes, truth, {user: Skill(one, 1000) for user, one in enumerate(accuracies)}, 4)
    assert weighted > right_share(votes, truth, {}, 4) + 0.02
    assert weighted > best - 0.02


@pytest.mark.parametrize("seed", range(5))
def test_two_who_make_the_same_mistake_are_seen_through_by_three_others(seed: int) -> None:
    """Two people take every third sparrow for a finch; votes of three at a time."""
    pair = np.array([[0.6, 0.4, 0.0], [0.02, 0.96, 0.02], [0.0, 0.02, 0.98]])
    confusions = np.stack([pair, pair, coin(0.9, 3), coin(0.9, 3), coin(0.9, 3)])
    votes, truth = drawn(10 + seed, confusions, 1500, 3)
    by_matrices = right_share(votes, truth, estimate_skills(votes, by_confusion=True).skills, 3)
    by_coins = right_share(votes, truth, estimate_skills(votes, by_confusion=False).skills, 3)
    assert by_matrices > by_coins
    assert by_matrices > right_share(votes, truth, {}, 3)


def test_matrices_are_chosen_where_mistakes_have_a_pattern_and_coins_where_they_have_none() -> None:
    pattern = np.array([[0.7, 0.28, 0.02], [0.02, 0.96, 0.02], [0.02, 0.02, 0.96]])
    with_pattern, _ = drawn(20, np.stack([pattern, coin(0.9, 3), coin(0.8, 3)]), 900, 3)
    without, _ = drawn(21, np.stack([coin(accuracy, 3) for accuracy in (0.95, 0.9, 0.8)]), 900, 3)
    assert estimate_skills(with_pattern) == estimate_skills(with_pattern, by_confusion=True)
    assert estimate_skills(without) == estimate_skills(without, by_confusion=False)
