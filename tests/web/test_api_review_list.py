"""Lists for reviewers over HTTP: filters, pages, what there is to filter by, and the log of a sample."""

from typing import Any

import pytest

from al_service.domain.states import Role


def answered(world: Any, *, words: dict[str, str], count: int = 6, **settings: Any) -> list[int]:
    """A project in which each of these people answered the samples in order, `-` for none; its sample ids."""
    ids = world.project(count=count, overlap=len(words), **settings)
    world.round(ids)
    for name, said in words.items():
        api = world.api("labeler", name)
        leases = {item["sample_id"]: item["id"] for item in world.lease(api, count)}
        for sample_id, word in zip(ids, said.split(), strict=False):
            body = {"flag": True} if word == "flag" else {"class_name": word, "lead_time": 1.5}
            if word != "-":
                assert api.post(f"/assignments/{leases[sample_id]}/annotation", body).status_code == 201
    return list(ids)


def listed(api: Any, query: str = "") -> list[int]:
    """The sample ids of a list, over as many pages as it takes."""
    found: list[int] = []
    path, after = f"/projects/birds/review?{query}", ""
    while True:
        answer = api.get(f"{path}{after}").json
        found += [sample["sample_id"] for sample in answer["samples"]]
        if answer["next"] is None:
            return found
        assert (answer["facets"] is None) is bool(after)
        after = f"&after={answer['next']}"


def test_a_row_says_who_said_what(world):
    ids = answered(world, words={"mia": "cat dog", "tom": "cat cat"})
    answer = world.api("reviewer").get("/projects/birds/review?kind=disputed").json
    [sample] = answer["samples"]
    assert (sample["sample_id"], sample["class_name"], sample["dissent"]) == (ids[1], "dog", 50)
    assert (sample["round"], sample["rank"], sample["reason"]) == (1, 1, "uncertain between cat and dog")
    assert (sample["state"], sample["label_version"], sample["is_reviewed"]) == ("labelled", 2, False)
    said = [(vote["by"], vote["kind"], vote["class_name"], vote["lead_time"]) for vote in sample["votes"]]
    assert said == [("mia", "label", "dog", 1.5), ("tom", "label", "cat", 1.5)]
    assert sample["opinion"] is None
    facets = answer["facets"]
    assert (facets["people"], facets["last_round"], facets["count_max"]) == (["mia", "tom"], 1, 1000)
    assert facets["counts"] == {"labelled": 2, "disputed": 1, "reviewed": 0, "flagged": 0, "skipped": 0, "gold": 0}


def test_filters_and_pages(world):
    ids = answered(world, words={"mia": "cat dog cat flag", "tom": "cat cat dog"})
    api = world.api("reviewer")
    assert listed(api) == listed(api, "limit=1") == [ids[2], ids[1], ids[0], ids[3]]
    assert listed(api, "annotator=mia&limit=2") == [ids[3], ids[2], ids[1], ids[0]]
    assert listed(api, "class_name=dog") == [ids[1]]
    assert listed(api, "round=1&kind=labelled&limit=1") == [ids[2], ids[1], ids[0]]
    assert listed(api, "kind=flagged") == [ids[3]]
    assert listed(api, "kind=disputed&limit=1") == [ids[2], ids[1]]
    assert listed(api, "kind=disputed&class_name=cat&annotator=tom&round=1") == [ids[2]]


def test_a_verdict_takes_a_sample_out_of_dispute_and_taking_it_back_brings_it_there_again(world):
    ids = answered(world, words={"mia": "cat", "tom": "dog"})
    api = world.api("reviewer")
    given = api("PUT", f"/samples/{ids[0]}/label", json={"class_name": "dog", "version": 2, "client_key": "k"})
    assert given.status_code == 201
    assert (listed(api, "kind=disputed"), listed(api, "kind=reviewed")) == ([], [ids[0]])
    api.delete(f"/annotations/{given.json['annotation']['id']}")
    assert (listed(api, "kind=disputed"), listed(api, "kind=reviewed")) == ([ids[0]], [])


def test_a_dispute_about_classes_that_become_one_is_over(world):
    answered(world, words={"mia": "cat cat", "tom": "dog cat"})
    api = world.api("engineer")
    assert len(listed(api, "kind=disputed")) == 1
    merged = api.post("/projects/birds/classes", {"op": "merge", "class_name": "dog", "into": "cat"})
    assert merged.status_code == 200
    assert listed(api, "kind=disputed") == []


def test_the_log_keeps_what_was_taken_back(world):
    ids = answered(world, words={"mia": "cat"})
    mia, api = world.api("labeler", "mia"), world.api("reviewer")
    first = api.get(f"/samples/{ids[0]}/log").json["log"][0]
    mia.delete(f"/annotations/{first['id']}")
    log = api.get(f"/samples/{ids[0]}/log").json["log"]
    assert [(row["completed_by"], row["kind"], row["undone"], row["undoes"]) for row in log] == [
        ("mia", "label", True, None),
        ("mia", "undo", False, first["id"]),
    ]


def test_samples_kept_for_evaluation_are_for_engineers(world):
    ids = world.project(count=1, evaluation=1)
    world.round(ids)
    mia = world.api("labeler", "mia")
    for item in world.lease(mia, 2):
        mia.post(f"/assignments/{item['id']}/annotation", {"class_name": "cat"})
    assert listed(world.api("reviewer")) == ids[:1]
    assert sorted(listed(world.api("engineer"))) == ids
    assert world.api("reviewer").get("/projects/birds/review").json["facets"]["counts"]["labelled"] == 1
    assert world.api("reviewer").get(f"/samples/{ids[1]}/log").status_code == 404
    assert len(world.api("engineer").get(f"/samples/{ids[1]}/log").json["log"]) == 1


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("kind=nothing", 400),
        ("after=x", 400),
        ("after=5-6", 400),
        ("kind=disputed&after=5", 400),
        ("after=99999999999999999999", 400),
        ("after=", 400),
        ("after=%C2%B2", 400),
        ("class_name=cow", 400),
        ("annotator=nobody", 404),
        ("round=7", 404),
        ("limit=201", 400),
        ("after=9223372036854775807", 200),
        ("kind=disputed&after=9999999999999999999-0", 200),
    ],
)
def test_what_does_not_fit_is_named(world, query, status):
    world.project()
    assert world.api("reviewer").get(f"/projects/birds/review?{query}").status_code == status


@pytest.mark.parametrize("role", [Role.LABELER, Role.VIEWER])
def test_labelers_do_not_see_what_others_said(world, role):
    ids = world.project()
    assert world.api(role).get("/projects/birds/review").status_code == 403
    assert world.api(role).get(f"/samples/{ids[0]}/log").status_code == 403
