"""The pages of the service: the only HTML, CSS and JavaScript. Whatever changes something goes through /api/v1."""

from flask import Flask

from al_service.errors import InvalidInputError
from al_service.loop.services import Services
from al_service.settings import Settings
from annotator_ui.assets import make_assets
from annotator_ui.error_pages import register_error_pages
from annotator_ui.views import make_pages


def create_app(services: Services, settings: Settings, *, secret_key: str = "") -> Flask:
    """The Flask app with the pages; the API, sessions and security headers are added by whoever calls this.

    Args:
        services: the use cases.
        settings: limits that the pages need to know (lease time, cookie flags).
        secret_key: signs sessions; empty: the one in the settings.

    Raises:
        InvalidInputError: no secret key at all; sessions could be forged.
    """
    key = secret_key or settings.secret_key
    if not key:
        raise InvalidInputError("create_app needs a secret key; pass secret_key=… or set AL_SECRET_KEY")
    # The static route of Flask is replaced by one with a version in its path, so that modules can be cached for good.
    app = Flask(__name__, static_folder=None)
    app.secret_key = key
    app.config.update(
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.session_cookie_secure,
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.register_blueprint(make_assets())
    app.register_blueprint(make_pages(services, settings))
    register_error_pages(app)
    return app
