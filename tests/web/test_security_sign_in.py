"""Signing in: how guessing is slowed down, who gets in all the same, what is written down, how passwords are kept."""

import hashlib
import threading
from base64 import b64encode
from typing import Any

import pytest
from argon2 import extract_parameters
from werkzeug.test import TestResponse

from al_service.api.sign_in_limit import ADDRESS, KEYS_MAX, NAME, PAIR, SignInLimit, TooManyRequestsError, Window
from al_service.domain.states import Role
from al_service.errors import InvalidInputError
from al_service.loop.accounts import UNKNOWN_NAME
from al_service.loop.audit_ration import ROWS_MAX, SPAN
from al_service.loop.passwords import _DUMMY_HASH, check_password, hash_password, is_outdated
from tests.web.conftest import PASSWORD, PREFIX, World

HOME = "198.51.100.7"


def try_it(client: Any, name: str, password: str, address: str = HOME) -> TestResponse:
    """Try to sign in from an address."""
    return client.post(
        f"{PREFIX}/session", json={"name": name, "password": password}, environ_base={"REMOTE_ADDR": address}
    )


def fail_from_many_addresses(world: World, name: str, count: int) -> list[int]:
    """Statuses of that many wrong guesses, each from an address of its own."""
    return [
        try_it(world.app.test_client(), name, "wrong", f"203.0.{number // 250}.{number % 250}").status_code
        for number in range(count)
    ]


@pytest.fixture
def mia(world: World) -> World:
    world.services.accounts.add_user("mia", Role.LABELER, PASSWORD)
    return world


def test_one_address_that_tries_many_names_is_stopped(mia: World) -> None:
    client = mia.app.test_client()
    statuses = [try_it(client, f"name{number}", "Spring2026").status_code for number in range(ADDRESS.failures_max + 5)]
    assert statuses == [401] * ADDRESS.failures_max + [429] * 5
    refused = try_it(client, "mia", PASSWORD)
    assert refused.json["error"]["code"] == "too_many_requests"
    assert "from your network" in refused.json["error"]["message"]
    assert refused.headers["Retry-After"] in refused.json["error"]["message"]
    assert 1 <= int(refused.headers["Retry-After"]) <= ADDRESS.span.total_seconds() + 1
    assert try_it(client, "mia", PASSWORD, "198.51.100.8").status_code == 200


def test_an_account_of_their_own_buys_nobody_more_guesses(world: World) -> None:
    limit = SignInLimit()
    for number in range(ADDRESS.failures_max):
        limit.admit(f"name{number}", HOME, world.clock())
        if number < ADDRESS.failures_max - 1:
            limit.forgive(limit.admit("eve", HOME, world.clock()))
    with pytest.raises(TooManyRequestsError, match="from your network"):
        limit.admit("another", HOME, world.clock())


def test_one_name_tried_from_many_addresses_is_stopped(mia: World) -> None:
    assert fail_from_many_addresses(mia, "mia", NAME.failures_max + 3) == [401] * NAME.failures_max + [429] * 3
    refused = try_it(mia.app.test_client(), "mia", PASSWORD, "192.0.2.1")
    assert refused.status_code == 429
    assert "Somebody keeps trying to sign in with this name" in refused.json["error"]["message"]


def test_who_signed_in_here_before_gets_in_whatever_strangers_do(mia: World) -> None:
    browser = mia.app.test_client()
    assert try_it(browser, "mia", PASSWORD).status_code == 200
    browser.delete(f"{PREFIX}/session", headers={"X-CSRF-Token": browser.get(f"{PREFIX}/me").json["csrf_token"]})
    fail_from_many_addresses(mia, "mia", NAME.failures_max + 3)
    behind_the_same_proxy = mia.app.test_client()
    for number in range(ADDRESS.failures_max):
        try_it(behind_the_same_proxy, f"name{number}", "wrong")
    assert try_it(mia.app.test_client(), "mia", PASSWORD).status_code == 429
    assert try_it(browser, "mia", PASSWORD).status_code == 200


def test_a_known_browser_has_ten_tries_a_minute_and_no_stranger_can_use_them_up(mia: World) -> None:
    browser = mia.app.test_client()
    try_it(browser, "mia", PASSWORD)
    assert [try_it(browser, "mia", "wrong").status_code for _ in range(PAIR.failures_max + 1)] == [
        *([401] * PAIR.failures_max),
        429,
    ]
    mia.clock.advance(PAIR.span.total_seconds() + 1)
    assert try_it(browser, "mia", PASSWORD).status_code == 200


def test_the_cookie_of_a_known_browser_opens_nothing_and_counts_for_its_names_only(mia: World) -> None:
    mia.services.accounts.add_user("tom", Role.ADMIN, PASSWORD)
    browser = mia.app.test_client()
    answer = try_it(browser, "mia", PASSWORD)
    known = next(cookie for cookie in answer.headers.getlist("Set-Cookie") if cookie.startswith("al_known="))
    assert {"HttpOnly", "SameSite=Strict", f"Path={PREFIX}/session"} <= set(known.split("; "))
    browser.delete_cookie("al_session")
    assert browser.get(f"{PREFIX}/me").status_code == 401
    fail_from_many_addresses(mia, "tom", NAME.failures_max)
    assert try_it(browser, "tom", PASSWORD).status_code == 429
    browser.set_cookie("al_known", "made.up", path=f"{PREFIX}/session")
    fail_from_many_addresses(mia, "mia", NAME.failures_max)
    assert try_it(browser, "mia", PASSWORD).status_code == 429


