"""People who ask and answer at the same moment share a transaction, and get what one after the other would."""

import pytest

from al_service.domain.records import Assignment, User
from al_service.domain.states import AnnotationKind, Lane, Role, SampleState
from al_service.loop.reviews import Verdict
from tests.integration.conftest import Loop
from tests.integration.pets import at_once, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


def people(loop: Loop, *names: str) -> list[User]:
    return [loop.person(name) for name in names]


def test_everybody_is_given_another_image(loop: Loop) -> None:
    pets = fill(loop)
    everybody = people(loop, "mia", "ben", "eve", "sam")
    for _ in range(2):
        with at_once(loop) as come:
            got = [come(lambda user=user: lease(loop, user)) for user in everybody]
        held = [assignments[0].sample.id for [assignments] in got]
        assert held == pets[:4]
    assert {state for sample in pets[:4] for state, _ in [sample_state(loop, sample)]} == {SampleState.UNLABELLED}


def test_two_people_share_an_image_that_two_shall_answer(loop: Loop) -> None:
    pets = fill(loop, overlap=2)
    everybody = people(loop, "mia", "ben", "eve")
    lease(loop, loop.person("first"))
    with at_once(loop) as come:
        got = [come(lambda user=user: lease(loop, user)) for user in everybody]
    held = [(assignments[0].sample.id, assignments[0].slot) for [assignments] in got]
    assert held == [(pets[0], 1), (pets[1], 0), (pets[1], 1)]


def test_both_answers_to_one_image_count(loop: Loop) -> None:
    [pet, *_] = fill(loop, overlap=2)
    mia, ben = people(loop, "mia", "ben")
    [of_mia], [of_ben] = lease(loop, mia), lease(loop, ben)
    assert of_mia.sample.id == of_ben.sample.id == pet
    with at_once(loop) as come:
        come(lambda: label(loop, of_mia, mia, "dog"))
        come(lambda: label(loop, of_ben, ben, "dog"))
    with loop.services.store.read() as tx:
        assert [answer.user_id for answer in tx.annotations.active_of_sample(pet)] == [mia.id, ben.id]
    assert sample_state(loop, pet) == (SampleState.LABELLED, "dog")


def test_two_people_who_differ_are_both_heard(loop: Loop) -> None:
    [pet, *_] = fill(loop, overlap=2, max_skips=2)
    mia, ben = people(loop, "mia", "ben")
    [of_mia], [of_ben] = lease(loop, mia), lease(loop, ben)
    with at_once(loop) as come:
        come(lambda: label(loop, of_mia, mia, "dog"))
        come(lambda: say(loop, of_ben, ben, AnnotationKind.FLAG))
    assert sample_state(loop, pet)[0] is SampleState.FLAGGED
    [other] = lease(loop, mia)
    assert other.sample.id != pet


def test_who_answers_beside_those_who_ask_is_heard(loop: Loop) -> None:
    pets = fill(loop)
    mia, ben, eve = people(loop, "mia", "ben", "eve")
    [of_mia] = lease(loop, mia)
    with at_once(loop) as come:
        before = come(lambda: lease(loop, ben))
        come(lambda: label(loop, of_mia, mia, "cat"))
        after = come(lambda: lease(loop, eve))
    assert sample_state(loop, pets[0]) == (SampleState.LABELLED, "cat")
    assert [one[0][0].sample.id for one in (before, after)] == [pets[1], pets[2]]


def test_the_same_answer_sent_twice_is_one(loop: Loop) -> None:
    fill(loop)
    [mia] = people(loop, "mia")
    [held] = lease(loop, mia)
    with at_once(loop) as come:
        twice = [come(lambda: label(loop, held, mia, "cat", key="once")) for _ in range(2)]
    assert twice[0][0].id == twice[1][0].id


def test_who_answers_and_asks_at_once_is_not_asked_the_same_again(loop: Loop) -> None:
    pets = fill(loop)
    [mia] = people(loop, "mia")
    [held] = lease(loop, mia)
    with at_once(loop) as come:
        come(lambda: label(loop, held, mia))
        asked = come(lambda: lease(loop, mia))
    assert held.sample.id == pets[0]
    assert [one.sample.id for one in asked[0]] == [pets[1]]


def test_gold_comes_before_the_image_that_was_due_and_that_image_next(loop: Loop) -> None:
    pets = fill(loop, batch=6, gold_share=0.5)
    rita, mia = loop.person("rita", Role.REVIEWER), loop.person("mia")
    for pet in pets[8:]:
        loop.services.reviews.set_gold(Verdict(pet, "cat", 0, f"gold-{pet}"), rita)
    given: list[Assignment] = []
    while found := lease(loop, mia):
        assert [one.id for one in lease(loop, mia)] == [found[0].id]
        label(loop, found[0], mia)
        given += found
    golden = [one for one in given if one.selection.lane is Lane.GOLD]
    assert golden
    assert [one.sample.id for one in given if one not in golden] == pets[:6]
    for one in golden:
        assert given[given.index(one) + 1].selection.id == one.selection.reason["beside"]
    assert loop.services.projects.summary("pets").holders == {}
