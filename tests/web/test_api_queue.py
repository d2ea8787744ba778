"""The labeler's routes over HTTP: lease, renew, give back, answer, take back."""

import json
from typing import Any

import pytest
import sqlalchemy

from al_service.domain.records import Annotation


def answers_of(world: Any, sample_id: int) -> list[Annotation]:
    with world.store.read() as tx:
        return tx.annotations.active_of_sample(sample_id)


def test_assignments_come_in_the_selectors_order_with_reason_and_image(world):
    ids = world.project()
    world.round([ids[3], ids[1], ids[5]])
    answer = world.api("labeler").post("/projects/birds/assignments", {"count": 2})
    assert answer.status_code == 200
    assert answer.json["why_empty"] is None
    first, second = answer.json["assignments"]
    assert [first["sample_id"], second["sample_id"]] == [ids[3], ids[1]]
    assert "rank" not in first  # gold has none of its own, and must not be told from the others
    assert first["round"] == 1
    assert (first["width"], first["height"]) == (90, 60)
    assert first["suggestion"] is None
    assert (first["reason"], first["reason_code"]) == ("uncertain between cat and dog", "margin")
    with world.store.read() as tx:
        sha256 = tx.samples.get(ids[3]).sha256
    assert first["image_url"] == f"/api/v1/samples/{ids[3]}/image?size=1024&v={sha256[:12]}"
    assert first["lease_expires_at"].startswith("2026-01-02T03:09:")


def test_asking_again_gives_the_same_and_a_colleague_gets_others(world):
    ids = world.project()
    world.round(ids)
    mia, tom = world.api("labeler", "mia"), world.api("labeler", "tom")
    first = world.lease(mia, 2)
    assert [item["id"] for item in world.lease(mia, 2)] == [item["id"] for item in first]
    assert [item["sample_id"] for item in world.lease(tom, 9)] == ids[2:]


def test_no_work_says_why_in_words_with_counts(world):
    ids = world.project(count=2)
    world.round(ids)
    world.lease(world.api("labeler", "mia"), 2)
    answer = world.api("labeler", "tom").post("/projects/birds/assignments", {"count": 5}).json
    assert answer["assignments"] == []
    assert answer["why_empty"]["code"] == "leased_to_others"
    assert "mia (2)" in answer["why_empty"]["text"]
    assert answer["why_empty"]["counts"]["leased"] == 2
    assert answer["why_empty"]["retry_after_s"] > 0


def test_count_has_a_default_and_limits(world):
    ids = world.project(count=8)
    world.round(ids)
    api = world.api("labeler")
    assert len(api.post("/projects/birds/assignments").json["assignments"]) == 5
    assert api.post("/projects/birds/assignments", {"count": 0}).status_code == 400
    assert api.post("/projects/birds/assignments", {"count": 101}).status_code == 400


def test_renew_extends_and_ends_with_the_lease(world):
    world.round(world.project())
    api = world.api("labeler")
    held = world.lease(api)[0]
    world.clock.advance(200)
    renewed = api.post(f"/assignments/{held['id']}/renew")
    assert renewed.status_code == 200
    assert renewed.json["assignment"]["lease_expires_at"] > held["lease_expires_at"]
    world.clock.advance(301)
    late = api.post(f"/assignments/{held['id']}/renew")
    assert (late.status_code, late.json["error"]["code"]) == (409, "lease_over")


def test_a_released_sample_goes_to_the_next_person(world):
    ids = world.project()
    world.round(ids)
    mia, tom = world.api("labeler", "mia"), world.api("labeler", "tom")
    held = world.lease(mia)[0]
    assert mia.delete(f"/assignments/{held['id']}").status_code == 204
    assert mia.delete(f"/assignments/{held['id']}").status_code == 204
    assert world.lease(tom)[0]["sample_id"] == held["sample_id"]
    assert mia.delete("/assignments/999").status_code == 404


def test_other_peoples_assignments_are_not_there(world):
    world.round(world.project())
    held = world.lease(world.api("labeler", "mia"))[0]
    tom = world.api("labeler", "tom")
    assert tom.post(f"/assignments/{held['id']}/renew").status_code == 404
    assert tom.delete(f"/assignments/{held['id']}").status_code == 404
    assert tom.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"}).status_code == 404


