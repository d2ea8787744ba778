"""Who may call what: every route against every role, sessions, CSRF, tokens, guessing of passwords."""

import re
from datetime import datetime

import pytest

from al_service.api.install import all_routes
from al_service.api.sign_in_limit import PAIR
from al_service.domain.states import Role

PASSWORD = "correct horse battery"
ROUTES = list(all_routes())
GUARDED = [route for route in ROUTES if route.role is not None]


def concrete(path: str) -> str:
    """A path of the kind that the rule takes, about things that are mostly not there."""
    return re.sub(r"<int:\w+>", "1", path).replace("<project>", "nothing").replace("<name>", "nobody")


@pytest.mark.parametrize("role", list(Role))
def test_every_route_refuses_lower_roles_and_only_those(world, role):
    for route in GUARDED:
        api = world.api(role)
        answer = api(route.method, concrete(route.path))
        where = f"{route.method} {route.path} as {role}"
        if role.covers(route.role):
            assert answer.status_code not in (401, 403), where
        else:
            assert (answer.status_code, answer.json["error"]["code"]) == (403, "role_too_low"), where


def test_every_guarded_route_answers_401_to_nobody(world):
    api = world.api(None)
    for route in GUARDED:
        answer = api(route.method, concrete(route.path))
        assert (answer.status_code, answer.json["error"]["code"]) == (401, "not_signed_in"), route.path
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_change_with_the_cookie_alone_needs_a_csrf_token(world):
    browser, csrf = world.browser("admin")
    for route in GUARDED:
        if route.method == "GET":
            continue
        body = {"data": b'{"ids": []}'} if route.is_beacon else {}
        for token in ({}, {"X-CSRF-Token": "made up"}):
            answer = browser(route.method, concrete(route.path), headers=token, **body)
            assert (answer.status_code, answer.json["error"]["code"]) == (403, "csrf_failed"), route.path
    assert browser.post("/projects", {"name": "birds"}, headers={"X-CSRF-Token": csrf}).status_code == 201


def test_only_signing_in_joining_and_the_document_are_public():
    assert [(route.method, route.path) for route in ROUTES if route.role is None] == [
        ("POST", "/session"),
        ("POST", "/invitations/look"),
        ("POST", "/invitations/accept"),
        ("GET", "/openapi.json"),
    ]


def test_signing_in_and_out(world):
    browser, csrf = world.browser("labeler", "mia")
    me = browser.get("/me")
    assert me.json["user"]["name"] == "mia"
    assert me.json["user"]["role"] == "labeler"
    assert browser.delete("/session", headers={"X-CSRF-Token": me.json["csrf_token"]}).status_code == 204
    assert browser.get("/me").status_code == 401
    again = browser.post("/session", {"name": "mia", "password": PASSWORD})
    assert again.json["csrf_token"] != csrf


def test_the_cookie_is_guarded_and_lasts_thirty_days(world):
    world.services.accounts.add_user("mia", Role.LABELER, PASSWORD)
    answer = world.api(None).post("/session", {"name": "mia", "password": PASSWORD})
    cookie = next(text for text in answer.headers.getlist("Set-Cookie") if text.startswith("al_session="))
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Expires=" in cookie
    assert "Secure" not in cookie.split("; ")


def test_the_cookie_is_signed_anew_on_use_but_not_at_every_request(world):
    browser, _ = world.browser("labeler")
    assert "Set-Cookie" not in browser.get("/me").headers
    world.clock.advance(3601)
    assert "Set-Cookie" in browser.get("/me").headers
    assert "Set-Cookie" not in browser.get("/me").headers


def test_another_sessions_csrf_token_is_refused(world):
    _, of_tom = world.browser("engineer", "tom")
    browser, _ = world.browser("engineer", "mia")
    assert browser.post("/projects", {"name": "birds"}, headers={"X-CSRF-Token": of_tom}).status_code == 403


