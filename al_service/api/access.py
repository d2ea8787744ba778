"""Who may use a view: every view of the app carries its least role, so one walk over the url map sees them all.

The routes of the API declare it in their row of the table, pages in `annotator_ui.page_access`, the few others with
`open_to`. The tests refuse a view without a declaration.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from al_service.domain.states import Role

View = TypeVar("View", bound=Callable[..., Any])
ATTRIBUTE = "least_role"


def open_to(role: Role | None) -> Callable[[View], View]:
    """Decorator that declares the least role that may use a view; None: anybody, also when nobody is signed in.

    It declares only: whoever makes the view checks it.
    """

    def declare(view: View) -> View:
        setattr(view, ATTRIBUTE, role)
        return view

    return declare


def least_role(view: Callable[..., Any]) -> Role | None:
    """What `open_to` declared.

    Raises:
        LookupError: nothing was declared.
    """
    if not hasattr(view, ATTRIBUTE):
        raise LookupError(f"{view!r} declares no least role; use open_to, a route table or Pages.page")
    role: Role | None = getattr(view, ATTRIBUTE)
    return role
