"""Rounds and jobs over HTTP: single flight, records, ETags."""

from al_service.api.round_cards import RoundCards
from al_service.domain.records import Chosen, RejectedRow
from al_service.domain.states import Role, Stage
from al_service.loop.rounds import StageResult


def test_starting_twice_gives_the_running_round(world):
    world.project()
    api = world.api("engineer")
    first = api.post("/projects/birds/rounds", headers={"Idempotency-Key": "click-1"})
    second = api.post("/projects/birds/rounds")
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json["round"]["number"] == second.json["round"]["number"] == 1
    assert (first.json["round"]["state"], first.json["round"]["stage"]) == ("running", "train")
    assert first.json["round"]["trigger"] == "manual"


def test_the_same_key_gives_the_same_round_after_it_is_over(world):
    world.project()
    api = world.api("engineer")
    key = {"Idempotency-Key": "click-1"}
    api.post("/projects/birds/rounds", headers=key)
    assert api.post("/projects/birds/rounds/1/cancel").json["round"]["state"] == "cancelled"
    again = api.post("/projects/birds/rounds", headers=key)
    assert (again.status_code, again.json["round"]["number"]) == (200, 1)
    assert api.post("/projects/birds/rounds").json["round"]["number"] == 2
    assert api.post("/projects/birds/rounds", headers={"Idempotency-Key": "x" * 201}).status_code == 400


def test_a_round_is_a_record(world):
    ids = world.project()
    world.round([ids[4], ids[0], ids[2]])
    record = world.api("reviewer").get("/projects/birds/rounds/1").json["round"]
    assert (record["state"], record["stage"]) == ("annotating", "annotate")
    assert (record["selected"], record["answered"]) == (3, 0)
    assert [stage["stage"] for stage in record["stages"]] == ["train", "score", "select", "annotate", "close"]
    assert [stage["state"] for stage in record["stages"]] == ["skipped", "skipped", "done", "running", "pending"]
    assert record["seconds"]["select"] == 1.5
    assert record["config"]["strategy"] == "auto"
    assert [item["sample_id"] for item in record["selections"]] == [ids[4], ids[0], ids[2]]
    assert record["selections"][0] == {
        "sample_id": ids[4],
        "rank": 0,
        "score": 1.0,
        "reason": "uncertain between cat and dog",
        "reason_code": "margin",
        "state": "open",
    }
    page = world.api("reviewer").get("/projects/birds/rounds/1?limit=1&offset=1").json["round"]["selections"]
    assert [item["sample_id"] for item in page] == [ids[0]]
    metrics = world.api("viewer").get("/projects/birds/rounds/1/metrics").json
    assert (metrics["round"], metrics["metrics"]["accuracy"]) == (1, 0.5)


def test_a_running_stage_shows_its_jobs_progress(world):
    world.project()
    record, _ = world.services.rounds.start("birds")
    job = world.services.jobs.claim(record.stage_record(Stage.TRAIN).job_id, 1, "worker-1")
    world.services.jobs.beat(job.id, 1, done=3, total=20, text="epoch 3")
    api = world.api("viewer")
    for found in (
        api.get("/projects/birds/rounds").json["rounds"][0],
        api.get("/projects/birds/summary").json["round"],
    ):
        train = found["stages"][0]
        expected = {"done": 3, "total": 20, "text": "epoch 3", "per_second": None, "seconds_left": None}
        assert train["progress"] == {**expected, "shards": None, "shards_done": None}, "no time has passed yet"
        assert (train["state"], train["job_id"], train["attempt"]) == ("running", job.id, 1)
        assert found["stages"][1]["progress"] is None


