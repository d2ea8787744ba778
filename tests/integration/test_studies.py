"""A study inside the service: a real one on the handwritten digits, through queue, worker, files and back."""

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from al_service.domain.records import Job
from al_service.domain.states import JobState
from al_service.loop.jobs import JobNotRetryableError
from al_service.loop.studies import Asked, InvalidStudyError, NotEnoughLabelsError, StudyUnderWayError
from tests.integration.conftest import DIGITS, Loop, truth_of
from workers import context, jobs, study_job
from workers.running import Interrupts, WorkerStoppingError

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])

SMALL = Asked(strategies=["margin"], seeds=2, initial=10, batch=10, budget=30)


def a_labelled_project(loop: Loop, digits: Path, *, use_labels: str = "all", **settings: Any) -> None:
    values = {"epochs_max": 2, "auto_start": False, **settings}
    loop.services.projects.create("digits", DIGITS, values)
    loop.services.projects.import_images("digits", str(digits), use_labels=use_labels)
    loop.work()


def result_of(loop: Loop, job: Job) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(loop.services.artifacts.get(job.result["artifacts"]["result"]))
    return found


def figures(result: dict[str, Any]) -> list[Any]:
    """Everything of the runs but how long they took."""
    return [
        (run["strategy"], run["seed"], [{k: v for k, v in point.items() if k != "seconds"} for point in run["points"]])
        for run in result["runs"]
    ]


def folders(loop: Loop) -> list[str]:
    return [path.name for path in (loop.settings.data_dir / "cache" / "studies").glob("*")]


def test_a_study_compares_strategies_on_the_projects_own_labels(loop: Loop, digits: Path) -> None:
    a_labelled_project(loop, digits)
    counts = loop.services.projects.summary("digits").counts
    job, is_new = loop.services.studies.start("digits", SMALL)
    again, is_new_again = loop.services.studies.start("digits", Asked())
    assert (is_new, is_new_again, again.id) == (True, False, job.id)
    with pytest.raises(StudyUnderWayError, match=f"study {job.id} is queued, with other seeds and strategies"):
        loop.services.studies.start("digits", Asked(strategies=["badge"], seeds=7))
    loop.work()
    job = loop.services.studies.get("digits", job.id)
    assert job.state is JobState.DONE, job.error
    result = result_of(loop, job)
    assert result["dataset"]["pool_images"] == [counts.all_labelled]
    assert result["dataset"]["test_images"] == [counts.evaluation_labelled]
    assert result["dataset"]["classes"] == list(DIGITS)
    assert (result["config"]["strategies"], result["config"]["seeds"]) == (["random", "margin"], [1, 2])
    assert [[point["labels"] for point in run["points"]] for run in result["runs"]] == [[10, 20, 30]] * 4
    assert result["config"]["settings"]["epochs_max"] == 2
    assert "whole pool" in result["caveat"]
    # The facts of the job say the same in short, and the files can be shown and sent.
    assert job.result["label_savings"] == result["summary"][1]["label_savings_vs_random"]
    assert job.result["words"]
    files = {key: loop.services.artifacts.get(name) for key, name in job.result["artifacts"].items()}
    assert Image.open(io.BytesIO(files["curves"])).format == "PNG"
    report, part = files["report"].decode(), files["page"].decode()
    for words in (job.result["words"], result["caveat"]):
        assert words in report
        assert words in part
    # Nothing of the way there is left.
    assert loop.services.artifacts.names("study-states/") == []
    assert folders(loop) == []


def when_a_run_is_kept(loop: Loop, number: int, then: Callable[[], object]) -> None:
    """A fresh worker process in which something happens once so many runs of a study have been kept."""

    class Counting:
        """The real artifacts, and something that happens meanwhile."""

        kept = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(loop.services.artifacts, name)

        def put(self, name: str, data: bytes) -> None:
            loop.services.artifacts.put(name, data)
            if "-seed-" in name:
                self.kept += 1
                if self.kept == number:
                    then()

    services = replace(loop.services, artifacts=Counting())
    context.install(context.WorkerContext(loop.settings, services, "another-worker", interrupts=Interrupts()))


