"""Jobs, users, tokens and the audit log, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

from al_service.domain.records import Job
from al_service.domain.states import JobKind, JobState, Role
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.ports import Transaction
from tests.contract.store_world import NOW, World

SECOND = timedelta(seconds=1)


def add_job(world: World, tx: Transaction, kind: JobKind = JobKind.TRAIN) -> Job:
    return tx.jobs.add(
        project_id=world.project.id, round_id=None, kind=kind, payload={"a": [1]}, attempts_max=2, now=NOW
    )


class TestJobs:
    def test_a_new_job_is_queued_and_due(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            assert tx.jobs.get(made.id) == made
            assert tx.jobs.due(NOW, NOW) == [made]
            assert tx.jobs.due(NOW - SECOND, NOW) == []
        assert (made.state, made.attempt, made.attempts_max, made.payload) == (JobState.QUEUED, 1, 2, {"a": [1]})
        assert (made.progress_done, made.progress_total, made.progress_text) == (0, None, "")

    def test_an_announced_job_is_due_again_after_a_while(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            tx.jobs.set_announced(made.id, 2, NOW)
            assert tx.jobs.get(made.id).announced_at is None
            tx.jobs.set_announced(made.id, 1, NOW)
            assert tx.jobs.due(NOW + SECOND, NOW) == []
            assert [job.id for job in tx.jobs.due(NOW + SECOND, NOW + SECOND)] == [made.id]

    def test_many_jobs_that_wait_do_not_keep_later_ones_from_being_announced(self, world: World) -> None:
        with world.store.write() as tx:
            waiting = [add_job(world, tx, JobKind.SCORE_SHARD) for _ in range(3)]
            for place in (1, 2, 0):
                tx.jobs.set_announced(waiting[place].id, 1, NOW + place * SECOND)
            late = tx.jobs.add(
                project_id=world.project.id,
                round_id=None,
                kind=JobKind.SELECT,
                payload={},
                attempts_max=1,
                now=NOW + 5 * SECOND,
            )
            now = NOW + 9 * SECOND
            assert [job.id for job in tx.jobs.due(now, now)] == [late.id, *(job.id for job in waiting)]
            assert [job.id for job in tx.jobs.due(now, now, 1)] == [late.id]
            for job in (late, waiting[0]):
                tx.jobs.set_announced(job.id, 1, NOW + 8 * SECOND)
            assert [job.id for job in tx.jobs.due(now, now)] == [
                waiting[1].id,
                waiting[2].id,
                waiting[0].id,
                late.id,
            ]

    def test_jobs_of_one_kind_are_found_behind_many_others(self, world: World) -> None:
        with world.store.write() as tx:
            wanted = add_job(world, tx, JobKind.PRETRAIN)
            for _ in range(3):
                add_job(world, tx)
            assert tx.jobs.all(kind=JobKind.PRETRAIN, states=["queued"], limit=1) == [wanted]
            assert tx.jobs.all(kind=JobKind.INGEST) == []

    def test_an_attempt_is_claimed_once(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            assert not tx.jobs.claim(made.id, 2, "w", NOW)
            assert tx.jobs.claim(made.id, 1, "w", NOW)
            assert not tx.jobs.claim(made.id, 1, "other", NOW)
            found = tx.jobs.get(made.id)
            assert found == replace(
                made, state=JobState.RUNNING, worker="w", started_at=NOW, heartbeat_at=NOW, progress_since=NOW
            )
            assert tx.jobs.due(NOW, NOW) == []

    def test_beats_carry_progress(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            assert not tx.jobs.beat(made.id, 1, NOW)
            tx.jobs.claim(made.id, 1, "w", NOW)
            assert tx.jobs.beat(made.id, 1, NOW + SECOND, done=3, total=9, text="reading")
            assert tx.jobs.beat(made.id, 1, NOW + 2 * SECOND, done=4)
            assert not tx.jobs.beat(made.id, 2, NOW + 3 * SECOND, done=9)
            found = tx.jobs.get(made.id)
            assert (found.progress_done, found.progress_total, found.progress_text) == (4, 9, "reading")
            assert tx.jobs.lost(NOW + 2 * SECOND) == []
            assert tx.jobs.lost(NOW + 3 * SECOND) == [found]

    def test_new_work_began_at_the_heartbeat_before(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            tx.jobs.claim(made.id, 1, "w", NOW)
            since = []
            for at, done, text in (
                (1, 3, "reading"),
                (2, 5, "reading"),
                (3, None, None),
                (4, 1, "scoring"),
                (5, 4, "scoring"),
                (6, 2, "scoring"),
                (7, None, "scoring"),
            ):
                assert tx.jobs.beat(made.id, 1, NOW + at * SECOND, done=done, text=text)
                since.append(tx.jobs.get(made.id).progress_since)
        assert since == [NOW + at * SECOND for at in (0, 0, 0, 3, 3, 5, 5)]

    def test_a_running_attempt_finishes_once(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            assert not tx.jobs.finish(made.id, 1, {}, NOW)
            tx.jobs.claim(made.id, 1, "w", NOW)
            assert not tx.jobs.finish(made.id, 2, {}, NOW)
            assert tx.jobs.finish(made.id, 1, {"seen": 3}, NOW + SECOND)
            assert not tx.jobs.finish(made.id, 1, {"seen": 4}, NOW + SECOND)
            found = tx.jobs.get(made.id)
            assert (found.state, found.result, found.finished_at) == (JobState.DONE, {"seen": 3}, NOW + SECOND)
            assert not tx.jobs.cancel(made.id, NOW) and not tx.jobs.reset(made.id, NOW)

    def test_an_attempt_fails_from_running_and_from_queued(self, world: World) -> None:
        with world.store.write() as tx:
            queued, running = add_job(world, tx), add_job(world, tx)
            tx.jobs.claim(running.id, 1, "w", NOW)
            for job in (queued, running):
                assert not tx.jobs.fail(job.id, 2, "oh", NOW)
                assert tx.jobs.fail(job.id, 1, "oh", NOW)
                found = tx.jobs.get(job.id)
                assert (found.state, found.error, found.finished_at) == (JobState.FAILED, "oh", NOW)

    @pytest.mark.parametrize(("counted", "attempts_max"), [(True, 2), (False, 3)])
    def test_requeued_as_the_next_attempt(self, world: World, counted: bool, attempts_max: int) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            tx.jobs.set_announced(made.id, 1, NOW)
            tx.jobs.claim(made.id, 1, "w", NOW)
            tx.jobs.beat(made.id, 1, NOW, done=5, total=9, text="half")
            assert not tx.jobs.requeue(made.id, 2, NOW, "oh", NOW)
            assert tx.jobs.requeue(made.id, 1, NOW + SECOND, "oh", NOW, counted=counted)
            found = tx.jobs.get(made.id)
            assert found == replace(made, attempt=2, attempts_max=attempts_max, not_before=NOW + SECOND, error="oh")
            assert not tx.jobs.finish(made.id, 1, {}, NOW)
            assert tx.jobs.due(NOW, NOW) == []
            assert tx.jobs.due(NOW + SECOND, NOW) == [found]
            assert tx.jobs.claim(made.id, 2, "w", NOW)

    def test_cancelled_and_reset(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            assert not tx.jobs.reset(made.id, NOW)
            for attempt, attempts_max in ((2, 2), (3, 3)):
                assert tx.jobs.cancel(made.id, NOW)
                assert tx.jobs.get(made.id).state is JobState.CANCELLED
                assert not tx.jobs.cancel(made.id, NOW)
                assert tx.jobs.reset(made.id, NOW + SECOND)
                found = tx.jobs.get(made.id)
                assert found == replace(made, attempt=attempt, attempts_max=attempts_max, not_before=NOW + SECOND)

    def test_a_cancelled_job_may_say_why(self, world: World) -> None:
        with world.store.write() as tx:
            made = add_job(world, tx)
            assert tx.jobs.cancel(made.id, NOW, why="the round failed")
            assert tx.jobs.get(made.id).error == "the round failed"
            assert tx.jobs.reset(made.id, NOW)
            assert tx.jobs.get(made.id).error is None

    def test_jobs_of_a_round_oldest_first(self, world: World) -> None:
        one, other = world.add_round([]), world.add_round([])
        with world.store.write() as tx:
            made = [
                tx.jobs.add(
                    project_id=world.project.id, round_id=round_id, kind=kind, payload={}, attempts_max=1, now=NOW
                )
                for round_id in (one.id, other.id)
                for kind in (JobKind.SCORE, JobKind.SCORE_SHARD, JobKind.SCORE_SHARD)
            ]
            add_job(world, tx)
            assert tx.jobs.of_round(one.id) == made[:3]
            assert tx.jobs.of_round(other.id, JobKind.SCORE_SHARD) == made[4:]
            assert tx.jobs.of_round(other.id, JobKind.TRAIN) == tx.jobs.of_round(999) == []

    def test_newest_first_by_project_and_state(self, world: World) -> None:
        with world.store.write() as tx:
            first, second, third = (add_job(world, tx) for _ in range(3))
            tx.jobs.cancel(second.id, NOW)
            ids = [job.id for job in tx.jobs.all()]
            assert ids == [third.id, second.id, first.id]
            assert [job.id for job in tx.jobs.all(limit=1)] == [third.id]
            assert [job.id for job in tx.jobs.all(project_id=world.project.id, states=["queued"])] == [
                third.id,
                first.id,
            ]
            assert [job.id for job in tx.jobs.all(states=[JobState.CANCELLED])] == [second.id]
            assert tx.jobs.all(project_id=999) == tx.jobs.all(states=[]) == []
            with pytest.raises(InvalidInputError, match="'odd' is not a job state"):
                tx.jobs.all(states=["odd"])


class TestAccounts:
    def test_users_are_found_and_changed(self, world: World) -> None:
        with world.store.write() as tx:
            made = tx.accounts.add_user("zoé", Role.ADMIN, "hash", NOW)
            with pytest.raises(ConflictError, match="zoé"):
                tx.accounts.add_user("zoé", Role.VIEWER, None, NOW)
            assert tx.accounts.find_user("zoé") == tx.accounts.get_user(made.id) == made
            assert tx.accounts.find_user("nobody") is None
            assert tx.accounts.password_hash(made.id) == "hash"
            assert tx.accounts.password_hash(world.ann.id) is None
            assert tx.accounts.find_signed_in(made.id)() == (made, "hash")
            assert tx.accounts.find_signed_in(world.ann.id)() == (world.ann, None)
            assert tx.accounts.find_signed_in(999)() is None
            assert [user.name for user in tx.accounts.users()] == ["ann", "bob", "cat", "zoé"]
            tx.accounts.set_user(made.id, role=Role.VIEWER)
            tx.accounts.set_user(made.id, password_hash="other", is_active=False)
            tx.accounts.set_user(made.id)
            assert tx.accounts.get_user(made.id) == replace(made, role=Role.VIEWER, is_active=False)
            assert tx.accounts.password_hash(made.id) == "other"
            with pytest.raises(NotFoundError):
                tx.accounts.set_user(999, is_active=False)

    def test_a_session_that_was_ended_signs_nobody_in_until_it_is_forgotten(self, world: World) -> None:
        with world.store.write() as tx:
            assert tx.accounts.find_signed_in(world.ann.id, "first")() == (world.ann, None)
            assert tx.accounts.end_session("first", NOW, forget_before=NOW - timedelta(days=30)) is True
            assert tx.accounts.end_session("first", NOW + timedelta(days=1), forget_before=NOW) is False
            assert tx.accounts.find_signed_in(world.ann.id, "first")() is None
            assert tx.accounts.find_signed_in(world.ann.id, "second")() == (world.ann, None)
            later = NOW + timedelta(days=31)
            assert tx.accounts.end_session("second", later, forget_before=NOW + timedelta(seconds=1)) is True
            assert tx.accounts.find_signed_in(world.ann.id, "first")() == (world.ann, None)
            assert tx.accounts.find_signed_in(world.ann.id, "second")() is None

    def test_tokens_are_found_touched_and_revoked(self, world: World) -> None:
        with world.store.write() as tx:
            values = {"name": "t", "role": Role.LABELER, "expires_at": NOW + SECOND, "now": NOW}
            first = tx.accounts.add_token(user_id=world.ann.id, token_hash="hash-ann", **values)
            second = tx.accounts.add_token(user_id=world.bob.id, token_hash="hash-bob", **values)
            assert tx.accounts.find_token("hash-ann") == (first, world.ann)
            assert tx.accounts.find_token("hash-none") is None
            assert tx.accounts.tokens() == [second, first]
            assert tx.accounts.tokens(world.ann.id) == [first]
            tx.accounts.touch_token(first.id, NOW + SECOND)
            for now in (NOW + SECOND, NOW + 2 * SECOND):
                tx.accounts.revoke_token(first.id, now)
            ended = replace(first, last_used_at=NOW + SECOND, revoked_at=NOW + SECOND)
            assert tx.accounts.find_token("hash-ann") == (ended, world.ann)
            with pytest.raises(NotFoundError):
                tx.accounts.revoke_token(999, NOW)
        assert (first.user_id, first.role, first.expires_at, first.revoked_at) == (
            world.ann.id,
            Role.LABELER,
            NOW + SECOND,
            None,
        )

    def test_the_audit_log_is_newest_first(self, world: World) -> None:
        with world.store.write() as tx:
            tx.accounts.add_audit(user_id=world.ann.id, action="a", subject="s", details={"role": Role.ADMIN}, now=NOW)
            tx.accounts.add_audit(user_id=None, action="b", subject="s", details={}, now=NOW + SECOND)
            newest, oldest = tx.accounts.audit()
            assert tx.accounts.audit(1) == [newest]
        assert newest == {"id": 2, "user": None, "action": "b", "subject": "s", "details": {}, "at": NOW + SECOND}
        assert (oldest["user"], oldest["details"], oldest["at"]) == ("ann", {"role": "admin"}, NOW)
