"""People's agreement over HTTP: figures by class, person and pair, gold, and that it costs little to ask again."""

from typing import Any

import pytest

from al_service.domain.agreement_tables import agreement_tables
from al_service.loop.skills import RECENT_ANSWERS


def answered(world: Any, said: dict[str, list[str]], **settings: Any) -> list[int]:
    """A project whose samples these people answered, each with one class per sample; the sample ids."""
    count = len(next(iter(said.values())))
    ids = world.project(count=count, overlap=len(said), **settings)
    world.round(ids)
    for name, classes in said.items():
        api = world.api("labeler", name)
        for item in world.lease(api, count):
            body = {"class_name": classes[ids.index(item["sample_id"])], "client_key": f"{name}-{item['sample_id']}"}
            assert api.post(f"/assignments/{item['id']}/annotation", body).status_code == 201
    return list(ids)


SAID = {
    "ann": ["cat", "cat", "dog", "dog", "cat", "dog"],
    "bea": ["cat", "cat", "dog", "dog", "cat", "cat"],
    "cy": ["dog", "cat", "dog", "dog", "dog", "cat"],
}


def test_the_figures_are_those_of_the_votes(world):
    ids = answered(world, SAID)
    found = world.api("reviewer").get("/projects/birds/agreement").json
    votes = [(sample, name, said) for name, one in SAID.items() for sample, said in zip(ids, one, strict=True)]
    tables = agreement_tables(votes)
    assert found["overall"]["samples"] == 6 and found["overall"]["answers"] == 18
    assert found["overall"]["krippendorff_alpha"]["value"] == pytest.approx(tables.overall.alpha.value)
    assert found["overall"]["fleiss_kappa"]["value"] == pytest.approx(tables.overall.fleiss.value)
    assert found["overall"]["observed"] == {
        "value": pytest.approx(tables.overall.observed.value),
        "low": None,
        "high": None,
    }
    assert [one["class_name"] for one in found["classes"]] == ["cat", "dog"]
    for one in found["classes"]:
        expected = tables.classes[one["class_name"]]
        assert one["repeated"]["value"] == pytest.approx(expected.repeated.value)
        assert one["answers"] == expected.answers
    for one in found["people"]:
        expected = tables.people[one["name"]]
        assert (one["samples"], one["comparisons"]) == (6, 12)
        assert one["cohen_kappa"] == pytest.approx(expected.kappa)
        assert one["alpha_without"] == pytest.approx(expected.alpha_without)
        assert one["gold"] is one["skill"] is None
    assert [one["name"] for one in found["people"]] == ["ann", "bea", "cy"]
    pairs = {(one["first"], one["second"]): one for one in found["pairs"]}
    assert pairs["ann", "bea"]["observed"] == pytest.approx(5 / 6)
    assert found["confusions"] == [{"first": "cat", "second": "dog", "samples": 3}]


def test_a_project_of_single_answers_has_no_figures_rather_than_zeros(world):
    answered(world, {"ann": ["cat", "dog"]})
    found = world.api("reviewer").get("/projects/birds/agreement").json
    nothing = {"value": None, "low": None, "high": None}
    assert found["overall"] == {
        "samples": 0, "answers": 0, "observed": nothing, "fleiss_kappa": nothing, "krippendorff_alpha": nothing
    }  # fmt: skip
    assert found["classes"] == found["people"] == found["pairs"] == found["confusions"] == []
    assert found["latest_annotation"] > 0


def test_gold_says_how_often_a_person_is_right(world):
    """Four images are known to be cats; ann calls two of them dogs."""
    ids = world.project(count=30, gold_share=0.5)
    gold, asked = ids[:4], ids[4:]
    world.round(asked)
    reviewer = world.api("reviewer")
    for sample_id in gold:
        body = {"class_name": "cat", "version": 0, "client_key": f"gold-{sample_id}"}
        assert reviewer.put(f"/samples/{sample_id}/gold", body).status_code in (200, 201)
    ann = world.api("labeler", "ann")
    seen = []
    for item in world.lease(ann, 26):
        said = "cat" if item["sample_id"] in gold[2:] else "dog"
        body = {"class_name": said, "client_key": f"ann-{item['sample_id']}"}
        assert ann.post(f"/assignments/{item['id']}/annotation", body).status_code == 201
        seen.append(item["sample_id"])
    assert set(gold) <= set(seen)
    [found] = reviewer.get("/projects/birds/agreement").json["people"]
    assert (found["name"], found["samples"], found["observed"]) == ("ann", 0, None)
    assert (found["gold"]["answered"], found["gold"]["right"]) == (4, 2)
    accuracy = found["gold"]["accuracy"]
    assert 0 < accuracy["low"] < accuracy["value"] == 0.5 < accuracy["high"] < 1


def test_skills_are_shown_where_votes_are_weighed(world):
    answered(world, SAID, consensus="weighted")
    with world.store.read() as tx:
        project_id = tx.projects.find("birds").id
    world.services.skills.estimate(project_id)
    people = {one["name"]: one for one in world.api("reviewer").get("/projects/birds/agreement").json["people"]}
    assert people["cy"]["skill"]["accuracy"] < people["bea"]["skill"]["accuracy"]
    assert (people["bea"]["skill"]["answers"], people["bea"]["skill"]["by_class"]) == (6, None)


def test_nothing_new_is_answered_with_304_and_a_new_answer_counts_at_once(world):
    ids = answered(world, SAID)
    reviewer = world.api("reviewer")
    first = reviewer.get("/projects/birds/agreement")
    again = reviewer.get("/projects/birds/agreement", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    recent = world.api("labeler", "cy").get("/projects/birds/annotations/mine?limit=20").json["annotations"]
    annotation = next(one for one in recent if one["sample_id"] == ids[0])
    assert world.api("labeler", "cy").delete(f"/annotations/{annotation['id']}").status_code == 200
    changed = reviewer.get("/projects/birds/agreement", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200 and changed.json["overall"]["answers"] == 17


def test_who_may_ask_and_for_what(world):
    answered(world, {"ann": ["cat"], "bea": ["cat"]})
    for role, status in (("viewer", 403), ("labeler", 403), ("reviewer", 200), ("engineer", 200)):
        assert world.api(role).get("/projects/birds/agreement").status_code == status
    assert world.api("reviewer").get("/projects/nothing/agreement").status_code == 404
    assert RECENT_ANSWERS == 100_000  # docs/agreement.md and the route's words name it
