"""Pages and who may see them: no page can be added without its least role, and the check is here, not in the views."""

from collections.abc import Callable
from functools import wraps

from flask import Blueprint, Response, abort, make_response, redirect, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response as AnyResponse

from al_service.api.access import open_to
from al_service.api.security import ALLOW_INLINE_STYLES, POLICY_HEADER
from al_service.domain.states import Role

View = Callable[..., str | AnyResponse]


class Pages(Blueprint):
    """A blueprint whose views are added with `page`."""

    def page(self, path: str, *, role: Role | None, inline_styles: bool = False) -> Callable[[View], View]:
        """Decorator that adds a page.

        Args:
            path: Flask rule.
            role: the least role that may see it; None: anybody. Nobody signed in is led to /login and back, a lower
                role gets the page for 403.
            inline_styles: the page needs styles that a script writes as text (plotly does); all others forbid them.
        """

        def add(view: View) -> View:
            @open_to(role)
            @wraps(view)
            def checked(*args: object, **kwargs: object) -> AnyResponse:
                if role is not None and not current_user.is_authenticated:
                    asked = request.full_path if request.query_string else request.path
                    return redirect(url_for("pages.login", next=None if asked == "/" else asked))
                if role is not None and not current_user.role.covers(role):
                    abort(403, f"Your role ({current_user.role}) is too low for it. An admin can change that.")
                return _with_headers(make_response(view(*args, **kwargs)), inline_styles)

            self.add_url_rule(path, view.__name__, checked, methods=["GET"])
            return view

        return add


def _with_headers(response: Response, inline_styles: bool) -> Response:
    # A page names its person; no cache that others share may keep it.
    response.headers.setdefault("Cache-Control", "private, no-cache")
    if inline_styles:
        response.headers[POLICY_HEADER] = ALLOW_INLINE_STYLES
    return response
