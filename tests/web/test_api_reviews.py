"""Verdicts, tasks by hand and gold over HTTP: what reviewers send and get, and what labelers cannot see."""

from typing import Any

import pytest


def judge(api: Any, sample_id: int, name: str, version: int = 0, key: str = "k") -> Any:
    body = {"class_name": name, "version": version, "client_key": f"{key}-{sample_id}-{name}"}
    return api.put(f"/samples/{sample_id}/label", body)


@pytest.fixture
def ids(world):
    found = world.project(evaluation=1)
    world.round(found[:3])
    return found


def test_a_verdict_is_stored_once_and_can_be_taken_back(world, ids):
    api = world.api("reviewer")
    first, again = judge(api, ids[0], "dog"), judge(api, ids[0], "dog")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["sample"] == {
        "sample_id": ids[0],
        "state": "labelled",
        "class_name": "dog",
        "label_version": 1,
    }
    assert again.json["annotation"] == first.json["annotation"]
    undone = api.delete(f"/annotations/{first.json['annotation']['id']}")
    assert (undone.status_code, undone.json["assignment"]) == (200, None)
    assert api.get(f"/samples/{ids[0]}").json["sample"]["class_name"] is None


def test_who_saw_an_older_label_is_told_what_the_other_did(world, ids):
    rita, ruth = world.api("reviewer", "rita"), world.api("reviewer", "ruth")
    judge(rita, ids[0], "cat")
    refused = judge(ruth, ids[0], "dog")
    assert refused.status_code == 409
    error = refused.json["error"]
    assert error["code"] == "label_changed"
    assert error["message"] == (
        f"sample {ids[0]} is 'cat' now, last answered by rita; you saw version 0. Look again and decide anew"
    )
    assert {key: error["details"][key] for key in ("class_name", "version", "by")} == {
        "class_name": "cat",
        "version": 1,
        "by": "rita",
    }
    assert judge(ruth, ids[0], "dog", version=1).status_code == 201


def test_many_verdicts_at_once_each_with_its_own_fate(world, ids):
    api = world.api("reviewer")
    judge(world.api("reviewer", "rita"), ids[1], "cat")
    other = world.project("fish")
    labels = [
        {"sample_id": sample_id, "class_name": name, "version": 0, "client_key": f"m-{sample_id}"}
        for sample_id, name in ((ids[0], "dog"), (ids[1], "dog"), (ids[2], "cow"), (other[0], "dog"))
    ]
    answer = api.post("/projects/birds/labels", {"labels": labels})
    assert answer.status_code == 200
    results = answer.json["results"]
    assert [result["sample_id"] for result in results] == [item["sample_id"] for item in labels]
    assert [(result["error"] or {}).get("code") for result in results] == [
        None,
        "label_changed",
        "unknown_class",
        "not_found",
    ]
    assert results[0]["sample"]["class_name"] == "dog"
    assert api.get(f"/samples/{ids[2]}").json["sample"]["class_name"] is None


def test_tasks_are_asked_listed_and_withdrawn(world, ids):
    api = world.api("reviewer")
    world.api("labeler", "mia")
    asked = api.post("/projects/birds/tasks", {"sample_ids": [ids[4], ids[2]], "user": "mia", "priority": 2})
    assert asked.status_code == 201
    assert [(task["sample_id"], task["user"], task["priority"]) for task in asked.json["tasks"]] == [
        (ids[4], "mia", 2),
        (ids[2], "mia", 2),
    ]
    page = api.get("/projects/birds/tasks?limit=1").json
    assert page["next_after"] == page["tasks"][0]["id"]
    rest = api.get(f"/projects/birds/tasks?limit=1&after={page['next_after']}").json
    assert {page["tasks"][0]["sample_id"], rest["tasks"][0]["sample_id"]} == {ids[2], ids[4]}
    held = [item["sample_id"] for item in world.lease(world.api("labeler", "mia"), 3)]
    assert set(held[:2]) == {ids[4], ids[2]}
    task = next(item["id"] for item in asked.json["tasks"] if item["sample_id"] == ids[4])
    assert api.delete(f"/tasks/{task}").status_code == 204
    assert api.delete(f"/tasks/{task}").status_code == 404


