"""Selections and leases, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, User
from al_service.domain.states import AnnotationKind, AssignmentState, RoundState, SampleState, SelectionState, Split
from al_service.errors import ConflictError, NotFoundError
from al_service.loop.ports import Transaction
from al_service.storage.selections import FRESH, WAITING
from tests.contract.store_world import LEASE, NOW, World


def free_ids(world: World, tx: Transaction, user: User, limit: int = 100) -> list[int]:
    """Sample ids that this person may be given, in order."""
    return [offer.sample.id for offer in tx.queue.free_selections(world.project.id, user.id, limit)]


class TestSelections:
    def test_what_is_stored_comes_back_by_rank(self, world: World) -> None:
        first, second, third = world.add_samples(3)
        made = world.add_round([])
        chosen = [
            Chosen(third, 1, None, {"code": "random"}),
            Chosen(first, 0, 0.1 + 0.2, {"code": "margin", "between": [0, 1]}),
            Chosen(second, 2, 1e-300, {}, SelectionState.RETIRED),
        ]
        with world.store.write() as tx:
            tx.queue.add_selections(made.id, chosen)
            found = tx.queue.selections(made.id)
            assert [Chosen(item.sample_id, item.rank, item.score, item.reason, item.state) for item in found] == [
                chosen[1],
                chosen[0],
                chosen[2],
            ]
            assert {(item.round_id, item.round_number) for item in found} == {(made.id, 1)}
            assert tx.queue.get_selection(found[0].id) == tx.queue.find_open_selection(first) == found[0]
            assert tx.queue.find_open_selection(second) is None
            assert tx.queue.askable([first, second, third, 999]) == {second}

    def test_what_somebody_holds_is_not_asked_again_also_after_its_round_was_cancelled(self, world: World) -> None:
        held, other = world.add_samples(2)
        made = world.add_round([held, other])
        with world.store.write() as tx:
            (lease,) = world.lease(tx, world.ann)
            assert lease.sample.id == held
            tx.queue.retire_all(made.id)
            assert tx.queue.askable([held, other]) == {other}
            waiting = [Chosen(one, at, None, {}, SelectionState.RESERVE, True) for at, one in enumerate((held, other))]
        later = world.add_round([])
        with world.store.write() as tx:
            tx.queue.add_selections(later.id, waiting)
            assert tx.queue.open_reserve(world.project.id, 5) == 1
            assert free_ids(world, tx, world.bob) == [other]
            world.finish(tx, lease, AssignmentState.RELEASED)
            assert tx.queue.askable([held]) == {held}
            assert tx.queue.open_reserve(world.project.id, 5) == 1

    def test_a_round_chooses_a_sample_once(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        made = world.add_round([sample_id])
        with pytest.raises(ConflictError), world.store.write() as tx:
            tx.queue.add_selections(made.id, [Chosen(sample_id, 5, None, {}, SelectionState.RETIRED)])

    def test_a_sample_is_asked_for_by_one_open_selection(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        world.add_round([sample_id])
        with pytest.raises(ConflictError):
            world.add_round([sample_id])

    def test_reopening_a_selection_of_a_sample_that_is_asked_for_again(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        old = world.add_round([sample_id])
        with world.store.write() as tx:
            (selection,) = tx.queue.selections(old.id)
            tx.queue.set_selection_state(selection.id, SelectionState.DONE)
        world.add_round([sample_id])
        with pytest.raises(ConflictError), world.store.write() as tx:
            tx.queue.set_selection_state(selection.id, SelectionState.OPEN)

    def test_unknown_rounds_and_selections(self, world: World) -> None:
        with world.store.write() as tx, pytest.raises(NotFoundError):
            tx.queue.add_selections(999, [])
        with pytest.raises(NotFoundError), world.store.write() as tx:
            tx.queue.set_selection_state(999, SelectionState.DONE)

    def test_retiring_spares_held_and_evaluation_samples_and_the_new_round(self, world: World) -> None:
        held, waiting, done, newer = world.add_samples(4)
        (evaluation,) = world.add_samples(1, Split.EVALUATION)
        old = world.add_round([held, waiting, done, evaluation])
        with world.store.write() as tx:
            world.lease(tx, world.ann)
            world.label(tx, done, world.bob)
        new = world.add_round([newer])
        with world.store.write() as tx:
            assert tx.queue.retire_open_selections(world.project.id, except_round_id=new.id) == 1
            states = {item.sample_id: item.state for item in tx.queue.selections(old.id) + tx.queue.selections(new.id)}
            assert states == {
                held: SelectionState.OPEN,
                waiting: SelectionState.RETIRED,
                done: SelectionState.DONE,
                evaluation: SelectionState.OPEN,
                newer: SelectionState.OPEN,
            }
            assert tx.queue.has_open(world.project.id)
            assert tx.queue.open_count_of_round(old.id) == 2
            assert tx.queue.retire_all(old.id) == 2
            assert tx.queue.find_open_selection(evaluation) is None
            assert tx.queue.find_open_selection(held) is None


class TestReserve:
    """Samples chosen ahead: not in the queue until they are opened, in rank order, as far as they can be asked."""

    def reserved(self, world: World, tx: Transaction, batch: list[int], reserve: list[int]) -> int:
        made = tx.rounds.add(
            world.project, trigger="x", seed=0, watermark=0, label_count=0, idempotency_key=None, now=NOW
        )
        picks = [Chosen(sample_id, rank, None, {"code": "random"}) for rank, sample_id in enumerate(batch)]
        waiting = [
            Chosen(sample_id, 90 - rank, 0.5, {"code": "margin"}, SelectionState.RESERVE, is_reserve=True)
            for rank, sample_id in enumerate(reserve[::-1])
        ]
        tx.queue.add_selections(made.id, [*picks, *waiting])
        return made.id

    def test_it_is_stored_beside_the_batch_and_not_asked(self, world: World) -> None:
        ids = world.add_samples(5)
        with world.store.write() as tx:
            round_id = self.reserved(world, tx, ids[:2], ids[2:])
            assert [item.sample_id for item in tx.queue.selections(round_id)] == ids[:2]
            found = tx.queue.reserve_selections(round_id)
            assert [(item.sample_id, item.state, item.is_reserve) for item in found] == [
                (sample_id, SelectionState.RESERVE, True) for sample_id in ids[2:]
            ]
            assert free_ids(world, tx, world.ann) == ids[:2]
            assert (tx.queue.has_open(world.project.id), tx.queue.reserve_count(world.project.id)) == (True, 3)
            assert tx.queue.open_count_of_round(round_id) == 2
            assert tx.queue.askable(ids) == set(ids[2:])
            assert tx.queue.find_open_selection(ids[2]) is None
            assert tx.samples.counts(world.project.id).not_queued == 3
            record = tx.rounds.get(round_id)
            assert (record.selected_count, record.answered_count, record.answered_ahead) == (2, 0, 0)

    def test_it_opens_in_rank_order_and_only_so_much(self, world: World) -> None:
        ids = world.add_samples(5)
        with world.store.write() as tx:
            round_id = self.reserved(world, tx, ids[:1], ids[1:])
            before = tx.rounds.versions(world.project.id, 9)[round_id]
            assert tx.queue.open_reserve(world.project.id, 0) == 0
            assert tx.queue.open_reserve(999, 5) == 0
            assert tx.queue.open_reserve(world.project.id, 2) == 2
            assert free_ids(world, tx, world.ann) == ids[:3]
            world.label(tx, ids[1], world.ann)
            record = tx.rounds.get(round_id)
            assert (record.selected_count, record.answered_count, record.answered_ahead) == (1, 0, 1)
            assert tx.rounds.versions(world.project.id, 9)[round_id] != before
            assert tx.queue.open_reserve(world.project.id, 9) == 2
            assert tx.queue.open_reserve(world.project.id, 9) == tx.queue.reserve_count(world.project.id) == 0

    def test_what_cannot_be_asked_is_passed_over_and_stays(self, world: World) -> None:
        ids = world.add_samples(5)
        with world.store.write() as tx:
            old = self.reserved(world, tx, [], ids)
            tx.rounds.set_round(old, state=RoundState.CLOSED)
            world.label(tx, ids[0], world.ann)
            world.believe(tx, world.answer(tx, ids[1], world.ann, kind=AnnotationKind.FLAG), SampleState.FLAGGED)
            self.reserved(world, tx, [ids[2]], [])
            assert tx.queue.open_reserve(world.project.id, 9) == 2
            states = [item.state for item in tx.queue.reserve_selections(old)]
            waits = SelectionState.RESERVE
            assert states == [waits, waits, waits, SelectionState.OPEN, SelectionState.OPEN]

    def test_the_next_batch_retires_all_of_it_but_what_is_held(self, world: World) -> None:
        ids = world.add_samples(6)
        with world.store.write() as tx:
            old = self.reserved(world, tx, [], ids[:4])
            tx.rounds.set_round(old, state=RoundState.CLOSED)
            tx.queue.open_reserve(world.project.id, 2)
            (held,) = world.lease(tx, world.ann)
            new = self.reserved(world, tx, ids[4:5], ids[5:])
            assert tx.queue.retire_open_selections(world.project.id, except_round_id=new) == 1, "open ones"
            retired = SelectionState.RETIRED
            assert [item.state for item in tx.queue.reserve_selections(old)] == [
                SelectionState.OPEN, retired, retired, retired,
            ]  # fmt: skip
            assert held.sample.id == ids[0]
            assert [item.state for item in tx.queue.reserve_selections(new)] == [SelectionState.RESERVE]
            assert tx.queue.retire_all(new) == 2
            assert tx.queue.reserve_count(world.project.id) == 0

    def test_the_question_walks_one_index_and_sorts_nothing(self, world_on_sqlite: World) -> None:
        """However many selections a project has had, only what waits in reserve is looked at."""
        with world_on_sqlite.store._writing() as connection:
            question = WAITING.params(project_id=1, limit=1)
            sql = str(question.compile(connection, compile_kwargs={"literal_binds": True}))
            plan = [row.detail for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {sql}"))]
        assert plan[0] == "SEARCH selections USING INDEX ix_selections_reserve (project_id=?)"
        # Of all assignments that index holds the open leases, a handful for each person.
        assert "SEARCH assignments USING INDEX ix_assignments_held (project_id=?)" in plan
        assert [step for step in plan if "SCAN" in step or "TEMP" in step] == []


class TestFreeSelections:
    def test_order_is_round_then_rank_for_everyone(self, world: World) -> None:
        ids = world.add_samples(6)
        world.add_round([ids[3], ids[0]])
        world.add_round([ids[5], ids[1], ids[2]])
        with world.store.read() as tx:
            for user in (world.ann, world.bob):
                assert free_ids(world, tx, user) == [ids[3], ids[0], ids[5], ids[1], ids[2]]
            assert free_ids(world, tx, world.ann, 2) == [ids[3], ids[0]]
            assert free_ids(world, tx, world.ann, 0) == []
            assert tx.queue.free_selections(999, world.ann.id, 5) == []

    def test_a_lease_hides_it_until_it_ends(self, world: World) -> None:
        first, second = world.add_samples(2)
        world.add_round([first, second])
        with world.store.write() as tx:
            (lease,) = world.lease(tx, world.ann)
            assert free_ids(world, tx, world.ann) == free_ids(world, tx, world.bob) == [second]
            world.finish(tx, lease, AssignmentState.RELEASED)
            assert free_ids(world, tx, world.bob) == [first, second]

    def test_overlap_asks_several_people_once_each(self, world: World) -> None:
        first, second = world.add_samples(2)
        with world.store.write() as tx:
            tx.projects.set_config(world.project.id, ProjectConfig(overlap=2))
            world.project = tx.projects.get(world.project.id)
        world.add_round([first, second])
        with world.store.write() as tx:
            tx.projects.set_config(world.project.id, ProjectConfig(overlap=1))  # counts from the next round on
            (lease,) = world.lease(tx, world.ann)
            assert (free_ids(world, tx, world.ann), free_ids(world, tx, world.bob)) == ([second], [first, second])
            world.answer(tx, first, world.ann, assignment=lease)
            world.finish(tx, lease)
            assert (free_ids(world, tx, world.ann), free_ids(world, tx, world.bob)) == ([second], [first, second])
            world.lease(tx, world.bob)
            assert free_ids(world, tx, world.cat) == [second]

    def test_votes_count_against_overlap_and_undone_ones_do_not(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        world.add_round([sample_id])
        with world.store.write() as tx:
            vote = world.answer(tx, sample_id, world.ann)
            assert free_ids(world, tx, world.bob) == []
            world.undo(tx, vote)
            assert free_ids(world, tx, world.bob) == free_ids(world, tx, world.ann) == [sample_id]

    def test_ones_that_this_person_skipped_come_last(self, world: World) -> None:
        first, second, third = world.add_samples(3)
        world.add_round([first, second, third])
        with world.store.write() as tx:
            skip = world.answer(tx, first, world.ann, kind=AnnotationKind.SKIP)
            assert free_ids(world, tx, world.ann) == [second, third, first]
            assert free_ids(world, tx, world.ann, 2) == [second, third]
            assert free_ids(world, tx, world.bob) == [first, second, third]
            world.answer(tx, first, world.ann, kind=AnnotationKind.FLAG)
            assert free_ids(world, tx, world.ann) == [second, third]
            world.undo(tx, skip)
            assert free_ids(world, tx, world.ann) == [second, third]

    def test_settled_samples_are_not_asked(self, world: World) -> None:
        labelled, flagged, open_ = world.add_samples(3)
        world.add_round([labelled, flagged, open_])
        with world.store.write() as tx:
            world.believe(tx, world.answer(tx, labelled, world.ann), SampleState.LABELLED)
            world.believe(tx, world.answer(tx, flagged, world.ann, kind=AnnotationKind.FLAG), SampleState.FLAGGED)
            assert free_ids(world, tx, world.bob) == [open_]

    def test_the_question_walks_one_index_and_sorts_nothing(self, world_on_sqlite: World) -> None:
        """However long the queue is, finding the next sample reads its first rows only."""
        values = {"project_id": 1, "user_id": 1, "limit": 1}
        with world_on_sqlite.store._writing() as connection:
            sql = str(FRESH.params(values).compile(connection, compile_kwargs={"literal_binds": True}))
            plan = [row.detail for row in connection.execute(sa.text(f"EXPLAIN QUERY PLAN {sql}"))]
        walked = [step for step in plan if step.startswith("SEARCH selections")]
        assert walked == [
            "SEARCH selections USING INDEX ix_selections_by_hand (project_id=?)",
            "SEARCH selections USING INDEX ix_selections_queue (project_id=?)",
        ]
        # Of each part at most `limit` rows are kept. The few votes of one sample are told apart by person, and what was
        # found is put in order again beside its samples; the queue itself is not sorted.
        found = [step for step in plan if "SCAN" in step or "TEMP" in step]
        of_a_part = ["USE TEMP B-TREE FOR count(DISTINCT)", "SCAN anon_{}"]
        parts = [step.format(part) for part in (1, 2) for step in of_a_part]
        assert found == [*parts, "SCAN chosen", "USE TEMP B-TREE FOR ORDER BY"]


class TestLeases:
    def test_what_is_stored_comes_back(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        world.add_round([sample_id])
        with world.store.write() as tx:
            (lease,) = world.lease(tx, world.ann)
        with world.store.read() as tx:
            assert tx.queue.get_assignment(lease.id) == lease
            assert tx.queue.open_assignments_of_user(world.project.id, world.ann.id) == [lease]
            assert tx.queue.open_assignments_of_user(world.project.id, world.bob.id) == []
            assert lease.sample == tx.samples.get(sample_id)
        assert (lease.user_id, lease.slot, lease.state) == (world.ann.id, 0, AssignmentState.OPEN)
        assert (lease.created_at, lease.lease_expires_at) == (NOW, NOW + LEASE)

    def test_one_open_lease_per_slot_and_per_person(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        world.add_round([sample_id])
        with world.store.write() as tx:
            (lease,) = world.lease(tx, world.ann)
            for user, slot in ((world.bob, 0), (world.ann, 1)):
                with pytest.raises(ConflictError, match=f"selection {lease.selection.id}"):
                    tx.queue.add_assignment(lease.selection, user.id, slot, NOW + LEASE, NOW)
            assert tx.queue.free_slot(lease.selection.id) == 1
            tx.queue.add_assignment(lease.selection, world.bob.id, 1, NOW + LEASE, NOW)
            assert tx.queue.free_slot(lease.selection.id) == 2
            world.finish(tx, lease)
            assert tx.queue.free_slot(lease.selection.id) == 0
            assert tx.queue.holders(world.project.id) == {"bob": 1}

    def test_several_are_leased_in_one_go_each_in_its_first_free_slot(self, world: World) -> None:
        first, second, third = world.add_samples(3)
        with world.store.write() as tx:
            tx.projects.set_config(world.project.id, ProjectConfig(overlap=3))
            world.project = tx.projects.get(world.project.id)
        world.add_round([first, second, third])
        with world.store.write() as tx:
            world.lease(tx, world.ann, 1)
            (gone, _) = world.lease(tx, world.bob, 2)
            assert gone.slot == 1
            made = world.lease(tx, world.cat, 3)
            assert [(lease.sample.id, lease.slot) for lease in made] == [(first, 2), (second, 1), (third, 0)]
            assert [tx.queue.get_assignment(lease.id) for lease in made] == made
            assert tx.queue.add_assignments([], world.cat.id, NOW + LEASE, NOW) == []
            tx.queue.extend_assignments(world.project.id, world.cat.id, NOW + 2 * LEASE)
            held = tx.queue.open_assignments_of_user(world.project.id, world.cat.id)
            assert held == [replace(lease, lease_expires_at=NOW + 2 * LEASE) for lease in made]
            assert tx.queue.get_assignment(gone.id) == gone

    def test_what_was_offered_and_taken_meanwhile_is_refused(self, world: World) -> None:
        world.add_round(world.add_samples(2))
        with world.store.write() as tx:
            offers = tx.queue.free_selections(world.project.id, world.ann.id, 2)
            world.lease(tx, world.bob, 1)
            with pytest.raises(ConflictError, match=f"selection {offers[0].selection.id} is leased already"):
                tx.queue.add_assignments(offers, world.ann.id, NOW + LEASE, NOW)

    def test_a_lease_is_renewed_and_expires(self, world: World) -> None:
        first, second = world.add_samples(2)
        world.add_round([first, second])
        with world.store.write() as tx:
            old, renewed = world.lease(tx, world.ann, 2)
            tx.queue.set_assignment(renewed.id, AssignmentState.OPEN, expires_at=NOW + 2 * LEASE)
            assert tx.queue.expire(NOW + LEASE - timedelta(microseconds=1)) == 0
            tx.queue.expire_in(999, NOW + LEASE)
            assert tx.queue.get_assignment(old.id).state is AssignmentState.OPEN
            tx.queue.expire_in(world.project.id, NOW + LEASE)
            assert tx.queue.get_assignment(old.id).state is AssignmentState.EXPIRED
            found = tx.queue.get_assignment(renewed.id)
            assert found == replace(renewed, lease_expires_at=NOW + 2 * LEASE)
            assert tx.queue.expire(NOW + 2 * LEASE) == 1
            assert tx.queue.holders(world.project.id) == {}

    def test_holders_by_name_and_what_they_hold(self, world: World) -> None:
        samples = world.add_samples(4)
        world.add_round(samples)
        with world.store.write() as tx:
            world.lease(tx, world.bob, 2)
            world.lease(tx, world.ann)
            assert tx.queue.holders(world.project.id) == {"ann": 1, "bob": 2}
            assert tx.queue.held_sample_ids(world.project.id) == set(samples[:3])
            assert tx.queue.held_sample_ids(999) == set()

    def test_unknown_leases(self, world: World) -> None:
        with pytest.raises(NotFoundError), world.store.write() as tx:
            tx.queue.set_assignment(999, AssignmentState.RELEASED)