@pytest.mark.parametrize("form", ["text", "json", "form"])
def test_a_beacon_releases_with_the_csrf_token_in_its_body(world, form):
    world.round(world.project())
    browser, csrf = world.browser("labeler")
    held = browser.post("/projects/birds/assignments", {"count": 2}, headers={"X-CSRF-Token": csrf}).json["assignments"]
    ids = [item["id"] for item in held]
    fields = {"ids": [*ids, 777], "csrf_token": csrf}
    if form == "form":
        more: dict[str, Any] = {"data": {"ids": ",".join(map(str, fields["ids"])), "csrf_token": csrf}}
    else:
        kind = "text/plain;charset=UTF-8" if form == "text" else "application/json"
        more = {"data": json.dumps(fields), "content_type": kind}
    assert browser("POST", "/assignments/release", **more).status_code == 204
    assert [item["sample_id"] for item in world.lease(world.api("labeler", "tom"), 2)] == [
        item["sample_id"] for item in held
    ]


def test_a_beacon_without_a_good_token_releases_nothing(world):
    world.round(world.project())
    browser, csrf = world.browser("labeler")
    held = browser.post("/projects/birds/assignments", {"count": 1}, headers={"X-CSRF-Token": csrf}).json["assignments"]
    for token in ({}, {"csrf_token": "wrong"}, {"csrf_token": 7}):
        body = json.dumps({"ids": [held[0]["id"]], **token})
        answer = browser("POST", "/assignments/release", data=body, content_type="text/plain")
        assert (answer.status_code, answer.json["error"]["code"]) == (403, "csrf_failed")
    for bad in (b"", b"[1]", b"\xff", b"{"):
        assert browser("POST", "/assignments/release", data=bad, content_type="text/plain").status_code == 400
    assert browser.post(f"/assignments/{held[0]['id']}/renew", headers={"X-CSRF-Token": csrf}).status_code == 200


def test_an_answer_is_stored_once_per_client_key(world):
    world.round(world.project())
    api = world.api("labeler", "mia")
    held = world.lease(api)[0]
    body = {"class_name": "dog", "client_key": "k-1", "lead_time": 2.5}
    first = api.post(f"/assignments/{held['id']}/annotation", body)
    again = api.post(f"/assignments/{held['id']}/annotation", body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["annotation"] == again.json["annotation"]
    fields = first.json["annotation"]
    assert fields["completed_by"] == "mia"
    assert (fields["kind"], fields["class_name"], fields["lead_time"]) == ("label", "dog", 2.5)
    assert (fields["was_cancelled"], fields["is_extra_vote"], fields["undone"]) == (False, False, False)
    assert fields["model_version"] == "round-1"
    assert first.json["progress"] == {"answered": 1, "asked": 6, "answered_ahead": 0, "round": 1}
    assert len(answers_of(world, held["sample_id"])) == 1
    other = api.post(f"/assignments/{held['id']}/annotation", {**body, "class_name": "cat"})
    assert (other.status_code, other.json["error"]["code"]) == (409, "client_key_reused")


def test_the_idempotency_key_header_stands_in_for_client_key(world):
    world.round(world.project())
    api = world.api("labeler")
    path = f"/assignments/{world.lease(api)[0]['id']}/annotation"
    first = api.post(path, {"skip": True}, headers={"Idempotency-Key": "h-1"})
    again = api.post(path, {"skip": True}, headers={"Idempotency-Key": "h-1"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json["annotation"]["client_key"] == "h-1"
    assert first.json["annotation"]["was_cancelled"] is True


def test_without_any_key_the_server_makes_one(world):
    world.round(world.project())
    api = world.api("labeler")
    answer = api.post(f"/assignments/{world.lease(api)[0]['id']}/annotation", {"flag": True})
    assert answer.status_code == 201
    assert answer.json["annotation"]["client_key"].startswith("server-")
    assert answer.json["annotation"]["kind"] == "flag"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"class_name": "cat", "skip": True},
        {"skip": True, "flag": True},
        {"class_name": "bird"},
        {"class_name": "cat", "lead_time": -1},
        {"class_name": "cat", "client_key": "x" * 201},
        {"class_name": "cat", "client_key": "a\0b"},
        {"class_name": 3},
        {"class": "cat"},
    ],
)
def test_a_bad_answer_is_refused_and_stores_nothing(world, body):
    world.round(world.project())
    api = world.api("labeler")
    held = world.lease(api)[0]
    assert api.post(f"/assignments/{held['id']}/annotation", body).status_code == 400
    assert answers_of(world, held["sample_id"]) == []


