"""People and tokens, for admins; engineers manage tokens of their own."""

import math

from al_service.api.answers import (
    AccountAnswer,
    AccountFields,
    AccountsAnswer,
    NewTokenAnswer,
    TokenFields,
    TokensAnswer,
)
from al_service.api.errors import RoleTooLowError
from al_service.api.requests import TokenBody, UserBody, UserChangeBody
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.records import Token, User
from al_service.domain.states import Role
from al_service.errors import NotFoundError

ROUTES = Routes()


@ROUTES.add("GET", "/users", role=Role.ADMIN, answers={200: AccountsAnswer})
def list_users(call: Call) -> Reply:
    """All people by name."""
    return Reply(AccountsAnswer(users=[_account(user) for user in call.services.accounts.users()]))


@ROUTES.add("POST", "/users", role=Role.ADMIN, body=UserBody, answers={201: AccountAnswer})
def add_user(call: Call, body: UserBody) -> Reply:
    """Add a person; without a password they can only use tokens. 409 when the name is taken."""
    user = call.services.accounts.add_user(body.name, body.role, body.password, by_user_id=call.user.id)
    return Reply(AccountAnswer(user=_account(user)), 201)


@ROUTES.add("PATCH", "/users/<name>", role=Role.ADMIN, body=UserChangeBody, answers={200: AccountAnswer})
def change_user(call: Call, name: str, body: UserChangeBody) -> Reply:
    """Change role, password or is_active; a new password or switching off ends the person's sessions."""
    user = call.services.accounts.change_user(
        name, role=body.role, password=body.password, is_active=body.is_active, by_user_id=call.user.id
    )
    return Reply(AccountAnswer(user=_account(user)))


@ROUTES.add("GET", "/tokens", role=Role.ENGINEER, answers={200: TokensAnswer})
def list_tokens(call: Call) -> Reply:
    """Tokens, newest first: an admin sees all, an engineer their own."""
    tokens = call.services.accounts.tokens(None if call.covers(Role.ADMIN) else call.user.id)
    names = {user.id: user.name for user in call.services.accounts.users()}
    return Reply(TokensAnswer(tokens=[_token(token, names[token.user_id]) for token in tokens]))


@ROUTES.add("POST", "/tokens", role=Role.ENGINEER, body=TokenBody, answers={201: NewTokenAnswer})
def create_token(call: Call, body: TokenBody) -> Reply:
    """Make a token; its secret is in this answer only.

    Engineers make their own, admins anybody's; no token gets more rights than its maker has.
    """
    owner = body.user or call.user.name
    if owner != call.user.name and not call.covers(Role.ADMIN):
        raise RoleTooLowError("engineers can make tokens for themselves only", user=owner)
    role = body.role or min(call.services.accounts.get_user(owner).role, call.user.role, key=_rank)
    if not call.covers(role):
        raise RoleTooLowError(f"a token with the role {role} is more than you may do yourself ({call.user.role})")
    days = min(body.days, _days_left(call))
    token, secret = call.services.accounts.create_token(owner, role, name=body.name, days=days, by_user_id=call.user.id)
    return Reply(NewTokenAnswer(token=_token(token, owner), secret=secret), 201)


def _days_left(call: Call) -> float:
    """Days until the token that asks expires: what it makes must not outlive it. No limit for a signed-in person."""
    if call.principal is None or call.principal.token_id is None:
        return math.inf
    own = next(token for token in call.services.accounts.tokens(call.user.id) if token.id == call.principal.token_id)
    return (own.expires_at - call.services.clock()).total_seconds() / 86_400


@ROUTES.add("DELETE", "/tokens/<int:token_id>", role=Role.ENGINEER, answers={204: None})
def revoke_token(call: Call, token_id: int) -> Reply:
    """End a token at once: an admin any, an engineer their own."""
    tokens = call.services.accounts.tokens(None if call.covers(Role.ADMIN) else call.user.id)
    if all(token.id != token_id for token in tokens):
        raise NotFoundError(f"no token {token_id}", token=token_id)
    call.services.accounts.revoke_token(token_id, by_user_id=call.user.id)
    return Reply(None, 204)


def _rank(role: Role) -> int:
    """Position from the least role (0) upwards."""
    return -list(Role).index(role)


def _account(user: User) -> AccountFields:
    return AccountFields(
        id=user.id, name=user.name, role=user.role, is_active=user.is_active, created_at=user.created_at
    )


def _token(token: Token, user_name: str) -> TokenFields:
    return TokenFields(
        id=token.id,
        name=token.name,
        user=user_name,
        role=token.role,
        expires_at=token.expires_at,
        created_at=token.created_at,
        revoked_at=token.revoked_at,
        last_used_at=token.last_used_at,
    )
