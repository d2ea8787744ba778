"""What people experience in the queue: leases, answers, late answers, undo, skip, flag, overlap, and why there is no
work.
"""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from al_service.domain.records import User
from al_service.domain.states import (
    AnnotationKind,
    AssignmentState,
    Role,
    RoundState,
    SampleState,
    SelectionState,
)
from al_service.errors import ConflictError, InvalidInputError, NotFoundError, PermissionDeniedError
from al_service.loop.annotations import Answer
from tests.integration.conftest import Loop
from tests.integration.pets import CLASSES, ask, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


@pytest.fixture(params=[1, 2], ids=["overlap 1", "overlap 2"])
def overlap(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_the_order_is_the_selectors_order_for_everyone(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    first, second, third = lease(loop, mia, 2), lease(loop, tom, 2), lease(loop, loop.person("ann"), 5)
    assert [item.sample.id for item in (*first, *second, *third)] == ids[:6]


def test_asking_again_gives_what_one_holds_and_renews_it(loop: Loop, mia: User) -> None:
    fill(loop)
    first = lease(loop, mia, 3)
    loop.clock.advance(200)
    again = lease(loop, mia, 3)
    assert [item.id for item in again] == [item.id for item in first]
    assert again[0].lease_expires_at > first[0].lease_expires_at
    assert [item.id for item in lease(loop, mia, 5)][:3] == [item.id for item in first]


def test_what_one_holds_is_renewed_once_a_third_of_its_time_is_over(loop: Loop, mia: User) -> None:
    fill(loop)
    first = lease(loop, mia, 2)
    loop.clock.advance(99)
    assert lease(loop, mia, 2) == first
    fuller = lease(loop, mia, 3)
    assert fuller[:2] == first
    loop.clock.advance(1)
    renewed = lease(loop, mia, 2)
    assert [item.id for item in renewed] == [item.id for item in first]
    until = loop.clock.now + timedelta(seconds=300)
    assert {item.lease_expires_at for item in lease(loop, mia, 3)} == {until}


def test_an_expired_lease_goes_to_somebody_else_and_the_late_answer_is_an_extra_vote(
    loop: Loop, mia: User, tom: User
) -> None:
    ids = fill(loop)
    [mias] = lease(loop, mia)
    loop.clock.advance(301)
    [toms] = lease(loop, tom)
    assert toms.sample.id == mias.sample.id == ids[0]
    assert not label(loop, toms, tom, "dog").is_extra_vote
    late = label(loop, mias, mia, "cat")
    assert late.is_extra_vote
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")
    with loop.services.store.read() as tx:
        assert [item.class_name for item in tx.annotations.active_of_sample(ids[0])] == ["dog", "cat"]


def test_a_late_answer_also_answers_the_lease_that_the_same_person_got_meanwhile(loop: Loop, mia: User) -> None:
    """A page that slept asks first and sends what it kept afterwards."""
    ids = fill(loop, overlap=2)
    [old] = lease(loop, mia)
    loop.clock.advance(301)
    fresh, second = lease(loop, mia, 2)
    assert (fresh.sample.id, second.sample.id) == (old.sample.id, ids[1])
    label(loop, old, mia)
    assert [item.sample.id for item in lease(loop, mia, 2)] == ids[1:3]
    with loop.services.store.read() as tx:
        assert tx.queue.get_assignment(fresh.id).state is AssignmentState.ANSWERED


def test_a_lease_that_is_over_cannot_be_renewed_and_a_live_one_can(loop: Loop, mia: User) -> None:
    fill(loop)
    [held] = lease(loop, mia)
    loop.clock.advance(250)
    assert loop.services.assignments.renew(held.id, mia).state is AssignmentState.OPEN
    loop.clock.advance(250)
    assert loop.services.assignments.renew(held.id, mia).state is AssignmentState.OPEN
    loop.clock.advance(301)
    with pytest.raises(ConflictError, match="expired"):
        loop.services.assignments.renew(held.id, mia)


def test_released_samples_are_free_at_once(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    loop.services.assignments.release(held.id, mia)
    loop.services.assignments.release(held.id, mia)
    assert lease(loop, tom)[0].sample.id == ids[0]


def test_other_peoples_assignments_do_not_exist_for_me(loop: Loop, mia: User, tom: User) -> None:
    fill(loop)
    [held] = lease(loop, mia)
    for action in (
        lambda: label(loop, held, tom),
        lambda: loop.services.assignments.renew(held.id, tom),
        lambda: loop.services.assignments.release(held.id, tom),
    ):
        with pytest.raises(NotFoundError):
            action()


def test_one_client_key_is_one_annotation(loop: Loop, mia: User) -> None:
    fill(loop)
    [held] = lease(loop, mia)
    first = label(loop, held, mia, "cat", key="k")
    again = loop.services.annotations.annotate(held.id, mia, Answer(AnnotationKind.LABEL, "cat", "k"))
    assert (again.annotation, again.is_new) == (first, False)
    with pytest.raises(ConflictError, match="another answer"):
        label(loop, held, mia, "dog", key="k")


def test_wrong_answers_are_refused_and_cost_nothing(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    with pytest.raises(InvalidInputError, match="'horse' is not a class of pets; classes: cat, dog, bird"):
        label(loop, held, mia, "horse")
    for bad in (
        {"kind": AnnotationKind.LABEL, "class_name": None},
        {"kind": AnnotationKind.SKIP, "class_name": "cat"},
        {"kind": AnnotationKind.UNDO, "class_name": None},
        {"client_key": ""},
        {"lead_time_s": float("nan")},
        {"lead_time_s": -1.0},
    ):
        with pytest.raises(InvalidInputError):
            replace(Answer(AnnotationKind.LABEL, "cat", "k"), **bad)  # type: ignore[arg-type]
    assert sample_state(loop, ids[0]) == (SampleState.UNLABELLED, None)
    assert lease(loop, mia)[0].id == held.id


def test_undo_gives_the_image_back_and_keeps_the_record(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    wrong = label(loop, held, mia, "dog")
    undo, again = loop.services.annotations.undo(wrong.id, mia)
    assert undo.undoes_id == wrong.id
    assert again is not None
    assert again.sample.id == ids[0]
    assert sample_state(loop, ids[0]) == (SampleState.UNLABELLED, None)
    label(loop, again, mia, "cat", key="second")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")
    with loop.services.store.read() as tx:
        assert tx.annotations.get(wrong.id).is_undone
    with pytest.raises(ConflictError, match="already"):
        loop.services.annotations.undo(wrong.id, mia)
    with pytest.raises(InvalidInputError, match="is an undo itself"):
        loop.services.annotations.undo(undo.id, mia)


def test_undo_is_for_ones_own_answers_and_for_reviewers(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    answer = label(loop, held, mia, "dog")
    with pytest.raises(PermissionDeniedError):
        loop.services.annotations.undo(answer.id, tom)
    rita = loop.person("rita", Role.REVIEWER)
    _, lease_of_rita = loop.services.annotations.undo(answer.id, rita)
    assert lease_of_rita is None
    assert sample_state(loop, ids[0])[0] is SampleState.UNLABELLED
    assert lease(loop, tom)[0].sample.id == ids[0]


def test_overlap_asks_that_many_different_people(loop: Loop, mia: User, tom: User, overlap: int) -> None:
    ids = fill(loop, overlap=overlap)
    held = {user.name: (lease(loop, user)[0], user) for user in (mia, tom)}
    assert (held["mia"][0].sample.id == held["tom"][0].sample.id) == (overlap == 2)
    for assignment, user in held.values():
        label(loop, assignment, user, "bird")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "bird")
    assert sample_state(loop, ids[1])[0] is (SampleState.LABELLED if overlap == 1 else SampleState.UNLABELLED)
    assert ids[0] not in {item.sample.id for item in lease(loop, mia, 10)}


def test_never_the_same_sample_twice_to_one_person(loop: Loop, mia: User) -> None:
    fill(loop, overlap=2)
    for assignment in lease(loop, mia, 6):
        label(loop, assignment, mia)
    result = loop.services.assignments.lease_next("pets", mia, 5)
    assert result.assignments == ()
    assert result.why_empty is not None
    assert result.why_empty.code == "answered_by_you"


def test_a_skipped_sample_comes_last_and_leaves_after_too_many_skips(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, batch=3, max_skips=2)
    [held] = lease(loop, mia)
    say(loop, held, mia, AnnotationKind.SKIP)
    assert [item.sample.id for item in lease(loop, mia, 3)] == [ids[1], ids[2], ids[0]]
    for assignment in lease(loop, mia, 3):
        loop.services.assignments.release(assignment.id, mia)
    first = lease(loop, tom)[0]
    assert first.sample.id == ids[0]
    say(loop, first, tom, AnnotationKind.SKIP)
    assert sample_state(loop, ids[0])[0] is SampleState.SKIPPED
    assert ids[0] not in {item.sample.id for item in lease(loop, mia, 3)}


def test_a_flagged_sample_goes_aside_and_undo_brings_it_back(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    flag = say(loop, held, mia, AnnotationKind.FLAG)
    assert sample_state(loop, ids[0])[0] is SampleState.FLAGGED
    _, again = loop.services.annotations.undo(flag.id, mia)
    assert again is not None
    assert sample_state(loop, ids[0])[0] is SampleState.UNLABELLED


def test_leftovers_leave_the_queue_when_a_fresher_batch_comes_but_not_from_peoples_hands(
    loop: Loop, mia: User, tom: User
) -> None:
    ids = fill(loop)
    [mias] = lease(loop, mia)
    [toms] = lease(loop, tom)
    label(loop, toms, tom)
    ask(loop, [ids[0], ids[7], ids[8]])
    with loop.services.store.read() as tx:
        first, second = tx.rounds.all(loop.services.projects.get("pets").id)
        states = {item.sample_id: item.state for item in tx.queue.selections(first.id)}
        fresh = {item.sample_id: item.state for item in tx.queue.selections(second.id)}
    assert first.state is RoundState.CLOSED
    assert states[ids[0]] is SelectionState.OPEN
    assert {states[one] for one in ids[2:6]} == {SelectionState.RETIRED}
    assert fresh == {
        ids[0]: SelectionState.RETIRED,
        ids[7]: SelectionState.OPEN,
        ids[8]: SelectionState.OPEN,
    }
    label(loop, mias, mia)
    assert [item.sample.id for item in lease(loop, tom, 5)] == [ids[7], ids[8]]


def test_undo_after_the_next_round_asks_for_the_same_sample_does_not_ask_twice(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    answer = label(loop, held, mia)
    ask(loop, ids[6:8])
    _, again = loop.services.annotations.undo(answer.id, mia)
    assert again is not None
    assert again.sample.id == ids[0]
    label(loop, again, mia, "dog", key="again")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")


def test_why_there_is_no_work_names_the_reason(loop: Loop, mia: User, tom: User) -> None:
    loop.services.projects.create("bare", CLASSES)
    nothing = loop.services.assignments.lease_next("bare", mia, 1).why_empty
    assert nothing is not None
    assert nothing.code == "no_images"
    fill(loop, batch=2)
    held = lease(loop, tom, 2)
    waiting = loop.services.assignments.lease_next("pets", mia, 1).why_empty
    assert waiting is not None
    assert (waiting.code, waiting.text) == ("leased_to_others", "The rest of this batch is with tom (2).")
    assert (waiting.counts["leased"], waiting.counts["not_queued"]) == (2, 10)
    for assignment in held:
        label(loop, assignment, tom)
    by_hand = loop.services.assignments.lease_next("pets", mia, 1).why_empty
    assert by_hand is not None
    assert by_hand.code == "waiting_for_engineer"
    loop.services.projects.change("pets", {"auto_start": True})
    starting = loop.services.assignments.lease_next("pets", mia, 1).why_empty
    assert starting is not None
    assert starting.code == "round_starting"
    loop.scheduler.tick()
    running = loop.services.assignments.lease_next("pets", mia, 1).why_empty
    assert running is not None
    assert (running.code, "Round 2 is training" in running.text) == ("round_running", True)
    loop.services.rounds.cancel("pets", 2)
    cancelled = loop.services.assignments.lease_next("pets", mia, 1).why_empty
    assert cancelled is not None
    assert cancelled.code == "round_cancelled"
    loop.services.projects.change("pets", {"label_budget": 2})
    spent = loop.services.assignments.lease_next("pets", mia, 1).why_empty
    assert spent is not None
    assert spent.code == "budget_spent"


def test_a_cancelled_round_keeps_its_labels_and_frees_its_place(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    label(loop, lease(loop, mia)[0], mia)
    record = loop.services.rounds.cancel("pets", 1)
    assert record.state is RoundState.CANCELLED
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")
    with pytest.raises(ConflictError, match="only an open round"):
        loop.services.rounds.cancel("pets", 1)
    assert loop.services.rounds.start("pets")[1]


def test_twenty_starts_with_one_key_are_one_round(loop: Loop) -> None:
    fill(loop)
    mia = loop.person("mia")
    label(loop, lease(loop, mia)[0], mia)
    started = [loop.services.rounds.start("pets", idempotency_key="button-1") for _ in range(20)]
    assert [is_new for _, is_new in started] == [True] + [False] * 19
    assert {record.number for record, _ in started} == {2}


def test_archived_projects_are_gone_for_everybody(loop: Loop, mia: User, tmp_path: Path) -> None:
    fill(loop)
    loop.services.projects.archive("pets")
    with pytest.raises(NotFoundError, match="no project 'pets'"):
        lease(loop, mia)
    loop.scheduler.tick()
    assert [item.name for item in loop.services.projects.all(archived=True)] == ["pets"]


def test_a_class_is_known_however_its_accents_are_written(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    typed, of_a_folder = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    with loop.services.store.write() as tx:
        tx.projects.add_classes(loop.services.projects.get("pets").id, [typed])
    assert label(loop, lease(loop, mia)[0], mia, of_a_folder).class_name == typed
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, typed)
