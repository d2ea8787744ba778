"""Classes over HTTP: which there are, what a change would do, the change, and what labelers hear of it."""

from typing import Any


def labelled(world: Any, names: list[str]) -> list[int]:
    """A project whose first samples mia labelled with these names; all its ids."""
    ids = world.project()
    world.round(ids)
    mia = world.api("labeler", "mia")
    for item, name in zip(world.lease(mia, len(names)), names, strict=True):
        assert mia.post(f"/assignments/{item['id']}/annotation", {"class_name": name}).status_code == 201
    return list(ids)


def names_of(world: Any) -> list[str]:
    return list(world.api("viewer").get("/projects/birds").json["project"]["classes"])


def test_classes_with_their_counts(world):
    labelled(world, ["cat", "cat", "dog"])
    found = world.api("viewer").get("/projects/birds/classes").json
    assert [(one["name"], one["position"], one["labels"]["pool"]) for one in found["classes"]][:2] == [
        ("cat", 0, 2),
        ("dog", 1, 1),
    ]
    assert found["classes"][0]["split_into"] == [] and found["classes"][0]["relabelling"] is None
    assert world.api("viewer").get("/projects/nothing/classes").status_code == 404


def test_a_preview_changes_nothing_and_its_version_guards_the_change(world):
    labelled(world, ["cat", "dog"])
    api, before = world.api("engineer"), names_of(world)
    wish = {"op": "rename", "class_name": "dog", "new_name": "hound"}
    seen = api.post("/projects/birds/classes/preview", wish)
    assert (seen.status_code, seen.json["op"], seen.json["labels"]["pool"]) == (200, "rename", 1)
    assert "“dog” is called “hound” from then on" in seen.json["words"][0]
    assert names_of(world) == before
    assert api.post("/projects/birds/classes", {"op": "add", "names": ["robin"]}).status_code == 200
    late = api.post("/projects/birds/classes", {**wish, "version": seen.json["version"]})
    assert (late.status_code, late.json["error"]["code"]) == (409, "classes_changed")
    fresh = api.post("/projects/birds/classes/preview", wish).json["version"]
    assert api.post("/projects/birds/classes", {**wish, "version": fresh}).status_code == 200
    assert names_of(world) == [*("hound" if name == "dog" else name for name in before), "robin"]


def test_merge_and_split_say_what_became_of_a_class(world):
    labelled(world, ["cat", "dog", "cat"])
    api = world.api("engineer")
    merged = api.post("/projects/birds/classes", {"op": "merge", "class_name": "dog", "into": "cat"})
    assert (merged.status_code, merged.json["into_labels"]["pool"]) == (200, 2)
    wish = {"op": "split", "class_name": "cat", "parts": ["house cat", "wild cat"]}
    split = api.post("/projects/birds/classes", wish)
    assert (split.status_code, split.json["asked_again"], split.json["votes"]) == (200, 3, 3)
    by_name = {one["name"]: one for one in api.get("/projects/birds/classes").json["classes"]}
    assert by_name["dog"]["merged_into"] == "cat"
    assert by_name["cat"]["split_into"] == ["house cat", "wild cat"]
    assert by_name["cat"]["relabelling"] == {"asked": 3, "waiting": 3}
    assert by_name["cat"]["retired_at"] is not None
    mia = world.api("labeler", "mia")
    items = world.lease(mia, 1)
    assert (items[0]["reason_code"], items[0]["reason"]) == ("class_split", "the class cat was split")
    assert mia.post(f"/assignments/{items[0]['id']}/annotation", {"class_name": "wild cat"}).status_code == 201
    by_name = {one["name"]: one for one in api.get("/projects/birds/classes").json["classes"]}
    assert by_name["cat"]["relabelling"] == {"asked": 3, "waiting": 2}


def test_labelers_hear_that_classes_changed_and_old_names_count_until_a_split(world):
    labelled(world, ["cat"])
    mia, api = world.api("labeler", "mia"), world.api("engineer")

    def version() -> str:
        return str(mia.post("/projects/birds/assignments", {"count": 1}).json["classes_version"])

    first = version()
    assert version() == first
    api.post("/projects/birds/classes", {"op": "rename", "class_name": "dog", "new_name": "hound"})
    second = version()
    assert second != first
    assert second == api.get("/projects/birds/classes").json["version"]
    [item] = world.lease(mia)
    answer = {"class_name": "dog", "client_key": "k"}
    stored = mia.post(f"/assignments/{item['id']}/annotation", answer)
    assert (stored.status_code, stored.json["annotation"]["class_name"]) == (201, "hound")
    assert mia.post(f"/assignments/{item['id']}/annotation", answer).status_code == 200
    api.post("/projects/birds/classes", {"op": "split", "class_name": "hound", "parts": ["male", "female"]})
    [item] = world.lease(mia)
    refused = mia.post(f"/assignments/{item['id']}/annotation", {"class_name": "dog", "client_key": "k2"})
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "class_was_split")
    assert refused.json["error"]["details"]["parts"] == ["male", "female"]


def test_what_does_not_fit_is_refused(world):
    labelled(world, ["cat"])
    api = world.api("engineer")
    for body, status, code in (
        ({"op": "delete", "class_name": "dog"}, 400, "invalid_body"),
        ({"class_name": "dog"}, 400, "invalid_body"),
        ({"op": "merge", "class_name": "dog"}, 400, "invalid_body"),
        ({"op": "add", "names": ["a\0b"]}, 400, "invalid_body"),
        ({"op": "add", "names": []}, 400, "invalid_input"),
        ({"op": "split", "class_name": "dog", "parts": ["one"]}, 400, "invalid_input"),
        ({"op": "merge", "class_name": "nothing", "into": "dog"}, 404, "not_found"),
        ({"op": "add", "names": ["dog"]}, 409, "class_name_taken"),
    ):
        for path in ("/projects/birds/classes", "/projects/birds/classes/preview"):
            answer = api.post(path, body)
            assert (answer.status_code, answer.json["error"]["code"]) == (status, code), (path, body)


def test_only_engineers_change_classes(world):
    labelled(world, ["cat"])
    for role in ("viewer", "labeler", "reviewer"):
        answer = world.api(role).post("/projects/birds/classes", {"op": "add", "names": ["robin"]})
        assert answer.status_code == 403
        assert world.api(role).post("/projects/birds/classes/preview", {"op": "add", "names": ["x"]}).status_code == 403
