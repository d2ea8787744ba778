"""Answers that come after a newer round has asked for the same sample, or after its rules have changed."""

import pytest

from al_service.domain.records import Assignment, Selection, User
from al_service.domain.states import AnnotationKind, Role, SampleState, SelectionState
from al_service.loop.annotations import Answer
from tests.integration.conftest import Loop
from tests.integration.pets import ask, fill, label, lease, sample_state, say

LABELLED, UNLABELLED = (SampleState.LABELLED, "cat"), (SampleState.UNLABELLED, None)


def asked_again(loop: Loop, mia: User, ids: list[int]) -> Assignment:
    """A lease of mia's on the first sample that is over, while a second round asks for that sample."""
    held = lease(loop, mia, 2)
    label(loop, held[1], mia)
    loop.clock.advance(400)
    loop.services.assignments.expire()
    ask(loop, [ids[0], ids[5]])
    return held[0]


def newest(loop: Loop, sample_id: int) -> Selection:
    with loop.services.store.read() as tx:
        last = tx.rounds.find_last(1)
        assert last is not None
        return next(one for one in tx.queue.selections(last.id) if one.sample_id == sample_id)


def test_a_late_answer_that_is_taken_back_opens_the_newer_question_again(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    late = label(loop, asked_again(loop, mia, ids), mia)
    assert (sample_state(loop, ids[0]), newest(loop, ids[0]).state) == (LABELLED, SelectionState.DONE)
    loop.services.annotations.undo(late.id, mia)
    assert (sample_state(loop, ids[0]), newest(loop, ids[0]).state) == (UNLABELLED, SelectionState.OPEN)
    assert ids[0] in [one.sample.id for one in lease(loop, tom, 2)]


def test_a_late_flag_that_is_put_back_opens_the_newer_question_again(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    say(loop, asked_again(loop, mia, ids), mia, AnnotationKind.FLAG)
    assert newest(loop, ids[0]).state is SelectionState.FLAGGED
    loop.services.lanes.put_back(ids[0], loop.person("rita", Role.REVIEWER))
    assert (sample_state(loop, ids[0]), newest(loop, ids[0]).state) == (UNLABELLED, SelectionState.OPEN)
    assert ids[0] in [one.sample.id for one in lease(loop, tom, 2)]


@pytest.mark.parametrize("late", [AnnotationKind.SKIP, AnnotationKind.FLAG, AnnotationKind.LABEL])
def test_a_label_stands_whatever_comes_late_by_older_rules(
    loop: Loop, mia: User, tom: User, late: AnnotationKind
) -> None:
    ids = fill(loop, overlap=2)
    held = lease(loop, mia, 2)
    label(loop, held[1], mia)
    for toms in lease(loop, tom, 2):
        if toms.sample.id == ids[1]:
            label(loop, toms, tom)
    loop.clock.advance(400)
    loop.services.assignments.expire()
    loop.services.projects.change("pets", {"overlap": 1})
    ask(loop, [ids[0]])
    ann = loop.person("ann")
    [anns] = lease(loop, ann)
    label(loop, anns, ann)
    if late is AnnotationKind.LABEL:
        loop.services.annotations.undo(label(loop, held[0], mia, "dog").id, mia)
    else:
        say(loop, held[0], mia, late)
    assert (sample_state(loop, ids[0]), newest(loop, ids[0]).state) == (LABELLED, SelectionState.DONE)


def test_what_has_answers_enough_by_new_rules_is_labelled_and_asked_of_nobody(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, overlap=2)
    for mias in lease(loop, mia, 6)[:5]:
        label(loop, mias, mia)
    for toms in lease(loop, tom, 6)[:1]:
        label(loop, toms, tom)
    loop.clock.advance(400)
    loop.services.assignments.expire()
    loop.services.projects.change("pets", {"overlap": 1})
    ask(loop, ids[1:6])
    assert [sample_state(loop, one) for one in ids[1:5]] == [LABELLED] * 4
    assert [newest(loop, one).state for one in ids[1:6]] == [SelectionState.RETIRED] * 4 + [SelectionState.OPEN]
    ann = loop.person("ann")
    [last] = lease(loop, ann, 6)
    label(loop, last, ann)
    assert loop.services.rounds.start("pets")[1]


def test_an_exclusion_holds_against_late_skips_and_yields_to_a_label(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    [mias] = lease(loop, mia)
    loop.clock.advance(400)
    loop.services.assignments.expire()
    [toms] = lease(loop, tom)
    say(loop, toms, tom, AnnotationKind.FLAG)
    loop.services.lanes.exclude(ids[0], loop.person("rita", Role.REVIEWER))
    say(loop, mias, mia, AnnotationKind.SKIP)
    assert sample_state(loop, ids[0]) == (SampleState.SKIPPED, None)
    label(loop, mias, mia)
    assert sample_state(loop, ids[0]) == LABELLED


def test_one_of_two_answers_taken_back_leases_nothing_while_the_other_counts(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, overlap=2)
    [held] = lease(loop, mia)
    label(loop, held, mia)
    second = Answer(AnnotationKind.LABEL, "dog", "second")
    again = loop.services.annotations.annotate(held.id, mia, second).annotation
    assert loop.services.annotations.undo(again.id, mia)[1] is None
    assert lease(loop, tom)[0].sample.id == ids[0]


def test_an_answer_taken_back_after_its_round_was_cancelled_asks_nobody(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    answer = label(loop, held, mia)
    loop.services.rounds.cancel("pets", 1)
    assert loop.services.annotations.undo(answer.id, mia)[1] is None
    assert (sample_state(loop, ids[0]), newest(loop, ids[0]).state) == (UNLABELLED, SelectionState.RETIRED)
    assert lease(loop, tom, 12) == []
