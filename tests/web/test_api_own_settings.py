"""What people set for themselves, over HTTP."""

import pytest

KEYS = {"actions": {"skip": "x"}, "classes": {"0": "9", "1": ""}}


def test_what_is_set_stays_and_each_setting_is_changed_by_itself(world):
    api = world.api("viewer", "vic")
    assert api.get("/me/settings").json == {"theme": None, "keys": None}
    assert api.patch("/me/settings", {"theme": "dark"}).json == {"theme": "dark", "keys": None}
    assert api.patch("/me/settings", {"keys": KEYS}).json == {"theme": "dark", "keys": KEYS}
    assert api.patch("/me/settings", {"theme": "light", "keys": None}).json["keys"] == KEYS
    assert world.api("viewer", "another").get("/me/settings").json == {"theme": None, "keys": None}
    assert world.api("viewer", "vic").get("/me/settings").json == {"theme": "light", "keys": KEYS}


@pytest.mark.parametrize(
    "body",
    [
        {"theme": "pink"},
        {"theme": 1},
        {"more": 1},
        {"keys": {"actions": {"skip": 1}}},
        {"keys": {"actions": {"skip": "x" * 41}}},
        {"keys": {"classes": {str(number): "x" for number in range(3001)}}},
        {"keys": {"classes": {"0": "\0"}}},
    ],
)
def test_what_makes_no_sense_is_refused(world, body):
    api = world.api("viewer", "vic")
    assert api.patch("/me/settings", body).status_code == 400
    assert api.get("/me/settings").json == {"theme": None, "keys": None}