def test_a_token_needs_no_csrf_and_gets_no_cookie(world):
    api = world.api("engineer")
    made = api.post("/projects", {"name": "birds"})
    assert (made.status_code, "Set-Cookie" in made.headers) == (201, False)
    assert api.get("/me").json["csrf_token"] is None


@pytest.mark.parametrize("change", [{"password": "another long one"}, {"is_active": False}])
def test_a_new_password_or_switching_off_ends_the_session(world, change):
    browser, _ = world.browser("labeler", "mia")
    assert world.api("admin").patch("/users/mia", change).status_code == 200
    assert browser.get("/me").status_code == 401


def test_a_new_role_counts_at_once(world):
    browser, csrf = world.browser("labeler", "mia")
    world.api("admin").patch("/users/mia", {"role": "viewer"})
    refused = browser.post("/projects/birds/assignments", {"count": 1}, headers={"X-CSRF-Token": csrf})
    assert refused.status_code == 403


def test_the_last_admin_stays(world):
    admin = world.api("admin")
    for change in ({"role": "viewer"}, {"is_active": False}):
        refused = admin.patch("/users/the-admin", change)
        assert (refused.status_code, refused.json["error"]["code"]) == (409, "last_admin")
    assert admin.get("/users").json["users"][0]["is_active"] is True


def test_wrong_names_and_passwords_look_the_same(world):
    world.services.accounts.add_user("mia", Role.LABELER, PASSWORD)
    world.services.accounts.add_user("robot", Role.LABELER)
    api = world.api(None)
    answers = [api.post("/session", {"name": name, "password": "wrong wrong"}) for name in ("mia", "nobody", "robot")]
    assert {(answer.status_code, answer.json["error"]["message"]) for answer in answers} == {
        (401, "name or password is not right")
    }


def test_guessing_is_slowed_down_per_name_and_a_minute_later_allowed_again(world):
    world.services.accounts.add_user("mia", Role.LABELER, PASSWORD)
    api = world.api(None)
    for _ in range(PAIR.failures_max):
        assert api.post("/session", {"name": "mia", "password": "wrong"}).status_code == 401
    refused = api.post("/session", {"name": "mia", "password": PASSWORD})
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "too_many_requests")
    assert 1 <= int(refused.headers["Retry-After"]) <= 61
    assert api.post("/session", {"name": "tom", "password": "wrong"}).status_code == 401
    world.clock.advance(61)
    assert api.post("/session", {"name": "mia", "password": PASSWORD}).status_code == 200


def test_tokens_expire_are_revoked_and_end_with_their_user(world):
    admin = world.api("admin")
    made = admin.post("/tokens", {"role": "viewer", "days": 1, "name": "board"}).json
    headers = {"Authorization": f"Bearer {made['secret']}"}
    nobody = world.api(None)
    assert nobody.get("/me", headers=headers).json["user"]["role"] == "viewer"
    world.clock.advance(86_401)
    expired = nobody.get("/me", headers=headers)
    assert (expired.status_code, expired.json["error"]["code"]) == (401, "invalid_token")
    fresh = admin.post("/tokens", {"role": "viewer"}).json
    headers = {"Authorization": f"Bearer {fresh['secret']}"}
    assert admin.delete(f"/tokens/{fresh['token']['id']}").status_code == 204
    assert nobody.get("/me", headers=headers).status_code == 401
    of_tom = world.api("viewer", "tom")
    admin.patch("/users/tom", {"is_active": False})
    assert of_tom.get("/me").status_code == 401
    assert fresh["secret"] not in admin.get("/tokens").text


def test_no_token_gets_more_rights_than_its_maker(world):
    world.services.accounts.add_user("ada", Role.ADMIN)
    secret = world.services.accounts.create_token("ada", Role.ENGINEER)[1]
    narrowed = world.api(None)
    narrowed.headers = {"Authorization": f"Bearer {secret}"}
    assert narrowed.post("/tokens", {"role": "admin"}).status_code == 403
    assert narrowed.post("/tokens", {}).json["token"]["role"] == "engineer"
    assert narrowed.post("/tokens", {"user": "tom"}).status_code == 403


