"""Votes weighed by skill and disagreement left to reviewers, in the loop, on both databases."""

import pytest

from al_service.domain.annotator_skill import ANSWERS_MIN
from al_service.domain.records import NewSample, User
from al_service.domain.states import Role, RoundState, SampleState, Split
from al_service.loop.class_change_kinds import MergeClass, SplitClass
from al_service.loop.lanes import PeopleDifferError
from al_service.loop.reviews import Verdict
from al_service.loop.skills import Skills
from tests.integration.conftest import Loop
from tests.integration.pets import CLASSES, ask, label, lease, sample_state

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


def fill(loop: Loop, count: int, **settings: object) -> list[int]:
    """A project `pets` with so many samples, all asked by its first round."""
    values = {"labels_per_round": count, "auto_start": False, "overlap": 2, **settings}
    project = loop.services.projects.create("pets", CLASSES, values)
    samples = [NewSample(f"{n}.png", f"{n:064x}", 8, 8, "PNG", 100, Split.POOL) for n in range(count)]
    with loop.services.store.write() as tx:
        ids = [one for one in tx.samples.add_many(project.id, samples, loop.clock()) if one is not None]
    ask(loop, ids)
    return ids


def right(sample_id: int) -> str:
    return CLASSES[sample_id % 3]


def wrong(sample_id: int) -> str:
    return CLASSES[(sample_id + 1 + sample_id // 3 % 2) % 3]


def answer(loop: Loop, user: User, count: int, mistakes: list[int]) -> list[int]:
    """This person answers the next samples, wrongly where it says so; which samples."""
    held = lease(loop, user, count)
    for one in held:
        label(loop, one, user, (wrong if one.sample.id in mistakes else right)(one.sample.id))
    return [one.sample.id for one in held]


@pytest.fixture
def contested(loop: Loop) -> list[int]:
    """Cy and ann answered the first 30 samples, cy first and 12 of them wrong; bea and ann agree on the other 15."""
    ids = fill(loop, 45, consensus="weighted")
    ann, bea, cy = (loop.person(name) for name in ("ann", "bea", "cy"))
    assert answer(loop, cy, 30, ids[:12]) == ids[:30]
    assert answer(loop, ann, 45, []) == ids
    assert answer(loop, bea, 45, []) == ids[30:]
    return ids[:12]


def test_before_anybody_is_known_the_majority_counts_and_then_the_better_person(
    loop: Loop, contested: list[int]
) -> None:
    assert [sample_state(loop, one) for one in contested] == [(SampleState.LABELLED, wrong(one)) for one in contested]
    with loop.services.store.read() as tx:
        project = tx.projects.find("pets")
        assert project is not None and tx.skills.all(project.id) == {}
        watermark = tx.annotations.latest_id(project.id)
        versions = {one: tx.samples.get(one).label_version for one in contested}
    loop.scheduler.tick()
    assert loop.services.rounds.get("pets", 1).state is RoundState.CLOSED
    assert [sample_state(loop, one) for one in contested] == [(SampleState.LABELLED, right(one)) for one in contested]
    with loop.services.store.read() as tx:
        skills = {tx.accounts.get_user(user_id).name: skill for user_id, skill in tx.skills.all(project.id).items()}
        assert {name: skill.answers for name, skill in skills.items()} == {"ann": 45, "bea": 15, "cy": 30}
        assert skills["cy"].accuracy < 0.75 < 0.85 < skills["ann"].accuracy
        # A corrected label is no new label, and whoever saw the old one sees that it changed.
        assert tx.annotations.new_label_count(project.id, watermark) == 0
        assert [tx.samples.get(one).label_version for one in contested] == [
            (versions[one] or 0) + 1 for one in contested
        ]


def test_skills_are_estimated_once_a_round_and_weigh_the_next_answers(loop: Loop, contested: list[int]) -> None:
    loop.scheduler.tick()
    with loop.services.store.read() as tx:
        project = tx.projects.find("pets")
        assert project is not None
        before = tx.skills.updated_at(project.id)
        fresh = [NewSample(f"more-{n}.png", f"{n + 1000:064x}", 8, 8, "PNG", 100, Split.POOL) for n in range(2)]
    loop.clock.advance(60)
    loop.scheduler.tick()
    with loop.services.store.write() as tx:
        assert tx.skills.updated_at(project.id) == before
        first, second = (one for one in tx.samples.add_many(project.id, fresh, loop.clock()) if one is not None)
    ask(loop, [first, second])
    answer(loop, loop.person("cy"), 2, [first])
    answer(loop, loop.person("ann"), 2, [second])
    assert sample_state(loop, first) == (SampleState.LABELLED, right(first))
    assert sample_state(loop, second) == (SampleState.LABELLED, wrong(second))
    loop.scheduler.tick()
    with loop.services.store.read() as tx:
        assert tx.skills.updated_at(project.id) == loop.clock()
        assert tx.skills.all(project.id)[loop.person("cy").id].answers == 32 >= ANSWERS_MIN


def test_verdicts_teach_who_is_right(loop: Loop) -> None:
    """Two people alone, one of whom is wrong half the time: only verdicts can tell which."""
    ids = fill(loop, 24, consensus="weighted")
    cy, ann, rita = loop.person("cy"), loop.person("ann"), loop.person("rita", Role.REVIEWER)
    answer(loop, cy, 24, ids[:12])
    answer(loop, ann, 24, [])
    loop.scheduler.tick()
    assert sample_state(loop, ids[11]) == (SampleState.LABELLED, wrong(ids[11]))
    for one in ids[:6]:
        with loop.services.store.read() as tx:
            seen = tx.samples.get(one).label_version or 0
        loop.services.reviews.label(Verdict(one, right(one), seen, f"verdict-{one}"), rita)
    loop.clock.advance(1)
    loop.services.skills.estimate(loop.services.rounds.get("pets", 1).project_id)
    assert [sample_state(loop, one) for one in ids] == [(SampleState.LABELLED, right(one)) for one in ids]


def test_people_who_differ_leave_it_to_a_reviewer(loop: Loop) -> None:
    first, second, *others = fill(loop, 4, consensus="review")
    ann, bea, rita = loop.person("ann"), loop.person("bea"), loop.person("rita", Role.REVIEWER)
    answer(loop, ann, 4, [])
    answer(loop, bea, 4, [first, second])
    assert [sample_state(loop, one) for one in others] == [(SampleState.LABELLED, right(one)) for one in others]
    found, _ = loop.services.lanes.flagged("pets")
    assert [(one.sample.id, one.reason, one.flag) for one in found] == [
        (first, "disagreement", None),
        (second, "disagreement", None),
    ]
    loop.scheduler.tick()
    assert loop.services.rounds.get("pets", 1).state is RoundState.CLOSED
    given = loop.services.reviews.label(Verdict(first, right(first), 0, "verdict"), rita)
    assert sample_state(loop, first) == (SampleState.LABELLED, right(first))
    assert [one.sample.id for one in loop.services.lanes.flagged("pets")[0]] == [second]
    loop.services.annotations.undo(given.annotation.id, rita)
    assert sample_state(loop, first) == (SampleState.FLAGGED, None)


def test_asking_again_decides_no_disagreement_but_excluding_does(loop: Loop) -> None:
    first, second = fill(loop, 2, consensus="review")
    rita = loop.person("rita", Role.REVIEWER)
    answer(loop, loop.person("ann"), 2, [])
    answer(loop, loop.person("bea"), 2, [first, second])
    with pytest.raises(PeopleDifferError, match=f"sample {first} different classes"):
        loop.services.lanes.put_back(first, rita)
    assert sample_state(loop, first) == (SampleState.FLAGGED, None)
    assert loop.services.lanes.exclude(second, rita).state is SampleState.SKIPPED


def test_what_people_differ_on_is_set_aside_when_fewer_answers_are_enough_by_now(loop: Loop) -> None:
    first, _ = fill(loop, 2, consensus="review", overlap=3)
    answer(loop, loop.person("ann"), 2, [])
    answer(loop, loop.person("bea"), 2, [first])
    assert sample_state(loop, first) == (SampleState.UNLABELLED, None)
    loop.services.projects.change("pets", {"overlap": 2})
    loop.services.rounds.cancel("pets", 1)
    ask(loop, [first])
    assert sample_state(loop, first) == (SampleState.FLAGGED, None)
    with loop.services.store.read() as tx:
        assert tx.queue.find_open_selection(first) is None


def test_a_late_vote_that_differs_sets_a_label_aside_and_its_undo_brings_it_back(loop: Loop) -> None:
    first, *_ = fill(loop, 2, consensus="review")
    cy = loop.person("cy")
    [held] = lease(loop, cy)
    loop.clock.advance(400)
    loop.services.assignments.expire()
    answer(loop, loop.person("ann"), 1, [])
    answer(loop, loop.person("bea"), 1, [])
    assert sample_state(loop, first) == (SampleState.LABELLED, right(first))
    late = label(loop, held, cy, wrong(first))
    assert sample_state(loop, first) == (SampleState.FLAGGED, None)
    loop.services.annotations.undo(late.id, cy)
    assert sample_state(loop, first) == (SampleState.LABELLED, right(first))


def test_agreement_that_took_long_is_kept_a_while_but_says_which_answers_it_rests_on(loop: Loop) -> None:
    fill(loop, 4)
    answer(loop, loop.person("ann"), 4, [])
    answer(loop, loop.person("bea"), 3, [])
    slow = Skills(loop.services.store, loop.clock, quick_s=0.0, kept_times=1e9)
    before = slow.agreement("pets")
    assert (before.tables.overall.samples, before.latest_annotation) == (3, 7)
    answer(loop, loop.person("bea"), 1, [])
    assert slow.agreement("pets") == before
    after = loop.services.skills.agreement("pets")
    assert (after.tables.overall.samples, after.latest_annotation) == (4, 8)


def test_merged_and_split_classes_count_as_what_they_are_today(loop: Loop, contested: list[int]) -> None:
    """Cat and bird become one class, so that some of cy's mistakes are none; a split class means nothing any more."""
    eve = loop.person("eve", Role.ENGINEER)
    loop.scheduler.tick()
    before = loop.services.skills.agreement("pets")
    assert len(before.skills) == 3
    loop.services.classes.apply("pets", MergeClass("bird", "cat"), eve)
    merged = loop.services.skills.agreement("pets")
    assert (merged.tables.classes.keys(), merged.skills) == ({info.id for info in merged.project.classes}, {})
    assert merged.tables.overall.samples == before.tables.overall.samples == 45
    assert sum(one.samples for one in before.tables.confusions) == 12
    assert sum(one.samples for one in merged.tables.confusions) == 8
    loop.clock.advance(1)
    loop.scheduler.tick()
    estimated = loop.services.skills.agreement("pets").skills
    assert estimated.keys() == before.skills.keys()
    cy = loop.person("cy").id
    assert estimated[cy].accuracy > before.skills[cy].accuracy
    loop.services.classes.apply("pets", SplitClass("dog", ("poodle", "husky")), eve)
    split = loop.services.skills.agreement("pets")
    dogs = [one for one in range(1, 46) if right(one) == "dog"]
    assert 0 < split.tables.overall.samples <= 45 - len(dogs)
    assert split.tables.confusions == ()
