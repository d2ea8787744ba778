"""Samples set aside: the flag lane, what a skip does by policy, and how many people answer which sample; on both
databases.
"""

import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import NewSample, User
from al_service.domain.states import AnnotationKind, Role, SampleState, SelectionState, Split
from al_service.errors import ConflictError, NotFoundError
from al_service.loop.accounts import IMPORT_USER
from tests.integration.conftest import Loop
from tests.integration.pets import ask, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])
FLAG, SKIP = AnnotationKind.FLAG, AnnotationKind.SKIP


@pytest.fixture
def rita(loop: Loop) -> User:
    return loop.person("rita", Role.REVIEWER)


def test_the_flag_lane_says_who_flagged_what_and_when(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    for assignment in lease(loop, mia, 2):
        say(loop, assignment, mia, FLAG)
    loop.clock.advance(60)
    [held] = lease(loop, tom)
    flag = say(loop, held, tom, FLAG)
    with loop.services.store.write() as tx:
        assert tx.samples.flag_unreadable([ids[9]]) == 1
    found, names = loop.services.lanes.flagged("pets")
    assert [(item.sample.id, item.flag and names[item.flag.user_id]) for item in found] == [
        (ids[0], "mia"),
        (ids[1], "mia"),
        (ids[2], "tom"),
        (ids[9], None),
    ]
    assert found[2].flag == flag
    page, _ = loop.services.lanes.flagged("pets", after=ids[0], limit=2)
    assert [item.sample.id for item in page] == ids[1:3]


def test_a_sample_that_is_put_back_is_asked_again_and_its_flags_stay_in_the_log(
    loop: Loop, mia: User, tom: User, rita: User
) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    flag = say(loop, held, mia, FLAG)
    assert loop.services.lanes.put_back(ids[0], rita).state is SampleState.UNLABELLED
    assert lease(loop, tom)[0].sample.id == ids[0]
    with loop.services.store.read() as tx:
        assert tx.annotations.get(flag.id).is_undone
        entry = tx.accounts.audit(1)[0]
    assert (entry["user"], entry["action"], entry["subject"]) == ("rita", "sample.put_back", "pets")
    assert entry["details"] == {"sample": ids[0]}
    with pytest.raises(ConflictError, match="is unlabelled, not flagged or skipped"):
        loop.services.lanes.put_back(ids[0], rita)


def test_what_no_person_flagged_can_be_put_back_too(loop: Loop, rita: User) -> None:
    ids = fill(loop)
    with loop.services.store.write() as tx:
        tx.samples.flag_unreadable([ids[9]])
    assert loop.services.lanes.put_back(ids[9], rita).state is SampleState.UNLABELLED
    loop.services.rounds.cancel("pets", 1)
    ask(loop, [ids[9]])
    assert ids[9] in {item.sample.id for item in lease(loop, rita, 10)}


def test_an_excluded_sample_is_never_asked_again_until_it_is_put_back(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    [held] = lease(loop, mia)
    say(loop, held, mia, FLAG)
    assert loop.services.lanes.exclude(ids[0], rita).state is SampleState.SKIPPED
    assert loop.services.lanes.flagged("pets") == ([], {})
    assert lease(loop, mia) == []
    with loop.services.store.read() as tx:
        project = loop.services.projects.get("pets")
        assert tx.queue.askable(ids[:2]) == {ids[1]}
        [record] = tx.rounds.all(project.id)
        assert [pick.state for pick in tx.queue.selections(record.id)] == [SelectionState.SKIPPED]
    assert loop.services.lanes.put_back(ids[0], rita).state is SampleState.UNLABELLED
    loop.services.rounds.cancel("pets", 1)
    ask(loop, [ids[0]])
    assert [item.sample.id for item in lease(loop, mia)] == [ids[0]]


def test_a_sample_that_others_skipped_away_can_be_put_back(loop: Loop, mia: User, tom: User, rita: User) -> None:
    ids = fill(loop, max_skips=1)
    [held] = lease(loop, mia)
    say(loop, held, mia, SKIP)
    assert sample_state(loop, ids[0])[0] is SampleState.SKIPPED
    loop.services.lanes.put_back(ids[0], rita)
    assert lease(loop, tom)[0].sample.id == ids[0]


def test_samples_kept_aside_to_measure_are_not_there_for_reviewers(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop)
    with loop.services.store.write() as tx:
        now = loop.clock()
        new = NewSample("kept.png", "f" * 64, 8, 8, "PNG", 100, Split.EVALUATION)
        [kept] = tx.samples.add_many(tx.samples.get(ids[0]).project_id, [new], now)
        assert kept is not None
        tx.samples.flag_unreadable([kept])
    assert loop.services.lanes.flagged("pets") == ([], {})
    with pytest.raises(NotFoundError, match=f"no sample with id {kept}"):
        loop.services.lanes.put_back(kept, rita)
    [item], _ = loop.services.lanes.flagged("pets", evaluation=True)
    assert item.sample.id == kept
    assert loop.services.lanes.put_back(kept, rita, evaluation=True).state is SampleState.UNLABELLED


@pytest.mark.parametrize(
    ("policy", "again", "others"), [("later", True, True), ("others_only", False, True), ("done", False, False)]
)
def test_what_a_skip_does_is_the_projects_policy(
    loop: Loop, mia: User, tom: User, policy: str, again: bool, others: bool
) -> None:
    ids = fill(loop, batch=2, skip_policy=policy)
    [held] = lease(loop, mia)
    say(loop, held, mia, SKIP)
    assert [item.sample.id for item in lease(loop, mia, 5)] == ([ids[1], ids[0]] if again else [ids[1]])
    for assignment in lease(loop, mia, 5):
        loop.services.assignments.release(assignment.id, mia)
    assert [item.sample.id for item in lease(loop, tom, 5)] == (ids[:2] if others else [ids[1]])
    assert sample_state(loop, ids[0])[0] is (SampleState.UNLABELLED if others else SampleState.SKIPPED)


def test_a_share_of_the_samples_gets_several_answers_and_always_the_same_ones(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, batch=12, overlap=2, overlap_share=0.5)
    config = ProjectConfig(overlap=2, overlap_share=0.5)
    twice = [sample_id for number, sample_id in enumerate(ids) if config.overlap_of(f"{number:064x}") == 2]
    assert 0 < len(twice) < 12
    for assignment in lease(loop, mia, 12):
        label(loop, assignment, mia)
    assert [item.sample.id for item in lease(loop, tom, 12)] == twice
    assert {sample_state(loop, one)[0] for one in twice} == {SampleState.UNLABELLED}
    assert {sample_state(loop, one)[0] for one in set(ids) - set(twice)} == {SampleState.LABELLED}
    for assignment in lease(loop, tom, 12):
        label(loop, assignment, tom)
    assert loop.services.projects.summary("pets").counts.labelled == 12


def test_the_version_of_a_label_counts_its_writings(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)

    def version() -> int | None:
        with loop.services.store.read() as tx:
            return tx.samples.get(ids[0]).label_version

    assert version() is None
    [held] = lease(loop, mia)
    loop.clock.advance(301)
    [toms] = lease(loop, tom)
    label(loop, toms, tom)
    assert version() == 1
    first = label(loop, held, mia, "dog")
    assert version() == 2
    loop.services.annotations.undo(first.id, mia)
    assert version() == 3


def test_a_sample_that_everybody_skipped_does_not_keep_a_round_from_ending(loop: Loop, mia: User, tom: User) -> None:
    """Three skips are allowed, but there are two people; imports are nobody."""
    with loop.services.store.write() as tx:
        tx.accounts.add_user(IMPORT_USER, Role.LABELER, None, loop.clock())
    assert [user.name for user in loop.services.accounts.users()] == ["mia", "tom"]
    ids = fill(loop, batch=1, skip_policy="others_only", max_skips=3)
    for person in (mia, tom):
        [held] = lease(loop, person)
        say(loop, held, person, SKIP)
    assert sample_state(loop, ids[0]) == (SampleState.SKIPPED, None)
    loop.scheduler.tick()
    assert loop.services.rounds.all("pets")[-1].state == "closed"


def test_a_round_does_not_wait_for_people_who_have_left(loop: Loop, mia: User, tom: User) -> None:
    """Three people were there when the batch was chosen; two of them are gone, and the third skipped."""
    loop.person("ann")
    ids = fill(loop, batch=1, skip_policy="others_only", max_skips=3)
    [held] = lease(loop, mia)
    say(loop, held, mia, SKIP)
    loop.scheduler.tick()
    assert loop.services.rounds.all("pets")[-1].state == "annotating"
    for name in ("tom", "ann"):
        loop.services.accounts.change_user(name, is_active=False)
    loop.scheduler.tick()
    assert sample_state(loop, ids[0]) == (SampleState.SKIPPED, None)
    assert loop.services.rounds.all("pets")[-1].state == "closed"
