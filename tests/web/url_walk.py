"""A walk over everything that the app serves: each rule and method of its url map, as somebody with a cookie or token.

Nothing here is listed by hand: a route or page that is added tomorrow is walked tomorrow.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from al_service.api.access import least_role
from al_service.api.errors import API_PREFIX, JSON_PATHS
from al_service.domain.states import Role
from tests.web.browser import PASSWORD, Site

#: A caller from elsewhere: some answers are for programs on the same machine.
AFAR = {"REMOTE_ADDR": "203.0.113.9"}
PROJECT = "birds"


@dataclass(frozen=True)
class Step:
    """One method of one rule, with a path that fits it."""

    method: str
    rule: Rule
    path: str

    @property
    def is_json(self) -> bool:
        """True for the API and its neighbours, False for pages and static files."""
        return any(self.path == path or self.path.startswith(f"{path}/") for path in JSON_PATHS)

    @property
    def is_api_change(self) -> bool:
        """True for what changes something through the API."""
        return self.path.startswith(API_PREFIX) and self.method not in ("GET", "HEAD")

    def declared(self, app: Flask) -> Role | None:
        """The least role that the view declares; LookupError when it declares none."""
        return least_role(app.view_functions[self.rule.endpoint])

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def steps(app: Flask) -> Iterator[Step]:
    """Every step. Pages come first, because the API archives the project; signing out ends the walk's session."""
    rules = sorted(
        app.url_map.iter_rules(),
        key=lambda rule: (rule.endpoint == "api.sign_out", rule.rule.startswith(API_PREFIX), rule.rule),
    )
    for rule in rules:
        values = {name: _value(rule, name) for name in rule.arguments}
        built = rule.build(values)
        assert built is not None
        for method in sorted((rule.methods or set()) - {"OPTIONS"}, key=lambda method: (method == "DELETE", method)):
            yield Step(method, rule, built[1])


def _value(rule: Rule, name: str) -> str | int:
    kind = type(rule._converters[name]).__name__
    if kind == "IntegerConverter":
        return 1
    return "label.js" if kind == "PathConverter" else PROJECT


@dataclass
class Browser:
    """A client that holds a session cookie, and the CSRF token of that session."""

    client: FlaskClient
    csrf: str

    def open(self, step: Step, csrf: str | None = None, **more: object) -> TestResponse:
        """Ask; with a CSRF token when one is given."""
        headers = {"X-CSRF-Token": csrf} if csrf is not None else {}
        return self.client.open(step.path, method=step.method, headers=headers, environ_base=AFAR, **more)


def sign_in(site: Site, name: str, role: Role) -> Browser:
    """One more browser of that person, who is added when new."""
    if name not in [user.name for user in site.services.accounts.users()]:
        site.person(name, role)
    client = site.app.test_client()
    answer = client.post("/api/v1/session", json={"name": name, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return Browser(client, answer.json["csrf_token"])
