"""What a model thought before its classes were merged or split, told and counted in the classes of today; on both
databases.
"""

import pytest

from al_service.domain.records import SuggestionCount, User
from al_service.domain.states import Role
from al_service.loop.class_change_kinds import Change, MergeClass, RenameClass, SplitClass
from al_service.loop.heat_maps import NoHeatMapError
from tests.integration.conftest import Loop
from tests.integration.pets import label, lease
from tests.integration.test_heat_maps import mapped
from tests.integration.test_suggestions import counts, suggest

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


def change(loop: Loop, *changes: Change) -> None:
    eve = loop.person("eve", Role.ENGINEER)
    for one in changes:
        loop.services.classes.apply("pets", one, eve)


@pytest.mark.parametrize(
    ("changes", "likely"),
    [
        ([MergeClass("dog", "cat")], [("cat", 0.9)]),
        ([MergeClass("cat", "bird"), MergeClass("bird", "dog")], [("dog", 0.9)]),
        ([MergeClass("dog", "bird"), RenameClass("bird", "beast")], [("beast", 0.7), ("cat", 0.2)]),
        ([SplitClass("dog", ("poodle", "pug"))], [("cat", 0.2)]),
    ],
)
def test_chances_are_those_of_the_classes_of_today(
    loop: Loop, mia: User, changes: list[Change], likely: list[tuple[str, float]]
) -> None:
    suggest(loop)
    change(loop, *changes)
    told = loop.services.suggestions.ask(lease(loop, mia)[0].id, mia)
    assert [(name, pytest.approx(chance)) for name, chance in likely] == list(told.likely)


def test_the_class_that_a_merge_makes_likeliest_comes_first(loop: Loop, mia: User) -> None:
    suggest(loop, likely=(("dog", 0.4), ("cat", 0.35), ("bird", 0.25)))
    change(loop, MergeClass("bird", "cat"))
    told = loop.services.suggestions.ask(lease(loop, mia)[0].id, mia)
    assert [name for name, _ in told.likely] == ["cat", "dog"]
    assert dict(told.likely)["cat"] == pytest.approx(0.6)


def test_who_named_either_class_before_a_merge_agreed(loop: Loop, mia: User) -> None:
    suggest(loop)
    first, second, third = lease(loop, mia, 3)
    for held, name in ((first, "dog"), (second, "cat"), (third, "bird")):
        label(loop, held, mia, name)
    assert counts(loop) == [SuggestionCount(mia.id, False, False, 3, 1)]
    change(loop, MergeClass("dog", "cat"))
    assert counts(loop) == [SuggestionCount(mia.id, False, False, 3, 2)]
    [held] = lease(loop, mia)
    loop.services.suggestions.ask(held.id, mia)
    label(loop, held, mia, "cat")
    assert counts(loop) == [SuggestionCount(mia.id, False, False, 3, 2), SuggestionCount(mia.id, True, True, 1, 1)]


def test_an_opinion_of_a_split_class_is_neither_told_nor_kept_from_anybody(loop: Loop, mia: User) -> None:
    suggest(loop, likely=(("dog", 0.9),))
    asked, other, before = lease(loop, mia, 3)
    label(loop, before, mia, "cat")
    assert counts(loop) == [SuggestionCount(mia.id, False, False, 1, 0)]
    change(loop, SplitClass("dog", ("poodle", "pug")))
    told = loop.services.suggestions.ask(asked.id, mia)
    assert (told.likely, told.is_blind) == ((), False)
    for held in (asked, other):
        label(loop, held, mia, "cat")
    assert counts(loop) == []
    pull = loop.services.suggestions.pull("pets")
    assert (pull.kept_blind.answered, pull.never_asked.answered) == (0, 0)
    with loop.services.store.read() as tx:
        assert tx.queue.get_assignment(asked.id).suggestion_asked_at is None


def test_who_asked_blind_and_is_told_after_all_counts_as_told(loop: Loop, mia: User) -> None:
    suggest(loop, blind_share=1.0)
    [held] = lease(loop, mia)
    assert loop.services.suggestions.ask(held.id, mia).is_blind
    loop.services.projects.change("pets", {"blind_share": 0.0})
    assert loop.services.suggestions.ask(held.id, mia).likely
    assert label(loop, held, mia, "dog").saw_suggestion
    assert counts(loop) == [SuggestionCount(mia.id, True, True, 1, 1)]


def test_heat_maps_of_merged_classes_are_laid_over_each_other(loop: Loop, mia: User) -> None:
    mapped(loop)
    change(loop, MergeClass("dog", "cat"))
    [held] = lease(loop, mia)
    shown = loop.services.heat_maps.ask(held.id, mia)
    cat = next(info for info in loop.services.projects.get("pets").classes if info.name == "cat")
    assert [(name, one.class_id, list(one.cells)) for name, one in shown.maps] == [("cat", cat.id, [255, 100])]
    assert label(loop, held, mia, "cat").saw_suggestion


def test_heat_maps_come_likeliest_first_by_the_classes_of_today(loop: Loop, mia: User) -> None:
    mapped(loop)
    change(loop, RenameClass("cat", "lion"), MergeClass("dog", "bird"))
    [held] = lease(loop, mia)
    shown = loop.services.heat_maps.ask(held.id, mia)
    assert [(name, list(one.cells)) for name, one in shown.maps] == [("bird", [255, 0]), ("lion", [0, 100])]


def test_heat_maps_of_split_classes_are_none(loop: Loop, mia: User) -> None:
    mapped(loop)
    change(loop, SplitClass("dog", ("poodle", "pug")), SplitClass("cat", ("lion", "lynx")))
    [held] = lease(loop, mia)
    with pytest.raises(NoHeatMapError):
        loop.services.heat_maps.ask(held.id, mia)
    assert not label(loop, held, mia, "bird").saw_suggestion
