"""From a row of the route table to a Flask view: who asks, may they, is the input good, call, answer.

The order is fixed: sign-in (401), CSRF (403), role (403), path, query and body (400), then the handler.
"""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from flask import Response, request
from pydantic import BaseModel, ValidationError

from al_service.api import sessions
from al_service.api.access import open_to
from al_service.api.errors import NotSignedInError, RoleTooLowError
from al_service.api.requests import ID_MAX
from al_service.api.routing import Call, Context, Reply, Route
from al_service.api.security import check_csrf
from al_service.errors import InvalidInputError, NotFoundError

#: Of JSON; a thousand class names and long guidelines fit well. Routes that take a file's bytes name their own limit.
BODY_MAX_BYTES = 2**20
FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


class InvalidBodyError(InvalidInputError):
    """The body is no JSON or does not fit; details.fields names each field."""

    code = "invalid_body"


class InvalidQueryError(InvalidInputError):
    """A query parameter does not fit; details.fields names each."""

    code = "invalid_query"


def make_view(route: Route, context: Context) -> Callable[..., Response]:
    """The Flask view that serves one route."""

    @open_to(route.role)
    def view(**path: Any) -> Response:
        started = time.perf_counter()
        request.max_content_length = BODY_MAX_BYTES if route.bytes_max is None else route.bytes_max
        try:
            reply = _called(route, context, path, from_memory=route.admits_itself)
        except sessions.SessionChangedError:
            reply = _called(route, context, path, from_memory=False)
        response = _respond(route, reply)
        if route.timer is not None:
            context.meters.timers[route.timer].observe(time.perf_counter() - started)
        return response

    return view


def _called(route: Route, context: Context, path: dict[str, Any], *, from_memory: bool) -> Reply | Response:
    return route.handler(_admit(route, context, from_memory=from_memory), **_arguments(route, path))


def _admit(route: Route, context: Context, *, from_memory: bool) -> Call:
    """The call, if the caller may make it; from_memory: as far as it is remembered who that is."""
    if route.role is None:
        return Call(context, None)
    caller = sessions.find_caller(context.services, from_memory=from_memory)
    if caller is None:
        raise NotSignedInError("sign in first, or send Authorization: Bearer TOKEN")
    if caller.by_cookie and route.method != "GET":
        check_csrf(_csrf_token(route))
    if not caller.principal.role.covers(route.role):
        if caller.still_there is not None:
            raise sessions.SessionChangedError
        raise RoleTooLowError(
            f"{caller.principal.user.name} is {caller.principal.role}; this needs the role {route.role}",
            role=caller.principal.role,
            needed=route.role,
        )
    return Call(context, caller.principal, caller.still_there)


def _csrf_token(route: Route) -> str | None:
    header = request.headers.get("X-CSRF-Token")
    if header is not None or not route.is_beacon:
        return header
    token = _beacon_fields().get("csrf_token")
    return token if isinstance(token, str) else None


def _arguments(route: Route, path: dict[str, Any]) -> dict[str, Any]:
    for key, value in path.items():
        if (isinstance(value, int) and value > ID_MAX) or (isinstance(value, str) and "\0" in value):
            raise NotFoundError(f"no such {key.removesuffix('_id')}")
    arguments = dict(path)
    if route.query is not None:
        arguments["query"] = _validated(
            lambda kind: kind.model_validate(request.args.to_dict()), route.query, InvalidQueryError
        )
    if route.bytes_max is not None:
        arguments["data"] = request.get_data(cache=False)
    if route.body is not None:
        arguments["body"] = _body(route, route.body)
    return arguments


def _body(route: Route, kind: type[BaseModel]) -> BaseModel:
    if route.is_beacon:
        return _validated(lambda model: model.model_validate(_beacon_fields()), kind, InvalidBodyError)
    data = request.get_data()
    if data and not request.is_json:
        raise InvalidBodyError(
            f"the body is {request.mimetype or 'of no type'}; send JSON with Content-Type: application/json"
        )
    return _validated(lambda model: model.model_validate_json(data or b"{}"), kind, InvalidBodyError)


def _beacon_fields() -> dict[str, Any]:
    """Fields of a beacon: JSON of whatever content type, or a form whose `ids` are numbers with commas or repeated."""
    if request.mimetype in FORM_TYPES:
        ids = [word for text in request.form.getlist("ids") for word in text.strip("[]").split(",") if word.strip()]
        numbers = [int(word) if word.strip().isdecimal() and len(word) < 20 else word for word in ids]
        return {**request.form.to_dict(), "ids": numbers}
    try:
        fields = json.loads(request.get_data())
    except (ValueError, RecursionError) as error:
        raise InvalidBodyError(f"the body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidBodyError("the body must be a JSON object")
    return fields


def _validated(
    validate: Callable[[type[BaseModel]], BaseModel], kind: type[BaseModel], refusal: type[InvalidInputError]
) -> BaseModel:
    try:
        return validate(kind)
    except ValidationError as error:
        # Neither the input nor pydantic's addresses go back: the input may be a password.
        found = error.errors(include_url=False, include_context=False, include_input=False)
        fields = [{"field": ".".join(map(str, item["loc"])), "message": _plain(item["msg"])} for item in found]
        words = "; ".join(
            f"{item['field']}: {item['message']}" if item["field"] else item["message"] for item in fields
        )
        raise refusal(words, fields=fields) from error


def _plain(message: str) -> str:
    text = message.removeprefix("Value error, ").replace("Input should be", "should be")
    return text.replace("Extra inputs are not permitted", "unknown field").replace("Field required", "is missing")


def _respond(route: Route, reply: Reply | Response) -> Response:
    if isinstance(reply, Response):
        return reply
    response = Response(status=reply.status, headers=dict(reply.headers))
    response.headers.setdefault("Cache-Control", "no-store")
    if reply.body is None:
        response.headers.pop("Content-Type", None)
    else:
        response.data = reply.body.model_dump_json().encode()
        response.mimetype = "application/json"
    if route.etag:
        response.headers["Cache-Control"] = "private, no-cache"
        response.set_etag(reply.etag or hashlib.sha256(response.data).hexdigest()[:32])
        response.make_conditional(request)
    return response
