"""The queue's routes remember whom a cookie belonged to; what has changed since counts all the same, at once."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from al_service.domain.states import Role
from tests.web.conftest import PASSWORD, PREFIX, World
from tests.web.test_security_sessions import cookie_of, sign_in, with_cookie

Change = Callable[[World], object]
CHANGES: dict[str, tuple[Change, int]] = {
    "switched off": (lambda world: world.services.accounts.change_user("mia", is_active=False), 401),
    "another password": (lambda world: world.services.accounts.change_user("mia", password="another one, longer"), 401),
    "a lower role": (lambda world: world.services.accounts.change_user("mia", role=Role.VIEWER), 403),
    "a higher role": (lambda world: world.services.accounts.change_user("mia", role=Role.ENGINEER), 200),
    "nothing": (lambda world: None, 200),
}


class Labeler:
    """A browser whose cookie the queue's routes know from before; it holds an image."""

    def __init__(self, client: FlaskClient, csrf: str) -> None:
        self.client = client
        self._headers = {"X-CSRF-Token": csrf}
        self.lease = int(self.ask().json["assignments"][0]["id"])
        assert self.ask().status_code == 200

    def ask(self) -> TestResponse:
        return self._post("/projects/birds/assignments", {"count": 1})

    def answer(self) -> TestResponse:
        return self._post(f"/assignments/{self.lease}/annotation", {"class_name": "cat", "client_key": "mine"})

    def _post(self, path: str, body: object) -> TestResponse:
        return self.client.post(PREFIX + path, json=body, headers=self._headers)


@pytest.fixture
def birds(world: World) -> World:
    world.round(world.project(count=6))
    world.services.accounts.add_user("mia", Role.LABELER, PASSWORD)
    return world


@pytest.fixture
def mia(birds: World) -> Labeler:
    client = birds.app.test_client()
    return Labeler(client, sign_in(client))


def is_answered(world: World) -> bool:
    return world.services.projects.summary("birds").counts.all_labelled == 1


@pytest.mark.parametrize("change", CHANGES)
def test_asking(birds: World, mia: Labeler, change: str) -> None:
    make, status = CHANGES[change]
    make(birds)
    before = birds.services.projects.summary("birds").holders
    assert mia.ask().status_code == status
    if status != 200:
        assert birds.services.projects.summary("birds").holders == before
    assert mia.ask().status_code == status


@pytest.mark.parametrize("change", CHANGES)
def test_answering(birds: World, mia: Labeler, change: str) -> None:
    make, status = CHANGES[change]
    make(birds)
    assert mia.answer().status_code == (201 if status == 200 else status)
    assert is_answered(birds) is (status == 200)


def test_a_copy_of_a_cookie_that_was_signed_out_is_worth_nothing(birds: World, mia: Labeler) -> None:
    copy = with_cookie(birds, cookie_of(mia.client))
    csrf = mia._headers
    assert mia.client.delete(f"{PREFIX}/session", headers=csrf).status_code == 204
    mia.client = copy
    assert mia.ask().status_code == 401
    assert mia.answer().status_code == 401
    assert not is_answered(birds)


def test_who_was_refused_for_their_role_is_let_in_once_it_is_higher(birds: World) -> None:
    birds.services.accounts.change_user("mia", role=Role.VIEWER)
    client = birds.app.test_client()
    headers = {"X-CSRF-Token": sign_in(client)}
    path = f"{PREFIX}/projects/birds/assignments"
    assert client.post(path, json={"count": 1}, headers=headers).status_code == 403
    birds.services.accounts.change_user("mia", role=Role.LABELER)
    assert client.post(path, json={"count": 1}, headers=headers).status_code == 200


def test_what_is_wrong_with_the_answer_is_said_after_who_asks_is_known(birds: World, mia: Labeler) -> None:
    birds.services.accounts.change_user("mia", is_active=False)
    mia.lease = 999
    assert mia.answer().status_code == 401
