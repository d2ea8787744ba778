"""The flag lane over HTTP: what reviewers see, put back and exclude."""

from typing import Any


def flagged(world: Any, count: int) -> list[int]:
    """A project in which mia flagged the first `count` samples; all its ids."""
    ids = world.project(evaluation=1)
    world.round([*ids[:count], ids[-1]])
    mia = world.api("labeler", "mia")
    for item in world.lease(mia, count):
        assert mia.post(f"/assignments/{item['id']}/annotation", {"flag": True}).status_code == 201
    return list(ids)


def test_reviewers_see_who_flagged_what_page_by_page(world):
    ids = flagged(world, 3)
    api = world.api("reviewer")
    page = api.get("/projects/birds/flagged?limit=2").json
    assert [item["sample_id"] for item in page["flagged"]] == ids[:2]
    assert page["next_after"] == ids[1]
    first = page["flagged"][0]
    assert (first["flagged_by"], first["width"], first["height"]) == ("mia", 90, 60)
    assert first["flagged_at"].startswith("2026-01-02T03:04:")
    assert api.client.get(first["image_url"], headers=api.headers).status_code == 200
    rest = api.get(f"/projects/birds/flagged?limit=2&after={page['next_after']}").json
    assert ([item["sample_id"] for item in rest["flagged"]], rest["next_after"]) == ([ids[2]], None)
    assert api.get("/projects/nothing/flagged").status_code == 404
    assert api.get("/projects/birds/flagged?limit=0").status_code == 400


def test_a_flagged_sample_is_put_back_once(world):
    ids = flagged(world, 1)
    api = world.api("reviewer")
    answer = api.post(f"/samples/{ids[0]}/put-back")
    assert (answer.status_code, answer.json) == (200, {"sample": {"sample_id": ids[0], "state": "unlabelled"}})
    again = api.post(f"/samples/{ids[0]}/put-back")
    assert (again.status_code, again.json["error"]["code"]) == (409, "not_set_aside")
    assert [item["sample_id"] for item in world.lease(world.api("labeler", "mia"))] == [ids[0]]


def test_an_excluded_sample_is_not_asked_again(world):
    ids = flagged(world, 1)
    api = world.api("reviewer")
    answer = api.post(f"/samples/{ids[0]}/exclude")
    assert (answer.status_code, answer.json) == (200, {"sample": {"sample_id": ids[0], "state": "skipped"}})
    assert api.get("/projects/birds/flagged").json == {"flagged": [], "next_after": None}
    assert ids[0] not in [item["sample_id"] for item in world.lease(world.api("labeler", "mia"), 5)]
    noted = [entry for entry in world.api("admin").get("/audit").json["entries"] if entry["action"] == "sample.exclude"]
    assert [(entry["user"], entry["details"]) for entry in noted] == [("the-reviewer", {"sample": ids[0]})]


def test_samples_kept_for_evaluation_are_for_engineers(world):
    ids = flagged(world, 2)
    mia = world.api("labeler", "mia")
    [item] = world.lease(mia)
    assert item["sample_id"] == ids[-1]
    mia.post(f"/assignments/{item['id']}/annotation", {"flag": True})
    seen = {
        role: [item["sample_id"] for item in world.api(role).get("/projects/birds/flagged").json["flagged"]]
        for role in ("reviewer", "engineer")
    }
    assert seen == {"reviewer": ids[:2], "engineer": [*ids[:2], ids[-1]]}
    assert world.api("reviewer").post(f"/samples/{ids[-1]}/exclude").status_code == 404
    assert world.api("engineer").post(f"/samples/{ids[-1]}/put-back").status_code == 200


def test_reviewers_read_the_version_of_a_label(world):
    ids = world.project()
    world.round(ids)
    mia, api = world.api("labeler", "mia"), world.api("reviewer")
    assert api.get(f"/samples/{ids[0]}").json["sample"]["label_version"] is None
    [item] = world.lease(mia)
    mia.post(f"/assignments/{item['id']}/annotation", {"class_name": "cat"})
    assert api.get(f"/samples/{ids[0]}").json["sample"]["label_version"] == 1
    assert "label_version" not in mia.get(f"/samples/{ids[0]}").json["sample"]
