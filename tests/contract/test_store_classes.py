"""Classes in SQL: the book of names, and the statements that rename, merge and split, on both databases."""

from datetime import timedelta

import pytest

from al_service.domain.records import AskedAgain, Relabelling
from al_service.domain.states import AnnotationKind, AssignmentState, Lane, SampleState, SelectionState, Split
from al_service.errors import InvalidInputError
from al_service.loop.ports import Transaction
from al_service.storage.class_changes import SPLIT_CODE, SqlClassRows
from tests.contract.store_world import NOW, World

LATER = NOW + timedelta(hours=1)


def id_of(world: World, tx: Transaction, name: str) -> int:
    known = tx.projects.class_book(world.project.id).named(name)
    assert known is not None
    return known.id


def test_the_book_has_every_class_and_name(world: World) -> None:
    with world.store.write() as tx:
        owl, wren = (info.id for info in world.project.classes)
        tx.projects.add_classes(world.project.id, ["robin", "owl", "crow"])
        tx.classes.rename(world.project.id, owl, "owl", "barn owl")
        tx.classes.retire(wren, LATER, into_id=owl)
        crow = id_of(world, tx, "crow")
        tx.classes.retire(crow, LATER)
        tx.projects.add_classes(world.project.id, ["raven", "rook", "owl"], split_from_id=crow)
        book = tx.projects.class_book(world.project.id)
    assert [
        (one.name, one.position, one.retired_at, one.merged_into_id, one.split_from_id) for one in book.classes
    ] == [
        ("barn owl", 0, None, None, None),
        ("wren", 1, LATER, owl, None),
        ("robin", 2, None, None, None),
        ("crow", 3, LATER, None, None),
        ("raven", 4, None, None, crow),
        ("rook", 5, None, None, crow),
    ]
    assert book.aliases == {"owl": owl}
    with world.store.read() as tx:
        assert tx.projects.get(world.project.id).class_names == ("barn owl", "robin", "raven", "rook")


def test_merging_on_keeps_every_class_one_step_from_today(world: World) -> None:
    with world.store.write() as tx:
        owl, wren = (info.id for info in world.project.classes)
        tx.projects.add_classes(world.project.id, ["robin"])
        robin = id_of(world, tx, "robin")
        tx.classes.retire(owl, NOW, into_id=wren)
        tx.classes.retire(wren, LATER, into_id=robin)
        book = tx.projects.class_book(world.project.id)
    assert [one.merged_into_id for one in book.classes] == [robin, robin, None]


def test_names_are_swapped_with_a_class_that_was_merged_in(world: World) -> None:
    with world.store.write() as tx:
        owl, wren = (info.id for info in world.project.classes)
        tx.classes.retire(owl, NOW, into_id=wren)
        tx.classes.rename(world.project.id, wren, "wren", "owl")
        book = tx.projects.class_book(world.project.id)
    assert [(one.id, one.name) for one in book.classes] == [(owl, "wren"), (wren, "owl")]
    assert book.aliases == {}


def test_answers_and_imports_follow_old_names_and_no_label_is_of_a_class_that_is_no_more(world: World) -> None:
    first, second, third = world.add_samples(3)
    with world.store.write() as tx:
        owl, wren = (info.id for info in world.project.classes)
        tx.classes.rename(world.project.id, owl, "owl", "barn owl")
        tx.classes.retire(wren, NOW, into_id=owl)
        assert world.answer(tx, first, world.ann, "wren").class_name == "barn owl"
        tx.annotations.add_labels(world.project.id, world.bob.id, [(second, "owl"), (third, "wren")], "import-", NOW)
        assert {tx.samples.get(one).class_name for one in (second, third)} == {"barn owl"}
        assert tx.samples.class_counts(world.project.id) == {"barn owl": 2}
    with pytest.raises(InvalidInputError, match="not a class"), world.store.write() as tx:
        sample = tx.samples.get(first)
        tx.samples.set_label(sample, "wren", votes=1, annotation_id=1, state=SampleState.LABELLED, now=NOW)
    with world.store.write() as tx:
        tx.classes.retire(owl, LATER)
        with pytest.raises(InvalidInputError, match="'wren' is not a class of the project"):
            world.answer(tx, first, world.bob, "wren")


def test_labels_and_gold_move_with_a_new_version(world: World) -> None:
    pool, kept = world.add_samples(1)[0], world.add_samples(1, Split.EVALUATION)[0]
    with world.store.write() as tx:
        owl, wren = (info.id for info in world.project.classes)
        for sample_id in (pool, kept):
            world.label(tx, sample_id, world.ann, "owl")
        tx.lanes.set_gold(tx.samples.get(pool), "owl", world.bob.id, NOW)
        assert tx.classes.label_counts(world.project.id) == {owl: {Split.POOL: 1, Split.EVALUATION: 1}}
        assert (tx.classes.vote_count(world.project.id, [owl]), tx.classes.gold_count(owl)) == (2, 1)
        tx.classes.move_labels(world.project.id, owl, wren, LATER)
        assert tx.classes.label_counts(world.project.id) == {wren: {Split.POOL: 1, Split.EVALUATION: 1}}
        assert (tx.classes.gold_count(owl), tx.classes.gold_count(wren)) == (0, 1)
        assert [tx.samples.get(one).label_version for one in (pool, kept)] == [2, 2]


