"""Suggestions: told when asked, kept blind for a share, remembered with the answer, and measured; on both databases."""

import pytest

from al_service.domain.records import Assignment, Chosen, SuggestionCount, User
from al_service.domain.states import JobKind, Lane, Role, Stage
from al_service.errors import NotFoundError
from al_service.loop.reviews import Verdict
from al_service.loop.rounds import StageResult
from tests.integration.conftest import Loop
from tests.integration.pets import fill, label, lease

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


LIKELY = (("dog", 0.7), ("cat", 0.2))


def suggest(
    loop: Loop, blind_share: float = 0.0, likely: tuple[tuple[str, float], ...] = LIKELY, **settings: object
) -> list[int]:
    """A project whose second round chose six samples of which the model thinks this."""
    ids = fill(loop, batch=1, blind_share=blind_share, **settings)
    services = loop.services
    services.rounds.cancel("pets", 1)
    record, _ = services.rounds.start("pets")
    classes = {info.name: info.id for info in services.projects.get("pets").classes}
    opinion = tuple((classes[name], chance) for name, chance in likely)
    picks = [Chosen(sample_id, rank, 0.5, {"code": "random"}, likely=opinion) for rank, sample_id in enumerate(ids[:6])]
    for kind, stage, result in (
        (JobKind.TRAIN, Stage.TRAIN, StageResult({"skipped": "by the test"}, Stage.SELECT)),
        (JobKind.SELECT, Stage.SELECT, StageResult({}, Stage.ANNOTATE, chosen=picks)),
    ):
        with services.store.read() as tx:
            job = next(iter(tx.jobs.of_round(record.id, kind)))
        claimed = services.jobs.claim(job.id, job.attempt, "test")
        assert claimed is not None
        services.rounds.complete_stage(claimed, stage, result)
    return ids


def counts(loop: Loop) -> list[SuggestionCount]:
    with loop.services.store.read() as tx:
        return tx.queue.suggestion_counts(loop.services.projects.get("pets").id)


def test_who_asks_is_told_and_the_answer_remembers_it(loop: Loop, mia: User) -> None:
    suggest(loop)
    first, second = lease(loop, mia, 2)
    told = loop.services.suggestions.ask(first.id, mia)
    assert (told.likely, told.is_blind) == ((("dog", 0.7), ("cat", 0.2)), False)
    assert loop.services.suggestions.ask(first.id, mia) == told
    assert label(loop, first, mia, "dog").saw_suggestion
    assert not label(loop, second, mia, "cat").saw_suggestion
    with loop.services.store.read() as tx:
        recent = tx.annotations.recent_of_user(loop.services.projects.get("pets").id, mia.id, 2)
    assert [answer.saw_suggestion for answer in recent] == [False, True]
    assert counts(loop) == [SuggestionCount(mia.id, False, False, 1, 0), SuggestionCount(mia.id, True, True, 1, 1)]


def test_a_blind_image_says_nothing_and_still_counts_as_asked(loop: Loop, mia: User) -> None:
    suggest(loop, blind_share=1.0)
    [held] = lease(loop, mia)
    told = loop.services.suggestions.ask(held.id, mia)
    assert (told.likely, told.is_blind) == ((), True)
    assert not label(loop, held, mia, "cat").saw_suggestion
    assert counts(loop) == [SuggestionCount(mia.id, True, False, 1, 0)]


def test_about_the_share_is_blind_and_the_same_images_each_time(loop: Loop, mia: User, tom: User) -> None:
    suggest(loop, blind_share=0.5)
    drawn = {
        person.name: [loop.services.suggestions.ask(item.id, person).is_blind for item in lease(loop, person, 3)]
        for person in (mia, tom)
    }
    again = {
        person.name: [loop.services.suggestions.ask(item.id, person).is_blind for item in lease(loop, person, 3)]
        for person in (mia, tom)
    }
    assert drawn == again
    assert {blind for row in drawn.values() for blind in row} == {True, False}


