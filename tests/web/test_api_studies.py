"""Studies over HTTP: who may start one, what is refused before it is queued, what is answered on the way and after."""

import json

import pytest

from al_service.domain.states import JobState, Role
from al_service.loop.studies import COMPARING, Asked

REPORT = b"<!doctype html><title>birds</title>"
PICTURE = b"\x89PNG not really"
RESULT = {"headline": "auto", "summary": [], "caveat": "chosen before"}
FACTS = {
    "headline": "auto",
    "words": "auto needs 40 labels for what random reaches with 60.",
    "lead": "With 60 labels …",
    "label_savings": 1.5,
    "label_savings_ci95": [1.2, 1.9],
    "labels": 40.0,
    "random_labels": 60.0,
    "notes": ["3 images left out: unreadable"],
    "artifacts": {"result": "studies/1/1/result.json", "report": "studies/1/1/report.html", "curves": "studies/1/1/c"},
}


def labelled_project(world, name="birds", *, count=60, evaluation=10, **settings):
    """A project whose images all have labels, cat and dog in turn."""
    ids = world.project(name, count=count, evaluation=evaluation, **settings)
    label(world, name, ids)
    return ids


def label(world, name, ids, classes=("cat", "dog")):
    mia = world.services.accounts.ensure_user("mia", Role.LABELER)
    labels = [(one, classes[position % len(classes)]) for position, one in enumerate(ids)]
    with world.store.write() as tx:
        tx.annotations.add_labels(tx.projects.find(name).id, mia.id, labels, f"known-{name}", world.clock())


def finish(world, job_id):
    """As a worker: files and facts are there, the job is done."""
    job = claim(world, job_id)
    artifacts = FACTS["artifacts"]
    contents = {"result": json.dumps(RESULT).encode(), "report": REPORT, "curves": PICTURE}
    world.artifacts.put_many({artifacts[key]: content for key, content in contents.items()})
    with world.store.write() as tx:
        world.services.jobs.finish(tx, job, FACTS)


def claim(world, job_id):
    job = world.services.jobs.get(job_id)
    claimed = world.services.jobs.claim(job.id, job.attempt, "worker-1")
    assert claimed is not None
    return claimed


def test_a_study_from_start_to_report(world):
    labelled_project(world)
    engineer, viewer = world.api("engineer", "eve"), world.api("viewer")
    begun = engineer.post("/projects/birds/studies", {"strategies": ["margin", "margin"], "seeds": 2})
    study = begun.json["study"]
    assert (begun.status_code, study["state"], study["models_done"]) == (202, "queued", None)
    assert study["strategies"] == ["random", "margin"]
    assert begun.headers["Location"] == f"/api/v1/projects/birds/studies/{study['id']}"
    # Two classes: 4 labels at a time, ten times after the first; two thirds of 60 are 40.
    assert [study[name] for name in ("initial", "batch", "budget", "random_budget")] == [4, 4, 40, 40]
    assert study["models"] == 2 * 2 * 10
    again = engineer.post("/projects/birds/studies")
    assert (again.status_code, again.json["study"]["id"]) == (200, study["id"])
    path = f"/projects/birds/studies/{study['id']}"
    assert viewer.get(path).json["result"] is None
    for name in ("report.html", "curves.png"):
        answer = viewer.get(f"{path}/{name}")
        assert answer.status_code == 404
        assert "is queued" in answer.json["error"]["message"]
    job = claim(world, study["id"])
    # Ten of the forty models were trained by an earlier attempt, and six of the others by now.
    assert world.services.jobs.beat(job.id, job.attempt, 6, 30, COMPARING)
    running = viewer.get(path).json["study"]
    assert (running["state"], running["models_done"], running["words"]) == ("running", 16, None)
    world.services.jobs.release(job.id, job.attempt, "paused")
    finish(world, study["id"])
    done = viewer.get(path)
    assert done.json["result"] == RESULT
    assert (done.json["study"]["label_savings"], done.json["study"]["models_done"]) == (1.5, 40)
    assert done.json["study"]["notes"] == FACTS["notes"]
    assert viewer.get(path, headers={"If-None-Match": done.headers["ETag"]}).status_code == 304
    listed = viewer.get("/projects/birds/studies").json["studies"]
    assert listed == [done.json["study"]]
    entries = [entry for entry in world.api("admin").get("/audit").json["entries"] if entry["action"] == "study"]
    assert [(entry["user"], entry["subject"], entry["details"]["seeds"]) for entry in entries] == [("eve", "birds", 2)]


