"""Real threads on real databases: what must happen once happens once."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import NewAnnotation
from al_service.domain.states import AnnotationKind, JobKind, Role, RoundState
from al_service.errors import ConflictError
from tests.contract.store_world import LEASE, NOW, World, new_sample


def at_once(number: int, act: Callable[[int], object]) -> list[object]:
    """Run `act(0)` … `act(number - 1)` in threads that start together; the results, ConflictErrors as values."""
    start = threading.Barrier(number)

    def run(index: int) -> object:
        start.wait()
        try:
            return act(index)
        except ConflictError as error:
            return error

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def conflicts(results: list[object]) -> int:
    return sum(isinstance(result, ConflictError) for result in results)


class TestRaces:
    def test_no_sample_is_leased_to_two(self, world: World) -> None:
        ids = world.add_samples(40)
        world.add_round(ids)
        with world.store.write() as tx:
            people = [tx.accounts.add_user(f"p{i}", Role.LABELER, None, NOW) for i in range(16)]

        def lease(index: int) -> list[int]:
            given = []
            for _ in range(3):
                with world.store.write() as tx:
                    given += [assignment.sample.id for assignment in world.lease(tx, people[index])]
            return given

        given = [sample_id for result in at_once(16, lease) for sample_id in result]  # type: ignore[attr-defined]
        assert sorted(given) == ids

    def test_expired_leases_go_to_one_other_person(self, world: World) -> None:
        ids = world.add_samples(4)
        world.add_round(ids)
        with world.store.write() as tx:
            world.lease(tx, world.ann, 4)
            people = [tx.accounts.add_user(f"p{i}", Role.LABELER, None, NOW) for i in range(8)]

        def lease(index: int) -> list[int]:
            with world.store.write() as tx:
                return [assignment.sample.id for assignment in world.lease(tx, people[index], now=NOW + LEASE)]

        given = [sample_id for result in at_once(8, lease) for sample_id in result]  # type: ignore[attr-defined]
        assert sorted(given) == ids

    def test_the_index_stops_two_leases_even_without_the_lock(self, world: World) -> None:
        world.add_round(world.add_samples(1))
        with world.store.read() as tx:
            (offer,) = tx.queue.free_selections(world.project.id, world.ann.id, 1)

        def lease(index: int) -> object:
            user = (world.ann, world.bob)[index]
            with world.store.write() as tx:
                return tx.queue.add_assignment(offer.selection, user.id, 0, NOW + LEASE, NOW)

        assert conflicts(at_once(2, lease)) == 1

    @pytest.mark.parametrize("locked", [True, False])
    def test_twenty_starters_start_one_round(self, world: World, locked: bool) -> None:
        def start(_index: int) -> object:
            with world.store.write() as tx:
                if locked:
                    tx.projects.lock(world.project.id)
                return tx.rounds.add(
                    world.project, trigger="x", seed=0, watermark=0, label_count=0, idempotency_key=None, now=NOW
                )

        assert conflicts(at_once(20, start)) == 19
        with world.store.read() as tx:
            assert [(found.number, found.state) for found in tx.rounds.all(world.project.id)] == [
                (1, RoundState.RUNNING)
            ]

    def test_one_client_key_stores_one_row(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        new = NewAnnotation(world.project.id, sample_id, world.ann.id, None, AnnotationKind.SKIP, None, "click")

        def answer(_index: int) -> object:
            with world.store.write() as tx:
                return tx.annotations.add(new, NOW)

        assert conflicts(at_once(2, answer)) == 1
        with world.store.read() as tx:
            assert [found.client_key for found in tx.annotations.active_of_sample(sample_id)] == ["click"]

    def test_ids_of_answers_become_visible_in_order(self, world: World) -> None:
        """Else a round's watermark would overtake an answer whose transaction is still open."""
        ids = world.add_samples(8)
        watermarks: list[tuple[int, int]] = []

        def answer(index: int) -> object:
            with world.store.write() as tx:
                for number in range(3):
                    key = f"k-{index}-{number}"
                    new = NewAnnotation(
                        world.project.id, ids[index], world.ann.id, None, AnnotationKind.SKIP, None, key
                    )
                    tx.annotations.add(new, NOW)
            with world.store.read() as tx:
                latest = tx.annotations.latest_id(world.project.id)
                seen = len(tx.annotations.recent_of_user(world.project.id, world.ann.id, 1000))
                watermarks.append((latest, seen))
            return None

        at_once(8, answer)
        assert all(latest == seen for latest, seen in watermarks)

    def test_two_imports_of_the_same_images_store_each_once(self, world: World) -> None:
        fresh = [new_sample(i) for i in range(300)]

        def load(index: int) -> object:
            with world.store.write() as tx:
                return tx.samples.add_many(world.project.id, fresh[:: 1 if index % 2 else -1], NOW)

        results = at_once(4, load)
        made = Counter(made for result in results for made in result if made is not None)  # type: ignore[attr-defined]
        assert len(made) == 300 and set(made.values()) == {1}
        with world.store.read() as tx:
            assert tx.samples.counts(world.project.id).total == 300

    def test_one_worker_claims_an_attempt(self, world: World) -> None:
        with world.store.write() as tx:
            job = tx.jobs.add(
                project_id=world.project.id, round_id=None, kind=JobKind.TRAIN, payload={}, attempts_max=1, now=NOW
            )

        def claim(index: int) -> object:
            with world.store.write() as tx:
                return tx.jobs.claim(job.id, 1, f"w{index}", NOW)

        assert sorted(at_once(8, claim), key=bool) == [False] * 7 + [True]

    def test_one_project_of_a_name(self, world: World) -> None:
        def add(_index: int) -> object:
            with world.store.write() as tx:
                return tx.projects.add("fish", ["a"], ProjectConfig(), NOW)

        assert conflicts(at_once(6, add)) == 5

    def test_metrics_of_two_writers_are_both_kept(self, world: World) -> None:
        made = world.add_round([])

        def note(index: int) -> object:
            with world.store.write() as tx:
                tx.rounds.set_round(made.id, metrics={f"m{index}": index})
            return None

        at_once(6, note)
        with world.store.read() as tx:
            assert tx.rounds.get(made.id).metrics == {f"m{index}": index for index in range(6)}

    def test_a_new_class_gets_one_position(self, world: World) -> None:
        def add(index: int) -> object:
            with world.store.write() as tx:
                tx.projects.add_classes(world.project.id, [f"c{index}", "shared"])
            return None

        assert conflicts(at_once(6, add)) == 0
        with world.store.read() as tx:
            found = tx.projects.get(world.project.id).classes
        assert [info.position for info in found] == list(range(9))
        assert {info.name for info in found} == {"owl", "wren", "shared", *(f"c{index}" for index in range(6))}