def stop_this_worker() -> None:
    context.current().interrupts.request(WorkerStoppingError("the test stops this worker"))


def kept_runs(loop: Loop) -> list[str]:
    return [name.rsplit("/", 1)[-1] for name in loop.services.artifacts.names("study-states/") if "-seed-" in name]


def relabel_some(loop: Loop) -> None:
    """People change their minds while a study is under way."""
    now, mia = loop.clock(), loop.person("mia")
    with loop.services.store.write() as tx:
        project = tx.projects.find("digits")
        assert project is not None
        some = tx.samples.training_set(project.id, tx.annotations.latest_id(project.id))[:50]
        labels = [(row.sample_id, "0" if row.class_name != "0" else "1") for row in some]
        tx.annotations.add_labels(project.id, mia.id, labels, "changed", now)


def test_a_study_that_was_stopped_goes_on_with_its_finished_runs_though_labels_changed_meanwhile(
    loop: Loop, digits: Path
) -> None:
    a_labelled_project(loop, digits)
    whole, _ = loop.services.studies.start("digits", SMALL)
    loop.work()
    job, _ = loop.services.studies.start("digits", SMALL)
    when_a_run_is_kept(loop, 2, stop_this_worker)
    jobs.simulate(job.id, 1)
    job = loop.services.studies.get("digits", job.id)
    assert (job.state, job.attempt, job.attempts_max) == (JobState.QUEUED, 2, 4)
    assert kept_runs(loop) == ["margin-seed-1.json", "random-seed-1.json"]
    # Meanwhile labels change, and a worker of another host takes the job up: only artifacts are there.
    relabel_some(loop)
    shutil.rmtree(loop.settings.data_dir / "cache")
    again: list[str] = []
    when_a_run_is_kept(loop, 1, lambda: again.extend(kept_runs(loop)))
    jobs.simulate(job.id, 2)
    done = loop.services.studies.get("digits", job.id)
    assert done.state is JobState.DONE, done.error
    assert again == ["margin-seed-1.json", "random-seed-1.json", "random-seed-2.json"], (
        "finished runs are not run again"
    )
    first = loop.services.studies.get("digits", whole.id)
    assert figures(result_of(loop, done)) == figures(result_of(loop, first))
    assert loop.services.artifacts.names("study-states/") == []
    # A study that begins now sees the changed labels.
    other, _ = loop.services.studies.start("digits", SMALL)
    loop.queue.run_all()
    assert figures(result_of(loop, loop.services.studies.get("digits", other.id))) != figures(result_of(loop, done))


def test_a_long_study_gives_way_to_other_jobs_after_each_run(
    loop: Loop, digits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_job, "GIVE_WAY_AFTER_S", 0.0)
    a_labelled_project(loop, digits)
    job, _ = loop.services.studies.start("digits", replace(SMALL, seeds=1))
    jobs.simulate(job.id, 1)
    paused = loop.services.studies.get("digits", job.id)
    assert (paused.state, paused.attempt, paused.attempts_max) == (JobState.QUEUED, 2, 4)
    assert paused.error is not None
    assert "lets other jobs go first" in paused.error
    jobs.simulate(job.id, 2)
    assert loop.services.studies.get("digits", job.id).state is JobState.DONE, "the last run ends the study"


def test_a_cancelled_study_ends_quietly_and_the_next_one_clears_what_it_left(loop: Loop, digits: Path) -> None:
    a_labelled_project(loop, digits)
    job, _ = loop.services.studies.start("digits", SMALL)
    when_a_run_is_kept(loop, 1, lambda: loop.services.jobs.cancel(job.id))
    jobs.simulate(job.id, 1)
    cancelled = loop.services.studies.get("digits", job.id)
    assert cancelled.state is JobState.CANCELLED
    assert "artifacts" not in cancelled.result
    assert kept_runs(loop) == ["random-seed-1.json"], "retrying it would go on"
    assert folders(loop) == [str(job.id)]
    when_a_run_is_kept(loop, 99, stop_this_worker)
    other, is_new = loop.services.studies.start("digits", replace(SMALL, seeds=1))
    assert is_new
    loop.work()
    assert loop.services.studies.get("digits", other.id).state is JobState.DONE
    assert loop.services.artifacts.names("study-states/") == []
    assert folders(loop) == []
    with pytest.raises(JobNotRetryableError):
        loop.services.jobs.retry(other.id)


