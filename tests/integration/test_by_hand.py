"""Samples asked for by hand: sooner, for one person, by so many people, a second time; on both databases."""

import pytest

from al_service.domain.records import User
from al_service.domain.states import AnnotationKind, Role, SampleState, SelectionState
from al_service.errors import InvalidInputError, NotFoundError
from al_service.loop.tasks import Wish
from tests.integration.conftest import Loop
from tests.integration.pets import ask, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


@pytest.fixture
def rita(loop: Loop) -> User:
    return loop.person("rita", Role.REVIEWER)


def ids_of(loop: Loop, user: User, count: int = 1) -> list[int]:
    """The samples this person gets now; they are given back."""
    held = lease(loop, user, count)
    for assignment in held:
        loop.services.assignments.release(assignment.id, user)
    return [assignment.sample.id for assignment in held]


def wish(loop: Loop, rita: User, *sample_ids: int, **more: object) -> list[int]:
    """Ask by hand; the ids of the selections."""
    made = loop.services.tasks.ask("pets", Wish(sample_ids, **more), rita)  # type: ignore[arg-type]
    return [task.selection.id for task in made]


def test_what_is_asked_for_by_hand_comes_before_the_batch(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=3)
    wish(loop, rita, ids[8], ids[7])
    assert ids_of(loop, mia, 4) == [ids[8], ids[7], ids[0], ids[1]]
    wish(loop, rita, ids[9], priority=2)
    assert ids_of(loop, mia, 2) == [ids[9], ids[8]]


def test_priority_moves_what_waits_in_the_batch(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=3)
    wish(loop, rita, ids[2], priority=1)
    wish(loop, rita, ids[0], priority=-1)
    assert ids_of(loop, mia, 3) == [ids[2], ids[1], ids[0]]
    tasks, after = loop.services.tasks.waiting("pets")
    assert [(task.sample.id, task.priority) for task in tasks] == [(ids[0], -1), (ids[2], 1)]
    assert after is None


def test_a_named_person_alone_gets_it(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=2)
    wish(loop, rita, ids[0], ids[9], user_name="tom")
    assert ids_of(loop, mia, 5) == [ids[1]]
    assert ids_of(loop, tom, 5) == [ids[9], ids[0], ids[1]]
    label(loop, lease(loop, mia)[0], mia)
    why = loop.services.assignments.lease_next("pets", mia, 1).why_empty
    assert why is not None
    assert (why.code, why.text) == ("kept_for_others", "The rest of this batch is kept for tom (2).")


