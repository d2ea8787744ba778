"""What each person of a project did, over HTTP: answers by kind, pace, what suggestions do; on real answers."""

import pytest


def answer(api, item, body, key):
    reply = api.post(f"/assignments/{item['id']}/annotation", {**body, "client_key": key})
    assert reply.status_code == 201, reply.text
    return reply.json["annotation"]["id"]


@pytest.fixture
def busy(world):
    """mia: two labels (2 s and 4 s), a skip, a label taken back; tom: a flag, without a time; rita: a verdict."""
    ids = world.project(count=6)
    world.round(ids)
    mia, tom, rita = (
        world.api(role, name) for role, name in (("labeler", "mia"), ("labeler", "tom"), ("reviewer", "rita"))
    )
    held = world.lease(mia, 4)
    answer(mia, held[0], {"class_name": "cat", "lead_time": 2.0}, "a")
    world.clock.advance(60)
    answer(mia, held[1], {"class_name": "dog", "lead_time": 4.0}, "b")
    answer(mia, held[2], {"skip": True, "lead_time": 3.0}, "c")
    gone = answer(mia, held[3], {"class_name": "cat", "lead_time": 11.0}, "d")
    assert mia.delete(f"/annotations/{gone}").status_code == 200
    item = world.lease(tom, 1)[0]
    answer(tom, item, {"flag": True}, "e")
    verdict = {"class_name": "dog", "version": 1, "client_key": "v"}
    assert rita.put(f"/samples/{held[0]['sample_id']}/label", verdict).status_code == 201
    return world


def test_the_work_of_each_person_is_counted_by_kind(busy):
    team = busy.api("reviewer").get("/projects/birds/people").json
    assert team["days"] == 30
    found = {person["name"]: person for person in team["people"]}
    assert list(found) == ["mia", "rita", "tom"]
    kinds = ("labels", "verdicts", "skips", "flags", "taken_back", "extra_votes")
    assert {name: tuple(person[kind] for kind in kinds) for name, person in found.items()} == {
        "mia": (2, 0, 1, 0, 1, 0),
        "rita": (0, 1, 0, 0, 0, 0),
        "tom": (0, 0, 0, 1, 0, 0),
    }
    mia = found["mia"]
    # Four answers in 2 + 4 + 3 + 11 seconds: time went into the one that was taken back, too.
    assert (mia["active_s"], mia["seconds_per_answer"], mia["answers_per_minute"]) == (20.0, 5.0, 12.0)
    assert (found["tom"]["seconds_per_answer"], found["tom"]["answers_per_minute"]) == (None, None)
    assert mia["first_at"] < mia["last_at"]
    assert mia["told"] == mia["kept_blind"] == {"answered": 0, "agreed": 0}


def test_only_the_days_that_are_asked_for_count(busy):
    busy.clock.advance(3 * 86_400)
    api = busy.api("reviewer")
    assert api.get("/projects/birds/people?days=2").json == {"days": 2, "people": []}
    assert len(api.get("/projects/birds/people?days=4").json["people"]) == 3
    assert api.get("/projects/birds/people?days=0").status_code == 400
    assert api.get("/projects/nothing/people").status_code == 404


def test_labelers_do_not_see_each_others_figures(busy):
    assert busy.api("labeler", "mia").get("/projects/birds/people").status_code == 403


def test_imports_are_nobodys_work(world):
    ids = world.project(count=2)
    user = world.services.accounts.ensure_user("importer", "engineer")
    with world.store.write() as tx:
        project = tx.projects.find("birds")
        tx.annotations.add_labels(project.id, user.id, [(ids[0], "cat")], "import-1-", world.clock())
    assert world.api("reviewer").get("/projects/birds/people").json["people"] == []
