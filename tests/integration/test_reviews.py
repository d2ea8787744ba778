"""Reviewers' verdicts and gold: what a sample is whatever the votes say, and how well people do; on both databases."""

from itertools import pairwise

import pytest

from al_service.domain.records import GoldResult, NewSample, User
from al_service.domain.states import AnnotationKind, Lane, Role, SampleState, SelectionState, Split
from al_service.errors import InvalidInputError, NotFoundError
from al_service.loop.annotations import ClientKeyReusedError
from al_service.loop.reviews import Given, LabelChangedError, Verdict
from tests.integration.conftest import Loop
from tests.integration.pets import ask, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


@pytest.fixture
def rita(loop: Loop) -> User:
    return loop.person("rita", Role.REVIEWER)


@pytest.fixture
def ruth(loop: Loop) -> User:
    return loop.person("ruth", Role.REVIEWER)


def version_of(loop: Loop, sample_id: int) -> int:
    with loop.services.store.read() as tx:
        return tx.samples.get(sample_id).label_version or 0


def judge(loop: Loop, user: User, sample_id: int, name: str, version: int | None = None, key: str = "v") -> Given:
    seen = version_of(loop, sample_id) if version is None else version
    return loop.services.reviews.label(Verdict(sample_id, name, seen, f"{key}-{user.name}-{sample_id}-{name}"), user)


def test_a_verdict_counts_more_than_votes_before_and_after_it(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1, overlap=3)
    first, second = lease(loop, mia)[0], lease(loop, tom)[0]
    label(loop, first, mia, "cat")
    given = judge(loop, rita, ids[0], "bird")
    assert (given.sample.state, given.sample.class_name, given.annotation.is_review) == ("labelled", "bird", True)
    label(loop, second, tom, "cat")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "bird")
    with loop.services.store.read() as tx:
        [pick] = tx.queue.selections(loop.services.rounds.all("pets")[0].id)
    assert pick.state is SelectionState.DONE
    assert lease(loop, rita) == []


def test_a_verdict_that_is_taken_back_leaves_what_the_votes_say(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=1, overlap=2)
    label(loop, lease(loop, mia)[0], mia, "cat")
    given = judge(loop, rita, ids[0], "bird")
    loop.services.annotations.undo(given.annotation.id, rita)
    assert sample_state(loop, ids[0]) == (SampleState.UNLABELLED, None)
    label(loop, lease(loop, tom)[0], tom, "cat")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")


def test_the_later_of_two_verdicts_stands(loop: Loop, rita: User, ruth: User) -> None:
    ids = fill(loop, batch=1)
    judge(loop, rita, ids[0], "cat")
    later = judge(loop, ruth, ids[0], "dog")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")
    loop.services.annotations.undo(later.annotation.id, ruth)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")


def test_nobody_overwrites_what_they_did_not_see(loop: Loop, mia: User, rita: User, ruth: User) -> None:
    ids = fill(loop, batch=1)
    judge(loop, rita, ids[0], "cat", version=0)
    with pytest.raises(LabelChangedError, match="is 'cat' now, last answered by rita; you saw version 0") as caught:
        judge(loop, ruth, ids[0], "dog", version=0)
    details = caught.value.details
    assert {key: details[key] for key in ("class_name", "version", "by")} == {
        "class_name": "cat",
        "version": 1,
        "by": "rita",
    }
    assert details["at"].startswith("2026-")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")
    assert judge(loop, ruth, ids[0], "dog", version=1).sample.label_version == 2


def test_the_same_verdict_twice_is_one(loop: Loop, rita: User) -> None:
    ids = fill(loop, batch=1)
    first = judge(loop, rita, ids[0], "cat", version=0)
    again = judge(loop, rita, ids[0], "cat", version=0)
    assert (first.is_new, again.is_new, again.annotation) == (True, False, first.annotation)
    with pytest.raises(ClientKeyReusedError):
        loop.services.reviews.label(Verdict(ids[1], "cat", 0, f"v-rita-{ids[0]}-cat"), rita)


