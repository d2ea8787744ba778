"""Heat maps over HTTP: asking, the picture, who may see it, and what is kept from them."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from al_service.domain.heat_maps import HeatMap, heat_maps_to_bytes
from al_service.domain.records import Chosen
from al_service.domain.states import Stage
from al_service.loop.class_change_kinds import MergeClass, RenameClass
from al_service.loop.rounds import StageResult


def mapped(world: Any, sample_ids: list[int], cells: tuple[int, ...] = (255, 0, 0, 0), **facts: Any) -> None:
    """A round that asks for these samples; the model sees a dog in the upper left of each, and a cat nowhere."""
    record, _ = world.services.rounds.start("birds")
    classes = {info.name: info.id for info in world.services.projects.get("birds").classes}
    record = world.finish_stage(record, StageResult({"skipped": "by the test"}, Stage.SELECT))
    maps = {
        sample_id: (HeatMap(classes["dog"], 2, 2, bytes(cells)), HeatMap(classes["cat"], 2, 2, bytes(4)))
        for sample_id in sample_ids
    }
    name = f"rounds/{record.id}/heat-maps.json"
    world.artifacts.put(name, heat_maps_to_bytes(maps))
    likely = ((classes["dog"], 0.7), (classes["cat"], 0.3))
    picks = [Chosen(one, rank, 0.5, {"code": "random"}, likely=likely) for rank, one in enumerate(sample_ids)]
    found = facts or {"artifact": name, "images": len(maps), "of": len(maps), "seconds": 0.1}
    world.finish_stage(record, StageResult({"heat_maps": found}, Stage.ANNOTATE, chosen=picks))


def url(sample_id: int, query: str = "") -> str:
    return f"/samples/{sample_id}/explanations/cam{query}"


def pixels(answer: Any) -> np.ndarray:
    assert answer.content_type == "image/png"
    return np.array(Image.open(io.BytesIO(answer.data)).convert("RGBA"))


def test_a_labeler_asks_and_gets_the_picture_of_what_they_hold(world):
    ids = world.project(blind_share=0.0)
    mapped(world, ids)
    mia = world.api("labeler", "mia")
    [held] = world.lease(mia)
    asked = mia.post(f"/assignments/{held['id']}/heat-map")
    assert (asked.status_code, asked.json) == (200, {"class_names": ["dog", "cat"], "blind": False})
    picture = pixels(mia.get(url(held["sample_id"], "?class=dog&size=256")))
    assert picture.shape == (171, 256, 4)  # 90 x 60
    assert picture[10, 50, 3] > 150  # the upper left of the square in the middle
    assert picture[10, 5, 3] == picture[150, 200, 3] == 0
    assert not pixels(mia.get(url(held["sample_id"], "?class=cat")))[..., 3].any()
    likeliest = mia.get(url(held["sample_id"]))
    assert pixels(likeliest).shape == (341, 512, 4)


def test_the_answer_remembers_and_so_does_the_pull(world):
    ids = world.project(blind_share=0.0)
    mapped(world, ids)
    mia = world.api("labeler", "mia")
    [held] = world.lease(mia)
    assert mia.get(url(held["sample_id"])).status_code == 200
    mia.post(f"/assignments/{held['id']}/annotation", {"class_name": "dog", "client_key": "k"})
    with world.store.read() as tx:
        assert [one.saw_suggestion for one in tx.annotations.active_of_sample(held["sample_id"])] == [True]
    pull = world.api("viewer").get("/projects/birds/suggestions/pull").json
    assert pull["told"] == {"answered": 1, "agreed": 1}


def test_a_blind_image_shows_nothing_by_either_way(world):
    ids = world.project(blind_share=1.0)
    mapped(world, ids)
    mia = world.api("labeler", "mia")
    [held] = world.lease(mia)
    assert mia.post(f"/assignments/{held['id']}/heat-map").json == {"class_names": [], "blind": True}
    refused = mia.get(url(held["sample_id"]))
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "kept_blind")
    assert "kept blind" in refused.json["error"]["message"]
    assert mia.post(f"/assignments/{held['id']}/suggestion").json == {"likely": [], "blind": True}


def test_it_is_not_sent_again_until_a_newer_round_looked(world):
    ids = world.project(blind_share=0.0)
    mapped(world, ids[:1])
    api = world.api("reviewer")
    first = api.get(url(ids[0]))
    tag = {"If-None-Match": first.headers["ETag"]}
    assert first.headers["Cache-Control"] == "private, no-cache"
    assert api.get(url(ids[0]), headers=tag).status_code == 304
    assert api.get(url(ids[0], "?class=cat"), headers=tag).status_code == 200
    assert api.get(url(ids[0], "?size=64"), headers=tag).status_code == 200
    world.services.rounds.cancel("birds", 1)
    mapped(world, ids[:1], (0, 0, 0, 255))
    again = api.get(url(ids[0]), headers=tag)
    assert again.status_code == 200
    assert pixels(again)[10, 150, 3] == 0


def test_who_is_refused_and_how(world):
    ids = world.project(blind_share=0.0)
    mapped(world, ids)
    mia, tom = world.api("labeler", "mia"), world.api("labeler", "tom")
    [held] = world.lease(mia)
    assert world.api(None).get(url(ids[0])).status_code == 401
    assert world.api("viewer").get(url(ids[0])).json["error"]["code"] == "role_too_low"
    refused = tom.get(url(ids[0]))
    assert (refused.status_code, refused.json["error"]["code"]) == (403, "not_in_hand")
    assert tom.post(f"/assignments/{held['id']}/heat-map").status_code == 404
    assert world.api("reviewer").get(url(ids[0])).status_code == 200
    mia.post(f"/assignments/{held['id']}/annotation", {"class_name": "dog", "client_key": "k"})
    assert mia.get(url(ids[0])).status_code == 200


def test_an_evaluation_sample_has_none_and_is_not_there_for_others(world):
    ids = world.project(count=2, evaluation=1, blind_share=0.0)
    mapped(world, ids[:2])
    assert world.api("reviewer").get(url(ids[-1])).json["error"]["code"] == "not_found"
    none = world.api("engineer").get(url(ids[-1]))
    assert (none.status_code, none.json["error"]["code"]) == (404, "no_heat_map")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("?class=horse", 404, "no_heat_map"),
        ("?size=100", 400, "invalid_input"),
        ("?size=big", 400, "invalid_query"),
        ("?colour=red", 400, "invalid_query"),
    ],
)
def test_what_cannot_be_had(world, query, status, code):
    ids = world.project(blind_share=0.0)
    mapped(world, ids)
    answer = world.api("reviewer").get(url(ids[0], query))
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)


def test_why_a_round_has_none_is_said(world):
    ids = world.project(blind_share=0.0)
    mapped(world, ids, why_none="vit_b_32 looks at tokens, not at places of its image: there is no map to show")
    mia = world.api("labeler", "mia")
    [held] = world.lease(mia)
    answer = mia.post(f"/assignments/{held['id']}/heat-map")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "no_heat_map")
    assert "looks at tokens" in answer.json["error"]["message"]


def test_a_renamed_class_has_its_new_name_and_one_that_was_merged_is_left_out(world):
    ids = world.project(blind_share=0.0)
    mapped(world, ids)
    mia = world.api("labeler", "mia")
    [held] = world.lease(mia)
    world.services.classes.apply("birds", RenameClass("dog", "hound"), None)
    assert mia.post(f"/assignments/{held['id']}/heat-map").json["class_names"] == ["hound", "cat"]
    assert mia.get(url(held["sample_id"], "?class=hound")).status_code == 200
    world.services.classes.apply("birds", MergeClass("cat", "hound"), None)
    assert mia.post(f"/assignments/{held['id']}/heat-map").json["class_names"] == ["hound"]
    assert mia.get(url(held["sample_id"], "?class=cat")).status_code == 404
