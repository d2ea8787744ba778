"""What people did, from both databases alike."""

from datetime import timedelta

from al_service.domain.states import AnnotationKind, Role
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
