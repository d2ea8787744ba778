"""One person is one vote, settings count from the next round on, and nothing moves a label behind a round's back."""

import threading
from collections.abc import Callable

import pytest

from al_service.domain.records import User
from al_service.domain.states import AnnotationKind, JobKind, JobState, Role, RoundState, SampleState
from al_service.errors import ConflictError, UnavailableError
from al_service.loop.accounts import LastAdminError
from al_service.loop.jobs import JobLimits, JobNotRetryableError
from tests.integration.conftest import Loop
from tests.integration.pets import ask, fill, label, lease, sample_state, say

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])


def test_several_answers_of_one_person_are_one_vote(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, overlap=2)
    [held] = lease(loop, mia)
    for number in range(3):
        label(loop, held, mia, "dog", key=f"again-{number}")
    assert sample_state(loop, ids[0])[0] is SampleState.UNLABELLED
    label(loop, lease(loop, tom)[0], tom, "cat")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")


def test_insisting_does_not_outvote_a_colleague(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop)
    [mias] = lease(loop, mia)
    loop.clock.advance(301)
    label(loop, lease(loop, tom)[0], tom, "cat")
    for number in range(3):
        label(loop, mias, mia, "dog", key=f"insist-{number}")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "cat")


def test_a_later_skip_does_not_take_a_label_back(loop: Loop, mia: User) -> None:
    ids = fill(loop)
    [held] = lease(loop, mia)
    label(loop, held, mia, "dog")
    say(loop, held, mia, AnnotationKind.SKIP)
    say(loop, held, mia, AnnotationKind.FLAG)
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_overlap_of_a_running_round_stays_what_it_was(
    loop: Loop, mia: User, tom: User, before: int, after: int
) -> None:
    ids = fill(loop, batch=2, overlap=before)
    for assignment in lease(loop, mia, 2):
        label(loop, assignment, mia, "dog")
    loop.services.projects.change("pets", {"overlap": after})
    if before == 2:
        assert {item.sample.id for item in lease(loop, tom, 2)} == set(ids[:2])
        for assignment in lease(loop, tom, 2):
            label(loop, assignment, tom, "dog")
    else:
        assert lease(loop, tom, 2) == []
    assert [sample_state(loop, one) for one in ids[:2]] == [(SampleState.LABELLED, "dog")] * 2
    loop.scheduler.tick()
    assert loop.services.rounds.get("pets", 1).state is RoundState.CLOSED


def test_another_vote_for_the_same_class_is_no_new_label(loop: Loop, mia: User, tom: User) -> None:
    fill(loop)
    [mias] = lease(loop, mia)
    loop.clock.advance(301)
    label(loop, lease(loop, tom)[0], tom, "cat")
    record, is_new = loop.services.rounds.start("pets")
    assert (is_new, record.label_count) == (True, 1)
    assert label(loop, mias, mia, "cat").is_extra_vote
    with loop.services.store.read() as tx:
        assert len(tx.samples.training_set(record.project_id, record.watermark)) == 1
        assert tx.annotations.new_label_count(record.project_id, record.watermark) == 0


def test_unlabelled_training_images_are_no_labels(loop: Loop, mia: User) -> None:
    from al_service.domain.records import NewSample
    from al_service.domain.states import Split

    fill(loop, batch=2, label_budget=5)
    project = loop.services.projects.get("pets")
    with loop.services.store.write() as tx:
        images = [NewSample(f"t{n}.png", f"a{n:063x}", 8, 8, "PNG", 100, Split.TRAIN) for n in range(5)]
        tx.samples.add_many(project.id, images, loop.clock())
    for assignment in lease(loop, mia, 2):
        label(loop, assignment, mia)
    record, _ = loop.services.rounds.start("pets")
    assert record.label_count == 2
    assert loop.services.projects.summary("pets").counts.train_labelled == 0


def fail_round(loop: Loop, number: int) -> int:
    """Let the training job of that round fail for good; its id."""
    record = loop.services.rounds.get("pets", number)
    with loop.services.store.read() as tx:
        job = next(item for item in tx.jobs.all(states=["queued"]) if item.round_id == record.id)
    claimed = loop.services.jobs.claim(job.id, job.attempt, "test")
    assert claimed is not None
    loop.services.jobs.fail(job.id, claimed.attempt, "disk on fire", retryable=False)
    assert loop.services.rounds.get("pets", number).state is RoundState.FAILED
    return job.id


def test_a_failed_round_that_another_has_followed_stays_over(loop: Loop, mia: User) -> None:
    fill(loop)
    label(loop, lease(loop, mia)[0], mia)
    assert loop.services.rounds.start("pets")[1]
    job_id = fail_round(loop, 2)
    assert [job.id for job in loop.services.projects.summary("pets").failed_jobs] == [job_id]
    ask(loop, [])
    with pytest.raises(ConflictError, match="start a new round instead"):
        loop.services.jobs.retry(job_id)
    assert loop.services.rounds.get("pets", 2).state is RoundState.FAILED
    assert loop.services.projects.summary("pets").failed_jobs == ()