def test_a_task_before_the_first_round_can_be_answered(world):
    ids = world.project()
    world.api("reviewer").post("/projects/birds/tasks", {"sample_ids": [ids[3]]})
    mia = world.api("labeler", "mia")
    [item] = world.lease(mia)
    assert (item["sample_id"], item["round"], item["reason"]) == (ids[3], None, "asked for by hand")
    answer = mia.post(f"/assignments/{item['id']}/annotation", {"class_name": "cat", "client_key": "a"})
    assert (answer.status_code, answer.json["annotation"]["model_version"]) == (201, None)


def test_gold_cannot_be_told_from_the_others(world):
    ids = world.project(count=6, gold_share=0.5)
    world.round(ids[:4])
    api = world.api("reviewer")
    for sample_id in ids[4:]:
        body = {"class_name": "cat", "version": 0, "client_key": f"g-{sample_id}"}
        assert api.put(f"/samples/{sample_id}/gold", body).status_code == 201
    listed = api.get("/projects/birds/gold").json
    assert [(gold["sample_id"], gold["class_name"], gold["set_by"]) for gold in listed["gold"]] == [
        (sample_id, "cat", "the-reviewer") for sample_id in ids[4:]
    ]
    # Whose gold is drawn where follows from their id, so one of several people gets some.
    people = [world.api("labeler", name) for name in ("mia", "tom", "ann", "ben")]
    held = [item for person in people for item in world.lease(person, 4)]
    golden = [item for item in held if item["sample_id"] in ids[4:]]
    usual = [item for item in held if item["sample_id"] not in ids[4:]]
    assert golden
    assert {frozenset(item) for item in golden} == {frozenset(usual[0])}
    assert {item["round"] for item in golden} == {item["round"] for item in usual} == {1}
    # The whole reason is that of an image beside it, with the class names of its round.
    assert {(item["reason"], item["reason_code"]) for item in golden} == {("uncertain between cat and dog", "margin")}
    own = ("id", "sample_id", "image_url")
    assert {frozenset((key, item[key]) for key in item if key not in own) for item in golden} <= {
        frozenset((key, item[key]) for key in item if key not in own) for item in usual
    }
    mia = world.api("labeler", "mia")
    assert "class_name" not in mia.get(f"/samples/{ids[4]}").json["sample"]
    assert api.delete(f"/samples/{ids[4]}/gold").status_code == 204
    assert api.delete(f"/samples/{ids[4]}/gold").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("put", "/samples/{id}/label", {"class_name": "cat", "version": 0, "client_key": "k"}),
        ("put", "/samples/{id}/gold", {"class_name": "cat", "version": 0, "client_key": "k"}),
        ("delete", "/samples/{id}/gold", None),
        ("get", "/projects/birds/gold", None),
        ("post", "/projects/birds/labels", {"labels": []}),
        ("post", "/projects/birds/tasks", {"sample_ids": [1]}),
        ("get", "/projects/birds/tasks", None),
        ("delete", "/tasks/1", None),
    ],
)
def test_labelers_may_do_none_of_this(world, ids, method, path, body):
    call = getattr(world.api("labeler", "mia"), method)
    answer = call(path.format(id=ids[0]), body) if body is not None else call(path.format(id=ids[0]))
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "role_too_low")


def test_images_kept_aside_are_for_engineers(world, ids):
    reviewer, engineer = world.api("reviewer"), world.api("engineer")
    assert judge(reviewer, ids[-1], "cat").status_code == 404
    assert reviewer.post("/projects/birds/tasks", {"sample_ids": [ids[-1]]}).status_code == 404
    assert judge(engineer, ids[-1], "cat").status_code == 201
