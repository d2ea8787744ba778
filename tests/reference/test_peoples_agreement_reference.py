"""Agreement of people against scikit-learn, the worked examples of the papers, and slow versions by the definitions."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from al_service.domain.agreement import Vote, agreement_of, cohen_kappa, fleiss_kappa, krippendorff_alpha
from al_service.domain.agreement_tables import agreement_tables

# Fleiss 1971, table 1: 30 patients with six diagnoses each, sorted, because the paper does not say who gave which.
# 1 depression, 2 personality disorder, 3 schizophrenia, 4 neurosis, 5 other
FLEISS_1971 = [
    *["444444", "222555", "233335", "555555", "222444", "113333", "333355", "113334", "114444", "555555"],
    *["144444", "124444", "222333", "144444", "224445", "333335", "111455", "111112", "224444", "133555"],
    *["555555", "244444", "224555", "114444", "144445", "222224", "111155", "224444", "133333", "555555"],
]
# Krippendorff 2011, section C: four observers, twelve units, '.' is missing.
FOUR_OBSERVERS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."]


def of_table(samples: list[str]) -> list[Vote]:
    """Votes from one word per sample; the letter is the class."""
    return [
        Vote(sample, user, int(letter))
        for sample, word in enumerate(samples)
        for user, letter in enumerate(word)
        if letter != "."
    ]


def of_people(rows: list[str]) -> list[Vote]:
    """Votes from one word per person."""
    return of_table(["".join(column) for column in zip(*rows, strict=True)])


def test_the_diagnoses_of_fleiss() -> None:
    found = agreement_of(of_table(FLEISS_1971))
    assert (found.samples, found.answers) == (30, 180)
    assert found.observed.value == pytest.approx(0.5556, abs=5e-5)
    assert found.fleiss.value == pytest.approx(0.430, abs=5e-4)


def test_the_categories_of_fleiss() -> None:
    classes = agreement_tables(of_table(FLEISS_1971)).classes
    kappas = [classes[class_id].agreement.fleiss.value for class_id in sorted(classes)]
    assert kappas == pytest.approx([0.245, 0.245, 0.520, 0.471, 0.566], abs=5e-4)


def test_krippendorffs_two_observers() -> None:
    meg, owen = "aabbdcccedda", "babbbccceddd"
    numbers = str.maketrans("abcde", "12345")
    votes = of_people([meg.translate(numbers), owen.translate(numbers)])
    assert krippendorff_alpha(votes).value == pytest.approx(0.692, abs=5e-4)


def test_krippendorffs_four_observers_with_missing_answers() -> None:
    votes = of_people(FOUR_OBSERVERS)
    found = agreement_of(votes)
    # One unit was judged by one observer alone: it is in no pair.
    assert (len(votes), found.samples, found.answers) == (41, 11, 40)
    assert found.alpha.value == pytest.approx(0.743, abs=5e-4)


def random_votes(seed: int, *, people: int = 5, samples: int = 60, classes: int = 4) -> list[Vote]:
    """Votes with gaps, of people who are right more often than not."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, samples, p=rng.dirichlet(np.ones(classes) * 3))
    votes = []
    for user in range(people):
        right, there = rng.uniform(0.3, 0.95), rng.uniform(0.2, 1)
        for sample in range(samples):
            if rng.random() < there:
                votes.append(Vote(sample, user, int(truth[sample] if rng.random() < right else rng.integers(classes))))
    return votes


@pytest.mark.parametrize("seed", range(8))
def test_cohens_kappa_is_that_of_scikit_learn(seed: int) -> None:
    votes = random_votes(seed)
    by_person: dict[int, dict[int, int]] = {}
    for vote in votes:
        by_person.setdefault(vote.user_id, {})[vote.sample_id] = vote.class_id
    pairs = {(pair.first, pair.second): pair for pair in agreement_tables(votes).pairs}
    assert pairs
    for (first, second), pair in pairs.items():
        both = sorted(by_person[first].keys() & by_person[second].keys())
        ours, theirs = ([by_person[user][sample] for sample in both] for user in (first, second))
        assert pair.samples == len(both)
        assert pair.observed == pytest.approx(np.mean(np.equal(ours, theirs)))
        if len({*ours, *theirs}) > 1:
            assert pair.kappa.value == pytest.approx(cohen_kappa_score(ours, theirs))
        else:
            assert pair.kappa.value is None
        assert pair.kappa == cohen_kappa(votes, first, second) == cohen_kappa(votes, second, first)


def slow_fleiss(votes: list[Vote]) -> float | None:
    """By the words of the paper, with as many answers per sample as there are."""
    samples = [[vote.class_id for vote in votes if vote.sample_id == one] for one in {v.sample_id for v in votes}]
    samples = [given for given in samples if len(given) > 1]
    answers = [class_id for given in samples for class_id in given]
    if len(set(answers)) < 2:
        return None
    agree = [np.mean([a == b for a, b in itertools.combinations(given, 2)]) for given in samples]
    chance = sum((answers.count(one) / len(answers)) ** 2 for one in set(answers))
    return float((np.mean(agree) - chance) / (1 - chance))


