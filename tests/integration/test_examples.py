"""Example images of classes: set, changed, removed, bounded, never gold and never asked about; on both databases."""

import pytest

from al_service.domain.records import NewSample, User
from al_service.domain.states import Role, Split
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.class_change_kinds import MergeClass, SplitClass
from al_service.loop.examples import PER_CLASS_MAX, Wanted
from al_service.loop.reviews import Verdict
from al_service.loop.tasks import Wish
from tests.integration.conftest import Loop
from tests.integration.pets import fill, label, lease

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


@pytest.fixture
def rita(loop: Loop) -> User:
    return loop.person("rita", Role.REVIEWER)


def shown(loop: Loop) -> list[tuple[int, str, str]]:
    return [(one.sample.id, one.class_name, one.note) for one in loop.services.examples.all("pets")]


def unasked(loop: Loop) -> list[int]:
    """Twelve samples that nobody is asked about."""
    ids = fill(loop)
    loop.services.rounds.cancel("pets", 1)
    return ids


def test_examples_come_in_class_order_with_their_notes(loop: Loop, rita: User) -> None:
    ids = unasked(loop)
    for sample_id, name in ((ids[2], "bird"), (ids[0], "cat"), (ids[1], "bird")):
        loop.services.examples.set(Wanted(sample_id, name, f" look at {sample_id} "), rita)
        loop.clock.advance(1)
    assert shown(loop) == [
        (ids[0], "cat", f"look at {ids[0]}"),
        (ids[2], "bird", f"look at {ids[2]}"),
        (ids[1], "bird", f"look at {ids[1]}"),
    ]
    loop.services.examples.set(Wanted(ids[2], "dog"), rita)
    assert (ids[2], "dog", "") in shown(loop)
    assert loop.services.projects.summary("pets").example_count == 3
    loop.services.examples.remove(ids[2], rita)
    assert [sample_id for sample_id, *_ in shown(loop)] == [ids[0], ids[1]]
    with pytest.raises(NotFoundError, match=f"sample {ids[2]} is no example"):
        loop.services.examples.remove(ids[2], rita)
    with loop.services.store.read() as tx:
        actions = [entry["action"] for entry in tx.accounts.audit(10)]
    assert actions.count("example.set") == 4
    assert actions.count("example.remove") == 1


def test_gold_and_examples_exclude_each_other(loop: Loop, rita: User) -> None:
    ids = fill(loop)
    loop.services.reviews.set_gold(Verdict(ids[8], "cat", 0, "g"), rita)
    with pytest.raises(ConflictError, match="is gold; as an example it would not be hidden"):
        loop.services.examples.set(Wanted(ids[8], "cat"), rita)
    loop.services.examples.set(Wanted(ids[9], "cat"), rita)
    with pytest.raises(ConflictError, match="shown to everybody as an example"):
        loop.services.reviews.set_gold(Verdict(ids[9], "cat", 0, "h"), rita)


def test_what_makes_no_example_is_refused(loop: Loop, rita: User) -> None:
    ids = unasked(loop)
    with loop.services.store.write() as tx:
        project_id = tx.samples.get(ids[0]).project_id
        aside = NewSample("aside.png", "f" * 64, 8, 8, "PNG", 9, Split.EVALUATION)
        [kept] = tx.samples.add_many(project_id, [aside], loop.clock())
    assert kept is not None
    with pytest.raises(NotFoundError):
        loop.services.examples.set(Wanted(kept, "cat"), rita)
    with pytest.raises(InvalidInputError, match="'cow' is not a class"):
        loop.services.examples.set(Wanted(ids[0], "cow"), rita)
    with pytest.raises(InvalidInputError, match="note has 301 characters"):
        Wanted(ids[0], "cat", "x" * 301)
    assert shown(loop) == []