def test_a_late_answer_is_kept_as_an_extra_vote(world):
    world.round(world.project())
    mia, tom = world.api("labeler", "mia"), world.api("labeler", "tom")
    held = world.lease(mia)[0]
    world.clock.advance(301)
    taken = world.lease(tom)[0]
    assert taken["sample_id"] == held["sample_id"]
    late = mia.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"})
    assert (late.status_code, late.json["annotation"]["is_extra_vote"]) == (201, True)
    assert tom.post(f"/assignments/{taken['id']}/annotation", {"class_name": "cat"}).status_code == 201
    assert [answer.class_name for answer in answers_of(world, held["sample_id"])] == ["cat", "cat"]


def test_undo_gives_the_sample_back_and_works_once(world):
    world.round(world.project())
    api = world.api("labeler", "mia")
    held = world.lease(api)[0]
    made = api.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"}).json["annotation"]
    undone = api.delete(f"/annotations/{made['id']}")
    assert undone.status_code == 200
    assert undone.json["annotation"]["kind"] == "undo"
    assert undone.json["assignment"]["sample_id"] == held["sample_id"]
    assert undone.json["assignment"]["id"] != held["id"]
    again = api.delete(f"/annotations/{made['id']}")
    assert (again.status_code, again.json["error"]["code"]) == (409, "already_undone")
    assert answers_of(world, held["sample_id"]) == []


def test_only_reviewers_undo_other_peoples_answers(world):
    world.round(world.project())
    mia = world.api("labeler", "mia")
    made = mia.post(f"/assignments/{world.lease(mia)[0]['id']}/annotation", {"class_name": "cat"}).json["annotation"]
    assert world.api("labeler", "tom").delete(f"/annotations/{made['id']}").status_code == 403
    undone = world.api("reviewer", "rea").delete(f"/annotations/{made['id']}")
    assert (undone.status_code, undone.json["assignment"]) == (200, None)
    assert undone.json["annotation"]["completed_by"] == "rea"


def test_own_annotations_come_newest_first_with_their_image(world):
    ids = world.project()
    world.round(ids)
    api = world.api("labeler", "mia")
    for held in world.lease(api, 3):
        api.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"})
    answer = api.get("/projects/birds/annotations/mine?limit=2").json["annotations"]
    assert [item["sample_id"] for item in answer] == [ids[2], ids[1]]
    assert answer[0]["image_url"].startswith(f"/api/v1/samples/{ids[2]}/image?size=1024&v=")
    assert world.api("labeler", "tom").get("/projects/birds/annotations/mine").json["annotations"] == []
    assert api.get("/projects/birds/annotations/mine?limit=0").status_code == 400
    assert api.get("/projects/nope/annotations/mine").status_code == 404


def test_own_annotations_are_looked_up_together(world):
    ids = world.project()
    world.round(ids)
    api = world.api("labeler", "mia")
    for held in world.lease(api, 6):
        api.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"})

    def statements(limit: int) -> int:
        seen = []
        listener = lambda connection, cursor, statement, *more: seen.append(statement)  # noqa: E731
        sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", listener)
        found = api.get(f"/projects/birds/annotations/mine?limit={limit}").json["annotations"]
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", listener)
        assert len(found) == limit
        return len(seen)

    assert statements(6) == statements(1)


@pytest.mark.parametrize("where", ["body", "header"])
def test_an_empty_key_is_refused_not_replaced(world, where):
    ids = world.project()
    world.round(ids)
    mia = world.api("labeler", "mia")
    [held] = world.lease(mia)
    body = {"class_name": "cat", **({"client_key": ""} if where == "body" else {})}
    if where == "header":
        mia.headers = {**mia.headers, "Idempotency-Key": ""}
    assert mia.post(f"/assignments/{held['id']}/annotation", body).status_code == 400
    assert answers_of(world, held["sample_id"]) == []