def test_a_stage_in_shards_shows_them_together_with_speed_and_time_left(world):
    world.project()
    services = world.services
    record, _ = services.rounds.start("birds")
    train = services.jobs.claim(record.stage_record(Stage.TRAIN).job_id, 1, "worker-1")
    record = services.rounds.complete_stage(train, Stage.TRAIN, StageResult({}, Stage.SCORE))
    planner = services.jobs.claim(record.stage_record(Stage.SCORE).job_id, 1, "worker-1")
    shards = services.rounds.fan_out(planner, [{"count": 40}, {"count": 60}])
    api = world.api("viewer")
    tags = {api.get("/projects/birds/rounds").headers["ETag"]}
    services.jobs.claim(shards[0].id, 1, "worker-1")
    world.clock.advance(5)
    services.jobs.beat(shards[0].id, 1, 10, 40, "scoring")
    for found in (
        api.get("/projects/birds/rounds").json["rounds"][0],
        api.get("/projects/birds/summary").json["round"],
        api.get("/projects/birds/rounds/1").json["round"],
    ):
        score = found["stages"][1]
        assert (score["state"], score["job_id"]) == ("running", planner.id)
        assert score["progress"] == {
            "done": 10, "total": 100, "text": "scoring", "per_second": 2.0, "seconds_left": 45.0,
            "shards": 2, "shards_done": 0,
        }  # fmt: skip
    tags.add(api.get("/projects/birds/rounds").headers["ETag"])
    kinds = {job["kind"] for job in api.get("/projects/birds/summary").json["jobs"]}
    assert kinds == {"score_shard"}
    for shard in shards:
        claimed = services.jobs.claim(shard.id, 1, "worker-1") or services.jobs.get(shard.id)
        services.rounds.complete_shard(claimed, {"artifact": f"s{shard.id}"})
    tags.add(api.get("/projects/birds/rounds").headers["ETag"])
    assert len(tags) == 3
    result = api.get("/projects/birds/rounds/1").json["round"]["stages"][1]["result"]
    assert (result["scored"], [part["artifact"] for part in result["shards"]]) == (
        100,
        [f"s{one.id}" for one in shards],
    )


def test_a_round_shows_its_batch_and_its_reserve_apart(world):
    ids = world.project()
    services = world.services
    record, _ = services.rounds.start("birds")
    picks = [Chosen(sample_id, rank, None, {"code": "random"}) for rank, sample_id in enumerate(ids[:3])]
    train = services.jobs.claim(record.stage_record(Stage.TRAIN).job_id, 1, "worker-1")
    record = services.rounds.complete_stage(train, Stage.TRAIN, StageResult({"skipped": "x"}, Stage.SELECT))
    select = services.jobs.claim(record.stage_record(Stage.SELECT).job_id, 1, "worker-1")
    result = StageResult({}, Stage.ANNOTATE, chosen=picks[:1], reserve=picks[1:])
    services.rounds.complete_stage(select, Stage.SELECT, result)
    labeler = world.api("labeler")
    answer_next(labeler)
    world.api("engineer").post("/projects/birds/rounds")
    progress = answer_next(labeler)["progress"]
    assert progress == {"answered": 1, "asked": 1, "answered_ahead": 1, "round": 1}
    shown = world.api("reviewer").get("/projects/birds/rounds/1").json["round"]
    assert (shown["selected"], shown["answered"], shown["answered_ahead"]) == (1, 1, 1)
    assert [(item["sample_id"], item["state"]) for item in shown["selections"]] == [(ids[0], "done")]
    assert [(item["sample_id"], item["state"]) for item in shown["reserve"]] == [(ids[1], "done"), (ids[2], "reserve")]
    assert shown["stages"][2]["result"] == {"reserve": 2}
    found = world.api("viewer").get("/projects/birds/summary").json["progress"]
    assert (found["answered"], found["asked"], found["answered_ahead"], found["reserve"]) == (1, 1, 1, 1)


def answer_next(api):
    """Lease one and label it; the answer."""
    [held] = api.post("/projects/birds/assignments", {"count": 1}).json["assignments"]
    return api.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat", "client_key": f"k{held['id']}"}).json


CLASS_METRICS = {
    "per_class": {"cat": {"f1": 0.5}, "dog": {"f1": 0.25}},
    "confusion": {"classes": ["cat", "dog"], "counts": [[1, 2], [3, 4]]},
}