def test_a_stopped_job_of_the_last_round_can_be_taken_up_again(loop: Loop, mia: User) -> None:
    fill(loop)
    label(loop, lease(loop, mia)[0], mia)
    loop.services.rounds.start("pets")
    with loop.services.store.read() as tx:
        job = next(item for item in tx.jobs.all(states=["queued"]) if item.kind is JobKind.TRAIN)
    assert loop.services.jobs.cancel(job.id).state is JobState.CANCELLED
    [shown] = loop.services.projects.summary("pets").failed_jobs
    assert loop.services.jobs.retry(shown.id).attempt == 2
    assert loop.services.rounds.get("pets", 2).state is RoundState.RUNNING


def test_a_pretraining_is_not_taken_up_again_beside_another_one(loop: Loop) -> None:
    fill(loop)
    services = loop.services
    first, _ = services.projects.pretrain("pets")
    with pytest.raises(JobNotRetryableError, match=f"job {first.id} is queued"):
        services.jobs.retry(first.id)
    services.jobs.cancel(first.id)
    second, is_new = services.projects.pretrain("pets")
    assert is_new
    with pytest.raises(JobNotRetryableError, match=f"is queued already as job {second.id}"):
        services.jobs.retry(first.id)
    assert services.jobs.claim(second.id, 1, "w") is not None
    with pytest.raises(JobNotRetryableError, match=f"is running already as job {second.id}"):
        services.jobs.retry(first.id)
    assert services.jobs.get(first.id).state is JobState.CANCELLED
    services.jobs.cancel(second.id)
    assert services.jobs.retry(first.id).state is JobState.QUEUED


def test_cancelling_a_round_empties_the_queue_and_late_answers_still_count(loop: Loop, mia: User, tom: User) -> None:
    ids = fill(loop, batch=3)
    [held] = lease(loop, mia)
    loop.services.rounds.cancel("pets", 1)
    label(loop, held, mia, "dog")
    assert sample_state(loop, ids[0]) == (SampleState.LABELLED, "dog")
    assert lease(loop, tom, 3) == []


def test_waiting_before_a_retry_is_bounded_however_often_workers_were_restarted() -> None:
    limits = JobLimits(attempts_max=3, retry_delay_s=2.0)
    assert [limits.delay_after(n, 3).total_seconds() for n in (1, 2, 3)] == [2.0, 4.0, 8.0]
    assert limits.delay_after(41, 43).total_seconds() == 2.0
    assert limits.delay_after(5000, 3).total_seconds() == 300.0


def test_one_projects_trouble_does_not_stop_the_scheduler(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    fill(loop)
    calls: list[str] = []

    def trouble() -> int:
        calls.append("trouble")
        raise OverflowError("a bug")

    assert loop.scheduler._safely("advance broken", trouble) == 0
    assert "advance broken: unexpected" in caplog.text
    assert calls == ["trouble"]


class SilentBroker:
    """A job queue whose broker never answers; counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def knows(self, job: object) -> bool:
        self.asked += 1
        raise UnavailableError("the broker does not answer")

    announce = knows


def test_a_silent_broker_is_asked_once_per_look(loop: Loop) -> None:
    from al_service.loop.jobs import Jobs

    for number in range(4):
        loop.services.projects.create(f"p{number}", ["a", "b"], {"auto_start": False})
        loop.services.rounds.start(f"p{number}")
    broker = SilentBroker()
    loop.clock.advance(10)
    assert Jobs(loop.services.store, broker, loop.clock).reconcile() == 0  # type: ignore[arg-type]
    assert broker.asked == 1


def at_once(*actions: Callable[[], object]) -> list[Exception]:
    """Run the actions in threads of their own, all released together; what they raised."""
    barrier, raised = threading.Barrier(len(actions)), []

    def run(action: Callable[[], object]) -> None:
        barrier.wait()
        try:
            action()
        except Exception as error:  # noqa: BLE001 (what was raised is what the test looks at)
            raised.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


def test_two_settings_changed_at_once_are_both_kept(loop: Loop) -> None:
    fill(loop)
    change = loop.services.projects.change
    for number in range(1, 6):
        raised = at_once(
            lambda n=number: change("pets", {"overlap": n}), lambda n=number: change("pets", {"max_skips": n})
        )
        config = loop.services.projects.get("pets").config
        assert (raised, config.overlap, config.max_skips) == ([], number, number)


def test_two_admins_cannot_demote_each_other_at_once(loop: Loop) -> None:
    accounts = loop.services.accounts
    for _ in range(5):
        for name in ("ada", "eve"):
            accounts.ensure_user(name, Role.ADMIN)
        raised = at_once(
            lambda: accounts.change_user("ada", role=Role.VIEWER), lambda: accounts.change_user("eve", role=Role.VIEWER)
        )
        assert [type(error) for error in raised] == [LastAdminError]
        assert [user.role for user in accounts.users()].count(Role.ADMIN) == 1
