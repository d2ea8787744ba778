"""Rounds and stages, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, StageUpdate
from al_service.domain.states import JobKind, RoundState, SelectionState, Stage, StageState
from al_service.errors import ConflictError, NotFoundError
from al_service.loop.ports import Transaction
from tests.contract.store_world import NOW, World

LATER = NOW + timedelta(seconds=9)


def close(tx: Transaction, round_id: int) -> None:
    tx.rounds.set_round(round_id, state=RoundState.CLOSED, stage=Stage.CLOSE, finished_at=LATER)


class TestRounds:
    def test_a_new_round_is_a_record_of_its_project(self, world: World) -> None:
        with world.store.write() as tx:
            made = tx.rounds.add(
                world.project,
                trigger="labels",
                seed=2**31 - 1,
                watermark=5,
                label_count=3,
                idempotency_key="k",
                now=NOW,
            )
            tx.projects.set_config(world.project.id, ProjectConfig(overlap=3))
        with world.store.read() as tx:
            for found in (
                tx.rounds.get(made.id),
                tx.rounds.find(world.project.id, 1),
                tx.rounds.find_open(world.project.id),
                tx.rounds.find_last(world.project.id),
                tx.rounds.find_by_key(world.project.id, "k"),
                *tx.rounds.all(world.project.id),
            ):
                assert found == made
            assert tx.rounds.find(world.project.id, 2) is None
            assert tx.rounds.find_by_key(world.project.id, "other") is None
        assert (made.number, made.state, made.stage, made.trigger) == (1, RoundState.RUNNING, Stage.TRAIN, "labels")
        assert (made.config, made.class_names) == (world.project.config, ("owl", "wren"))
        assert (made.seed, made.watermark, made.label_count, made.metrics) == (2**31 - 1, 5, 3, {})
        assert (made.started_at, made.finished_at, made.error) == (NOW, None, None)
        assert [record.stage for record in made.stages] == list(Stage)
        assert {record.state for record in made.stages} == {StageState.PENDING}

    def test_one_open_round_per_project(self, world: World) -> None:
        first = world.add_round([])
        with world.store.write() as tx:
            for state in (RoundState.RUNNING, RoundState.ANNOTATING):
                tx.rounds.set_round(first.id, state=state)
                with pytest.raises(ConflictError, match=f"round 1 of birds is {state}"):
                    tx.rounds.add(
                        world.project, trigger="x", seed=0, watermark=0, label_count=0, idempotency_key=None, now=NOW
                    )
            close(tx, first.id)
            assert tx.rounds.find_open(world.project.id) is None
            fish = tx.projects.add("fish", [], ProjectConfig(), NOW)
            numbers = [
                tx.rounds.add(
                    project, trigger="x", seed=0, watermark=0, label_count=0, idempotency_key=None, now=NOW
                ).number
                for project in (world.project, fish)
            ]
        assert numbers == [2, 1]

    def test_a_failed_round_cannot_be_reopened_beside_another(self, world: World) -> None:
        first = world.add_round([])
        with world.store.write() as tx:
            tx.rounds.set_round(first.id, state=RoundState.FAILED, finished_at=NOW)
        world.add_round([])
        with pytest.raises(ConflictError), world.store.write() as tx:
            tx.rounds.set_round(first.id, state=RoundState.RUNNING)

    def test_an_idempotency_key_starts_one_round(self, world: World) -> None:
        first = world.add_round([], key="click")
        with world.store.write() as tx:
            close(tx, first.id)
            with pytest.raises(ConflictError, match="'click' started round 1"):
                tx.rounds.add(
                    world.project, trigger="x", seed=0, watermark=0, label_count=0, idempotency_key="click", now=NOW
                )

    def test_given_fields_change_and_metrics_are_merged(self, world: World) -> None:
        made = world.add_round([])
        with world.store.write() as tx:
            tx.rounds.set_round(made.id, metrics={"a": 1, "b": {"c": [1.5, None]}}, data_fingerprint="f", error="oh")
            tx.rounds.set_round(made.id, metrics={"a": 2}, model_hash="m", stage=Stage.SCORE)
            tx.rounds.set_round(made.id)
            found = tx.rounds.get(made.id)
            assert found == replace(
                made,
                metrics={"a": 2, "b": {"c": [1.5, None]}},
                data_fingerprint="f",
                model_hash="m",
                stage=Stage.SCORE,
                error="oh",
            )
            tx.rounds.set_round(made.id, error="")
            assert tx.rounds.get(made.id).error is None

    def test_a_round_that_runs_again_has_no_end(self, world: World) -> None:
        made = world.add_round([])
        with world.store.write() as tx:
            tx.rounds.set_round(made.id, state=RoundState.FAILED, finished_at=LATER)
            assert tx.rounds.get(made.id).finished_at == LATER
            tx.rounds.set_round(made.id, state=RoundState.RUNNING)
            assert tx.rounds.get(made.id).finished_at is None

    def test_stages_change_one_by_one(self, world: World) -> None:
        made = world.add_round([])
        with world.store.write() as tx:
            job = tx.jobs.add(
                project_id=world.project.id, round_id=made.id, kind=JobKind.TRAIN, payload={}, attempts_max=1, now=NOW
            )
            running = StageUpdate(state=StageState.RUNNING, job_id=job.id, attempt=1, started_at=NOW)
            tx.rounds.set_stage(made.id, Stage.TRAIN, running)
            failed = StageUpdate(state=StageState.FAILED, finished_at=LATER, seconds=9.0, result={"a": 1}, error="oh")
            tx.rounds.set_stage(made.id, Stage.TRAIN, failed)
            tx.rounds.set_stage(made.id, Stage.TRAIN, StageUpdate())
            found = tx.rounds.get(made.id).stage_record(Stage.TRAIN)
            assert (found.state, found.job_id, found.attempt) == (StageState.FAILED, job.id, 1)
            assert (found.started_at, found.finished_at, found.seconds) == (NOW, LATER, 9.0)
            assert (found.result, found.error) == ({"a": 1}, "oh")
            tx.rounds.set_stage(made.id, Stage.TRAIN, StageUpdate(state=StageState.PENDING, error=""))
            again = tx.rounds.get(made.id).stage_record(Stage.TRAIN)
            assert (again.finished_at, again.seconds, again.error) == (None, None, None)
            assert tx.rounds.get(made.id).stage_record(Stage.SCORE).state is StageState.PENDING

    def test_chosen_and_answered_are_counted(self, world: World) -> None:
        ids = world.add_samples(4)
        made = world.add_round(ids)
        with world.store.write() as tx:
            world.label(tx, ids[0], world.ann)
            by_rank = tx.queue.selections(made.id)
            tx.queue.set_selection_state(by_rank[1].id, SelectionState.SKIPPED)
            found = tx.rounds.get(made.id)
        assert (found.selected_count, found.answered_count) == (4, 1)

    def test_all_gives_the_newest_in_order(self, world: World) -> None:
        for _ in range(4):
            world.add_round([])
        with world.store.read() as tx:
            assert [found.number for found in tx.rounds.all(world.project.id)] == [1, 2, 3, 4]
            assert [found.number for found in tx.rounds.all(world.project.id, limit=2)] == [3, 4]
            assert tx.rounds.all(999) == []
            assert tx.rounds.find_last(999) is None

    def test_states_are_counted(self, world: World) -> None:
        for _ in range(3):
            world.add_round([])
        with world.store.write() as tx:
            other = tx.projects.add("fish", [], ProjectConfig(), NOW)
            tx.rounds.add(other, trigger="x", seed=0, watermark=0, label_count=0, idempotency_key=None, now=NOW)
            assert tx.rounds.count_by_state(world.project.id) == {"closed": 2, "running": 1}
            assert tx.rounds.count_by_state(other.id) == {"running": 1}
            assert tx.rounds.count_by_state(999) == {}

    def test_versions_are_of_the_newest_by_number(self, world: World) -> None:
        made = [world.add_round([]).id for _ in range(4)]
        with world.store.read() as tx:
            assert list(tx.rounds.versions(world.project.id, 9)) == made
            newest = tx.rounds.versions(world.project.id, 2)
            assert list(newest) == made[2:]
            assert newest == tx.rounds.versions(world.project.id, 2)
            assert len(set(newest.values())) == 2
            assert tx.rounds.versions(999, 9) == {}

    def test_a_version_changes_with_what_people_see(self, world: World) -> None:
        ids = world.add_samples(2)
        old, made = world.add_round([]), world.add_round(ids[:1])
        seen = []

        def look(tx: Transaction) -> None:
            versions = tx.rounds.versions(world.project.id, 9)
            seen.append(versions[made.id])
            assert versions[old.id] == before[old.id]

        with world.store.write() as tx:
            before = tx.rounds.versions(world.project.id, 9)
            look(tx)
            for change in (
                {"stage": Stage.SCORE},
                {"model_hash": "m"},
                {"data_fingerprint": "f"},
                {"error": "oh"},
                {"state": RoundState.FAILED, "finished_at": LATER},
            ):
                tx.rounds.set_round(made.id, **change)  # type: ignore[arg-type]
                look(tx)
            for update in (
                StageUpdate(state=StageState.RUNNING, started_at=NOW),
                StageUpdate(attempt=2),
                StageUpdate(seconds=1.5, finished_at=LATER),
                StageUpdate(error="oh"),
            ):
                tx.rounds.set_stage(made.id, Stage.TRAIN, update)
                look(tx)
            tx.queue.add_selections(made.id, [Chosen(ids[1], 1, 0.5, {"code": "random"})])
            look(tx)
            world.label(tx, ids[0], world.ann)
            look(tx)
        assert len(set(seen)) == len(seen) == 12

    def test_unknown_rounds(self, world: World) -> None:
        with world.store.write() as tx:
            for act in (
                lambda: tx.rounds.set_round(999, error="x"),
                lambda: tx.rounds.set_round(999, metrics={"a": 1}),
                lambda: tx.rounds.set_stage(999, Stage.TRAIN, StageUpdate(error="x")),
            ):
                with pytest.raises(NotFoundError):
                    act()
