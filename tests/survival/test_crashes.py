"""kill -9, FLUSHALL and full stops in every stage: each acknowledged label is there once, each round ends as usual."""

import os
import signal
import sqlite3

import pytest

from tests.survival.conftest import NewProject
from tests.survival.freezing import frozen, has_pending
from tests.survival.proofs import prove
from tests.survival.rehearsed_project import GLANCE_S, RehearsedProject
from tests.survival.running_service import RunningService

STAGES = ("train", "score", "select")
pytestmark = pytest.mark.timeout(900)


def job_of(project: RehearsedProject, job_id: int) -> dict[str, object]:
    return dict(project.one("SELECT * FROM jobs WHERE id = ?", job_id))


def test_a_worker_killed_in_an_import(service: RunningService, new_project: NewProject) -> None:
    project = new_project()
    with project.at_work():
        job_id = project.import_images()
        with project.caught("ingest") as job:
            stored = project.one("SELECT count(*) AS n FROM samples WHERE project_id = ?", project.id)["n"]
            assert 0 < stored < len(list(project.images.glob("*/*.png")))
            service.kill(job.worker_pid)
        project.run_on(1)
    assert job.id == job_id
    assert job_of(project, job_id)["attempt"] >= 2
    prove(project)


def test_a_full_stop_while_a_round_trains(service: RunningService, project: RehearsedProject) -> None:
    with project.at_work():
        with project.caught("train") as job:
            service.up.send_signal(signal.SIGTERM)
            service.wait_for(lambda: has_pending(job.worker_pid, signal.SIGTERM), "the worker is told to stop")
        service.wait_until_gone()
        service.start()
        project.run_on(job.round_number)
    assert job_of(project, job.id)["attempt"] >= 2
    prove(project)


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_killed_in_a_stage(service: RunningService, project: RehearsedProject, stage: str) -> None:
    with project.at_work():
        with project.caught(stage) as job:
            service.kill(job.worker_pid)
        project.run_on(job.round_number)
    assert job_of(project, job.id)["attempt"] >= 2
    prove(project)


def test_the_supervisor_killed_while_a_round_trains(service: RunningService, project: RehearsedProject) -> None:
    with project.at_work():
        with project.caught("train") as job:
            # A stopped process whose parent dies gets SIGHUP besides, which no running worker ever would.
            os.kill(job.worker_pid, signal.SIGCONT)
            service.up.kill()
        service.wait_until_gone()
        service.start()
        project.run_on(job.round_number)
    assert job_of(project, job.id)["attempt"] >= 2
    prove(project)


def test_a_worker_that_wakes_up_after_its_job_was_given_away(
    service: RunningService, project: RehearsedProject
) -> None:
    """Its late result is refused: one model, one batch, of the attempt that counts."""
    with service.another("worker", ready="registered"), project.at_work():
        with project.caught("train") as job:
            service.wait_for(lambda: job_of(project, job.id)["state"] == "done", "the other worker has done the job")
        project.run_on(job.round_number)
    assert job_of(project, job.id)["attempt"] >= 2
    prove(project)


def test_the_scheduler_killed_while_a_round_trains(service: RunningService, project: RehearsedProject) -> None:
    killed = service.pid("scheduler")
    with project.at_work():
        with project.caught("train") as job:
            service.kill(killed)
        project.run_on(job.round_number)
    assert service.pid("scheduler") != killed
    prove(project)


@pytest.mark.parametrize("part", ["gunicorn worker", "gunicorn master"])
def test_the_web_process_killed_before_an_answer_is_acknowledged(
    service: RunningService, project: RehearsedProject, part: str
) -> None:
    with project.at_work():
        with project.caught_before_reply() as answering:
            number = project.last_round()["number"]
            killed = answering if part == "gunicorn worker" else service.pid("web")
            service.kill(killed)
        project.run_on(number)
    assert killed not in (service.web_child(), service.pid("web"))
    prove(project)


def test_the_broker_killed_while_a_round_trains(service: RunningService, project: RehearsedProject) -> None:
    killed = service.pid("broker")
    with project.at_work():
        with project.caught("train") as job:
            service.kill(killed)
        project.run_on(job.round_number)
    assert service.pid("broker") != killed
    prove(project)


def test_flushall_while_a_stage_runs(service: RunningService, new_project: NewProject) -> None:
    project = new_project()
    with project.at_work():
        project.import_images()
        with project.caught("ingest"):
            service.flush_broker()
        for stage in STAGES:
            with project.caught(stage) as job:
                service.flush_broker()
            project.run_on(job.round_number)
    prove(project)


def test_flushall_while_a_stage_waits_for_the_worker(service: RunningService, new_project: NewProject) -> None:
    """The message is lost, so the job must be announced again."""
    project = new_project()
    with project.at_work():
        with frozen(service.pid("worker-1")):
            job_id = project.import_images()
            service.flush_broker()
            assert job_of(project, job_id)["state"] == "queued"
        for stage in STAGES:
            with project.caught_waiting(stage) as job:
                service.flush_broker()
                assert job_of(project, job.id)["state"] == "queued"
            project.run_on(job.round_number)
    prove(project)


def test_flushall_while_people_annotate(service: RunningService, project: RehearsedProject) -> None:
    with project.at_work():
        number = flush_while_annotating(project)
        project.run_on(number)
    prove(project)


def flush_while_annotating(project: RehearsedProject) -> int:
    """The round that waited for people at the moment of the flush; without a scheduler none can start meanwhile."""

    def look() -> sqlite3.Row | None:
        last = project.last_round()
        return last if last["state"] == "annotating" else None

    while True:
        project.service.wait_for(look, "people annotate", every_s=GLANCE_S)
        with frozen(project.service.pid("scheduler")):
            if (last := look()) is not None:
                project.service.flush_broker()
                return int(last["number"])