def test_what_was_seen_is_not_forgotten_by_an_undo(loop: Loop, mia: User) -> None:
    suggest(loop)
    [held] = lease(loop, mia)
    loop.services.suggestions.ask(held.id, mia)
    answer = label(loop, held, mia, "dog")
    _, fresh = loop.services.annotations.undo(answer.id, mia)
    assert fresh is not None
    assert label(loop, fresh, mia, "cat", key="second").saw_suggestion
    assert counts(loop) == [SuggestionCount(mia.id, True, True, 1, 0)]


def test_a_model_without_an_opinion_says_so_and_is_not_counted(loop: Loop, mia: User) -> None:
    fill(loop, blind_share=0.0)
    [held] = lease(loop, mia)
    told = loop.services.suggestions.ask(held.id, mia)
    assert (told.likely, told.is_blind) == ((), False)
    assert not label(loop, held, mia).saw_suggestion
    assert counts(loop) == []


def lease_with_gold(loop: Loop, user: User, sample_ids: list[int]) -> tuple[list[Assignment], list[Assignment]]:
    """Set these as gold and lease: the gold and the others."""
    rita = loop.person("rita", Role.REVIEWER)
    for sample_id in sample_ids:
        loop.services.reviews.set_gold(Verdict(sample_id, "cat", 0, f"g-{sample_id}"), rita)
    held = lease(loop, user, 6)
    golden = [item for item in held if item.selection.lane is Lane.GOLD]
    return golden, [item for item in held if item not in golden]


def test_gold_that_no_model_saw_is_one_of_the_images_that_are_kept_blind(loop: Loop, mia: User) -> None:
    ids = suggest(loop, blind_share=0.5, gold_share=0.5)
    golden, others = lease_with_gold(loop, mia, ids[8:12])
    assert golden
    assert {loop.services.suggestions.ask(item.id, mia).is_blind for item in golden} == {True}
    assert {item.sample.id for item in others} <= set(ids[:6])


@pytest.mark.parametrize("blind_share", [0.0, 0.4])
def test_where_too_few_are_kept_blind_gold_that_no_model_saw_is_not_asked(
    loop: Loop, mia: User, blind_share: float
) -> None:
    ids = suggest(loop, blind_share=blind_share, gold_share=0.5)
    golden, others = lease_with_gold(loop, mia, ids[8:12])
    assert (golden, [item.sample.id for item in others]) == ([], ids[:6])


@pytest.mark.parametrize(("blind_share", "is_blind"), [(0.0, False), (1.0, True)])
def test_gold_that_a_model_saw_answers_like_the_others(
    loop: Loop, mia: User, blind_share: float, is_blind: bool
) -> None:
    ids = suggest(loop, blind_share=blind_share, gold_share=0.5)
    golden, others = lease_with_gold(loop, mia, ids[:2])
    assert golden
    assert others
    told = {loop.services.suggestions.ask(item.id, mia) for item in (*golden, *others)}
    assert {one.is_blind for one in told} == {is_blind}
    assert len(told) == 1


def test_gold_beside_images_without_an_opinion_has_none_and_is_not_kept_blind(loop: Loop, mia: User) -> None:
    ids = fill(loop, blind_share=0.0, gold_share=0.5)
    golden, others = lease_with_gold(loop, mia, ids[8:12])
    assert golden
    told = [loop.services.suggestions.ask(item.id, mia) for item in (*golden, *others)]
    assert {(one.likely, one.is_blind) for one in told} == {((), False)}


def test_nobody_asks_about_what_somebody_else_holds(loop: Loop, mia: User, tom: User) -> None:
    suggest(loop)
    [held] = lease(loop, mia)
    with pytest.raises(NotFoundError, match=f"no assignment {held.id} of yours"):
        loop.services.suggestions.ask(held.id, tom)


def test_the_pull_is_the_difference_of_who_was_told_and_who_was_not(loop: Loop, mia: User, tom: User) -> None:
    suggest(loop, blind_share=0.5)
    for person in (mia, tom):
        for item in lease(loop, person, 3):
            told = loop.services.suggestions.ask(item.id, person)
            label(loop, item, person, "cat" if told.is_blind else "dog")
    pull = loop.services.suggestions.pull("pets")
    assert pull.told.answered + pull.kept_blind.answered == 6
    assert (pull.told.value, pull.kept_blind.value, pull.difference) == (1.0, 0.0, 1.0)
    assert pull.interval is not None
    assert pull.interval[0] > 0