def test_a_retried_study_goes_on_and_never_beside_another_one(loop: Loop, digits: Path) -> None:
    a_labelled_project(loop, digits)
    job, _ = loop.services.studies.start("digits", SMALL)
    loop.services.jobs.cancel(job.id)
    other, _ = loop.services.studies.start("digits", SMALL)
    with pytest.raises(JobNotRetryableError, match=f"a study of this project is queued already as job {other.id}"):
        loop.services.jobs.retry(job.id)
    loop.services.jobs.cancel(other.id)
    assert loop.services.jobs.retry(job.id).state is JobState.QUEUED


def test_without_evaluation_labels_each_seed_keeps_its_own_images_aside(loop: Loop, digits: Path) -> None:
    """An import has drawn its evaluation images by the project's seed: under that one nothing would be kept aside."""
    a_labelled_project(loop, digits, use_labels="none")
    truth, mia = truth_of(digits), loop.person("mia")
    with loop.services.store.write() as tx:
        project = tx.projects.find("digits")
        assert project is not None
        pool = tx.samples.selectable(project.id)
        tx.annotations.add_labels(project.id, mia.id, [(one, truth[sha]) for one, sha in pool], "known", loop.clock())
    outlook = loop.services.studies.outlook("digits")
    assert (outlook.evaluation, outlook.labelled, outlook.pool) == (0, len(pool), int(len(pool) * 0.8))
    job, _ = loop.services.studies.start("digits", SMALL)
    loop.work()
    done = loop.services.studies.get("digits", job.id)
    assert done.state is JobState.DONE, done.error
    data = result_of(loop, done)["dataset"]
    assert data["test"] == "drawn for each seed"
    assert len(data["test_images"]) == 2, "another share for each repetition"
    assert all(0.1 < count / len(pool) < 0.3 for count in data["test_images"])
    assert any("aside to measure on" in words for words in done.result["notes"])


def test_a_study_uses_the_projects_pretrained_backbone(loop: Loop, digits: Path) -> None:
    a_labelled_project(loop, digits, weights="pretrained", training_mode="probe", pretrain_epochs=1)
    with pytest.raises(InvalidStudyError, match="run `al pretrain digits`"):
        loop.services.studies.start("digits", SMALL)
    loop.services.projects.pretrain("digits")
    loop.work()
    job, _ = loop.services.studies.start("digits", replace(SMALL, seeds=1))
    loop.work()
    done = loop.services.studies.get("digits", job.id)
    assert done.state is JobState.DONE, done.error
    result = result_of(loop, done)
    assert result["config"]["settings"]["weights"] == "pretrained", "no path of this host"
    loop.services.projects.change("digits", {"weights": "none"})
    other, _ = loop.services.studies.start("digits", replace(SMALL, seeds=1))
    loop.work()
    assert figures(result_of(loop, loop.services.studies.get("digits", other.id))) != figures(result)


def test_labels_of_one_class_end_the_job_with_words(loop: Loop, digits: Path) -> None:
    """They were enough when the study was queued; a worker finds them changed."""
    a_labelled_project(loop, digits)
    job, _ = loop.services.studies.start("digits", SMALL)
    mia = loop.person("mia")
    with loop.services.store.write() as tx:
        project = tx.projects.find("digits")
        assert project is not None
        rows = tx.samples.training_set(project.id, tx.annotations.latest_id(project.id))
        labels = [(row.sample_id, "3") for row in rows]
        tx.annotations.add_labels(project.id, mia.id, labels, "all-three", loop.clock())
    with pytest.raises(NotEnoughLabelsError, match=r"labelled images of 1 class \(3\)"):
        jobs.simulate(job.id, 1)
    failed = loop.services.studies.get("digits", job.id)
    assert failed.state is JobState.FAILED
    assert failed.error is not None
    assert failed.error.startswith("digits has readable labelled images of 1 class (3)")