def test_votes_are_taken_back_once_and_undone_ones_are_left_alone(world: World) -> None:
    first, second, third = world.add_samples(3)
    with world.store.write() as tx:
        owl = world.project.classes[0].id
        world.undo(tx, world.label(tx, first, world.ann, "owl"))
        world.label(tx, second, world.ann, "owl")
        world.answer(tx, second, world.bob, "wren")
        world.label(tx, third, world.ann, "wren")
        assert tx.classes.settled_by(world.project.id, [owl]) == [
            AskedAgain(second, tx.samples.get(second).sha256, True)
        ]
        assert tx.classes.vote_count(world.project.id, [owl]) == 1
        before = tx.annotations.latest_id(world.project.id)
        for _ in range(2):
            tx.classes.take_back_votes(world.project.id, [owl], world.cat.id, LATER)
            assert tx.annotations.latest_id(world.project.id) == before + 1
        assert [one.class_name for one in tx.annotations.active_of_sample(second)] == ["wren"]
        assert tx.classes.vote_count(world.project.id, [owl]) == 0
        tx.classes.unlabel([second])
        sample = tx.samples.get(second)
        assert (sample.state, sample.class_name, sample.label_version) == (SampleState.UNLABELLED, None, None)
        assert tx.samples.counts(world.project.id).labelled == 2


def test_what_is_asked_again_comes_in_order_and_held_questions_that_are_over_are_given_back(world: World) -> None:
    held, free, asked = world.add_samples(3)
    made = world.add_round([held])
    with world.store.write() as tx:
        (lease,) = world.lease(tx, world.ann)
        tx.queue.retire_all(made.id)
    world.add_round([asked])
    with world.store.write() as tx:
        reason = {"code": SPLIT_CODE, "class": "owl", "class_id": 1, "votes": 1}
        rows = [{"sample_id": one, "reason": reason, "overlap": 1, "max_skips": 2} for one in (free, held, asked)]
        assert tx.classes.ask_again(world.project.id, rows) == 2
        assert tx.queue.get_assignment(lease.id).state is AssignmentState.RELEASED
        offers = tx.queue.free_selections(world.project.id, world.bob.id, 10)
        assert [(one.sample.id, one.selection.lane) for one in offers] == [
            (free, Lane.TASK),
            (held, Lane.TASK),
            (asked, Lane.BATCH),
        ]
        assert tx.classes.relabelling(world.project.id) == {1: Relabelling(2, 2)}
        tx.queue.set_selection_state(offers[0].selection.id, SelectionState.DONE)
        assert tx.classes.relabelling(world.project.id) == {1: Relabelling(2, 1)}


def test_samples_with_votes_of_two_kinds(world: World) -> None:
    both, one, undone = world.add_samples(3)
    with world.store.write() as tx:
        owl, wren = (info.id for info in world.project.classes)
        for sample_id in (both, one, undone):
            world.label(tx, sample_id, world.ann, "owl")
        for sample_id in (both, undone):
            other = world.answer(tx, sample_id, world.bob, "wren")
        world.undo(tx, other)
        assert tx.classes.settled_with_votes_of_both(world.project.id, [owl], [wren]) == [both]


def test_gold_of_a_class_is_dropped_with_the_questions_about_it(world: World) -> None:
    first, second = world.add_samples(2)
    with world.store.write() as tx:
        owl = world.project.classes[0].id
        tx.lanes.set_gold(tx.samples.get(first), "owl", world.bob.id, NOW)
        tx.lanes.set_gold(tx.samples.get(second), "wren", world.bob.id, NOW)
        asking = tx.lanes.add(tx.samples.get(first), Lane.GOLD, answers=1, turn=0, user_id=world.ann.id, reason={})
        assert tx.classes.drop_gold(world.project.id, owl) == 1
        assert tx.queue.get_selection(asking.id).state is SelectionState.RETIRED
        assert [gold.sample.id for gold in tx.lanes.golds(world.project.id)] == [second]


def test_another_project_is_left_alone(world: World) -> None:
    (mine,) = world.add_samples(1)
    with world.store.write() as tx:
        other = tx.projects.add("fish", ["owl"], world.config, NOW)
        owl = world.project.classes[0].id
        world.label(tx, mine, world.ann, "owl")
        assert isinstance(tx.classes, SqlClassRows)
        assert tx.classes.label_counts(other.id) == {}
        assert tx.classes.vote_count(other.id, [owl]) == 0
        tx.classes.take_back_votes(other.id, [owl], world.cat.id, NOW)
        tx.classes.rename(other.id, other.classes[0].id, "owl", "pike")
        assert [one.class_name for one in tx.annotations.active_of_sample(mine)] == ["owl"]
        assert [row.kind for row in tx.annotations.active_of_sample(mine)] == [AnnotationKind.LABEL]