def test_the_report_is_a_file_that_may_do_nothing_and_the_picture_is_a_picture(world):
    labelled_project(world)
    study_id = world.services.studies.start("birds", Asked())[0].id
    finish(world, study_id)
    viewer = world.api("viewer")
    report = viewer.get(f"/projects/birds/studies/{study_id}/report.html")
    assert (report.data, report.mimetype) == (REPORT, "text/html")
    assert report.headers["Content-Disposition"] == f'attachment; filename="birds-study-{study_id}.html"'
    assert "sandbox" in report.headers["Content-Security-Policy"]
    again = viewer.get(
        f"/projects/birds/studies/{study_id}/report.html", headers={"If-None-Match": report.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")
    picture = viewer.get(f"/projects/birds/studies/{study_id}/curves.png")
    assert (picture.data, picture.mimetype) == (PICTURE, "image/png")


def test_a_study_belongs_to_its_project_and_other_jobs_are_none(world):
    labelled_project(world)
    world.project("bees")
    study_id = world.services.studies.start("birds", Asked())[0].id
    other = world.services.projects.pretrain("birds")[0].id
    viewer = world.api("viewer")
    for path in (f"bees/studies/{study_id}", f"birds/studies/{other}", "birds/studies/999", f"gone/studies/{study_id}"):
        for rest in ("", "/report.html", "/curves.png"):
            assert viewer.get(f"/projects/{path}{rest}").status_code == 404, path
    assert viewer.get(f"/projects/birds/studies/{study_id}").status_code == 200


def test_newest_first_and_only_as_many_as_asked_for(world):
    labelled_project(world)
    ids = []
    for _ in range(3):
        ids.append(world.services.studies.start("birds", Asked())[0].id)
        world.services.jobs.cancel(ids[-1])
    viewer = world.api("viewer")
    listed = viewer.get("/projects/birds/studies").json["studies"]
    assert [(one["id"], one["state"]) for one in listed] == [(one, JobState.CANCELLED) for one in reversed(ids)]
    assert [one["id"] for one in viewer.get("/projects/birds/studies?limit=1").json["studies"]] == [ids[-1]]


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ({"strategies": ["magic"]}, "unknown_strategy", "unknown strategy 'magic'; known: random"),
        ({"strategies": []}, "invalid_study", "name at least one other"),
        ({"strategies": ["random"]}, "invalid_study", "name at least one other"),
        ({"seeds": 0}, "invalid_study", "seeds is 0, expected 1 to 100"),
        ({"seeds": 101}, "invalid_study", "expected 1 to 100"),
        ({"batch": 0}, "invalid_plan", "batch is 0, expected at least 1"),
        ({"batch": -5}, "invalid_plan", "batch is -5, expected at least 1"),
        ({"initial": -1}, "invalid_plan", "initial is -1"),
        ({"budget": 3, "initial": 10}, "invalid_plan", "more than the budget of 3"),
        ({"budget": 10, "initial": 10}, "invalid_study", "nothing would be left to choose"),
        ({"random_budget": 5}, "invalid_plan", "random_budget is 5, below the budget of 40"),
        ({"batch": 10**15}, "invalid_study", "at most 10000000"),
        ({"initial": 40, "batch": 21}, "not_enough_labels", "needs 61"),
        ({"seeds": "3"}, "invalid_body", "seeds"),
        ({"strategy": "auto"}, "invalid_body", "unknown field"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_queued(world, body, code, words):
    labelled_project(world)
    answer = world.api("engineer").post("/projects/birds/studies", body)
    assert (answer.status_code, answer.json["error"]["code"]) == (400, code)
    assert words in answer.json["error"]["message"]
    assert world.services.studies.all("birds") == []


def test_a_project_without_enough_labels_says_what_is_missing(world):
    def why_not():
        answer = world.api("engineer").post("/projects/birds/studies")
        listed = world.api("viewer").get("/projects/birds/studies").json["outlook"]
        assert (answer.status_code, answer.json["error"]["code"]) == (400, "not_enough_labels")
        assert listed["sizes"] is None
        assert listed["why_not"] == answer.json["error"]["message"]
        return listed["why_not"]

    ids = world.project("birds", count=60, evaluation=10)
    assert why_not() == (
        "birds has no labels yet, and a study needs images of two classes or more: label some images first"
    )
    label(world, "birds", ids[:30], classes=("cat",))
    assert "labels of one class only" in why_not()
    with world.store.write() as tx:
        mia = tx.accounts.find_user("mia")
        tx.annotations.add_labels(tx.projects.find("birds").id, mia.id, [(ids[0], "dog")], "a-dog", world.clock())
    outlook = world.api("viewer").get("/projects/birds/studies").json["outlook"]
    # No evaluation image has a label: a fifth of the images is kept aside.
    assert [outlook[name] for name in ("classes", "labelled", "evaluation", "pool")] == [2, 30, 0, 24]
    assert outlook["sizes"] == {"initial": 4, "batch": 4, "budget": 16, "random_budget": 16}
    world.services.projects.change("birds", {"holdout_fraction": 0.5})
    assert "has 15 labelled images to choose among once 50 % are kept aside to measure on, and a study needs 20" in (
        why_not()
    )
    world.services.projects.change("birds", {"holdout_fraction": 0.0})
    assert "holdout_fraction=0.2" in why_not()
