"""Counts by state agree with the samples whatever happens to them, on both databases."""

from collections import Counter
from itertools import count

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, PoolCounts, Round, RoundProgress
from al_service.domain.states import AnnotationKind, AssignmentState, SampleState, SelectionState, Split
from al_service.storage.rounds import ROUNDS_LOOKED_AT
from al_service.storage.store import SqlStore
from tests.contract.store_world import World, new_sample

SMALL = settings(
    max_examples=20,
    stateful_step_count=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_names = count()
NUMBER = st.integers(0, 5)


def counted_slowly(store: SqlStore, project_id: int) -> PoolCounts:
    """The same counts, from every sample one by one."""
    with store._writing() as connection:

        def ids(statement: str) -> set[int]:
            return set(connection.execute(sa.text(statement), {"project": project_id}).scalars())

        rows = connection.execute(
            sa.text("SELECT id, split, state FROM samples WHERE project_id = :project"), {"project": project_id}
        ).all()
        asked = ids("SELECT sample_id FROM selections WHERE project_id = :project AND state = 'open'")
        held = ids(
            "SELECT s.sample_id FROM assignments a JOIN selections s ON s.id = a.selection_id "
            "WHERE a.project_id = :project AND a.state = 'open'"
        )
    states = Counter((row.split, row.state) for row in rows)
    waiting = {row.id for row in rows if (row.split, row.state) == ("pool", "unlabelled")}
    return PoolCounts(
        total=sum(number for (split, _), number in states.items() if split == "pool"),
        free=len(waiting & asked - held),
        leased=len(waiting & held),
        labelled=states["pool", "labelled"],
        skipped=states["pool", "skipped"],
        flagged=states["pool", "flagged"],
        not_queued=len(waiting - asked - held),
        evaluation_total=sum(number for (split, _), number in states.items() if split == "evaluation"),
        evaluation_labelled=states["evaluation", "labelled"],
        train_total=sum(number for (split, _), number in states.items() if split == "train"),
        train_labelled=states["train", "labelled"],
        rejected=0,
    )


def progress_of(record: Round) -> RoundProgress:
    return RoundProgress(record.number, record.selected_count, record.answered_count, record.answered_ahead)


class QueueLife(RuleBasedStateMachine):
    """People and rounds do things to one project, in any order."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.ids: list[int] = []

    @initialize()
    def new_project(self) -> None:
        with self.world.store.write() as tx:
            name = f"project-{next(_names)}"
            self.world._samples = 0
            self.world.project = tx.projects.add(name, ["owl", "wren"], ProjectConfig(), self.world.project.created_at)

    def pick(self, number: int) -> int | None:
        return self.ids[number % len(self.ids)] if self.ids else None

    @rule(split=st.sampled_from(Split), number=st.integers(1, 3))
    def add_samples(self, split: Split, number: int) -> None:
        self.ids += self.world.add_samples(number, split)

    @rule(number=NUMBER)
    def import_again(self, number: int) -> None:
        with self.world.store.write() as tx:
            other = new_sample(1000 + number)
            tx.samples.add_many(self.world.project.id, [other], self.world.project.created_at)
            known = tx.samples.find_by_external_ids(self.world.project.id, [other.external_id])
        self.ids = sorted({*self.ids, *(sample.id for sample in known.values())})

    @rule(numbers=st.lists(NUMBER, max_size=4))
    def start_round(self, numbers: list[int]) -> None:
        wanted = {self.pick(number) for number in numbers} - {None}
        with self.world.store.read() as tx:
            free = tx.queue.askable(sorted(wanted))  # type: ignore[type-var]
        made = self.world.add_round(sorted(free))
        with self.world.store.write() as tx:
            tx.queue.retire_open_selections(self.world.project.id, except_round_id=made.id)

    @rule(numbers=st.lists(NUMBER, max_size=4), number=st.integers(0, 3))
    def choose_ahead(self, numbers: list[int], number: int) -> None:
        """A round whose whole choice waits in reserve, some of it opened; reserves before it go, as at every
        hand-over.
        """
        made = self.world.add_round([])
        waiting = sorted({self.pick(place) for place in numbers} - {None})  # type: ignore[type-var]
        picks = [
            Chosen(sample_id, rank, None, {}, SelectionState.RESERVE, is_reserve=True)
            for rank, sample_id in enumerate(waiting)
        ]
        with self.world.store.write() as tx:
            tx.queue.retire_open_selections(self.world.project.id, except_round_id=made.id)
            tx.queue.add_selections(made.id, picks)
            tx.queue.open_reserve(self.world.project.id, number)

    @rule(number=st.integers(1, 3), who=st.sampled_from(["ann", "bob"]))
    def lease(self, number: int, who: str) -> None:
        with self.world.store.write() as tx:
            self.world.lease(tx, getattr(self.world, who), number)

    @rule(number=NUMBER, state=st.sampled_from(SampleState))
    def settle(self, number: int, state: SampleState) -> None:
        sample_id = self.pick(number)
        if sample_id is None:
            return
        kind = AnnotationKind.LABEL if state is SampleState.LABELLED else AnnotationKind.SKIP
        with self.world.store.write() as tx:
            self.world.believe(tx, self.world.answer(tx, sample_id, self.world.ann, kind=kind), state)
            selection = tx.queue.find_open_selection(sample_id)
            if selection is not None and state is not SampleState.UNLABELLED:
                tx.queue.set_selection_state(selection.id, SelectionState.DONE)

    @rule(numbers=st.lists(NUMBER, max_size=3))
    def import_labels(self, numbers: list[int]) -> None:
        labels = [(sample_id, "owl") for number in numbers if (sample_id := self.pick(number)) is not None]
        with self.world.store.write() as tx:
            now = self.world.project.created_at
            tx.annotations.add_labels(
                self.world.project.id, self.world.ann.id, labels, f"i-{self.world.project.id}-", now
            )

    @rule(state=st.sampled_from([AssignmentState.RELEASED, AssignmentState.ANSWERED, AssignmentState.EXPIRED]))
    def end_leases(self, state: AssignmentState) -> None:
        with self.world.store.write() as tx:
            for lease in tx.queue.open_assignments_of_user(self.world.project.id, self.world.ann.id):
                self.world.finish(tx, lease, state)

    @invariant()
    def counts_agree(self) -> None:
        with self.world.store.read() as tx:
            counts = tx.samples.counts(self.world.project.id)
            class_counts = tx.samples.class_counts(self.world.project.id)
            states = tx.samples.state_counts(self.world.project.id)
            has_open = tx.queue.has_open(self.world.project.id)
        assert counts.unlabelled == states[Split.POOL, SampleState.UNLABELLED]
        in_training = sum(states[split, SampleState.LABELLED] for split in (Split.POOL, Split.TRAIN))
        assert counts.all_labelled == in_training
        assert has_open or counts.free + counts.leased == 0
        assert counts == counted_slowly(self.world.store, self.world.project.id)
        in_pool = counts.free + counts.leased + counts.labelled + counts.skipped + counts.flagged + counts.not_queued
        assert in_pool == counts.total
        assert counts.labelled <= sum(class_counts.values()) <= counts.labelled + counts.train_total

    @invariant()
    def rounds_agree(self) -> None:
        picks = "SELECT round_id, is_reserve, state FROM selections WHERE project_id = :project"
        with self.world.store._writing() as connection:
            rows = connection.execute(sa.text(picks), {"project": self.world.project.id})
            found = Counter((row.round_id, bool(row.is_reserve), row.state) for row in rows)
        with self.world.store.read() as tx:
            records = tx.rounds.all(self.world.project.id)
            asking = tx.rounds.asking(self.world.project.id)()
            open_counts = {record.id: tx.queue.open_count_of_round(record.id) for record in records[-2:]}
        for record in records:
            in_batch = sum(found[record.id, False, state] for state in SelectionState)
            counted = (record.selected_count, record.answered_count, record.answered_ahead)
            assert counted == (in_batch, found[record.id, False, "done"], found[record.id, True, "done"])
        for round_id, number in open_counts.items():
            assert number == found[round_id, False, "open"] + found[round_id, True, "open"]
        newest = next((record for record in records[: -ROUNDS_LOOKED_AT - 1 : -1] if record.selected_count), None)
        newest = newest or (records[-1] if records else None)
        assert asking == (newest and progress_of(newest))


def test_counts_agree_with_the_samples(world: World) -> None:
    run_state_machine_as_test(lambda: QueueLife(world), settings=SMALL)


def test_counts_of_nothing(world: World) -> None:
    with world.store.read() as tx:
        assert tx.samples.counts(world.project.id) == PoolCounts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def test_deleting_a_selection_by_hand_keeps_the_counts(world: World) -> None:
    ids = world.add_samples(3)
    record = world.add_round(ids)
    with world.store._writing() as connection:
        connection.execute(sa.text("DELETE FROM selections WHERE sample_id = :id"), {"id": ids[0]})
    with world.store.read() as tx:
        assert tx.rounds.get(record.id).selected_count == tx.queue.open_count_of_round(record.id) == 2


def test_deleting_by_hand_keeps_the_counts(world: World) -> None:
    """An operator who removes an image with SQL does not spoil the numbers."""
    first, *_ = world.add_samples(3)
    with world.store._writing() as connection:
        connection.execute(sa.text("DELETE FROM samples WHERE id = :id"), {"id": first})
    with world.store.read() as tx:
        assert tx.samples.counts(world.project.id) == counted_slowly(world.store, world.project.id)
        assert tx.samples.counts(world.project.id).total == 2