def slow_alpha(votes: list[Vote]) -> float | None:
    """By the matrix of coincidences."""
    coincidences: Counter[tuple[int, int]] = Counter()
    for sample in {vote.sample_id for vote in votes}:
        given = [vote.class_id for vote in votes if vote.sample_id == sample]
        for one, other in itertools.permutations(range(len(given)), 2):
            coincidences[given[one], given[other]] += 1 / (len(given) - 1)
    classes = {one for one, _ in coincidences}
    if len(classes) < 2:
        return None
    totals = {one: sum(coincidences[one, other] for other in classes) for one in classes}
    everything = sum(totals.values())
    observed = sum(coincidences[pair] for pair in itertools.permutations(classes, 2))
    chance = sum(totals[one] * totals[other] for one, other in itertools.permutations(classes, 2)) / (everything - 1)
    return 1 - observed / chance


@st.composite
def any_votes(draw: st.DrawFn) -> list[Vote]:
    """Few people, samples and classes, so that every corner comes up."""
    answered = draw(st.sets(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=20))
    return [Vote(sample, user, draw(st.integers(0, 2))) for sample, user in sorted(answered)]


@given(any_votes())
def test_fleiss_and_alpha_are_the_slow_ones_in_every_corner(votes: list[Vote]) -> None:
    assert fleiss_kappa(votes).value == pytest.approx(slow_fleiss(votes), abs=1e-12)
    assert krippendorff_alpha(votes).value == pytest.approx(slow_alpha(votes), abs=1e-12)


@given(any_votes())
def test_a_class_against_the_rest_is_two_classes(votes: list[Vote]) -> None:
    tables = agreement_tables(votes)
    for class_id, found in tables.classes.items():
        against_rest = [vote._replace(class_id=int(vote.class_id == class_id)) for vote in votes]
        assert found.agreement == agreement_of(against_rest)


@given(any_votes())
def test_alpha_without_a_person_is_alpha_of_the_others_votes(votes: list[Vote]) -> None:
    tables = agreement_tables(votes)
    assert tables.people.keys() == {vote.user_id for vote in votes}
    for user_id, found in tables.people.items():
        others = [vote for vote in votes if vote.user_id != user_id]
        assert found.alpha_without == krippendorff_alpha(others).value
        assert found.alpha_with == tables.overall.alpha.value


def left_out_interval(votes: list[Vote]) -> tuple[float, float]:
    """The jackknife of alpha by computing it anew without each sample in turn."""
    alpha = slow_alpha(votes)
    samples = {vote.sample_id for vote in votes if [v.sample_id for v in votes].count(vote.sample_id) > 1}
    rest = [slow_alpha([vote for vote in votes if vote.sample_id != sample]) for sample in samples]
    assert alpha is not None and all(one is not None for one in rest)
    points = np.log1p(-np.array(rest, dtype=float))
    spread = 1.959963985 * np.sqrt((len(points) - 1) / len(points) * np.sum((points - points.mean()) ** 2))
    return 1 - (1 - alpha) * np.exp(spread), 1 - (1 - alpha) * np.exp(-spread)


@pytest.mark.parametrize("seed", range(4))
def test_the_interval_leaves_out_one_sample_at_a_time(seed: int) -> None:
    votes = random_votes(seed, samples=30)
    alpha = krippendorff_alpha(votes)
    assert (alpha.low, alpha.high) == pytest.approx(left_out_interval(votes))


@pytest.mark.parametrize(("samples", "right"), [(60, 0.9), (60, 0.6), (200, 0.8)])
def test_intervals_hold_the_figure_of_endless_samples_about_19_times_in_20(samples: int, right: float) -> None:
    """Three people of equal skill on four even classes: what each figure is without chance follows from their skill."""
    rng = np.random.default_rng(0)
    wrong = (1 - right) / 3
    share = right**2 + 3 * wrong**2
    kappa = (share - 1 / 4) / (3 / 4)
    held = Counter()
    draws = 400
    for _ in range(draws):
        truth = rng.integers(4, size=samples)
        slips = rng.integers(1, 4, (3, samples)) * (rng.random((3, samples)) >= right)
        classes = (truth + slips) % 4
        votes = [(sample, user, int(classes[user, sample])) for sample in range(samples) for user in range(3)]
        found = agreement_of(votes)
        two = cohen_kappa(votes, 0, 1)
        for name, one, true in (
            ("observed", found.observed, share),
            ("fleiss", found.fleiss, kappa),
            ("alpha", found.alpha, kappa),
            ("cohen", two, kappa),
        ):
            held[name] += one.low is not None and one.high is not None and one.low <= true <= one.high
    assert all(0.90 <= count / draws <= 0.985 for count in held.values()), held
