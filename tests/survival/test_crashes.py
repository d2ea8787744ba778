"""kill -9, FLUSHALL and full stops in every stage: each acknowledged label is there once, each round ends as usual."""

import signal
from contextlib import nullcontext

import pytest

from tests.survival.conftest import NewProject
from tests.survival.freezing import frozen, has_pending
from tests.survival.proofs import prove
from tests.survival.rehearsed_project import RehearsedProject
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


@pytest.mark.parametrize("stage", STAGES)
def test_a_worker_killed_in_a_stage(service: RunningService, project: RehearsedProject, stage: str) -> None:
    with project.at_work():
        with project.caught(stage) as job:
            service.kill(job.worker_pid)
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
def test_the_web_process_killed_while_people_answer(
    service: RunningService, project: RehearsedProject, part: str
) -> None:
    with project.at_work():
        with project.caught("train") as job:
            answered = answer_count(project)
            service.wait_for(lambda: answer_count(project) > answered, "people answer while the round trains")
            killed = service.web_child() if part == "gunicorn worker" else service.pid("web")
            service.kill(killed)
        project.run_on(job.round_number)
    assert killed not in (service.web_child(), service.pid("web"))
    prove(project)


def answer_count(project: RehearsedProject) -> int:
    return sum(len(person.tally.acknowledged) for person in project.people)


def test_the_broker_killed_while_a_round_trains(service: RunningService, project: RehearsedProject) -> None:
    killed = service.pid("broker")
    with project.at_work():
        with project.caught("train") as job:
            service.kill(killed)
        project.run_on(job.round_number)
    assert service.pid("broker") != killed
    prove(project)


@pytest.mark.parametrize("waiting", [False, True], ids=["while a stage runs", "while a stage waits at the broker"])
def test_flushall_in_every_stage(service: RunningService, new_project: NewProject, waiting: bool) -> None:
    project = new_project()
    with project.at_work():
        with frozen(service.pid("worker-1")) if waiting else nullcontext():
            project.import_images()
            if waiting:
                service.flush_broker()
        if not waiting:
            with project.caught("ingest"):
                service.flush_broker()
        for stage in STAGES:
            with project.caught(stage, waiting=waiting) as job:
                service.flush_broker()
            project.run_on(job.round_number)
    prove(project)


def test_flushall_while_people_annotate(service: RunningService, project: RehearsedProject) -> None:
    with project.at_work():
        number = annotating_round(project)
        with frozen(service.pid("scheduler")):
            service.flush_broker()
            assert project.last_round()["state"] == "annotating" or number
        project.run_on(number)
    prove(project)


def annotating_round(project: RehearsedProject) -> int:
    def look() -> int:
        last = project.last_round()
        return int(last["number"]) if last["state"] == "annotating" else 0

    return project.service.wait_for(look, "people annotate", every_s=0.001)


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


def test_the_supervisor_killed_while_a_round_trains(service: RunningService, project: RehearsedProject) -> None:
    with project.at_work():
        with project.caught("train") as job:
            service.up.kill()
            service.wait_for(lambda: has_pending(job.worker_pid, signal.SIGTERM), "the worker is told to stop")
        service.wait_until_gone()
        service.start()
        project.run_on(job.round_number)
    assert job_of(project, job.id)["attempt"] >= 2
    prove(project)
