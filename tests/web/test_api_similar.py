"""Similar images and look-alikes over HTTP: who sees what, and what stays hidden."""

import json
from typing import Any

import pytest

from al_service.domain.records import Chosen
from al_service.domain.states import Lane, Role, Stage
from al_service.loop.rounds import StageResult


def similar_round(world: Any, near: dict[int, list[int]], asked: list[int], **facts: Any) -> None:
    """A round that asks for those samples and stored these neighbours of them."""
    record, is_new = world.services.rounds.start("birds")
    assert is_new
    record = world.finish_stage(record, StageResult({}, Stage.SELECT))
    stored = {str(own): [[found, 0.1 * at] for at, found in enumerate(found_ids)] for own, found_ids in near.items()}
    world.artifacts.put("rounds/1/similar.json", json.dumps(stored).encode())
    chosen = [
        Chosen(one, rank, 1.0, {"code": "random"}, look_alike=rank // 2, copy_group=7 if rank < 2 else None)
        for rank, one in enumerate(asked)
    ]
    facts = {"similar_artifact": "rounds/1/similar.json", **facts}
    world.finish_stage(record, StageResult(facts, Stage.ANNOTATE, chosen=chosen))


def label(world: Any, sample_id: int, class_name: str) -> None:
    user = world.services.accounts.ensure_user("ina", Role.ENGINEER)
    with world.store.write() as tx:
        project = tx.samples.get(sample_id).project_id
        tx.annotations.add_labels(project, user.id, [(sample_id, class_name)], f"import-{sample_id}-", world.clock())


def test_leases_say_which_images_look_alike_and_come_by_group_when_asked(world):
    ids = world.project()
    similar_round(world, {}, ids[:4])
    mia = world.api("labeler", "mia")
    path = "/projects/birds/assignments"
    held = mia.post(path, {"count": 2, "look_alike": True}).json["assignments"]
    assert [(item["sample_id"], item["look_alike"], item["copy_group"]) for item in held] == [
        (ids[0], 0, 7),
        (ids[1], 0, 7),
    ]
    assert mia.post(path, {"count": 2, "look_alike": "yes"}).status_code == 400


def test_similar_images_come_nearest_first_without_their_classes(world):
    ids = world.project()
    label(world, ids[4], "cat")
    similar_round(world, {ids[0]: [ids[4], ids[5]]}, ids[:2])
    answer = world.api("labeler", "mia").get(f"/samples/{ids[0]}/similar")
    assert answer.json["why_none"] is None
    found = answer.json["similar"]
    assert [(one["sample_id"], one["distance"], one["class_name"]) for one in found] == [
        (ids[4], 0.0, None),
        (ids[5], 0.1, None),
    ]
    assert found[0]["image_url"].startswith(f"/api/v1/samples/{ids[4]}/image?")


def test_classes_come_when_asked_but_never_of_what_somebody_is_asked_or_of_gold(world):
    ids = world.project()
    for sample_id in ids[3:6]:
        label(world, sample_id, "dog")
    similar_round(world, {ids[0]: ids[1:6]}, ids[:3])
    rita = world.services.accounts.ensure_user("rita", Role.REVIEWER)
    with world.store.write() as tx:
        tx.lanes.set_gold(tx.samples.get(ids[4]), "dog", rita.id, world.clock())
        tx.lanes.add(tx.samples.get(ids[5]), Lane.TASK, answers=1, turn=0, user_id=None, reason={"code": "by_hand"})
    found = world.api("labeler", "mia").get(f"/samples/{ids[0]}/similar?classes=true").json["similar"]
    assert [one["class_name"] for one in found] == [None, None, "dog", None, None]


def test_images_kept_for_measuring_are_never_shown(world):
    ids = world.project(count=3, evaluation=2)
    similar_round(world, {ids[0]: [ids[3], ids[1], ids[4]]}, ids[:2])
    mia = world.api("labeler", "mia")
    assert [one["sample_id"] for one in mia.get(f"/samples/{ids[0]}/similar").json["similar"]] == [ids[1]]
    assert mia.get(f"/samples/{ids[3]}/similar").status_code == 404
    assert mia.get("/samples/999/similar").status_code == 404


@pytest.mark.parametrize(
    ("facts", "asked"),
    [
        ({"similar_artifact": None}, 0),
        ({"similar_artifact": "rounds/1/gone.json"}, 0),
        ({}, 1),
        ({}, 5),
    ],
    ids=["no embeddings", "the file has gone", "not in the file", "no round chose it"],
)
def test_where_none_are_known_the_words_are_the_same_whatever_the_reason(world, facts, asked):
    """A reason of its own would tell gold that no round chose from the other images."""
    ids = world.project()
    similar_round(world, {ids[0]: [ids[3]]}, ids[:2], **facts)
    answer = world.api("labeler", "mia").get(f"/samples/{ids[asked]}/similar")
    assert (answer.status_code, answer.json["similar"]) == (200, [])
    assert answer.json["why_none"].startswith("No similar images are known of this one")


def test_a_file_is_read_once(world):
    ids = world.project()
    similar_round(world, {ids[0]: [ids[3]]}, ids[:2])
    mia = world.api("labeler", "mia")
    assert len(mia.get(f"/samples/{ids[0]}/similar").json["similar"]) == 1
    world.artifacts.delete("rounds/1/similar.json")
    assert len(mia.get(f"/samples/{ids[0]}/similar").json["similar"]) == 1


def test_viewers_do_not_see_similar_images(world):
    ids = world.project()
    similar_round(world, {ids[0]: [ids[3]]}, ids[:2])
    answer = world.api("viewer").get(f"/samples/{ids[0]}/similar")
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "role_too_low")
