"""What people did, from both databases alike."""

from dataclasses import replace
from datetime import timedelta

from al_service.domain.states import AnnotationKind, AssignmentState, Role
from al_service.loop.annotations import undo_of
from tests.contract.store_world import NOW, World


def test_work_is_counted_by_person_and_kind(world: World) -> None:
    first, second, third = world.add_samples(3)
    world.add_round([first, second, third])
    with world.store.write() as tx:
        world.label(tx, first, world.ann)
        world.answer(tx, second, world.ann, kind=AnnotationKind.SKIP)
        world.undo(tx, world.answer(tx, third, world.ann))
        world.answer(tx, second, world.bob, kind=AnnotationKind.FLAG, now=NOW - timedelta(days=2))
    with world.store.read() as tx:
        [ann] = tx.people.work(world.project.id, NOW - timedelta(days=1))
        both = tx.people.work(world.project.id, NOW - timedelta(days=3))
        assert tx.people.work(world.project.id + 1, NOW - timedelta(days=3)) == []
    assert (ann.name, ann.role, ann.labels, ann.skips, ann.flags, ann.taken_back) == ("ann", Role.LABELER, 1, 1, 0, 1)
    assert (ann.timed, ann.active_s, ann.seconds_per_answer, ann.first_at, ann.last_at) == (0, 0.0, None, NOW, NOW)
    assert [(person.name, person.flags) for person in both] == [("ann", 0), ("bob", 1)]
    assert both[1].last_at == NOW - timedelta(days=2)


def test_work_that_others_undid_was_done(world: World) -> None:
    first, second, third = world.add_samples(3)
    world.add_round([first, second, third])
    with world.store.write() as tx:
        own = world.answer(tx, first, world.ann)
        of_reviewer = world.answer(tx, second, world.ann)
        world.answer(tx, third, world.ann)
        world.undo(tx, own)
        tx.annotations.add(replace(undo_of(of_reviewer, world.bob), client_key="undone by bob"), NOW)
        cat = tx.projects.class_book(world.project.id).active[0]
        # She herself splits the class: that is no answer taken back either.
        tx.classes.take_back_votes(world.project.id, [cat.id], world.ann.id, NOW)
    with world.store.read() as tx:
        [ann] = tx.people.work(world.project.id, NOW - timedelta(days=1))
        assert tx.annotations.active_of_sample(third) == []
    assert (ann.labels, ann.taken_back) == (2, 1)


def test_leases_of_somebody_are_given_back_and_nobody_elses(world: World) -> None:
    samples = world.add_samples(4)
    world.add_round(samples)
    with world.store.write() as tx:
        mine, others = world.lease(tx, world.ann, 2), world.lease(tx, world.bob, 1)
        assert tx.queue.release_all(world.ann.id) == 2
        assert tx.queue.release_all(world.ann.id) == 0
    with world.store.read() as tx:
        states = [tx.queue.get_assignment(one.id).state for one in (*mine, *others)]
    assert states == [AssignmentState.RELEASED, AssignmentState.RELEASED, AssignmentState.OPEN]
