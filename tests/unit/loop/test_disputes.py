"""How far people disagree about a sample, from their answers."""

from dataclasses import replace

import pytest

from al_service.loop.consensus import Rules, believe
from al_service.loop.disputes import dissent_of
from tests.unit.loop.test_consensus import answer


def dissent(words: str, *, overlap: int = 1, consensus: str = "majority") -> int:
    """Of answers of different people, given in this order."""
    answers = [answer(word, person) for person, word in enumerate(words.split(), start=1)]
    return dissent_of(believe(answers, overlap=overlap, max_skips=3, rules=Rules(consensus)), answers)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("", 0), ("cat", 0), ("cat cat", 0), ("cat dog", 50), ("cat cat dog", 33), ("cat dog cow", 67), ("cat skip", 0)],
)
def test_it_is_the_share_of_people_who_name_another_class(words: str, expected: int) -> None:
    assert dissent(words) == expected


def test_one_against_very_many_is_still_a_dispute() -> None:
    assert dissent("cat " * 999 + "dog") == 1


def test_people_are_left_alone_while_more_of_them_are_asked() -> None:
    assert (dissent("cat dog", overlap=3), dissent("cat dog cat", overlap=3)) == (0, 33)


def test_what_waits_for_a_reviewer_counts_by_the_class_that_most_name() -> None:
    assert (dissent("cat dog", overlap=2, consensus="review"), dissent("cat", consensus="review")) == (50, 0)


def test_a_persons_last_word_counts_and_a_reviewers_ends_it() -> None:
    first, second = answer("cat", 1), answer("dog", 2)
    for more, expected in (
        ([], 50),
        ([replace(answer("cat", 2), id=3)], 0),
        ([replace(second, id=3, is_review=True)], 0),
    ):
        answers = [first, second, *more]
        assert dissent_of(believe(answers, overlap=1, max_skips=3), answers) == expected
