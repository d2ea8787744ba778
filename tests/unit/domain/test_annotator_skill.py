"""Skills: what gold does, what an estimate may not depend on, how votes are weighed, and what storage keeps."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.domain.annotator_skill import (
    ANSWERS_MIN,
    Skill,
    skill_from_json,
    skill_to_json,
    weighted_vote,
)
from al_service.domain.dawid_skene import estimate_skills
from al_service.errors import InvalidInputError

Votes = list[tuple[int, int, int]]
GOOD, POOR = Skill(0.95, 100), Skill(0.6, 100)


@st.composite
def any_votes(draw: st.DrawFn) -> Votes:
    answered = draw(st.sets(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=40))
    return [(sample, user, draw(st.integers(0, 2))) for sample, user in sorted(answered)]


@given(any_votes(), st.booleans(), st.dictionaries(st.integers(0, 12), st.integers(0, 2)))
def test_each_turn_raises_the_objective_and_chances_are_chances(
    votes: Votes, by_confusion: bool, known: dict[int, int]
) -> None:
    found = estimate_skills(
        votes, known=known, class_ids=range(3), by_confusion=by_confusion, gain_min=-math.inf, turns_max=15
    )
    for before, after in zip(found.objectives, found.objectives[1:], strict=False):
        assert after >= before - 1e-9
    assert math.fsum(found.class_shares.values()) == pytest.approx(1)
    for skill in found.skills.values():
        assert 0 < skill.accuracy < 1
        assert len(skill.confusion) == (3 if by_confusion else 0)
        for row in skill.confusion.values():
            assert math.fsum(row.values()) == pytest.approx(1) and min(row.values()) > 0
    for sample, posterior in found.posteriors.items():
        assert math.fsum(posterior.values()) <= 1 + 1e-9
        if sample in known:
            assert posterior == {known[sample]: 1.0}
        elif by_confusion:
            assert math.fsum(posterior.values()) == pytest.approx(1)


@given(any_votes(), st.booleans(), st.randoms())
def test_the_order_of_votes_and_the_numbers_of_samples_change_nothing(
    votes: Votes, by_confusion: bool, rng: random.Random
) -> None:
    numbers = rng.sample(range(50), 13)
    mixed = [(numbers[sample], user, vote) for sample, user, vote in votes]
    rng.shuffle(mixed)
    ours = estimate_skills(votes, class_ids=range(3), by_confusion=by_confusion)
    theirs = estimate_skills(mixed, class_ids=range(3), by_confusion=by_confusion)
    assert theirs.skills == ours.skills and theirs.objectives == ours.objectives
    assert theirs.posteriors == {numbers[sample]: chances for sample, chances in ours.posteriors.items()}


@given(any_votes(), st.booleans(), st.permutations(range(4)), st.permutations(range(3)))
def test_new_numbers_for_people_and_classes_change_no_skill(
    votes: Votes, by_confusion: bool, people: list[int], names: list[int]
) -> None:
    renamed = [(sample, people[user], names[vote]) for sample, user, vote in votes]
    turns = {"class_ids": range(3), "by_confusion": by_confusion, "gain_min": -math.inf, "turns_max": 8}
    ours, theirs = estimate_skills(votes, **turns), estimate_skills(renamed, **turns)
    for user, skill in ours.skills.items():
        same = theirs.skills[people[user]]
        assert (same.answers, same.accuracy) == (skill.answers, pytest.approx(skill.accuracy, abs=1e-9))
        for true, row in skill.confusion.items():
            for answered, chance in row.items():
                assert same.confusion[names[true]][names[answered]] == pytest.approx(chance, abs=1e-9)


def test_a_sample_with_one_vote_says_nothing_unless_its_class_is_known() -> None:
    shared = [(1, 1, 0), (1, 2, 0), (2, 1, 1), (2, 2, 1)]
    alone = [(3, 1, 0), (4, 9, 1)]
    assert estimate_skills(shared + alone) == estimate_skills(shared)
    found = estimate_skills(shared + alone, known={4: 1})
    assert found.skills[9].answers == 1 and found.posteriors[4] == {1: 1.0}
    assert 3 not in found.posteriors


def test_votes_of_two_people_alone_cannot_say_who_is_right_but_gold_can() -> None:
    votes = [
        (sample, user, sample % 2 if user == 1 or sample < 30 else 1 - sample % 2)
        for sample in range(40)
        for user in (1, 2)
    ]
    found = estimate_skills(votes, by_confusion=False)
    assert found.skills[1].accuracy == pytest.approx(found.skills[2].accuracy)
    known = {sample: sample % 2 for sample in range(25, 40)}
    found = estimate_skills(votes, known=known, by_confusion=False)
    assert found.skills[1].accuracy > 0.9 > found.skills[2].accuracy


def test_nobody_has_no_skill_and_one_class_is_refused() -> None:
    assert estimate_skills([], class_ids=[1, 2]).skills == {}
    with pytest.raises(InvalidInputError, match="1 classes"):
        estimate_skills([(1, 1, 5), (1, 2, 5)])


def test_one_good_person_outweighs_two_poor_ones_but_not_two_good_ones() -> None:
    skills = {1: GOOD, 2: POOR, 3: POOR, 4: GOOD}
    assert weighted_vote([(2, 8), (3, 8), (1, 7)], skills, [7, 8])[0] == 7
    assert weighted_vote([(2, 7), (1, 8), (4, 8)], skills, [7, 8])[0] == 8


def test_the_odds_are_those_of_bayes() -> None:
    _, chance = weighted_vote([(1, 7), (2, 8)], {1: GOOD, 2: POOR}, [7, 8, 9])
    likelihoods = [0.95 * 0.4 / 2, 0.05 / 2 * 0.6, 0.05 / 2 * 0.4 / 2]
    assert chance == pytest.approx(likelihoods[0] / sum(likelihoods))


def test_confusions_count_where_they_are_known() -> None:
    """Person 1 calls every second sparrow (7) a finch (8), and never the other way round."""
    skill = Skill(0.75, 100, {7: {7: 0.5, 8: 0.5}, 8: {7: 0.001, 8: 0.999}})
    assert weighted_vote([(1, 8), (2, 7)], {1: skill, 2: Skill(0.8, 100)}, [7, 8])[0] == 7
    assert weighted_vote([(1, 7), (2, 8)], {1: skill, 2: Skill(0.8, 100)}, [7, 8])[0] == 7


def test_a_class_added_later_is_judged_by_the_accuracy() -> None:
    skill = Skill(0.9, 100, {7: {7: 0.9, 8: 0.1}, 8: {7: 0.1, 8: 0.9}})
    assert weighted_vote([(1, 9), (2, 7)], {1: skill, 2: POOR}, [7, 8, 9])[0] == 9
    assert (skill.chance(9, 7, 3), skill.chance(9, 9, 3)) == (pytest.approx(0.05), 0.9)


def test_without_skills_it_is_the_majority_and_a_tie_goes_to_the_class_given_first() -> None:
    assert weighted_vote([(1, 8), (2, 7), (3, 7)], {}, [7, 8]) == (7, None)
    assert weighted_vote([(1, 8), (2, 7)], {}, [7, 8]) == (8, None)
    newcomers = {1: Skill(0.99, ANSWERS_MIN - 1), 2: Skill(0.5, ANSWERS_MIN - 1)}
    assert weighted_vote([(2, 8), (1, 7), (2, 8)], newcomers, [7, 8]) == (8, None)
    same = {1: POOR, 2: POOR}
    assert weighted_vote([(1, 8), (2, 7)], same, [7, 8]) == (8, pytest.approx(0.5))


def test_a_newcomer_counts_as_the_average() -> None:
    skills = {1: Skill(0.9, ANSWERS_MIN), 2: Skill(0.7, ANSWERS_MIN), 3: Skill(0.1, 3)}
    assert weighted_vote([(3, 8)], skills, [7, 8]) == (8, pytest.approx(0.8))


def test_what_cannot_be_weighed_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="at least one"):
        weighted_vote([], {}, [7])
    with pytest.raises(InvalidInputError, match=r"class 9, which is not one of \[7, 8\]"):
        weighted_vote([(1, 9)], {}, [7, 8])
    assert weighted_vote([(1, 7)], {1: GOOD}, [7]) == (7, 1.0)


@given(any_votes(), st.booleans())
def test_storage_keeps_skills_to_six_digits_and_nothing_is_certain(votes: Votes, by_confusion: bool) -> None:
    for skill in estimate_skills(votes, class_ids=range(3), by_confusion=by_confusion).skills.values():
        back = skill_from_json(skill_to_json(skill))
        assert (back.answers, back.accuracy) == (skill.answers, pytest.approx(skill.accuracy, abs=1e-6))
        assert back.confusion.keys() == skill.confusion.keys()
        for true, row in skill.confusion.items():
            assert back.confusion[true] == pytest.approx(row, abs=1e-6)
            assert all(0 < chance < 1 for chance in back.confusion[true].values())
