"""The OpenAPI 3.1 document, made from the route table: what is no row there is not in the document, and the reverse."""

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from al_service import __version__
from al_service.api.answers import Document, ErrorAnswer
from al_service.api.errors import API_PREFIX
from al_service.api.routing import Call, FileBytes, ImageBytes, Reply, Route, Routes

REF_TEMPLATE = "#/components/schemas/{model}"
PATH_ARGUMENT = re.compile(r"<(?:(int):)?(\w+)>")
STATUS_WORDS = {200: "Good", 201: "Made", 202: "Begun", 204: "Done, no body"}
#: Routes that read this header themselves.
IDEMPOTENT = ("start_round", "annotate")

Mode = Literal["validation", "serialization"]


def document_routes(routes: Routes) -> Routes:
    """The route that serves the document of all given routes and of itself."""
    own = Routes()

    @own.add("GET", "/openapi.json", role=None, answers={200: Document}, etag=True)
    def openapi(call: Call) -> Reply:
        """This document."""
        return Reply(Document(document))

    document = make_document([*routes, *own])
    return own


def make_document(routes: Sequence[Route]) -> dict[str, Any]:
    """The document."""
    refs, definitions = models_json_schema(_models(routes), ref_template=REF_TEMPLATE)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(API_PREFIX + PATH_ARGUMENT.sub(r"{\2}", route.path), {})[route.method.lower()] = _operation(
            route, {key: dict(value) for key, value in refs.items()}
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "al-service",
            "version": __version__,
            "summary": "Active-learning loop service for image classification",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "al_session",
                    "description": "Changes also need the header X-CSRF-Token.",
                },
            },
        },
    }


def _models(routes: Iterable[Route]) -> list[tuple[type[BaseModel], Mode]]:
    found: dict[tuple[type[BaseModel], Mode], None] = {(ErrorAnswer, "serialization"): None}
    for route in routes:
        if route.body is not None:
            found[(route.body, "validation")] = None
        for model in route.answers.values():
            if model is not None and issubclass(model, BaseModel):
                found[(model, "serialization")] = None
    return list(found)


def _operation(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    words = inspect.getdoc(route.handler) or ""
    summary, _, description = words.partition("\n")
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": summary,
        "tags": [route.handler.__module__.rpartition(".")[2].removesuffix("_routes")],
        "parameters": _parameters(route),
        "responses": _responses(route, refs),
        "security": [{"token": []}, {"session": []}] if route.role is not None else [],
    }
    if description.strip():
        operation["description"] = description.strip()
    if route.role is not None:
        operation["x-least-role"] = route.role.value
    if route.body is not None:
        is_required = any(field.is_required() for field in route.body.model_fields.values())
        kinds = ("application/json", "text/plain") if route.is_beacon else ("application/json",)
        content = {kind: {"schema": refs[(route.body, "validation")]} for kind in kinds}
        operation["requestBody"] = {"required": is_required, "content": content}
    if route.bytes_max is not None:
        schema = {"type": "string", "format": "binary"}
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": {"schema": schema}}}
    return operation


def _parameters(route: Route) -> list[dict[str, Any]]:
    found = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer", "minimum": 0} if kind else {"type": "string"},
        }
        for kind, name in PATH_ARGUMENT.findall(route.path)
    ]
    if route.query is not None:
        declared = route.query.model_json_schema()
        for name, schema in declared.get("properties", {}).items():
            is_required = name in declared.get("required", ())
            found.append({"name": name, "in": "query", "required": is_required, "schema": schema})
    if route.name in IDEMPOTENT:
        found.append({"name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string"}})
    return found


def _responses(route: Route, refs: dict[Any, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for status, model in route.answers.items():
        found[str(status)] = {"description": STATUS_WORDS[status]}
        if model is ImageBytes:
            found[str(status)]["content"] = {"image/*": {}}
        elif model is FileBytes:
            found[str(status)]["content"] = {"application/octet-stream": {}}
        elif model is not None:
            found[str(status)]["content"] = {"application/json": {"schema": refs[(model, "serialization")]}}
    if route.etag:
        found["304"] = {"description": "The caller has it already (If-None-Match)"}
    error = {"application/json": {"schema": refs[(ErrorAnswer, "serialization")]}}
    found["default"] = {"description": "The one error body", "content": error}
    return found
