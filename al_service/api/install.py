"""Puts JSON API, sessions, error bodies, security headers, health and metrics onto a Flask app. Called by bootstrap."""

from flask import Blueprint, Flask

from al_service.api import (
    account_routes,
    agreement_routes,
    audit_routes,
    class_routes,
    errors,
    example_routes,
    explanation_routes,
    health,
    invitation_routes,
    lane_routes,
    model_routes,
    own_settings_routes,
    people_routes,
    project_routes,
    queue_routes,
    review_list_routes,
    review_routes,
    round_routes,
    sample_routes,
    security,
    sessions,
    similar_routes,
    study_routes,
    suggestion_routes,
    upload_routes,
)
from al_service.api.dispatch import BODY_MAX_BYTES, make_view
from al_service.api.kept import kept_broker_facts
from al_service.api.meters import Meters
from al_service.api.openapi import document_routes
from al_service.api.round_cards import RoundCards
from al_service.api.round_classes import RoundClasses
from al_service.api.routing import Context, Routes
from al_service.api.sign_in_limit import LinkLimit, SignInLimit
from al_service.api.similar_files import SimilarFiles
from al_service.loop.services import Services
from al_service.settings import Settings


def install(app: Flask, services: Services, settings: Settings) -> None:
    """Serve everything below /api/v1 and /health, /health/ready, /version and /metrics on this app.

    Args:
        app: with its pages and their error handlers in place already; a secret key there goes before the settings'.

    Raises:
        InvalidInputError: no secret key, neither on the app nor in the settings.
    """
    context = Context(
        services,
        settings,
        Meters(),
        RoundClasses(services.store),
        RoundCards(),
        SimilarFiles(services.artifacts),
        SignInLimit(),
        LinkLimit(),
        kept_broker_facts(services.queue, services.clock),
    )
    app.config["MAX_CONTENT_LENGTH"] = BODY_MAX_BYTES
    sessions.install(app, services, settings)
    security.install(app, settings)
    errors.install(app)
    health.install(app, context)
    blueprint = Blueprint("api", __name__, url_prefix=errors.API_PREFIX)
    for route in all_routes():
        blueprint.add_url_rule(route.path, route.name, make_view(route, context), methods=[route.method])
    app.register_blueprint(blueprint)


def all_routes() -> Routes:
    """The table: every route below the prefix, the document's own included."""
    modules = (
        sessions,
        queue_routes,
        lane_routes,
        review_routes,
        review_list_routes,
        agreement_routes,
        suggestion_routes,
        people_routes,
        example_routes,
        round_routes,
        model_routes,
        study_routes,
        project_routes,
        class_routes,
        upload_routes,
        sample_routes,
        similar_routes,
        explanation_routes,
        account_routes,
        invitation_routes,
        own_settings_routes,
        audit_routes,
    )
    routes = Routes(route for module in modules for route in module.ROUTES)
    return Routes([*routes, *document_routes(routes)])
