"""The served OpenAPI document against the service: schemathesis asks what it allows and what it forbids.

Every operation of the document is asked as an admin and as a labeler, about things that are there and things that are
not. No answer may be a server error, and each must be what the document says: status, type, headers, body.
What is asked is the same in every run.
"""

import json
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks

from al_service.api.openapi import make_document
from al_service.api.routing import Route
from al_service.domain.states import Role
from tests.web.conftest import PREFIX, ROUTES, World

load_all_checks()
#: Of every answer.
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)
#: Also of answers to what the document forbids.
REFUSED = [*CHECKED, *CHECKS.get_by_names(["negative_data_rejection"])]
FEW = settings(
    max_examples=4,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def busy(world: World) -> World:
    """A service where most things are there under id 1: a project with an open round, a lease, an answer, a job."""
    ids = world.project(count=6, evaluation=1)
    world.round(ids[:4])
    labeler = world.api("labeler")
    held = world.lease(labeler, 2)
    labeler.post(f"/assignments/{held[0]['id']}/annotation", {"class_name": "cat"})
    return world


#: Real values for what stands in paths; everything else is 1.
KNOWN = {"project": "birds", "name": "the-labeler"}


def test_the_document_that_is_served_is_made_of_the_table(world: World) -> None:
    assert world.api(None).get("/openapi.json").json == json.loads(json.dumps(make_document(ROUTES)))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_answers_are_what_the_document_says(busy: World, route: Route) -> None:
    schema = schemathesis.openapi.from_wsgi(f"{PREFIX}/openapi.json", busy.app)
    operation = schema.find_operation_by_id(route.name)
    there = {name: KNOWN.get(name, 1) for name in re.findall(r"<(?:int:)?(\w+)>", route.path)}
    for role in (Role.LABELER, Role.ADMIN):
        headers = {"Authorization": f"Bearer {busy.token(role)}"}

        def ask(strategy: SearchStrategy[schemathesis.Case], checks: list[Any], headers: Any = headers) -> None:
            @FEW
            @given(strategy)
            def is_as_documented(case: schemathesis.Case) -> None:
                case.call_and_validate(headers=headers, checks=checks)

            is_as_documented()

        ask(operation.as_strategy(), CHECKED)
        if there:
            ask(operation.as_strategy(path_parameters=there), CHECKED)
        if there or route.query or route.body:
            ask(operation.as_strategy(GenerationMode.NEGATIVE), REFUSED)