def test_engineers_manage_their_own_tokens_only(world):
    admin, engineer = world.api("admin"), world.api("engineer", "eve")
    of_admin = [token["id"] for token in admin.get("/tokens").json["tokens"] if token["user"] == "the-admin"]
    assert {token["user"] for token in engineer.get("/tokens").json["tokens"]} == {"eve"}
    assert engineer.delete(f"/tokens/{of_admin[0]}").status_code == 404
    for_eve = admin.post("/tokens", {"user": "eve", "days": 2}).json["token"]
    assert (for_eve["user"], for_eve["role"]) == ("eve", "engineer")


def test_users_are_added_once(world):
    admin = world.api("admin")
    made = admin.post("/users", {"name": "mia", "role": "labeler", "password": PASSWORD})
    assert (made.status_code, made.json["user"]["is_active"]) == (201, True)
    assert admin.post("/users", {"name": "mia", "role": "labeler"}).status_code == 409
    short = admin.post("/users", {"name": "tom", "role": "labeler", "password": "short"})
    assert short.status_code == 400
    assert admin.post("/users", {"name": "tom", "role": "king"}).status_code == 400
    assert "mia" in [user["name"] for user in admin.get("/users").json["users"]]


def test_the_audit_log_names_who_did_it(world):
    world.project()
    admin, engineer = world.api("admin", "ada"), world.api("engineer", "eve")
    admin.post("/users", {"name": "mia", "role": "labeler"})
    admin.patch("/users/mia", {"role": "viewer"})
    token_id = admin.post("/tokens", {"user": "mia"}).json["token"]["id"]
    admin.delete(f"/tokens/{token_id}")
    job_id = engineer.post("/projects/birds/rounds").json["round"]["stages"][0]["job_id"]
    engineer.post(f"/jobs/{job_id}/cancel")
    engineer.post(f"/jobs/{job_id}/retry")
    entries = admin.get("/audit?limit=7").json["entries"]
    assert [(item["user"], item["action"], item["subject"]) for item in entries] == [
        ("eve", "job.retry", str(job_id)),
        ("eve", "job.cancel", str(job_id)),
        ("eve", "round.start", "birds/1"),
        ("ada", "token.revoke", str(token_id)),
        ("ada", "token.create", "mia"),
        ("ada", "user.change", "mia"),
        ("ada", "user.add", "mia"),
    ]
    assert entries[-1]["details"] == {"role": "labeler"}
    assert entries[-1]["at"] == "2026-01-02T03:04:05Z"
    assert admin.get("/audit?limit=1").json["entries"] == entries[:1]
    assert [admin.get(f"/audit?limit={limit}").status_code for limit in (0, 1001, "x")] == [400] * 3
    assert engineer.get("/audit").status_code == 403


def test_a_token_made_with_a_token_does_not_outlive_it(world):
    world.services.accounts.add_user("ada", Role.ADMIN)
    parent, secret = world.services.accounts.create_token("ada", days=1)
    with_token = world.api(None)
    with_token.headers = {"Authorization": f"Bearer {secret}"}
    child = with_token.post("/tokens", {"days": 3650}).json["token"]
    assert datetime.fromisoformat(child["expires_at"]) <= parent.expires_at


def test_nobody_takes_the_names_in_which_the_service_writes(world):
    api = world.api("admin")
    for name in ("import", "Import", "class-changes"):
        refused = api.post("/users", {"name": name, "role": "labeler", "password": "long enough"})
        assert (refused.status_code, "the service's own" in refused.json["error"]["message"]) == (400, True)


def test_labelers_see_a_round_without_what_it_asks(world):
    ids = world.project()
    world.round(ids[:3])
    seen = {
        role: world.api(role).get("/projects/birds/rounds/1?limit=10").json["round"] for role in ("labeler", "reviewer")
    }
    assert [item["sample_id"] for item in seen["reviewer"]["selections"]] == ids[:3]
    assert (seen["labeler"]["selections"], seen["labeler"]["reserve"], seen["labeler"]["selected"]) == ([], [], 3)
