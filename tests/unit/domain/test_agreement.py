"""Agreement of people: what is undefined is None, and names, order and numbers of people change nothing."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.domain.agreement import (
    agreement_of,
    cohen_kappa,
    fleiss_kappa,
    krippendorff_alpha,
    observed_agreement,
)
from al_service.domain.agreement_tables import AgreementTables, Confusion, agreement_tables
from al_service.domain.jackknife import UNDEFINED, Estimate
from al_service.errors import InvalidInputError

Votes = list[tuple[int, int, int]]


def votes_of(*samples: str) -> Votes:
    """One word per sample: letter i is the class that person i gave, '.' none."""
    return [
        (sample, user, ord(letter))
        for sample, word in enumerate(samples)
        for user, letter in enumerate(word)
        if letter != "."
    ]


@st.composite
def any_votes(draw: st.DrawFn) -> Votes:
    answered = draw(st.sets(st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=60))
    return [(sample, user, draw(st.integers(0, 3))) for sample, user in sorted(answered)]


def test_nobody_and_one_person_agree_with_nobody() -> None:
    for votes in ([], votes_of("a", "b"), votes_of("a.", ".b")):
        found = agreement_of(votes)
        assert (found.samples, found.answers) == (0, 0)
        assert found.observed == found.fleiss == found.alpha == UNDEFINED
        tables = agreement_tables(votes)
        assert (tables.classes, tables.pairs, tables.confusions) == ({}, (), ())
        for person in tables.people.values():
            assert (person.samples, person.comparisons) == (0, 0)
            assert person.observed is person.kappa is person.alpha_with is person.alpha_without is None


def test_one_class_everywhere_is_no_agreement_beyond_chance() -> None:
    votes = votes_of("aa", "aa", "aa")
    assert observed_agreement(votes).value == 1.0
    assert fleiss_kappa(votes) == krippendorff_alpha(votes) == cohen_kappa(votes, 0, 1) == UNDEFINED


def test_always_the_same_is_one_without_an_interval_and_never_the_same_is_below_zero() -> None:
    assert cohen_kappa(votes_of("aa", "bb"), 0, 1) == Estimate(1.0)
    assert fleiss_kappa(votes_of("aa", "bb")) == krippendorff_alpha(votes_of("aa", "bb")) == Estimate(1.0)
    never = votes_of("ab", "ba")
    assert (observed_agreement(never).value, cohen_kappa(never, 0, 1).value, fleiss_kappa(never).value) == (0, -1, -1)


def test_people_who_share_no_sample_have_no_kappa() -> None:
    assert cohen_kappa(votes_of("a.", ".b"), 0, 1) == UNDEFINED


def test_two_votes_of_one_person_on_one_sample_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="user 2 has two votes on sample 1"):
        agreement_of([(1, 2, 3), (1, 2, 4)])
    with pytest.raises(InvalidInputError, match="two people"):
        cohen_kappa([], 1, 1)


def test_an_interval_needs_five_samples_that_differ() -> None:
    same = ["aa", "bb", "cc"] * 5
    few, enough = votes_of(*same, *["ab"] * 4), votes_of(*same, *["ab"] * 5)
    assert agreement_of(few).alpha.low is None
    for found in (*vars(agreement_of(enough)).values(), cohen_kappa(enough, 0, 1)):
        if isinstance(found, Estimate):
            assert found.low is not None and found.value is not None and found.high is not None
            assert found.low < found.value < found.high <= 1


def test_a_taste_for_one_class_is_no_agreement() -> None:
    """Both say a nine times in ten, without looking: they are the same on most samples, and kappa is zero."""
    votes = votes_of(*["aa"] * 81, *["ab"] * 9, *["ba"] * 9, *["bb"] * 1)
    assert observed_agreement(votes).value == pytest.approx(0.82)
    assert cohen_kappa(votes, 0, 1).value == pytest.approx(0.0)


def test_the_tables_say_who_and_which_classes() -> None:
    """Persons 0 and 1 agree; person 2 calls every b an a."""
    tables = agreement_tables(votes_of(*["aaa", "bba", "ccc"] * 4))
    assert tables.confusions == (Confusion(ord("a"), ord("b"), 4),)
    assert tables.classes[ord("c")].repeated == Estimate(1.0)
    assert tables.classes[ord("b")].repeated.value == pytest.approx(1 / 2)
    assert tables.classes[ord("a")].repeated.value == pytest.approx((4 * 3 * 2) / (4 * 3 * 2 + 4 * 2))
    assert tables.classes[ord("b")].answers == 8
    odd = tables.people[2]
    assert (odd.samples, odd.comparisons, odd.observed) == (12, 24, pytest.approx(2 / 3))
    assert odd.alpha_with is not None and odd.alpha_without == 1.0
    assert odd.kappa is not None and odd.kappa < min(tables.people[0].kappa or 0, tables.people[1].kappa or 0)
    agreeing = tables.pairs[0]
    assert (agreeing.first, agreeing.second, agreeing.observed) == (0, 1, 1.0)


def test_a_persons_kappa_is_the_mean_weighted_by_shared_samples() -> None:
    votes = votes_of("aa.", "bb.", "ab.", "a.a", "b.b")
    tables = agreement_tables(votes)
    kappas = {(pair.first, pair.second): (pair.kappa.value, pair.samples) for pair in tables.pairs}
    assert kappas.keys() == {(0, 1), (0, 2)} and kappas[0, 2] == (1.0, 2)
    one, shared = kappas[0, 1]
    assert one is not None and tables.people[0].kappa == pytest.approx((one * shared + 1.0 * 2) / (shared + 2))
    assert tables.people[1].kappa == pytest.approx(one)


@given(any_votes(), st.randoms())
def test_the_order_of_votes_and_new_numbers_for_samples_change_nothing(votes: Votes, rng: random.Random) -> None:
    numbers = rng.sample(range(100), 31)
    mixed = [(numbers[sample], user, class_id) for sample, user, class_id in votes]
    rng.shuffle(mixed)
    assert agreement_tables(mixed) == agreement_tables(votes)


@given(any_votes(), st.permutations(range(5)), st.permutations(range(4)))
def test_new_numbers_for_people_and_classes_change_no_figure(votes: Votes, people: list[int], names: list[int]) -> None:
    ours = agreement_tables(votes)
    theirs = agreement_tables([(sample, people[user], names[class_id]) for sample, user, class_id in votes])
    assert_close(theirs.overall, ours.overall)
    for class_id, found in ours.classes.items():
        assert_close(theirs.classes[names[class_id]], found)
    for user_id, person in ours.people.items():
        same = theirs.people[people[user_id]]
        assert (same.samples, same.comparisons, same.observed) == (person.samples, person.comparisons, person.observed)
        assert (same.kappa, same.alpha_without) == (
            pytest.approx(person.kappa, abs=1e-9),
            pytest.approx(person.alpha_without, abs=1e-9),
        )


def assert_close(found: object, expected: object) -> None:
    """Equal but for the last digits, through nested records."""
    if isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-9)
    elif hasattr(expected, "__dataclass_fields__"):
        for name in expected.__dataclass_fields__:
            assert_close(getattr(found, name), getattr(expected, name))
    else:
        assert found == expected


@given(any_votes(), any_votes())
def test_a_person_who_shares_no_sample_changes_nobody(votes: Votes, others: Votes) -> None:
    alone = [(1000 + sample, 99, class_id) for sample, user, class_id in others if user == 0]
    ours: AgreementTables = agreement_tables(votes)
    with_one_more = agreement_tables(votes + alone)
    assert with_one_more.overall == ours.overall and with_one_more.classes == ours.classes
    assert {user: person for user, person in with_one_more.people.items() if user != 99} == ours.people


def test_the_worked_example_of_the_page() -> None:
    """docs/agreement.md: ten images, three people, s sparrow, f finch, r robin."""
    people = ("ssssssfffr", "sssssffffr", "ssssfffssr")
    tables = agreement_tables(votes_of(*("".join(said) for said in zip(*people, strict=True))))
    found = {
        "observed": tables.overall.observed.value,
        "fleiss": tables.overall.fleiss.value,
        "alpha": tables.overall.alpha.value,
        "finch": tables.classes[ord("f")].repeated.value,
        "ann": tables.people[0].kappa,
        "bea": tables.people[1].kappa,
        "cy": tables.people[2].kappa,
        "without cy": tables.people[2].alpha_without,
    }
    page = {
        "observed": 0.73, "fleiss": 0.52, "alpha": 0.54, "finch": 0.60,
        "ann": 0.54, "bea": 0.65, "cy": 0.37, "without cy": 0.83,
    }  # fmt: skip
    assert found == pytest.approx(page, abs=0.005)
    assert tables.confusions == (Confusion(ord("f"), ord("s"), 4),)