def test_a_verdict_in_the_dark_is_refused(loop: Loop, rita: User) -> None:
    ids = fill(loop, batch=1)
    with pytest.raises(InvalidInputError, match="'cow' is not a class of pets; classes: cat, dog, bird"):
        judge(loop, rita, ids[0], "cow")
    with pytest.raises(InvalidInputError, match="version=-1 is below 0"):
        Verdict(ids[0], "cat", -1, "k")
    with pytest.raises(InvalidInputError, match="client_key needs 1 to 200 characters"):
        Verdict(ids[0], "cat", 0, "")
    with pytest.raises(NotFoundError, match="no sample with id 9999"):
        loop.services.reviews.label(Verdict(9999, "cat", 0, "k"), rita)


def test_an_archived_project_takes_no_verdict(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    label(loop, lease(loop, mia)[0], mia, "cat")
    loop.services.projects.archive("pets")
    for decide in (loop.services.reviews.label, loop.services.reviews.set_gold):
        with pytest.raises(NotFoundError, match="'pets' is archived"):
            decide(Verdict(ids[0], "bird", version_of(loop, ids[0]), "late"), rita)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")


def test_images_kept_aside_are_for_engineers(loop: Loop, rita: User) -> None:
    fill(loop, batch=1)
    with loop.services.store.write() as tx:
        project = tx.projects.find("pets")
        assert project is not None
        aside = NewSample("aside.png", "f" * 64, 8, 8, "PNG", 9, Split.EVALUATION)
        [sample_id] = tx.samples.add_many(project.id, [aside], loop.clock())
    assert sample_id is not None
    with pytest.raises(NotFoundError, match=f"no sample with id {sample_id}"):
        judge(loop, rita, sample_id, "cat")
    given = loop.services.reviews.label(Verdict(sample_id, "cat", 0, "k"), rita, evaluation=True)
    assert given.sample.class_name == "cat"


def test_a_verdict_settles_what_was_flagged_or_asked_by_hand(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    say(loop, lease(loop, mia)[0], mia, AnnotationKind.FLAG)
    judge(loop, rita, ids[0], "dog")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")
    assert loop.services.lanes.flagged("pets") == ([], {})


def test_of_many_verdicts_each_is_stored_or_says_why_not(loop: Loop, rita: User, ruth: User) -> None:
    ids = fill(loop, batch=3)
    judge(loop, ruth, ids[1], "dog")
    verdicts = [Verdict(sample_id, "cat", 0, f"m-{sample_id}") for sample_id in (ids[0], ids[1], 9999, ids[2])]
    found = loop.services.reviews.label_many("pets", verdicts, rita)
    assert [type(one) for one in found] == [Given, LabelChangedError, NotFoundError, Given]
    assert [sample_state(loop, sample_id)[1] for sample_id in ids[:3]] == ["cat", "dog", "cat"]
    again = loop.services.reviews.label_many("pets", verdicts, rita)
    assert [isinstance(one, Given) and not one.is_new for one in again] == [True, False, False, True]


def all_gold(loop: Loop, rita: User, ids: list[int], name: str = "cat") -> None:
    for sample_id in ids:
        loop.services.reviews.set_gold(Verdict(sample_id, name, version_of(loop, sample_id), f"g-{sample_id}"), rita)


def test_who_decides_an_image_that_they_hold_is_not_asked_about_it_again(loop: Loop, rita: User) -> None:
    ids = fill(loop, batch=3)
    [held] = lease(loop, rita)
    verdict = Verdict(held.sample.id, "dog", version_of(loop, held.sample.id), "mine")
    loop.services.reviews.label(verdict, rita)
    assert [item.sample.id for item in lease(loop, rita)] == [ids[1]]
    assert loop.services.projects.summary("pets").holders == {"rita": 1}


def test_gold_comes_in_between_and_looks_like_the_others(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, batch=6, gold_share=0.5)
    all_gold(loop, rita, ids[8:12])
    held = lease(loop, mia, 6)
    golden = [item for item in held if item.selection.lane == "gold"]
    assert 0 < len(golden) < 6
    assert {item.sample.id for item in golden} <= set(ids[8:12])
    others = [item.sample.id for item in held if item not in golden]
    assert others == ids[: len(others)]
    for item in golden:
        follows = held[held.index(item) + 1].selection if item is not held[-1] else None
        assert item.selection.reason["code"] == "random"
        assert item.selection.reason["round"] == 1
        assert follows is None or item.selection.reason["beside"] == follows.id
    # The same gold is somebody else's too: it has no order among people.
    assert {item.sample.id for item in lease(loop, tom, 6) if item.selection.lane == "gold"} <= set(ids[8:12])


@pytest.mark.parametrize("count", [1, 4])
def test_gold_is_its_share_of_what_a_person_gets_and_never_two_in_a_row(
    loop: Loop, mia: User, rita: User, count: int
) -> None:
    ids = fill(loop, batch=100, samples=150, gold_share=0.2)
    all_gold(loop, rita, ids[100:])
    lanes = []
    while held := lease(loop, mia, count):
        lanes += [item.selection.lane for item in held]
        for item in held:
            label(loop, item, mia)
    assert lanes.count(Lane.BATCH) == 100
    assert 0.1 < lanes.count(Lane.GOLD) / len(lanes) < 0.3
    assert (Lane.GOLD, Lane.GOLD) not in pairwise(lanes)


def test_who_gives_images_back_gets_the_same_gold_again_and_no_more(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=4, gold_share=0.5)
    all_gold(loop, rita, ids[6:12])
    golden = []
    for _ in range(3):
        held = lease(loop, mia, 4)
        golden.append([item.sample.id for item in held if item.selection.lane is Lane.GOLD])
        for item in held:
            loop.services.assignments.release(item.id, mia)
    assert golden[0]
    assert golden[1:] == [golden[0], golden[0]]


def test_an_answer_to_gold_says_how_well_a_person_does_and_changes_no_label(
    loop: Loop, mia: User, tom: User, rita: User
) -> None:
    ids = fill(loop, batch=6, gold_share=0.5)
    all_gold(loop, rita, ids[8:12])
    versions = {sample_id: version_of(loop, sample_id) for sample_id in ids[8:12]}
    golden = [item for item in lease(loop, mia, 6) if item.selection.lane == "gold"]
    last = label(loop, golden[0], mia, "dog")
    for item in golden[1:]:
        label(loop, item, mia, "cat")
    with loop.services.store.read() as tx:
        assert tx.lanes.gold_results(loop.services.projects.get("pets").id) == [
            GoldResult(mia.id, len(golden), len(golden) - 1)
        ]
    assert {sample_state(loop, sample_id) for sample_id in ids[8:12]} == {(SampleState.LABELLED, "cat")}
    assert {sample_id: version_of(loop, sample_id) for sample_id in ids[8:12]} == versions
    assert not {item.sample.id for item in golden} & {item.sample.id for item in lease(loop, mia, 12)}
    _, fresh = loop.services.annotations.undo(last.id, mia)
    assert fresh is not None
    assert fresh.sample.id == golden[0].sample.id
    assert sample_state(loop, golden[0].sample.id) == (SampleState.LABELLED, "cat")


def test_gold_that_is_removed_is_asked_no_longer_and_keeps_its_label(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=6, gold_share=0.5)
    all_gold(loop, rita, ids[8:12])
    golden = [item for item in lease(loop, mia, 6) if item.selection.lane == "gold"]
    for item in golden:
        loop.services.assignments.release(item.id, mia)
    for sample_id in ids[8:12]:
        loop.services.reviews.remove_gold(sample_id, rita)
    assert {item.selection.lane for item in lease(loop, mia, 6)} == {"batch"}
    assert sample_state(loop, ids[8]) == (SampleState.LABELLED, "cat")
    with pytest.raises(NotFoundError, match=f"sample {ids[8]} is no gold"):
        loop.services.reviews.remove_gold(ids[8], rita)


def test_a_project_without_gold_or_with_a_share_of_zero_hides_none(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=6, gold_share=0.0)
    all_gold(loop, rita, ids[8:12])
    assert [item.sample.id for item in lease(loop, mia, 6)] == ids[:6]
    golds, names, after = loop.services.reviews.golds("pets")
    assert [(gold.sample.id, gold.class_name, names[gold.user_id]) for gold in golds] == [
        (sample_id, "cat", "rita") for sample_id in ids[8:12]
    ]
    assert after is None


def test_who_gave_the_verdict_is_not_asked_for_the_gold(loop: Loop, rita: User) -> None:
    ids = fill(loop, batch=6, gold_share=0.5)
    all_gold(loop, rita, ids[8:12])
    assert [item.sample.id for item in lease(loop, rita, 6)] == ids[:6]


def test_gold_whose_verdict_was_taken_back_is_not_asked_in_two_ways(loop: Loop, mia: User, rita: User) -> None:
    """Neither while it is held as gold, nor when that lease was given back."""
    ids = fill(loop, batch=6, gold_share=0.5)
    given = [loop.services.reviews.set_gold(Verdict(one, "cat", 0, f"g-{one}"), rita) for one in ids[8:12]]
    golden = [item for item in lease(loop, mia, 6) if item.selection.lane == "gold"]
    assert golden
    for verdict in given:
        loop.services.annotations.undo(verdict.annotation.id, rita)
    loop.services.rounds.cancel("pets", 1)
    ask(loop, ids[8:12])
    held = [item.sample.id for item in lease(loop, mia, 20)]
    assert len(held) == len(set(held))
    assert {item.sample.id for item in golden} <= set(held)
    for item in lease(loop, mia, 20):
        loop.services.assignments.release(item.id, mia)
    assert sorted(item.sample.id for item in lease(loop, mia, 20)) == ids[8:12]


def test_a_version_that_was_seen_before_an_undo_does_not_come_back(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    answer = label(loop, lease(loop, mia)[0], mia, "cat")
    seen = version_of(loop, ids[0])
    _, fresh = loop.services.annotations.undo(answer.id, mia)
    assert fresh is not None
    label(loop, fresh, mia, "dog", key="again")
    with pytest.raises(LabelChangedError, match="is 'dog' now"):
        judge(loop, rita, ids[0], "bird", version=seen)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")


def test_an_answer_to_gold_that_was_removed_is_taken_back_and_not_asked_again(
    loop: Loop, mia: User, rita: User
) -> None:
    ids = fill(loop, batch=6, gold_share=0.5)
    all_gold(loop, rita, ids[8:12])
    golden = next(item for item in lease(loop, mia, 6) if item.selection.lane == "gold")
    answer = label(loop, golden, mia, "dog")
    loop.services.reviews.remove_gold(golden.sample.id, rita)
    _, fresh = loop.services.annotations.undo(answer.id, mia)
    assert fresh is None
    assert sample_state(loop, golden.sample.id) == (SampleState.LABELLED, "cat")


def test_gold_that_lost_its_verdict_while_it_was_held_is_a_sample_like_any_other(
    loop: Loop, mia: User, rita: User
) -> None:
    """Its answers count and are taken back as others are: no label is left that nobody stands by."""
    ids = fill(loop, batch=6, gold_share=0.5)
    given = {one: loop.services.reviews.set_gold(Verdict(one, "cat", 0, f"g-{one}"), rita) for one in ids[8:12]}
    golden = next(item for item in lease(loop, mia, 6) if item.selection.lane == "gold")
    sample_id = golden.sample.id
    answer = label(loop, golden, mia, "dog")
    assert sample_state(loop, sample_id) == (SampleState.LABELLED, "cat")
    loop.services.annotations.undo(given[sample_id].annotation.id, rita)
    assert sample_state(loop, sample_id) == (SampleState.LABELLED, "dog")
    loop.services.annotations.undo(answer.id, mia)
    assert sample_state(loop, sample_id) == (SampleState.UNLABELLED, None)


def test_a_repeat_that_comes_late_does_not_make_gold_again(loop: Loop, rita: User) -> None:
    ids = fill(loop)
    verdict = Verdict(ids[8], "cat", 0, "g")
    loop.services.reviews.set_gold(verdict, rita)
    loop.services.reviews.remove_gold(ids[8], rita)
    assert not loop.services.reviews.set_gold(verdict, rita).is_new
    assert loop.services.reviews.golds("pets")[0] == []