def test_a_class_has_only_so_many_examples(loop: Loop, rita: User) -> None:
    ids = unasked(loop)
    for sample_id in ids[:PER_CLASS_MAX]:
        loop.services.examples.set(Wanted(sample_id, "cat"), rita)
    loop.services.examples.set(Wanted(ids[0], "cat", "the same again"), rita)
    with loop.services.store.write() as tx:
        project_id = tx.samples.get(ids[0]).project_id
        [more] = tx.samples.add_many(
            project_id, [NewSample("m.png", "e" * 64, 8, 8, "PNG", 9, Split.POOL)], loop.clock()
        )
    assert more is not None
    with pytest.raises(ConflictError, match="'cat' has 12 examples already; remove one first"):
        loop.services.examples.set(Wanted(more, "cat"), rita)
    loop.services.examples.set(Wanted(more, "dog"), rita)


def test_who_is_asked_about_an_image_does_not_find_it_among_the_examples(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=2)
    with pytest.raises(ConflictError, match=f"people are asked about sample {ids[0]} now"):
        loop.services.examples.set(Wanted(ids[0], "cat"), rita)
    held = lease(loop, mia, 1)[0]
    loop.services.rounds.cancel("pets", 1)
    with pytest.raises(ConflictError, match=f"people are asked about sample {held.sample.id} now"):
        loop.services.examples.set(Wanted(held.sample.id, "cat"), rita)
    label(loop, held, mia)
    loop.services.examples.set(Wanted(held.sample.id, "cat"), rita)
    assert shown(loop) == [(held.sample.id, "cat", "")]


def test_an_example_that_people_are_asked_about_later_waits_for_their_answer(loop: Loop, mia: User, rita: User) -> None:
    ids = fill(loop, batch=1)
    for sample_id in (ids[5], ids[6]):
        loop.services.examples.set(Wanted(sample_id, "dog"), rita)
    loop.services.tasks.ask("pets", Wish((ids[5],)), rita)
    assert shown(loop) == [(ids[6], "dog", "")]
    assert loop.services.projects.summary("pets").example_count == 1
    label(loop, lease(loop, mia)[0], mia, "dog")
    assert [sample_id for sample_id, *_ in shown(loop)] == [ids[5], ids[6]]


def test_a_merge_takes_examples_along_and_a_split_drops_them(loop: Loop, rita: User) -> None:
    ids = unasked(loop)
    eve = loop.person("eve", Role.ENGINEER)
    for sample_id, name in ((ids[0], "dog"), (ids[1], "cat"), (ids[2], "bird")):
        loop.services.examples.set(Wanted(sample_id, name), rita)
        loop.clock.advance(1)
    loop.services.classes.apply("pets", MergeClass("dog", "cat"), eve)
    assert shown(loop) == [(ids[0], "cat", ""), (ids[1], "cat", ""), (ids[2], "bird", "")]
    loop.services.classes.apply("pets", SplitClass("cat", ("lion", "lynx")), eve)
    assert shown(loop) == [(ids[2], "bird", "")]
    assert loop.services.projects.summary("pets").example_count == 1
    loop.services.reviews.set_gold(Verdict(ids[0], "lion", 0, "free again"), rita)


def test_of_a_class_that_a_merge_made_overfull_notes_still_change(loop: Loop, rita: User) -> None:
    ids = unasked(loop)
    eve = loop.person("eve", Role.ENGINEER)
    for at, sample_id in enumerate(ids):
        loop.services.examples.set(Wanted(sample_id, "dog" if at else "cat"), rita)
    with loop.services.store.write() as tx:
        project_id = tx.samples.get(ids[0]).project_id
        images = [NewSample(f"m{n}.png", f"{n}" * 64, 8, 8, "PNG", 9, Split.POOL) for n in (8, 9)]
        first, second = tx.samples.add_many(project_id, images, loop.clock())
    assert first is not None
    assert second is not None
    loop.services.examples.set(Wanted(first, "cat"), rita)
    loop.services.classes.apply("pets", MergeClass("dog", "cat"), eve)
    assert len(shown(loop)) == 13
    loop.services.examples.set(Wanted(first, "cat", "whiskers"), rita)
    assert (first, "cat", "whiskers") in shown(loop)
    with pytest.raises(ConflictError, match="'cat' has 12 examples already; remove one first"):
        loop.services.examples.set(Wanted(second, "cat"), rita)
