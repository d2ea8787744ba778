"""Leases by groups of look-alikes: which samples a person gets, and that the queue's rules stay; on both databases."""

import pytest

from al_service.domain.records import Assignment, User
from al_service.domain.states import AnnotationKind, Role
from al_service.loop.reviews import Verdict
from tests.integration.conftest import Loop
from tests.integration.pets import fill, label, lease, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])

#: The batch of most tests: who is in which group, in the selector's order.
GROUPS = "010210120"


def in_groups(loop: Loop, user: User, count: int) -> list[Assignment]:
    return list(loop.services.assignments.lease_next("pets", user, count, look_alike=True).assignments)


def places(ids: list[int], held: list[Assignment]) -> list[int]:
    """Their places in the batch."""
    return [ids.index(assignment.sample.id) for assignment in held]


def test_the_group_of_the_next_sample_comes_first_then_that_of_the_next(loop: Loop, mia: User) -> None:
    ids = fill(loop, 9, groups=GROUPS)
    assert places(ids, in_groups(loop, mia, 4)) == [0, 2, 5, 8]
    assert places(ids, in_groups(loop, mia, 6)) == [0, 2, 5, 8, 1, 4]
    assert places(ids, in_groups(loop, mia, 9)) == [0, 2, 5, 8, 1, 4, 6, 3, 7]


def test_what_is_held_is_made_whole_before_another_group_begins(loop: Loop, mia: User) -> None:
    ids = fill(loop, 9, groups=GROUPS)
    assert places(ids, lease(loop, mia, 2)) == [0, 1]
    assert places(ids, in_groups(loop, mia, 7)) == [0, 1, 2, 5, 8, 4, 6]


def test_asking_twice_gives_the_same_and_nobody_else_gets_them(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, 9, groups=GROUPS)
    held = in_groups(loop, mia, 4)
    assert in_groups(loop, mia, 4) == held
    assert places(ids, in_groups(loop, tom, 9)) == [1, 4, 6, 3, 7]
    for assignment in held:
        label(loop, assignment, mia)
    assert loop.services.projects.summary("pets").counts.labelled == 4


def test_two_people_may_share_a_group_where_two_answers_are_asked_for(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, 4, groups="0011", overlap=2)
    assert places(ids, in_groups(loop, mia, 2)) == places(ids, in_groups(loop, tom, 2)) == [0, 1]
    assert places(ids, in_groups(loop, loop.person("eva"), 4)) == [2, 3]


def test_samples_without_a_group_keep_their_place(loop: Loop, mia: User) -> None:
    ids = fill(loop, 6, groups="-0-0-0")
    assert places(ids, in_groups(loop, mia, 6)) == [0, 1, 3, 5, 2, 4]


def test_without_any_groups_the_order_is_as_always(loop: Loop, mia: User) -> None:
    ids = fill(loop, 6)
    assert places(ids, in_groups(loop, mia, 4)) == [0, 1, 2, 3]


def test_what_was_skipped_comes_after_the_groups(loop: Loop, mia: User) -> None:
    ids = fill(loop, 4, groups="0011")
    [held] = lease(loop, mia)
    say(loop, held, mia, AnnotationKind.SKIP)
    assert places(ids, in_groups(loop, mia, 4)) == [1, 2, 3, 0]


def test_the_reserve_has_groups_of_its_own(loop: Loop, mia: User) -> None:
    ids = fill(loop, 2, reserve=4, groups="003434")
    for assignment in lease(loop, mia, 2):
        label(loop, assignment, mia)
    loop.scheduler.tick()
    assert loop.services.rounds.start("pets")[1]
    assert places(ids, in_groups(loop, mia, 4)) == [2, 4, 3, 5]


def test_gold_hides_in_the_group_of_its_neighbour(loop: Loop, mia: User) -> None:
    ids = fill(loop, 9, groups="1" * 9, gold_share=0.5)
    rita = loop.person("rita", Role.REVIEWER)
    loop.services.reviews.set_gold(Verdict(ids[10], "dog", 0, "gold"), rita)
    held = in_groups(loop, mia, 9)
    [hidden] = [item for item in held if item.sample.id == ids[10]]
    assert hidden.selection.reason["look_alike"] == 1
    assert len(held) == 9


def test_whoever_asks_by_groups_hears_how_many_wait_and_others_nothing(loop: Loop, mia: User, tom: User) -> None:
    fill(loop, 9, groups="010210-20")
    assignments = loop.services.assignments
    assert assignments.lease_next("pets", tom, 1).groups_waiting is None
    lease = assignments.lease_next("pets", mia, 3, look_alike=True)
    # Those in somebody's hands wait as well.
    assert lease.groups_waiting == 3
    for number, assignment in enumerate(lease.assignments):
        if number != 1:
            label(loop, assignment, mia)
    assert assignments.lease_next("pets", mia, 1, look_alike=True).groups_waiting == 3
    label(loop, lease.assignments[1], mia)
    label(loop, assignments.lease_next("pets", tom, 1).assignments[0], tom)
    assert assignments.lease_next("pets", mia, 1, look_alike=True).groups_waiting == 2