def test_people_who_share_a_browser_are_all_known_there(mia: World) -> None:
    mia.services.accounts.add_user("tom", Role.LABELER, PASSWORD)
    browser = mia.app.test_client()
    for name in ("mia", "tom"):
        assert try_it(browser, name, PASSWORD).status_code == 200
    for name in ("mia", "tom"):
        fail_from_many_addresses(mia, name, NAME.failures_max)
        assert try_it(browser, name, PASSWORD).status_code == 200, name


def test_a_stranger_cannot_lock_a_new_browser_out_for_good(world: World) -> None:
    """While the guessing goes on without a pause, somebody who waits as long as they are told gets in."""
    limit, address = SignInLimit(), 0
    for _ in range(500):
        world.clock.advance(60)
        for _ in range(NAME.failures_max):
            address += 1
            try:
                limit.admit("mia", f"203.0.113.{address}", world.clock())
            except TooManyRequestsError:
                break
    with pytest.raises(TooManyRequestsError) as refused:
        limit.admit("mia", HOME, world.clock())
    wait_s = refused.value.details["retry_after_s"]
    assert wait_s <= NAME.span.total_seconds() + 1
    world.clock.advance(wait_s)
    limit.admit("mia", HOME, world.clock())


def test_two_hundred_people_behind_one_proxy_sign_in_at_once(world: World) -> None:
    limit, at_once = SignInLimit(), threading.Barrier(32)
    refused: list[str] = []

    def come(worker: int) -> None:
        at_once.wait()
        for number in range(7):
            try:
                limit.forgive(limit.admit(f"p{worker}-{number}", HOME, world.clock()))
            except TooManyRequestsError:
                refused.append(f"p{worker}-{number}")

    threads = [threading.Thread(target=come, args=(worker,)) for worker in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []


def test_thirty_two_labelers_sign_in_at_the_same_moment_from_one_address(world: World) -> None:
    names = [f"labeler{number}" for number in range(32)]
    for name in names:
        world.services.accounts.add_user(name, Role.LABELER, PASSWORD)
    at_once = threading.Barrier(len(names))
    statuses: list[int] = []

    def come(name: str) -> None:
        at_once.wait()
        statuses.append(try_it(world.app.test_client(), name, PASSWORD).status_code)

    threads = [threading.Thread(target=come, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * len(names)
    assert sorted(entry["subject"] for entry in entries(world, "sign_in")) == sorted(names)


def test_a_right_password_forgives_earlier_mistakes(world: World) -> None:
    limit = SignInLimit()
    for _ in range(3 * PAIR.failures_max):
        limit.forgive(limit.admit("mia", "::1", world.clock()))
    for _ in range(PAIR.failures_max):
        limit.admit("mia", "::1", world.clock())
    with pytest.raises(TooManyRequestsError):
        limit.admit("mia", "::1", world.clock())
    limit.admit("mia", "::2", world.clock())


def test_attempts_at_the_same_moment_do_not_slip_through_together(world: World) -> None:
    limit, at_once = SignInLimit(), threading.Barrier(24)
    outcomes: list[bool] = []

    def guess() -> None:
        at_once.wait()
        try:
            limit.admit("mia", "::1", world.clock())
            outcomes.append(True)
        except TooManyRequestsError:
            outcomes.append(False)

    threads = [threading.Thread(target=guess) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * (24 - PAIR.failures_max) + [True] * PAIR.failures_max


def test_windows_forget_the_oldest_keys_so_memory_is_bounded(world: World) -> None:
    window = Window(PAIR)
    for number in range(KEYS_MAX + 100):
        window.add(number, world.clock())
    assert len(window._times) == KEYS_MAX
    assert 99 not in window._times
    assert KEYS_MAX + 99 in window._times


# -- the audit log -------------------------------------------------------------------------------------------------


def entries(world: World, prefix: str = "") -> list[dict[str, Any]]:
    """The audit log, newest first, of actions that begin so."""
    with world.store.read() as tx:
        return [entry for entry in tx.accounts.audit(1000) if entry["action"].startswith(prefix)]


def test_signing_in_and_failing_to_are_written_down_with_the_address(mia: World) -> None:
    client = mia.app.test_client()
    try_it(client, "mia", "not the password")
    try_it(client, "mia", PASSWORD)
    assert [(e["user"], e["action"], e["subject"], e["details"]) for e in entries(mia, "sign_in")] == [
        ("mia", "sign_in", "mia", {"address": HOME}),
        (None, "sign_in.failed", "mia", {"address": HOME, "left_out": 0}),
    ]


def test_neither_passwords_nor_unknown_names_are_written_down(mia: World) -> None:
    # People type their password where the name belongs.
    try_it(mia.app.test_client(), PASSWORD, "secret-words")
    try_it(mia.app.test_client(), "mia", "secret-words")
    assert [entry["subject"] for entry in entries(mia, "sign_in.failed")] == ["mia", UNKNOWN_NAME]
    assert PASSWORD not in str(entries(mia))
    assert "secret-words" not in str(entries(mia))


def test_strangers_cannot_fill_the_audit_log(mia: World) -> None:
    for number in range(ROWS_MAX + 40):
        mia.services.accounts._note_failure(None, f"203.0.113.{number}")
    assert len(entries(mia, "sign_in.failed")) == ROWS_MAX
    mia.clock.advance(SPAN.total_seconds() + 1)
    mia.services.accounts._note_failure(None, HOME)
    newest = entries(mia, "sign_in.failed")[0]
    assert newest["details"] == {"address": HOME, "left_out": 40}
    assert len(entries(mia, "sign_in.failed")) == ROWS_MAX + 1


def test_every_kind_of_change_names_who_made_it(world: World) -> None:
    ids = world.project(count=5)
    world.round(ids[:3])
    labeler = world.api("labeler", "mia")
    held = world.lease(labeler)[0]
    given = labeler.post(f"/assignments/{held['id']}/annotation", {"class_name": "cat"}).json["annotation"]
    reviewer, engineer, admin = world.api("reviewer", "rex"), world.api("engineer", "eve"), world.api("admin", "ada")
    assert reviewer.delete(f"/annotations/{given['id']}").status_code == 200
    engineer.post("/projects", {"name": "fish", "classes": ["carp", "pike"]})
    engineer.patch("/projects/fish", {"settings": {"overlap": 2}})
    engineer.post("/projects/fish/imports", {"location": "/data/fish"})
    engineer.post("/projects/birds/rounds/1/cancel")
    engineer.post("/projects/birds/rounds")
    engineer.delete("/projects/fish")
    admin.post("/users", {"name": "tom", "role": "viewer"})
    admin.patch("/users/tom", {"is_active": False})
    token = admin.post("/tokens", {"role": "viewer"}).json["token"]["id"]
    admin.delete(f"/tokens/{token}")
    found = [(entry["user"], entry["action"], entry["subject"]) for entry in reversed(entries(world))]
    assert found[-11:] == [
        ("rex", "annotation.undo", "birds"),
        ("eve", "project.create", "fish"),
        ("eve", "project.set", "fish"),
        ("eve", "import", "fish"),
        ("eve", "round.cancel", "birds/1"),
        ("eve", "round.start", "birds/2"),
        ("eve", "project.archive", "fish"),
        ("ada", "user.add", "tom"),
        ("ada", "user.change", "tom"),
        ("ada", "token.create", "ada"),
        ("ada", "token.revoke", str(token)),
    ]


# -- passwords -----------------------------------------------------------------------------------------------------


def test_passwords_are_kept_as_argon2id_with_what_owasp_advises() -> None:
    stored = hash_password(PASSWORD)
    found = extract_parameters(stored)
    assert (found.type.name, found.memory_cost, found.time_cost, found.parallelism) == ("ID", 19 * 1024, 2, 1)
    assert (found.salt_len, found.hash_len) == (16, 32)
    assert stored != hash_password(PASSWORD)
    assert check_password(PASSWORD, stored)
    assert not check_password(PASSWORD + " ", stored)
    assert not is_outdated(stored)


def test_where_there_is_nothing_to_check_the_same_work_is_done() -> None:
    """The hash that stands in is a real one of the same parameters: argon2 reads it, computes, and finds it differs."""
    assert extract_parameters(_DUMMY_HASH) == extract_parameters(hash_password(PASSWORD))
    assert check_password(PASSWORD, None) is False
    assert check_password("", None) is False


def scrypt_of_before(password: str) -> str:
    """What an earlier version stored."""
    digest = hashlib.scrypt(password.encode(), salt=b"s" * 16, n=2**14, r=8, p=1, maxmem=2**26, dklen=32)
    return f"scrypt${2**14}${b64encode(b's' * 16).decode()}${b64encode(digest).decode()}"


def test_a_hash_of_an_earlier_version_is_replaced_when_its_person_signs_in(mia: World) -> None:
    with mia.store.write() as tx:
        user = tx.accounts.find_user("mia")
        assert user is not None
        tx.accounts.set_user(user.id, password_hash=scrypt_of_before(PASSWORD))
    browser = mia.app.test_client()
    assert try_it(browser, "mia", "wrong").status_code == 401
    assert try_it(browser, "mia", PASSWORD).status_code == 200
    with mia.store.read() as tx:
        stored = tx.accounts.password_hash(user.id)
    assert stored is not None
    assert not is_outdated(stored)
    assert browser.get(f"{PREFIX}/me").status_code == 200


@pytest.mark.parametrize("password", ["", "short", "x" * 1001])
def test_passwords_too_short_or_too_long_are_refused(password: str) -> None:
    with pytest.raises(InvalidInputError, match="8 to 1000"):
        hash_password(password)
