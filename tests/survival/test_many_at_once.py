"""Two schedulers, twenty callers, sixteen labelers: one round at a time, one person for each sample."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import requests

from tests.survival.conftest import NewProject
from tests.survival.proofs import prove
from tests.survival.rehearsed_project import RehearsedProject, engineers_token
from tests.survival.running_service import PATIENCE_S, RunningService

CALLERS = 20
LABELERS = 16
#: Half of the callers share one key, as a page does that sends the same click again; the others have keys of their own.
KEYS = ["the same click"] * (CALLERS // 2) + [f"click {number}" for number in range(CALLERS // 2)]
LOOKING = "scheduler looks"
pytestmark = pytest.mark.timeout(900)


def call_at_once(project: RehearsedProject, prefix: str, *, auto_start: bool = False) -> list[tuple[int, int]]:
    """(status, round number) of twenty starts at the same moment, and of a change of settings among them."""
    url = f"{project.service.url}/api/v1/projects/{project.name}"
    headers = {"Authorization": f"Bearer {engineers_token(project.service)}"}
    ready = Barrier(CALLERS + 1)

    def start(key: str) -> tuple[int, int]:
        ready.wait()
        own = headers | {"Idempotency-Key": f"{prefix} {key}"}
        answer = requests.post(f"{url}/rounds", headers=own, timeout=PATIENCE_S)
        return answer.status_code, answer.json()["round"]["number"]

    def change() -> int:
        ready.wait()
        body = {"settings": {"auto_start": auto_start}}
        return requests.patch(url, headers=headers, json=body, timeout=PATIENCE_S).status_code

    with ThreadPoolExecutor(CALLERS + 1) as pool:
        changed = pool.submit(change)
        answers = list(pool.map(start, KEYS))
    assert changed.result() == 200
    return answers


def round_count(project: RehearsedProject) -> int:
    return int(project.one("SELECT count(*) AS n FROM rounds WHERE project_id = ?", project.id)["n"])


def wait_annotating(project: RehearsedProject, number: int) -> None:
    def look() -> bool:
        last = project.last_round()
        return (last["number"], last["state"]) == (number, "annotating")

    project.service.wait_for(look, f"round {number} asks people")


def test_two_schedulers_and_twenty_callers_start_one_round(service: RunningService, new_project: NewProject) -> None:
    project = new_project(settings={"auto_start": False})
    with service.another("scheduler", ready=LOOKING):
        job_id = project.import_images()
        imported = "SELECT state FROM jobs WHERE id = ?"
        service.wait_for(lambda: project.one(imported, job_id)["state"] == "done", "the images are in")
        assert sorted(call_at_once(project, "first")) == [(200, 1)] * (CALLERS - 1) + [(202, 1)]
        wait_annotating(project, 1)
        with project.at_work():
            service.wait_for(lambda: project.stored_count() >= 20, "people have answered enough for a round")
        # Nobody answers any more; now the callers and, by the change, both schedulers want the next round.
        answers = call_at_once(project, "second", auto_start=True)
        assert {number for _, number in answers} == {2}
        assert sorted(status for status, _ in answers)[:-1] == [200] * (CALLERS - 1)
        wait_annotating(project, 2)
        assert round_count(project) == 2
        key = project.one("SELECT idempotency_key FROM rounds WHERE project_id = ? AND number = 1", project.id)[0]
        again = project.call("POST", f"/projects/{project.name}/rounds", headers={"Idempotency-Key": key})
        assert (again.status_code, again.json()["round"]["number"]) == (200, 1)
    prove(project)


def test_sixteen_labelers_and_two_schedulers(service: RunningService, new_project: NewProject) -> None:
    project = new_project(people=LABELERS, think_s=0.05)
    with service.another("scheduler", ready=LOOKING), project.at_work():
        project.import_images()
        service.wait_for(lambda: project.stored_count() >= 200, "people have answered a lot")
        project.run_on(int(project.last_round()["number"]))
    assert all(person.tally.acknowledged for person in project.people)
    prove(project)