def test_lists_leave_out_what_grows_with_the_classes(world):
    world.project()
    record, _ = world.services.rounds.start("birds")
    metrics = {"accuracy": 0.5, "accuracy_ci95": [0.4, 0.6], "macro_f1": 0.5, "evaluation_samples": 9, **CLASS_METRICS}
    world.finish_stage(record, StageResult({"skipped": "no labels yet"}, Stage.SELECT, metrics=metrics))
    api = world.api("engineer")
    summary = api.get("/projects/birds/summary").json
    glances = [
        api.get("/projects/birds/rounds").json["rounds"][0],
        summary["round"],
        summary["last_round"],
        api.post("/projects/birds/rounds").json["round"],
    ]
    for glance in glances:
        assert glance == glances[0]
        assert glance["metrics"] == {name: metrics[name] for name in metrics if name not in CLASS_METRICS}
        assert "config" not in glance
        assert all("result" not in stage for stage in glance["stages"])
    full = api.get("/projects/birds/rounds/1").json["round"]
    assert full["metrics"] == api.get("/projects/birds/rounds/1/metrics").json["metrics"] == metrics
    assert full["stages"][0]["result"] == {"skipped": "no labels yet"}
    assert set(glances[0]) < set(full)


def test_whatever_changes_in_the_list_changes_its_etag(world):
    ids = world.project()
    engineer, labeler = world.api("engineer"), world.api("labeler")
    seen = []

    def look():
        answer = engineer.get("/projects/birds/rounds")
        again = engineer.get("/projects/birds/rounds", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", answer.headers["ETag"])
        assert again.headers["Cache-Control"] == "private, no-cache"
        seen.append((answer.headers["ETag"], answer.text))

    look()
    world.round(ids)
    look()
    held = world.lease(labeler)[0]
    made = labeler.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"}).json["annotation"]
    look()
    record, _ = world.services.rounds.start("birds")
    look()
    job = world.services.jobs.claim(record.stage_record(Stage.TRAIN).job_id, 1, "worker-1")
    look()
    for done in (1, 2):
        world.services.jobs.beat(job.id, 1, done=done, total=20)
        look()
    engineer.post(f"/jobs/{job.id}/cancel")
    look()
    labeler.delete(f"/annotations/{made['id']}")
    engineer.post(f"/jobs/{job.id}/retry")
    look()
    assert len({etag for etag, _ in seen}) == len({text for _, text in seen}) == len(seen)


def test_a_list_reads_only_the_rounds_that_changed(world):
    ids = world.project()
    for sample_id in ids[:3]:
        world.round([sample_id])
        world.services.rounds.cancel("birds", world.services.rounds.all("birds")[-1].number)
    project_id = world.services.projects.get("birds").id
    cards = RoundCards()
    with world.store.read() as tx:
        versions = tx.rounds.versions(project_id, 200)
        first, second = cards.of(tx, project_id, versions), cards.of(tx, project_id, versions)
        changed = cards.of(tx, project_id, {**versions, list(versions)[1]: "another"})
    assert [first[key].number for key in versions] == [1, 2, 3]
    assert [second[key] is first[key] for key in versions] == [True] * 3
    assert [changed[key] is first[key] for key in versions] == [True, False, True]


def test_a_long_list_is_read_at_once_and_the_newest_come(world):
    world.project()
    api = world.api("engineer")
    for number in range(1, 13):
        api.post("/projects/birds/rounds")
        api.post(f"/projects/birds/rounds/{number}/cancel")
    api.post("/projects/birds/rounds")
    for path, numbers in (("?limit=10", range(4, 14)), ("", range(1, 14))):
        found = api.get(f"/projects/birds/rounds{path}").json["rounds"]
        assert [item["number"] for item in found] == list(numbers)
        assert found[-1]["state"] == "running"


def test_gets_carry_an_etag_and_answer_304(world):
    ids = world.project()
    world.round(ids)
    viewer, labeler = world.api("viewer"), world.api("labeler")
    for path in ("/rounds", "/rounds/1", "/rounds/1/metrics", "/summary"):
        first = viewer.get(f"/projects/birds{path}")
        assert first.headers["Cache-Control"] == "private, no-cache"
        same = viewer.get(f"/projects/birds{path}", headers={"If-None-Match": first.headers["ETag"]})
        assert (same.status_code, same.headers["ETag"]) == (304, first.headers["ETag"])
    before = viewer.get("/projects/birds/summary").headers["ETag"]
    labeler.post(f"/assignments/{world.lease(labeler)[0]['id']}/annotation", {"class_name": "cat"})
    assert viewer.get("/projects/birds/summary", headers={"If-None-Match": before}).status_code == 200


def test_cancel_ends_an_open_round_once(world):
    ids = world.project()
    world.round(ids)
    api = world.api("engineer")
    assert api.post("/projects/birds/rounds/1/cancel").json["round"]["state"] == "cancelled"
    again = api.post("/projects/birds/rounds/1/cancel")
    assert (again.status_code, again.json["error"]["code"]) == (409, "round_not_open")
    assert api.post("/projects/birds/rounds/7/cancel").status_code == 404
    assert world.lease(world.api("labeler")) == []


def test_a_cancelled_job_fails_its_round_and_retry_takes_it_up(world):
    world.project()
    api = world.api("engineer")
    job_id = api.post("/projects/birds/rounds").json["round"]["stages"][0]["job_id"]
    assert api.post(f"/jobs/{job_id}/cancel").json["job"]["state"] == "cancelled"
    assert api.get("/projects/birds/rounds/1").json["round"]["state"] == "failed"
    retried = api.post(f"/jobs/{job_id}/retry").json["job"]
    assert (retried["state"], retried["attempt"]) == ("queued", 2)
    assert api.get("/projects/birds/rounds/1").json["round"]["state"] == "running"
    assert api.post(f"/jobs/{job_id}/retry").status_code == 409


def test_a_failed_job_is_listed_with_the_command_that_retries_it(world):
    world.project()
    record, _ = world.services.rounds.start("birds")
    job_id = record.stage_record(Stage.TRAIN).job_id
    world.services.jobs.claim(job_id, 1, "worker-1")
    world.services.jobs.fail(job_id, 1, "no room on the device", retryable=False)
    failures = world.api("viewer").get("/projects/birds/summary").json["failures"]
    assert [(item["id"], item["error"], item["retry_command"]) for item in failures] == [
        (job_id, "no room on the device", f"al job retry {job_id}")
    ]


def test_an_import_is_a_job_whose_rejected_rows_only_engineers_see(world):
    world.project()
    engineer = world.api("engineer")
    made = engineer.post("/projects/birds/imports", {"location": "/images", "labels": "folder", "split": "test"})
    assert (made.status_code, made.json["job"]["kind"], made.json["job"]["state"]) == (202, "ingest", "queued")
    job_id = made.json["job"]["id"]
    assert made.headers["Location"] == f"/api/v1/jobs/{job_id}"
    with world.store.write() as tx:
        tx.samples.add_rejections(job_id, [RejectedRow("cat/broken.png", "cut short")])
    seen = engineer.get(f"/jobs/{job_id}").json["job"]
    assert seen["rejected"] == [{"external_id": "cat/broken.png", "reason": "cut short"}]
    assert world.api("viewer").get(f"/jobs/{job_id}").json["job"]["rejected"] == []
    assert engineer.post("/projects/birds/imports", {"location": "/x", "split": "both"}).status_code == 400
    assert engineer.post("/projects/birds/imports", {"labels": "folder"}).status_code == 400
    assert engineer.get("/jobs/999").status_code == 404


def test_metrics_that_are_not_numbers_become_null(world):
    world.project()
    record, _ = world.services.rounds.start("birds")
    record = world.finish_stage(record, StageResult({}, Stage.SELECT, metrics={"ece": None, "text": "é"}))
    answer = world.api(Role.VIEWER).get("/projects/birds/rounds/1/metrics")
    assert answer.json["metrics"] == {"ece": None, "text": "é"}


def test_metrics_count_every_round_and_find_the_last_accuracy(world):
    ids = world.project()
    world.round(ids[:1])
    api = world.api("engineer")
    api.post("/projects/birds/rounds/1/cancel")
    for number in range(2, 10):
        api.post("/projects/birds/rounds")
        api.post(f"/projects/birds/rounds/{number}/cancel")
    api.post("/projects/birds/rounds")
    text = world.app.test_client().get("/metrics").text
    assert 'al_rounds_total{state="cancelled"} 9.0' in text
    assert 'al_rounds_total{state="running"} 1.0' in text
    assert 'al_model_accuracy{project="birds",split="evaluation"} 0.5' in text
