"""The model registry over HTTP."""

import pytest

from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import ModelRecord
from al_service.domain.states import Stage
from al_service.loop.rounds import StageResult

METRICS = {
    "evaluation_samples": 4,
    "evaluation_fingerprint": "same",
    "confusion": {"classes": ["cat", "dog"], "counts": [[1, 0], [0, 1]]},
}


def trained(world, accuracy, project="birds"):
    """A round whose model has that accuracy, as a worker would hand it in; the model's id."""
    record, _ = world.services.rounds.start(project)
    name = f"models/{record.id}"
    world.artifacts.put(name, b"weights of %d" % record.id)
    model = ModelRecord(
        0, record.project_id, record.id, name, f"{record.id:064x}", "print", {"accuracy": accuracy}, world.clock(),
        image_px=32, byte_count=12,
    )  # fmt: skip
    metrics = {"accuracy": accuracy, **METRICS, "per_class": {"cat": {"f1": accuracy}, "dog": {"f1": 0.5}}}
    result = StageResult({"labels": 3}, Stage.SELECT, metrics=metrics, model=model, data_fingerprint="print")
    record = world.finish_stage(record, result)
    world.services.rounds.cancel(project, record.number)
    with world.store.read() as tx:
        return tx.models.find_of_round(record.id).id


@pytest.fixture
def three(world):
    """Models of three rounds; the second is the best."""
    world.project()
    return [trained(world, accuracy) for accuracy in (0.25, 0.75, 0.5)]


def test_models_are_listed_newest_first_with_the_promoted_one(world, three):
    found = world.api("viewer").get("/projects/birds/models").json
    assert [one["id"] for one in found["models"]] == three[::-1]
    assert [one["promoted"] for one in found["models"]] == [False, True, False]
    assert found["promoted"] == three[1]
    assert [(one["model"], one["action"], one["user"]) for one in found["promotions"]] == [
        (three[1], "auto", None),
        (three[0], "auto", None),
    ]
    newest = found["models"][0]
    assert (newest["name"], newest["kind"], newest["round"], newest["network"]) == ("round 3", "round", 3, "small_cnn")
    assert (newest["classes"], newest["image_px"], newest["byte_count"]) == (["cat", "dog"], 32, 12)
    assert newest["metrics"] == {"accuracy": 0.5}
    assert len(world.api("viewer").get("/projects/birds/models?limit=1").json["models"]) == 1


def test_a_project_without_models_has_an_empty_list(world):
    world.project()
    empty = {"models": [], "promoted": None, "promotions": []}
    assert world.api("viewer").get("/projects/birds/models").json == empty


def test_one_model_has_all_metrics_and_its_own_history(world, three):
    model = world.api("viewer").get(f"/models/{three[1]}").json["model"]
    assert (model["project"], model["promoted"]) == ("birds", True)
    assert model["metrics"]["per_class"] == {"cat": {"f1": 0.75}, "dog": {"f1": 0.5}}
    assert [one["reason"] for one in model["promotions"]] == ["accuracy 0.7500, before 0.2500, on the evaluation set"]


def test_people_promote_and_roll_back(world, three):
    api = world.api("engineer")
    before = api.get("/projects/birds/models").headers["ETag"]
    promoted = api.post(f"/models/{three[2]}/promote", {"reason": "fewer missed dogs"}).json["model"]
    assert promoted["promoted"] is True
    assert promoted["promotions"][0]["reason"] == "fewer missed dogs"
    assert (promoted["promotions"][0]["action"], promoted["promotions"][0]["user"]) == ("promote", "the-engineer")
    again = api.post(f"/models/{three[2]}/promote").json["model"]
    assert again["promotions"] == promoted["promotions"]
    assert api.get("/projects/birds/models").headers["ETag"] != before
    back = api.post("/projects/birds/models/rollback", {"reason": "no"}).json["model"]
    assert (back["id"], back["promotions"][-1]["action"]) == (three[1], "rollback")
    assert api.post("/projects/birds/models/rollback").json["model"]["id"] == three[0]
    refused = api.post("/projects/birds/models/rollback")
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "nothing_to_roll_back")
    actions = [entry["action"] for entry in world.api("admin").get("/audit").json["entries"]]
    assert (actions.count("model.promote"), actions.count("model.rollback")) == (1, 2)


def test_a_backbone_is_no_projects_model(world):
    world.project()
    record = ModelRecord(
        0, 0, None, "backbones/a", "aa", None, {"knn_accuracy": 0.5}, world.clock(), ModelKind.BACKBONE, "pretrained",
        "small_cnn", 32,
    )  # fmt: skip
    made = world.services.models.register("birds", record)
    refused = world.api("engineer").post(f"/models/{made.id}/promote")
    assert (refused.status_code, "backbone" in refused.json["error"]["message"]) == (400, True)
    shown = world.api("viewer").get(f"/models/{made.id}").json["model"]
    assert (shown["kind"], shown["round"], shown["classes"]) == ("backbone", None, [])


def test_two_models_side_by_side(world, three):
    found = world.api("viewer").get(f"/projects/birds/models/compare?a={three[0]}&b=promoted").json
    assert (found["a"]["id"], found["b"]["id"], found["same_evaluation"]) == (three[0], three[1], True)
    assert found["metrics"]["accuracy"] == {"a": 0.25, "b": 0.75, "difference": 0.5}
    assert found["per_class"]["cat"]["f1"] == {"a": 0.25, "b": 0.75, "difference": 0.5}
    assert found["per_class"]["dog"]["f1"]["difference"] == 0


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("?a=1", 400), ("?a=1&b=best", 400), ("?a=1&b=99", 404), ("?a=1&b=", 400)]
)
def test_a_comparison_needs_two_models_of_the_project(world, three, query, status):
    assert world.api("viewer").get(f"/projects/birds/models/compare{query}").status_code == status
    world.project("fish")
    assert world.api("viewer").get("/projects/fish/models/compare?a=1&b=1").status_code == 404


def test_the_file_is_downloaded_once(world, three):
    api = world.api("viewer")
    answer = api.get(f"/models/{three[0]}/file")
    assert (answer.data, answer.mimetype) == (b"weights of 1", "application/octet-stream")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="birds-model-{three[0]}.safetensors"'
    again = api.get(f"/models/{three[0]}/file", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert api.get(f"/models/{three[1]}/file").headers["ETag"] != answer.headers["ETag"]


def test_a_file_that_is_gone_is_a_404(world, three):
    world.artifacts.delete("models/1")
    assert world.api("viewer").get(f"/models/{three[0]}/file").status_code == 404
    assert world.api("viewer").get("/models/99/file").status_code == 404


def test_changes_are_for_engineers(world, three):
    for path in (f"/models/{three[0]}/promote", "/projects/birds/models/rollback"):
        assert world.api("labeler").post(path).status_code == 403
        assert world.api(None).post(path).status_code == 401
    for path in ("/projects/birds/models", f"/models/{three[0]}", f"/models/{three[0]}/file"):
        assert world.api(None).get(path).status_code == 401


def test_the_document_says_which_parameters_are_needed_and_that_a_file_comes(world):
    paths = world.api(None).get("/openapi.json").json["paths"]
    compare = paths["/api/v1/projects/{project}/models/compare"]["get"]["parameters"]
    assert {one["name"]: one["required"] for one in compare} == {"project": True, "a": True, "b": True}
    file = paths["/api/v1/models/{model_id}/file"]["get"]["responses"]["200"]
    assert file["content"] == {"application/octet-stream": {}}
