"""The life of a session: nothing from before signing in survives it, and when it ends it ends for every copy."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from flask.sessions import SecureCookieSessionInterface
from flask.testing import FlaskClient

from al_service.domain.states import Role
from al_service.loop.accounts import SESSION_LIFETIME
from tests.web.conftest import PASSWORD, PREFIX, World

COOKIE = "al_session"


@pytest.fixture
def mia(world: World) -> World:
    world.services.accounts.add_user("mia", Role.ENGINEER, PASSWORD)
    return world


def sign_in(client: FlaskClient, name: str = "mia", password: str = PASSWORD) -> str:
    """Sign in; the CSRF token."""
    answer = client.post(f"{PREFIX}/session", json={"name": name, "password": password})
    assert answer.status_code == 200, answer.text
    return str(answer.json["csrf_token"])


def cookie_of(client: FlaskClient) -> str:
    """The session cookie as a thief would copy it."""
    found = client.get_cookie(COOKIE)
    assert found is not None
    return found.value


def with_cookie(world: World, value: str) -> FlaskClient:
    """Another browser that sends this cookie."""
    client = world.app.test_client()
    client.set_cookie(COOKIE, value)
    return client


def is_signed_in(client: FlaskClient) -> bool:
    """What the service thinks of that browser."""
    status = client.get(f"{PREFIX}/me").status_code
    assert status in (200, 401)
    return status == 200


def content(world: World, value: str) -> dict[str, object]:
    """What a cookie holds; signed, not secret."""
    serializer = SecureCookieSessionInterface().get_signing_serializer(world.app)
    assert serializer is not None
    return dict(serializer.loads(value))


def test_nothing_that_was_in_the_cookie_before_survives_signing_in(mia: World) -> None:
    client = mia.app.test_client()
    with client.session_transaction() as session:
        session.update(csrf_token="chosen by somebody else", planted="yes", _user_id="1:x:y", renewed_at=9e12)
    before = cookie_of(client)
    sign_in(client)
    after = content(mia, cookie_of(client))
    assert "planted" not in after
    assert after["csrf_token"] != "chosen by somebody else"
    assert after["_user_id"] != "1:x:y"
    assert after["renewed_at"] == mia.clock.now.timestamp()
    assert not is_signed_in(with_cookie(mia, before))


def test_the_csrf_token_of_before_is_worth_nothing_after_signing_in(mia: World) -> None:
    client = mia.app.test_client()
    first = sign_in(client)
    second = sign_in(client)
    assert first != second
    refused = client.post(f"{PREFIX}/projects", json={"name": "a"}, headers={"X-CSRF-Token": first})
    assert (refused.status_code, refused.json["error"]["code"]) == (403, "csrf_failed")
    assert client.post(f"{PREFIX}/projects", json={"name": "a"}, headers={"X-CSRF-Token": second}).status_code == 201


def test_signing_in_as_somebody_else_leaves_nothing_of_the_first(mia: World) -> None:
    mia.services.accounts.add_user("tom", Role.VIEWER, PASSWORD)
    client = mia.app.test_client()
    sign_in(client)
    sign_in(client, "tom")
    assert client.get(f"{PREFIX}/me").json["user"]["name"] == "tom"


def test_signing_out_ends_copies_of_the_cookie_and_no_other_session(mia: World) -> None:
    client, at_home = mia.app.test_client(), mia.app.test_client()
    csrf = sign_in(client)
    sign_in(at_home)
    stolen = with_cookie(mia, cookie_of(client))
    assert is_signed_in(stolen)
    assert client.delete(f"{PREFIX}/session", headers={"X-CSRF-Token": csrf}).status_code == 204
    assert not is_signed_in(client)
    assert not is_signed_in(stolen)
    assert is_signed_in(at_home)


def test_a_renewed_copy_ends_with_the_session_it_was_renewed_from(mia: World) -> None:
    client = mia.app.test_client()
    csrf = sign_in(client)
    thief = with_cookie(mia, cookie_of(client))
    mia.clock.advance(3601)
    assert is_signed_in(thief)
    assert cookie_of(thief) != cookie_of(client)
    client.delete(f"{PREFIX}/session", headers={"X-CSRF-Token": csrf})
    assert not is_signed_in(thief)


def switch_off(world: World) -> None:
    world.services.accounts.change_user("mia", is_active=False)


def new_password(world: World) -> None:
    world.services.accounts.change_user("mia", password="another long password")


def same_password_again(world: World) -> None:
    world.services.accounts.change_user("mia", password=PASSWORD)


def new_secret_key(world: World) -> None:
    world.app.secret_key = "another key"


@pytest.mark.parametrize("change", [switch_off, new_password, same_password_again, new_secret_key])
def test_all_sessions_of_a_person_end_at_once(mia: World, change: Callable[[World], None]) -> None:
    clients = [mia.app.test_client() for _ in range(2)]
    for client in clients:
        sign_in(client)
    change(mia)
    assert [is_signed_in(client) for client in clients] == [False, False]


def test_being_switched_on_again_is_no_new_session_for_who_was_signed_out(mia: World) -> None:
    client = mia.app.test_client()
    stolen = ""
    csrf = sign_in(client)
    stolen = cookie_of(client)
    client.delete(f"{PREFIX}/session", headers={"X-CSRF-Token": csrf})
    switch_off(mia)
    mia.services.accounts.change_user("mia", is_active=True)
    assert not is_signed_in(with_cookie(mia, stolen))


@pytest.mark.parametrize(
    "user_id",
    [
        "1",
        "1:",
        "1::",
        "1:mark:",
        ":mark:x",
        "x:mark:y",
        "1:mark:session",
        "99:mark:session",
        "-1:m:s",
        "1:m:" + "x" * 3000,
    ],
)
def test_a_session_without_the_right_mark_and_id_is_nobodys(mia: World, user_id: str) -> None:
    client = mia.app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = user_id
    assert not is_signed_in(client)


def test_a_cookie_with_another_signature_is_nobodys(mia: World) -> None:
    client = mia.app.test_client()
    sign_in(client)
    value = cookie_of(client)
    body, stamp, signature = value.rsplit(".", 2)
    swapped = ("A" if signature[0] != "A" else "B") + signature[1:]
    for forged in (f"{body}.{stamp}.{swapped}", f"{body}.{stamp}", body, "", "x" * 3000, f"{value}x"):
        assert not is_signed_in(with_cookie(mia, forged)), forged[:40]


def test_signing_out_is_written_down_once_and_a_token_does_not_sign_out(mia: World) -> None:
    client = mia.app.test_client()
    csrf = sign_in(client)
    copy = with_cookie(mia, cookie_of(client))
    client.delete(f"{PREFIX}/session", headers={"X-CSRF-Token": csrf})
    assert copy.delete(f"{PREFIX}/session", headers={"X-CSRF-Token": csrf}).status_code == 401
    robot = mia.api("labeler")
    assert robot.delete("/session").status_code == 204
    assert robot.get("/me").status_code == 200
    with mia.store.read() as tx:
        found = [(entry["user"], entry["subject"]) for entry in tx.accounts.audit(100) if entry["action"] == "sign_out"]
    assert found == [("mia", "mia")]


def test_ended_sessions_are_forgotten_once_their_cookies_are_too_old(mia: World) -> None:
    assert mia.app.permanent_session_lifetime == SESSION_LIFETIME
    accounts, user = mia.services.accounts, mia.services.accounts.get_user("mia")
    accounts.sign_out(user, "old")
    mia.clock.advance(SESSION_LIFETIME.total_seconds() + 1)
    accounts.sign_out(user, "new")
    with mia.store.read() as tx:
        assert tx.accounts.find_signed_in(user.id, "old")() is not None
        assert tx.accounts.find_signed_in(user.id, "new")() is None


def test_a_cookie_that_was_good_before_still_grows_old_and_keeps_nothing_of_a_request(mia: World) -> None:
    client = mia.app.test_client()
    sign_in(client)
    value = cookie_of(client)
    for _ in range(2):
        copy = with_cookie(mia, value)
        assert is_signed_in(copy)
        with copy.session_transaction() as session:
            assert "mark" not in session
            session["mark"] = ["of this browser"]
    mia.app.permanent_session_lifetime = timedelta(0)
    assert not is_signed_in(with_cookie(mia, value))


def test_a_csrf_token_is_good_with_its_own_session_only_however_often_it_was_good(mia: World) -> None:
    clients = [mia.app.test_client() for _ in range(2)]
    first, second = (sign_in(client) for client in clients)
    for number, (client, token, expected) in enumerate(
        [(clients[0], first, 201), (clients[1], first, 403), (clients[1], second, 201), (clients[0], second, 403)]
    ):
        body = {"name": f"project-{number}"}
        answer = client.post(f"{PREFIX}/projects", json=body, headers={"X-CSRF-Token": token})
        assert answer.status_code == expected, answer.text
