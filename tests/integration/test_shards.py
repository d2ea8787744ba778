"""Scoring in shards: one job each, merged once, one lost worker costs one shard; on both databases."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from al_service.domain.progress import progress_of_shards
from al_service.domain.records import Chosen, Job, NewSample
from al_service.domain.states import JobKind, JobState, RoundState, Split, Stage, StageState
from al_service.errors import ConflictError, InvalidInputError
from al_service.loop.jobs import JobNotRetryableError, SupersededError
from al_service.loop.rounds import StageResult
from al_service.loop.shards import SHARDS_MAX
from tests.integration.conftest import Loop

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])

SAMPLES = 10


def begin_scoring(loop: Loop) -> Job:
    """A project `pets` whose round has reached scoring; the claimed job that plans."""
    services = loop.services
    project = services.projects.create("pets", ["cat", "dog"], {"auto_start": False, "labels_per_round": 2})
    samples = [NewSample(f"{n}.png", f"{n:064x}", 8, 8, "PNG", 100, Split.POOL) for n in range(SAMPLES)]
    with services.store.write() as tx:
        tx.samples.add_many(project.id, samples, loop.clock())
    services.rounds.start("pets")
    train = claim(loop, JobKind.TRAIN)[0]
    services.rounds.complete_stage(train, Stage.TRAIN, StageResult({}, Stage.SCORE))
    return claim(loop, JobKind.SCORE)[0]


def plan(loop: Loop, size: int = 4) -> list[Job]:
    """Shards of `size`, as a worker would plan them; not claimed."""
    planner = begin_scoring(loop)
    with loop.services.store.read() as tx:
        ranges = tx.samples.selectable_ranges(planner.project_id, size)
    payloads = [{"first_id": first, "last_id": last, "count": count} for first, last, count in ranges]
    return loop.services.rounds.fan_out(planner, payloads)


def claim(loop: Loop, kind: JobKind, worker: str = "w") -> list[Job]:
    """Claim every queued job of that kind, as workers do."""
    with loop.services.store.read() as tx:
        waiting = [job for job in tx.jobs.all(states=["queued"], limit=2000) if job.kind is kind][::-1]
    claimed = [loop.services.jobs.claim(job.id, job.attempt, worker) for job in waiting]
    return [job for job in claimed if job is not None]


def facts_of(job: Job) -> dict[str, Any]:
    return {"artifact": f"shard-{job.payload['shard']}", "scored": job.payload["count"]}


def states(loop: Loop, shards: list[Job]) -> list[JobState]:
    return [loop.services.jobs.get(shard.id).state for shard in shards]


def the_round(loop: Loop, number: int = 1) -> Any:
    return loop.services.rounds.get("pets", number)


def fail_for_good(loop: Loop, shard: Job, message: str = "no such file") -> None:
    loop.services.jobs.fail(shard.id, shard.attempt, message, retryable=False)


class TestUnreadableImages:
    def test_they_are_flagged_with_the_shard_that_met_them(self, loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
        first, second, third = plan(loop)
        project = loop.services.projects.get("pets")
        mia = loop.person("mia")
        with loop.services.store.write() as tx:
            tx.annotations.add_labels(project.id, mia.id, [(3, "dog")], "import-", loop.clock())
        claim(loop, JobKind.SCORE_SHARD)
        loop.services.rounds.complete_shard(loop.services.jobs.get(first.id), facts_of(first), [2, 3])
        counts = loop.services.projects.summary("pets").counts
        assert (counts.flagged, counts.labelled, counts.unlabelled, counts.total) == (1, 1, 8, 10)
        assert "1 images cannot be read" in caplog.text
        for shard in (second, third):
            loop.services.rounds.complete_shard(loop.services.jobs.get(shard.id), facts_of(shard))
        with loop.services.store.read() as tx:
            assert [sample_id for sample_id, _ in tx.samples.selectable(project.id)] == [1, 4, 5, 6, 7, 8, 9, 10]

    def test_a_superseded_shard_flags_nothing(self, loop: Loop) -> None:
        shard = plan(loop)[0]
        claimed = claim(loop, JobKind.SCORE_SHARD)[0]
        loop.clock.advance(60)
        loop.services.jobs.reconcile()
        with pytest.raises(SupersededError):
            loop.services.rounds.complete_shard(claimed, facts_of(shard), [1])
        assert loop.services.projects.summary("pets").counts.flagged == 0

    def test_an_undivided_stage_flags_them_too_but_not_what_people_are_asked_for(self, loop: Loop) -> None:
        planner = begin_scoring(loop)
        with loop.services.store.write() as tx:
            tx.queue.add_selections(planner.round_id or 0, [Chosen(4, 0, None, {"code": "random"})])
        result = StageResult({}, Stage.SELECT, unreadable=[4, 5])
        loop.services.rounds.complete_stage(planner, Stage.SCORE, result)
        counts = loop.services.projects.summary("pets").counts
        assert (counts.flagged, counts.free, counts.not_queued) == (1, 1, 8)


class TestPlanning:
    def test_the_pool_becomes_one_job_for_each_shard(self, loop: Loop) -> None:
        shards = plan(loop)
        assert [job.payload for job in shards] == [
            {"round": 1, "shard": 0, "shards": 3, "first_id": 1, "last_id": 4, "count": 4},
            {"round": 1, "shard": 1, "shards": 3, "first_id": 5, "last_id": 8, "count": 4},
            {"round": 1, "shard": 2, "shards": 3, "first_id": 9, "last_id": 10, "count": 2},
        ]
        assert {(job.kind, job.state, job.round_id) for job in shards} == {
            (JobKind.SCORE_SHARD, JobState.QUEUED, the_round(loop).id)
        }
        assert loop.queue.depths()["gpu"] == 2 + 3, "train and score were announced too"
        stage = the_round(loop).stage_record(Stage.SCORE)
        planner = loop.services.jobs.get(stage.job_id)
        assert (stage.state, stage.attempt) == (StageState.RUNNING, 1)
        assert (planner.kind, planner.state, planner.result) == (JobKind.SCORE, JobState.DONE, {"shards": 3})

    def test_a_superseded_planner_plans_nothing(self, loop: Loop) -> None:
        planner = begin_scoring(loop)
        loop.clock.advance(60)
        loop.services.jobs.reconcile()
        with pytest.raises(SupersededError):
            loop.services.rounds.fan_out(planner, [{"count": 1}])
        loop.clock.advance(60)
        again = claim(loop, JobKind.SCORE)[0]
        loop.services.rounds.fan_out(again, [{"count": 1}])
        with pytest.raises(SupersededError):
            loop.services.rounds.fan_out(again, [{"count": 1}])
        with loop.services.store.read() as tx:
            assert len(tx.jobs.of_round(again.round_id or 0, JobKind.SCORE_SHARD)) == 1

    @pytest.mark.parametrize(
        ("payloads", "words"),
        [
            ([], "0 shards; expected 1 to 1000"),
            ([{"count": 1}] * (SHARDS_MAX + 1), "1001 shards"),
            ([{"count": 1}, {"count": 0}], r"payloads\[1\] has count=0"),
            ([{}], "count=None"),
            ([{"count": True}], "count=True"),
            ([{"count": 1, "shard": 7}], "brings 'shard'"),
        ],
    )
    def test_plans_that_cannot_be_carried_out_are_refused(
        self, loop: Loop, payloads: list[dict[str, Any]], words: str
    ) -> None:
        planner = begin_scoring(loop)
        with pytest.raises(InvalidInputError, match=words):
            loop.services.rounds.fan_out(planner, payloads)
        assert loop.services.jobs.get(planner.id).state is JobState.RUNNING

    def test_only_scoring_is_divided_and_only_shards_are_completed_as_such(self, loop: Loop) -> None:
        planner = begin_scoring(loop)
        [shard] = loop.services.rounds.fan_out(planner, [{"count": 1}])
        with pytest.raises(InvalidInputError, match="only scoring is divided"):
            loop.services.rounds.fan_out(shard, [{"count": 1}])
        with pytest.raises(InvalidInputError, match="not a shard"):
            loop.services.rounds.complete_shard(planner, {})

    def test_a_small_pool_is_scored_by_the_one_job(self, loop: Loop) -> None:
        planner = begin_scoring(loop)
        done = loop.services.rounds.complete_stage(planner, Stage.SCORE, StageResult({"artifact": "a"}, Stage.SELECT))
        assert (done.stage, done.stage_record(Stage.SCORE).state) == (Stage.SELECT, StageState.DONE)


class TestMerging:
    def test_the_last_shard_completes_the_stage_in_the_plans_order(self, loop: Loop) -> None:
        plan(loop)
        started = loop.clock()
        first, second, third = claim(loop, JobKind.SCORE_SHARD)
        for shard in (third, first):
            loop.clock.advance(4)
            record = loop.services.rounds.complete_shard(shard, facts_of(shard))
            assert (record.stage, record.stage_record(Stage.SCORE).state) == (Stage.SCORE, StageState.RUNNING)
        loop.clock.advance(2)
        record = loop.services.rounds.complete_shard(second, {"artifact": "shard-1"})
        score = record.stage_record(Stage.SCORE)
        assert (record.stage, score.state, score.seconds) == (Stage.SELECT, StageState.DONE, 10.0)
        assert score.started_at == started
        assert [item.get("artifact") for item in score.result["shards"]] == ["shard-0", "shard-1", "shard-2"]
        assert (score.result["scored"], score.result["seconds"]) == (10, 10.0)
        assert score.result["images_per_second"] == 1.0
        assert [job.kind for job in claim(loop, JobKind.SELECT)] == [JobKind.SELECT]

    def test_one_shard_is_a_plan_too(self, loop: Loop) -> None:
        [shard] = plan(loop, size=100)
        claim(loop, JobKind.SCORE_SHARD)
        record = loop.services.rounds.complete_shard(shard, facts_of(shard))
        assert record.stage is Stage.SELECT
        assert record.stage_record(Stage.SCORE).result["images_per_second"] is None, "no time passed"

    def test_many_that_end_at_once_complete_the_stage_once(self, loop: Loop) -> None:
        plan(loop, size=1)
        shards = claim(loop, JobKind.SCORE_SHARD)
        start = threading.Barrier(len(shards))

        def end(shard: Job) -> Stage:
            start.wait()
            return loop.services.rounds.complete_shard(shard, facts_of(shard)).stage

        with ThreadPoolExecutor(len(shards)) as pool:
            stages = list(pool.map(end, shards))
        assert sorted(stages) == [Stage.SCORE] * (SAMPLES - 1) + [Stage.SELECT]
        with loop.services.store.read() as tx:
            kinds = [job.kind for job in tx.jobs.of_round(the_round(loop).id)]
        assert kinds.count(JobKind.SELECT) == 1
        result = the_round(loop).stage_record(Stage.SCORE).result
        assert [item["artifact"] for item in result["shards"]] == [f"shard-{n}" for n in range(SAMPLES)]

    def test_many_threads_claim_and_complete_while_one_fails(self, loop: Loop) -> None:
        """Whatever wins, the round ends failed with every shard over, or is complete; nothing hangs between."""
        shards = plan(loop, size=1)
        start = threading.Barrier(len(shards))

        def live(shard: Job) -> str:
            start.wait()
            claimed = loop.services.jobs.claim(shard.id, 1, f"w{shard.id}")
            if claimed is None:
                return "left alone"
            try:
                if shard.payload["shard"] == 4:
                    fail_for_good(loop, claimed)
                    return "failed"
                loop.services.rounds.complete_shard(claimed, facts_of(claimed))
            except ConflictError:
                return "superseded"
            return "done"

        with ThreadPoolExecutor(len(shards)) as pool:
            ends = list(pool.map(live, shards))
        assert ends.count("failed") == 1
        assert all(state.is_over for state in states(loop, shards))
        assert [end == "done" for end in ends] == [state is JobState.DONE for state in states(loop, shards)]
        assert the_round(loop).state is RoundState.FAILED

    def test_a_result_counts_once(self, loop: Loop) -> None:
        plan(loop)
        shard = claim(loop, JobKind.SCORE_SHARD)[0]
        loop.services.rounds.complete_shard(shard, facts_of(shard))
        with pytest.raises(SupersededError):
            loop.services.rounds.complete_shard(shard, facts_of(shard))


class TestTrouble:
    def test_a_lost_worker_costs_one_shard(self, loop: Loop) -> None:
        plan(loop)
        lost, second, third = claim(loop, JobKind.SCORE_SHARD)
        started = the_round(loop).stage_record(Stage.SCORE).started_at
        loop.clock.advance(60)
        for shard in (second, third):
            assert loop.services.jobs.beat(shard.id, shard.attempt, 1, 4, "scoring")
        loop.services.jobs.reconcile()
        assert states(loop, [lost, second, third]) == [JobState.QUEUED, JobState.RUNNING, JobState.RUNNING]
        with pytest.raises(SupersededError):
            loop.services.rounds.complete_shard(lost, facts_of(lost))
        for shard in (second, third):
            loop.services.rounds.complete_shard(shard, facts_of(shard))
        loop.clock.advance(60)
        [again] = claim(loop, JobKind.SCORE_SHARD)
        assert (again.id, again.attempt) == (lost.id, 2)
        stage = the_round(loop).stage_record(Stage.SCORE)
        assert (stage.state, stage.started_at, stage.attempt) == (StageState.RUNNING, started, 1)
        assert loop.services.rounds.complete_shard(again, facts_of(again)).stage is Stage.SELECT

    def test_one_that_fails_for_good_fails_the_round_and_stops_the_others(self, loop: Loop) -> None:
        plan(loop)
        first, second, third = claim(loop, JobKind.SCORE_SHARD)
        loop.services.rounds.complete_shard(first, facts_of(first))
        fail_for_good(loop, second)
        assert states(loop, [first, second, third]) == [JobState.DONE, JobState.FAILED, JobState.CANCELLED]
        record = the_round(loop)
        words = f"shard 2 of 3 (job {second.id}): no such file"
        assert (record.state, record.error) == (RoundState.FAILED, words)
        assert record.stage_record(Stage.SCORE).state is StageState.FAILED
        assert loop.services.jobs.get(third.id).error == f"stopped with the round: {words}"
        assert not loop.services.jobs.beat(third.id, third.attempt)
        with pytest.raises(SupersededError):
            loop.services.rounds.complete_shard(third, facts_of(third))
        assert [job.id for job in loop.services.projects.summary("pets").failed_jobs] == [second.id]

    @pytest.mark.parametrize("which", [1, 2], ids=["the failed one", "a stopped one"])
    def test_retrying_one_takes_up_the_failed_and_the_stopped_and_keeps_the_finished(
        self, loop: Loop, which: int
    ) -> None:
        plan(loop)
        first, second, third = claim(loop, JobKind.SCORE_SHARD)
        loop.services.rounds.complete_shard(first, facts_of(first))
        fail_for_good(loop, second)
        loop.clock.advance(3600)
        loop.queue.forget_all()
        retried = loop.services.jobs.retry((first, second, third)[which].id)
        assert (retried.state, retried.attempt, retried.error) == (JobState.QUEUED, 2, None)
        assert loop.queue.depths()["gpu"] == 2
        record = the_round(loop)
        assert (record.state, record.error) == (RoundState.RUNNING, None)
        assert record.stage_record(Stage.SCORE).state is StageState.PENDING
        assert states(loop, [first, second, third]) == [JobState.DONE, JobState.QUEUED, JobState.QUEUED]
        again = claim(loop, JobKind.SCORE_SHARD)
        assert the_round(loop).stage_record(Stage.SCORE).state is StageState.RUNNING
        loop.clock.advance(5)
        for shard in again:
            record = loop.services.rounds.complete_shard(shard, facts_of(shard))
        score = record.stage_record(Stage.SCORE)
        assert (record.stage, score.state) == (Stage.SELECT, StageState.DONE)
        assert (score.seconds, score.result["seconds"]) == (5.0, 5.0), "the hour in which it waited is not work"

    def test_a_shard_that_a_person_stops_fails_the_round_and_is_taken_up_again(self, loop: Loop) -> None:
        plan(loop)
        first, second, third = claim(loop, JobKind.SCORE_SHARD)
        loop.services.jobs.cancel(second.id)
        assert states(loop, [first, second, third]) == [JobState.CANCELLED] * 3
        assert the_round(loop).error == f"shard 2 of 3 (job {second.id}): job {second.id} was cancelled"
        assert [job.id for job in loop.services.projects.summary("pets").failed_jobs] == [second.id]
        loop.services.jobs.retry(second.id)
        assert states(loop, [first, second, third]) == [JobState.QUEUED] * 3

    def test_cancelling_the_round_stops_every_shard_for_good(self, loop: Loop) -> None:
        shards = plan(loop)
        running = loop.services.jobs.claim(shards[0].id, 1, "w")
        assert running is not None
        loop.services.rounds.cancel("pets", 1)
        assert states(loop, shards) == [JobState.CANCELLED] * 3
        assert loop.services.projects.summary("pets").failed_jobs == ()
        with pytest.raises(JobNotRetryableError, match="start a new round"):
            loop.services.jobs.retry(shards[1].id)
        assert states(loop, shards) == [JobState.CANCELLED] * 3, "nothing of the refused retry is kept"

    def test_shards_of_a_failed_round_are_left_alone_once_another_round_started(self, loop: Loop) -> None:
        plan(loop)
        shards = claim(loop, JobKind.SCORE_SHARD)
        fail_for_good(loop, shards[0])
        loop.services.rounds.start("pets")
        with pytest.raises(JobNotRetryableError):
            loop.services.jobs.retry(shards[0].id)
        assert loop.services.projects.summary("pets").failed_jobs == ()

    def test_a_broker_that_forgets_is_told_again_of_every_shard(self, loop: Loop) -> None:
        shards = plan(loop)
        loop.queue.forget_all()
        loop.clock.advance(3)
        assert loop.services.jobs.reconcile() == 3
        assert loop.services.jobs.reconcile() == 0
        assert all(loop.queue.knows(shard) for shard in shards)


class TestProgress:
    def test_the_stage_is_the_sum_of_its_shards_with_speed_and_time_left(self, loop: Loop) -> None:
        shards = plan(loop)
        first, second = (loop.services.jobs.claim(shard.id, 1, "w") for shard in shards[:2])
        assert first is not None and second is not None
        loop.clock.advance(2)
        loop.services.jobs.beat(first.id, 1, 2, 4, "scoring")
        loop.services.jobs.beat(second.id, 1, 1, 4, "scoring")
        summary = loop.services.projects.summary("pets")
        assert summary.stage_progress is not None
        found = summary.stage_progress
        assert (found.done, found.total, found.shards, found.shards_done) == (3, 10, 3, 0)
        # 3 images in 4 seconds of work, by two workers: 1.5 a second together, 7 images left.
        assert found.per_second == 1.5
        assert found.seconds_left == pytest.approx(7 / 1.5)
        loop.clock.advance(2)
        loop.services.rounds.complete_shard(first, facts_of(first))
        found = loop.services.projects.summary("pets").stage_progress
        assert found is not None
        assert (found.done, found.shards_done) == (5, 1)
        # One worker is left: 5 images in 4 + 2 seconds of work.
        assert found.per_second == pytest.approx(5 / 6)

    def test_nothing_is_said_of_a_speed_before_there_is_one(self, loop: Loop) -> None:
        shards = plan(loop)
        found = progress_of_shards(shards)
        assert (found.done, found.total, found.per_second, found.seconds_left) == (0, 10, None, None)
        claimed = claim(loop, JobKind.SCORE_SHARD)
        found = progress_of_shards(claimed)
        assert (found.done, found.per_second, found.seconds_left) == (0, None, None)

    def test_a_round_without_shards_shows_its_one_job(self, loop: Loop) -> None:
        planner = begin_scoring(loop)
        loop.clock.advance(4)
        loop.services.jobs.beat(planner.id, 1, 5, 10, "scoring")
        loop.clock.advance(1)
        loop.services.jobs.beat(planner.id, 1, 6, 10, "scoring")
        found = loop.services.projects.summary("pets").stage_progress
        assert found is not None
        assert (found.done, found.total, found.text, found.shards) == (6, 10, "scoring", None)
        # The scoring began at the heartbeat before the first that told of it.
        assert (found.per_second, found.seconds_left) == (pytest.approx(6 / 5), pytest.approx(4 / 1.2))

    def test_while_people_answer_no_job_has_progress(self, loop: Loop) -> None:
        planner = begin_scoring(loop)
        loop.services.rounds.complete_stage(planner, Stage.SCORE, StageResult({}, Stage.SELECT))
        select = claim(loop, JobKind.SELECT)[0]
        chosen = [Chosen(1, 0, None, {"code": "random"})]
        loop.services.rounds.complete_stage(select, Stage.SELECT, StageResult({}, Stage.ANNOTATE, chosen=chosen))
        assert loop.services.projects.summary("pets").stage_progress is None
