"""Outside the prefix: /health, /health/ready, /version and /metrics, for balancers, alarms and Prometheus.

Who may see details and metrics: a program on this machine, or anybody signed in (a viewer's token is enough). A request
that came through a proxy (X-Forwarded-For or Forwarded) never counts as local, because then every address looks local.
"""

import ipaddress
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from al_service import __version__
from al_service.api.access import open_to
from al_service.api.collector import StateCollector
from al_service.api.errors import NotSignedInError
from al_service.api.kept import BrokerFacts, Kept
from al_service.api.routing import Context
from al_service.api.sessions import find_caller
from al_service.domain.states import Role
from al_service.errors import AlServiceError, UnavailableError
from al_service.loop.services import Services

PROBE_NAME = "health/probe"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def install(app: Flask, context: Context) -> None:
    """Add the routes and count every request of the app."""
    meters = context.meters
    meters.registry.register(StateCollector(context.services, context.broker))
    disks = Kept(lambda: check_disks(context.services), context.services.clock)

    @app.get("/health")
    @open_to(None)
    def health() -> Response:
        return jsonify(status="ok")

    @app.get("/health/ready")
    @open_to(None)
    def ready() -> Response:
        parts = {**disks.get(), **check_broker(context.broker)}
        shown = (
            parts if _may_look(context) else {name: {"ok": part["ok"], "detail": ""} for name, part in parts.items()}
        )
        status = "ok" if all(part["ok"] for part in parts.values()) else "degraded"
        is_ready = all(part["ok"] for name, part in parts.items() if name != "workers")
        response = jsonify(status=status if is_ready else "unavailable", parts=shown)
        response.status_code = 200 if is_ready else 503
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.get("/version")
    @open_to(None)
    def version() -> Response:
        return jsonify(name="al-service", version=__version__, api="v1")

    @app.get("/metrics")
    @open_to(Role.VIEWER)
    def metrics() -> Response:
        if not _may_look(context):
            raise NotSignedInError("metrics need a viewer's token (Authorization: Bearer …) from other machines")
        return Response(generate_latest(meters.registry), content_type=CONTENT_TYPE_LATEST)

    @app.after_request
    def count(response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule is not None else "unmatched"
        method = request.method if request.method in METHODS else "other"
        meters.http_requests.labels(route, method, str(response.status_code)).inc()
        return response


def check_disks(services: Services) -> dict[str, dict[str, Any]]:
    """Database and storage: {"ok", "detail"} each. Storage is written to, so a full or read-only disk is found."""

    def storage() -> str:
        services.artifacts.put(PROBE_NAME, b"ok")
        return "written and read" if services.artifacts.get(PROBE_NAME) == b"ok" else "read back something else"

    return {"database": _part(services.store.check), "storage": _part(storage)}


def check_broker(broker: Kept[BrokerFacts]) -> dict[str, dict[str, Any]]:
    """Broker and workers, as in check_disks."""
    try:
        facts = broker.get()
    except UnavailableError as error:
        unknown = {"ok": False, "detail": "unknown while the broker does not answer"}
        return {"broker": {"ok": False, "detail": error.message}, "workers": unknown}
    workers = {"ok": True, "detail": f"{len(facts.workers)} alive"}
    if not facts.workers:
        workers = {"ok": False, "detail": "none alive: labelling goes on, but no round will; start `al worker`"}
    return {"broker": {"ok": True, "detail": facts.words}, "workers": workers}


def _part(check: Callable[[], str]) -> dict[str, Any]:
    try:
        return {"ok": True, "detail": check()}
    except AlServiceError as error:
        return {"ok": False, "detail": error.message}


def _may_look(context: Context) -> bool:
    is_forwarded = "X-Forwarded-For" in request.headers or "Forwarded" in request.headers
    if not is_forwarded and _is_loopback(request.remote_addr):
        return True
    try:
        return find_caller(context.services) is not None
    except AlServiceError:
        # A bad token, or no database to look it up in: then nobody is known.
        return False


def _is_loopback(address: str | None) -> bool:
    try:
        return ipaddress.ip_address(address or "").is_loopback
    except ValueError:
        return False
