"""What a route is. Each routes module fills one `Routes` list; install serves them, openapi describes them.

One table for both, so the document cannot differ from the behaviour: path, method, role, body, query and answers are
enforced by dispatch from the same record that the document is made of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from flask import Response
from pydantic import BaseModel

from al_service.api.errors import NotSignedInError
from al_service.api.kept import BrokerFacts, Kept
from al_service.api.meters import Meters
from al_service.api.round_cards import RoundCards
from al_service.api.round_classes import RoundClasses
from al_service.api.sign_in_limit import LinkLimit, SignInLimit
from al_service.api.similar_files import SimilarFiles
from al_service.domain.records import User
from al_service.domain.states import Role
from al_service.loop.accounts import Principal
from al_service.loop.ports import Admission
from al_service.loop.services import Services
from al_service.settings import Settings

Handler = TypeVar("Handler", bound=Callable[..., Any])


class ImageBytes:
    """Stands in `answers` for a body that is an image."""


class FileBytes:
    """Stands in `answers` for a body that is a file to keep."""


AnswerKind = type[BaseModel] | type[ImageBytes] | type[FileBytes] | None


@dataclass(frozen=True)
class Context:
    """What all calls of one installed API share."""

    services: Services
    settings: Settings
    meters: Meters
    round_classes: RoundClasses
    round_cards: RoundCards
    similar_files: SimilarFiles
    sign_in_limit: SignInLimit
    link_limit: LinkLimit
    broker: Kept[BrokerFacts]


@dataclass(frozen=True)
class Call:
    """One request on its way to a handler: the shared context and who asks.

    admission: of a route that admits itself: what it has to ask, unless who asks was looked up already.
    """

    context: Context
    principal: Principal | None
    admission: Admission | None = None

    @property
    def services(self) -> Services:
        """The use cases."""
        return self.context.services

    @property
    def user(self) -> User:
        """Who asks, with the role that counts; NotSignedInError on a public route without anybody."""
        if self.principal is None:
            raise NotSignedInError("sign in first, or send Authorization: Bearer TOKEN")
        return self.principal.user

    def covers(self, role: Role) -> bool:
        """True when the caller may do what that role may."""
        return self.principal is not None and self.principal.role.covers(role)


@dataclass(frozen=True)
class Reply:
    """A handler's answer: a declared model (None: no body) under a declared status.

    etag: of a route with etag=True whose handler knows the tag without making the body; the status may then be 304.
    """

    body: BaseModel | None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str | None = None


@dataclass(frozen=True)
class Route:
    """One row of the table.

    Attributes:
        path: Flask rule below the prefix, e.g. `/assignments/<int:assignment_id>/renew`.
        role: the least role that may call; None: anybody.
        body: model of the JSON body; query: model of the query string.
        answers: status -> model of the body, ImageBytes, FileBytes, or None for no body.
        etag: the answer carries an ETag and is answered 304 when the caller has it.
        bytes_max: the body is a file's bytes, at most so many; the handler gets them as `data`.
        is_beacon: `navigator.sendBeacon` calls it: text/plain or a form will do, and csrf_token may be in the body.
        timer: name of the histogram of Meters that takes the seconds of good calls.
        admits_itself: the handler takes `call.admission` along with its own first look-ups, instead of a look-up of who
            asks before it is called.
    """

    method: str
    path: str
    handler: Callable[..., Reply | Response]
    role: Role | None
    answers: Mapping[int, AnswerKind]
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    etag: bool = False
    bytes_max: int | None = None
    is_beacon: bool = False
    timer: str | None = None
    admits_itself: bool = False

    @property
    def name(self) -> str:
        """Name of the handler: the endpoint and the operation id."""
        return self.handler.__name__


class Routes(list[Route]):
    """The routes of one module, in order."""

    def add(
        self, method: str, path: str, *, role: Role | None, answers: Mapping[int, AnswerKind], **more: Any
    ) -> Callable[[Handler], Handler]:
        """Decorator that records the handler; `more` are the other fields of Route."""

        def record(handler: Handler) -> Handler:
            self.append(Route(method, path, handler, role, answers, **more))
            return handler

        return record
