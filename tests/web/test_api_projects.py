"""Projects, summary, samples and images over HTTP."""

import hashlib
import io

import pytest
from PIL import Image


def test_a_project_from_making_to_archiving(world):
    api = world.api("engineer")
    made = api.post("/projects", {"name": "birds", "classes": ["cat", "dog"], "settings": {"labels_per_round": 7}})
    assert made.status_code == 201
    assert made.headers["Location"] == "/api/v1/projects/birds"
    assert made.json["project"]["settings"]["labels_per_round"] == 7
    assert made.json["project"]["round"] is None
    assert api.post("/projects", {"name": "birds"}).status_code == 409
    assert api.post("/projects", {"name": "no spaces"}).status_code == 400
    changed = api.patch("/projects/birds", {"settings": {"overlap": 2}}).json["project"]["settings"]
    assert (changed["overlap"], changed["labels_per_round"]) == (2, 7)
    wrong = api.patch("/projects/birds", {"settings": {"overlap": 0}})
    assert (wrong.status_code, wrong.json["error"]["code"]) == (400, "invalid_config")
    assert api.patch("/projects/birds", {"settings": {"guidelines": "a\0b"}}).status_code == 400
    assert [item["name"] for item in api.get("/projects").json["projects"]] == ["birds"]
    assert api.delete("/projects/birds").status_code == 204
    assert api.get("/projects").json["projects"] == []
    assert api.get("/projects/birds").status_code == 404


def test_a_setting_that_somebody_changed_meanwhile_is_not_overwritten_unseen(world):
    world.project(guidelines="old", overlap=1)
    api = world.api("engineer")
    mine = {"settings": {"guidelines": "mine", "overlap": 2}, "seen": {"guidelines": "old"}}
    api.patch("/projects/birds", {"settings": {"guidelines": "theirs"}})
    refused = api.patch("/projects/birds", mine)
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "settings_changed")
    assert refused.json["error"]["details"] == {"guidelines": "theirs"}
    settings = api.get("/projects/birds").json["project"]["settings"]
    assert (settings["guidelines"], settings["overlap"]) == ("theirs", 1)
    mine["seen"] = {"guidelines": "theirs"}
    assert api.patch("/projects/birds", mine).json["project"]["settings"]["guidelines"] == "mine"
    # The answer was lost and the same comes again: it is stored already.
    assert api.patch("/projects/birds", mine).status_code == 200
    assert api.patch("/projects/birds", {**mine, "seen": {"nothing": 1}}).status_code == 400


def test_the_list_shows_counts_and_where_the_loop_stands(world):
    ids = world.project(count=4, evaluation=2)
    world.round(ids[:3])
    item = world.api("viewer").get("/projects").json["projects"][0]
    assert item["classes"] == ["cat", "dog"]
    assert (item["counts"]["total"], item["counts"]["evaluation_total"]) == (4, 2)
    assert item["round"] == {"number": 1, "state": "annotating", "stage": "annotate"}


def test_the_summary_shows_the_project_at_a_glance(world):
    world.project(labels_per_round=3, guidelines="Look at the beak.")
    with world.store.read() as tx:
        ids = [sample_id for sample_id, _ in tx.samples.selectable(tx.projects.find("birds").id)]
    world.round(ids[:3])
    api = world.api("labeler", "mia")
    for held in world.lease(api, 2)[:1]:
        api.post(f"/assignments/{held['id']}/annotation", {"class_name": "dog"})
    found = api.get("/projects/birds/summary").json
    assert found["project"] == "birds"
    assert found["classes"] == [
        {"name": "cat", "position": 0, "labelled": 0},
        {"name": "dog", "position": 1, "labelled": 1},
    ]
    assert found["progress"] == {
        "answered": 1,
        "answered_ahead": 0,
        "asked": 3,
        "round": 1,
        "reserve": 0,
        "new_labels": 1,
        "labels_to_trigger": 3,
    }
    assert found["counts"]["labelled"] == 1
    assert found["round"]["number"] == found["last_round"]["number"] == 1
    assert found["labels_per_minute"] == pytest.approx(0.2)
    assert found["holders"] == {"mia": 1}
    assert (found["jobs"], found["failures"]) == ([], [])
    assert found["workers"][0]["name"] == "inline"
    assert found["guidelines"] == "Look at the beak."


def test_a_sample_tells_labelers_nothing_that_gives_the_label_away(world):
    sample_id = world.project(count=1)[0]
    known = world.api("reviewer").get(f"/samples/{sample_id}").json["sample"]
    assert (known["external_id"], known["metadata"], known["split"]) == ("cat/0.png", {"camera": "left"}, "pool")
    for role in ("labeler", "viewer"):
        answer = world.api(role).get(f"/samples/{sample_id}")
        assert set(answer.json["sample"]) == {
            "id",
            "width",
            "height",
            "format",
            "byte_count",
            "sha256",
            "created_at",
            "image_url",
        }
        assert "cat" not in answer.text


def test_the_original_image_comes_back_byte_for_byte(world):
    sample_id = world.project(count=1)[0]
    api = world.api("labeler")
    answer = api.get(f"/samples/{sample_id}/image")
    sha256 = hashlib.sha256(answer.data).hexdigest()
    assert answer.content_type == "image/png"
    assert answer.headers["X-Content-SHA256"] == sha256
    assert answer.headers["ETag"] == f'"{sha256}"'
    assert {"private", "immutable"} <= set(answer.headers["Cache-Control"].split(", "))
    same = api.get(f"/samples/{sample_id}/image", headers={"If-None-Match": answer.headers["ETag"]})
    assert (same.status_code, same.data) == (304, b"")


def test_a_thumbnail_has_the_size_asked_for_and_its_own_etag(world):
    sample_id = world.project(count=1)[0]
    api = world.api("labeler")
    small = api.get(f"/samples/{sample_id}/image?size=64&v=abc")
    with Image.open(io.BytesIO(small.data)) as image:
        assert image.size == (64, 43)
    original = api.get(f"/samples/{sample_id}/image")
    assert small.headers["ETag"] != original.headers["ETag"]
    assert small.headers["X-Content-SHA256"] == original.headers["X-Content-SHA256"]
    assert api.get(f"/samples/{sample_id}/image", headers={"If-None-Match": small.headers["ETag"]}).status_code == 200
    for size in ("63", "big", "-1"):
        assert api.get(f"/samples/{sample_id}/image?size={size}").status_code == 400


def test_images_do_not_vary_by_cookie_so_browsers_keep_them(world):
    sample_id = world.project(count=1)[0]
    browser, _ = world.browser("labeler")
    answer = browser.get(f"/samples/{sample_id}/image?size=64")
    assert answer.status_code == 200
    assert "Vary" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_evaluation_samples_are_seen_only_by_those_asked_for_them_and_engineers(world):
    ids = world.project(count=2, evaluation=2)
    world.round([ids[2]])
    mia, tom = world.api("labeler", "mia"), world.api("reviewer", "tom")
    held = world.lease(mia)[0]
    assert held["sample_id"] == ids[2]
    assert mia.get(f"/samples/{ids[2]}/image?size=64").status_code == 200
    assert tom.get(f"/samples/{ids[2]}/image?size=64").status_code == 404
    assert tom.get(f"/samples/{ids[2]}").status_code == 404
    mia.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"})
    assert mia.get(f"/samples/{ids[2]}/image?size=64").status_code == 200
    assert mia.get(f"/samples/{ids[3]}").status_code == 404
    assert world.api("engineer").get(f"/samples/{ids[3]}").json["sample"]["split"] == "evaluation"