def test_a_person_who_leaves_keeps_nothing_from_the_others(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    wish(loop, rita, ids[0], user_name="tom")
    assert ids_of(loop, mia) == []
    loop.services.accounts.change_user("tom", is_active=False)
    assert ids_of(loop, mia) == [ids[0]]
    with pytest.raises(NotFoundError, match="no active person 'tom'"):
        wish(loop, rita, ids[1], user_name="tom")


def test_a_second_opinion_is_a_further_vote_and_does_not_unlabel(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    label(loop, lease(loop, mia)[0], mia, "cat")
    wish(loop, rita, ids[0], answers=2)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")
    # Who answered before is not asked, nor is anybody twice.
    assert ids_of(loop, mia) == []
    label(loop, lease(loop, tom)[0], tom, "dog")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")
    assert ids_of(loop, tom) == []
    label(loop, lease(loop, rita)[0], rita, "dog")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")
    assert loop.services.tasks.waiting("pets") == ([], None)


def test_a_person_who_is_named_is_asked_again(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    label(loop, lease(loop, mia)[0], mia, "cat")
    wish(loop, rita, ids[0], user_name="mia")
    assert ids_of(loop, tom) == []
    [again] = lease(loop, mia)
    label(loop, again, mia, "dog", key="again")
    # One person is one vote: the latest counts.
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")
    assert ids_of(loop, mia) == []


def test_several_people_can_be_asked_about_one_sample(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    wish(loop, rita, ids[5], answers=2)
    [first], [second] = lease(loop, mia), lease(loop, tom)
    assert first.sample.id == second.sample.id == ids[5]
    assert ids_of(loop, rita) == [ids[0]]
    label(loop, first, mia)
    assert sample_state(loop, ids[5]) == (SampleState.UNLABELLED, None)
    label(loop, second, tom)
    assert sample_state(loop, ids[5]) == (SampleState.LABELLED, "cat")


def test_how_many_answer_can_be_set_for_a_sample_that_waits(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=2)
    wish(loop, rita, ids[0], answers=2)
    label(loop, lease(loop, mia)[0], mia)
    assert sample_state(loop, ids[0]) == (SampleState.UNLABELLED, None)
    label(loop, lease(loop, tom)[0], tom)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")
    wish(loop, rita, ids[1], priority=1)
    label(loop, lease(loop, mia)[0], mia)
    assert sample_state(loop, ids[1]) == (SampleState.LABELLED, "cat")


def test_a_named_person_decides_what_somebody_else_answered_before(
    loop: Loop, mia: User, tom: User, rita: User
) -> None:
    ids = fill(loop, batch=1, overlap=3)
    label(loop, lease(loop, mia)[0], mia)
    wish(loop, rita, ids[0], user_name="tom")
    assert ids_of(loop, rita) == []
    label(loop, lease(loop, tom)[0], tom)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")


def test_what_nobody_can_answer_leaves_the_queue(loop: Loop, mia: User, tom: User, rita: User) -> None:
    """A flag sets it aside; a skip ends the wish, and a round may choose the sample another time."""
    ids = fill(loop, batch=1)
    wish(loop, rita, ids[5], ids[6])
    flagged, skipped = lease(loop, mia, 2)
    say(loop, flagged, mia, AnnotationKind.FLAG)
    say(loop, skipped, mia, AnnotationKind.SKIP)
    assert ids_of(loop, tom, 5) == [ids[0]]
    assert sample_state(loop, ids[5]) == (SampleState.FLAGGED, None)
    assert sample_state(loop, ids[6]) == (SampleState.UNLABELLED, None)
    with pytest.raises(InvalidInputError, match="is flagged; put it back first"):
        wish(loop, rita, ids[5])
    loop.services.lanes.put_back(ids[5], rita)
    assert ids_of(loop, tom) == [ids[5]]
    loop.services.rounds.cancel("pets", 1)
    ask(loop, [ids[6]])
    assert ids_of(loop, tom, 5) == [ids[5], ids[6]]


def test_a_skip_does_not_take_a_vote_away(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    wish(loop, rita, ids[5], answers=2)
    label(loop, lease(loop, mia)[0], mia, "dog")
    say(loop, lease(loop, tom)[0], tom, AnnotationKind.SKIP)
    assert sample_state(loop, ids[5]) == (SampleState.LABELLED, "dog")
    assert ids_of(loop, rita, 5) == [ids[0]]


def test_an_old_skip_does_not_end_a_new_wish(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    say(loop, lease(loop, mia)[0], mia, AnnotationKind.SKIP)
    loop.services.rounds.cancel("pets", 1)
    wish(loop, rita, ids[0], answers=2)
    label(loop, lease(loop, tom)[0], tom)
    assert sample_state(loop, ids[0]) == (SampleState.UNLABELLED, None)
    label(loop, lease(loop, rita)[0], rita)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")


def test_nobody_is_left_waiting_for_answers_that_are_there(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1, overlap=3)
    label(loop, lease(loop, mia)[0], mia)
    with pytest.raises(InvalidInputError, match="has 1 answers already; ask for more than that"):
        wish(loop, rita, ids[0], answers=1)
    with pytest.raises(InvalidInputError, match="mia has answered sample"):
        wish(loop, rita, ids[0], user_name="mia")
    wish(loop, rita, ids[0], answers=2)
    label(loop, lease(loop, tom)[0], tom)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")


def test_naming_somebody_twice_for_a_second_opinion_asks_for_one_answer(
    loop: Loop, mia: User, tom: User, rita: User
) -> None:
    ids = fill(loop, batch=1)
    label(loop, lease(loop, mia)[0], mia)
    for _ in range(2):
        wish(loop, rita, ids[0], user_name="tom")
    label(loop, lease(loop, tom)[0], tom)
    assert loop.services.tasks.waiting("pets") == ([], None)


def test_only_who_may_label_can_be_named_and_who_no_longer_may_keeps_nothing(
    loop: Loop, mia: User, tom: User, rita: User
) -> None:
    ids = fill(loop, batch=1)
    loop.person("vera", Role.VIEWER)
    with pytest.raises(InvalidInputError, match="vera is a viewer and may not label"):
        wish(loop, rita, ids[0], user_name="vera")
    wish(loop, rita, ids[0], user_name="tom")
    loop.services.accounts.change_user("tom", role=Role.VIEWER)
    assert ids_of(loop, mia) == [ids[0]]


def test_what_was_moved_back_is_listed_and_withdrawn(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=2)
    [moved] = wish(loop, rita, ids[0], priority=-1)
    assert [task.priority for task in loop.services.tasks.waiting("pets")[0]] == [-1]
    loop.services.tasks.withdraw(moved, rita)
    assert ids_of(loop, mia, 2) == ids[:2]


def test_a_sample_of_the_batch_can_be_moved_before_what_was_asked_by_hand(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=3)
    wish(loop, rita, ids[8])
    wish(loop, rita, ids[2], priority=5)
    assert ids_of(loop, mia, 3) == [ids[2], ids[8], ids[0]]


def test_an_answer_by_hand_can_be_taken_back_and_is_asked_again(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    wish(loop, rita, ids[5])
    answer = label(loop, lease(loop, mia)[0], mia)
    _, fresh = loop.services.annotations.undo(answer.id, mia)
    assert fresh is not None
    assert sample_state(loop, ids[5]) == (SampleState.UNLABELLED, None)
    label(loop, fresh, mia, "dog", key="second")
    assert sample_state(loop, ids[5]) == (SampleState.LABELLED, "dog")


def test_an_undo_does_not_ask_twice_for_what_is_asked_by_hand(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    answer = label(loop, lease(loop, mia)[0], mia)
    [task] = wish(loop, rita, ids[0])
    _, fresh = loop.services.annotations.undo(answer.id, mia)
    assert fresh is None
    with loop.services.store.read() as tx:
        asked = tx.queue.find_open_selection(ids[0])
    assert asked is not None
    assert asked.id == task
    assert ids_of(loop, tom) == [ids[0]]


def test_what_is_withdrawn_is_asked_no_longer_or_in_its_own_place(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=2)
    own, moved = wish(loop, rita, ids[5]) + wish(loop, rita, ids[1], priority=3, user_name="tom")
    loop.services.tasks.withdraw(own, rita)
    loop.services.tasks.withdraw(moved, rita)
    assert ids_of(loop, mia, 5) == [ids[0], ids[1]]
    for gone in (own, moved):
        with pytest.raises(NotFoundError, match=f"no open task {gone}"):
            loop.services.tasks.withdraw(gone, rita)


def test_asking_again_changes_the_wish_and_asks_once(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    [first] = wish(loop, rita, ids[5])
    [second] = wish(loop, rita, ids[5], priority=4, user_name="mia")
    assert first == second
    [task], _ = loop.services.tasks.waiting("pets")
    assert (task.priority, task.user_name, task.sample.id) == (4, "mia", ids[5])


def test_a_round_ends_without_what_was_asked_by_hand_and_does_not_choose_it(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    wish(loop, rita, ids[5])
    held = lease(loop, mia, 2)
    label(loop, held[1], mia)
    loop.scheduler.tick()
    [record] = loop.services.rounds.all("pets")
    assert (record.state, record.selected_count, record.answered_count) == ("closed", 1, 1)
    ask(loop, [ids[5], ids[6]])
    with loop.services.store.read() as tx:
        picks = tx.queue.selections(loop.services.rounds.all("pets")[-1].id)
    assert [(pick.sample_id, pick.state) for pick in picks] == [
        (ids[5], SelectionState.RETIRED),
        (ids[6], SelectionState.OPEN),
    ]
    label(loop, held[0], mia)
    assert sample_state(loop, ids[5]) == (SampleState.LABELLED, "cat")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"sample_ids": ()}, "needs 1 to 1000 different ids, got 0"),
        ({"sample_ids": (1, 1)}, "needs 1 to 1000 different ids, got 2"),
        ({"sample_ids": (1,), "answers": 21}, "answers=21 is outside 1..20"),
        ({"sample_ids": (1,), "priority": 10}, "priority=10 is outside -9..9"),
        ({"sample_ids": (1,), "answers": 2, "user_name": "mia"}, "one person gives one answer"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(more: dict[str, object], words: str, database_kind: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        Wish(**more)  # type: ignore[arg-type]


def test_a_wish_with_one_bad_sample_asks_for_none(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    with pytest.raises(NotFoundError, match="no sample with id 9999"):
        wish(loop, rita, ids[5], 9999)
    assert ids_of(loop, mia, 5) == [ids[0]]
