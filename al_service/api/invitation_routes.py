"""Invitations, and links for a new password.

The secret stands behind the # of the link, which browsers keep to themselves: it is in no log and no Referer, and comes
to the service in the body of a POST only.
"""

from collections.abc import Callable
from typing import TypeVar

from flask import request

from al_service.api.answers import UserFields
from al_service.api.invitation_answers import (
    InvitationFields,
    InvitationsAnswer,
    JoinedAnswer,
    LinkAnswer,
    NewInvitationAnswer,
)
from al_service.api.requests import InvitationBody, JoinBody, SecretBody
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.invitations import Invitation
from al_service.domain.states import Role
from al_service.errors import AlServiceError
from al_service.loop.invitations import InvitationOverError

Found = TypeVar("Found")
PAGE = "/join"

ROUTES = Routes()


@ROUTES.add("GET", "/invitations", role=Role.ENGINEER, answers={200: InvitationsAnswer})
def list_invitations(call: Call) -> Reply:
    """Links that somebody can still use: an admin sees all, an engineer their own."""
    found = call.services.invitations.all_open(by=call.user)
    return Reply(InvitationsAnswer(invitations=[_fields(invitation) for invitation in found]))


@ROUTES.add("POST", "/invitations", role=Role.ENGINEER, body=InvitationBody, answers={201: NewInvitationAnswer})
def invite(call: Call, body: InvitationBody) -> Reply:
    """Make a link by which people join: admins for any role, engineers for reviewers, labelers and viewers."""
    made, secret = call.services.invitations.invite(
        body.role, by=call.user, days=body.days, uses=body.uses, note=body.note
    )
    return Reply(_new(made, secret), 201)


@ROUTES.add("DELETE", "/invitations/<int:invitation_id>", role=Role.ENGINEER, answers={204: None})
def withdraw_invitation(call: Call, invitation_id: int) -> Reply:
    """End a link at once: an admin any, an engineer their own. Who has joined by it stays."""
    call.services.invitations.withdraw(invitation_id, by=call.user)
    return Reply(None, 204)


@ROUTES.add("POST", "/users/<name>/password-link", role=Role.ADMIN, answers={201: NewInvitationAnswer})
def offer_password(call: Call, name: str) -> Reply:
    """Make a link by which this person chooses a new password within a day; earlier ones are withdrawn."""
    made, secret = call.services.invitations.offer_password(name, by=call.user)
    return Reply(_new(made, secret), 201)


@ROUTES.add("POST", "/invitations/look", role=None, body=SecretBody, answers={200: LinkAnswer})
def look_at_link(call: Call, body: SecretBody) -> Reply:
    """What a link is for; 404 invitation_over when it is worth nothing, 429 after 30 of these in ten minutes."""
    found = _counted(call, lambda: call.services.invitations.look(body.secret))
    return Reply(LinkAnswer(role=found.role, user=found.user_name, made_by=found.made_by, expires_at=found.expires_at))


@ROUTES.add("POST", "/invitations/accept", role=None, body=JoinBody, answers={201: JoinedAnswer})
def join(call: Call, body: JoinBody) -> Reply:
    """Join with a name and password, or set the new password of the person the link is for; then sign in.

    404 invitation_over, 409 when the name is taken, 400 for a name or password that cannot be: the link stays good.
    """
    user = _counted(call, lambda: call.services.invitations.accept(body.secret, body.name, body.password))
    return Reply(JoinedAnswer(user=UserFields(id=user.id, name=user.name, role=user.role)), 201)


def _counted(call: Call, step: Callable[[], Found]) -> Found:
    """Run it; only links that are worth nothing count against the address."""
    address, limit = request.remote_addr or "", call.context.link_limit
    at = limit.admit(address, call.services.clock())
    try:
        found = step()
    except InvitationOverError:
        raise
    except AlServiceError:
        limit.forgive(address, at)
        raise
    limit.forgive(address, at)
    return found


def _new(made: Invitation, secret: str) -> NewInvitationAnswer:
    return NewInvitationAnswer(invitation=_fields(made), path=f"{PAGE}#{secret}")


def _fields(invitation: Invitation) -> InvitationFields:
    return InvitationFields(
        id=invitation.id,
        role=invitation.role,
        user=invitation.user_name,
        note=invitation.note,
        made_by=invitation.made_by,
        uses=invitation.uses,
        uses_max=invitation.uses_max,
        created_at=invitation.created_at,
        expires_at=invitation.expires_at,
    )
