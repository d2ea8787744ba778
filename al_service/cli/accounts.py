"""`al user …` and `al token …`."""

import sys

import click

from al_service.cli.session import Session, json_option, print_json, print_table
from al_service.domain.states import Role

ROLES = click.Choice([role.value for role in Role])


@click.group()
def user() -> None:
    """People who sign in."""


@user.command("add")
@click.argument("name")
@click.option("--role", type=ROLES, default=Role.LABELER.value, show_default=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking.")
@click.pass_obj
def user_add(session: Session, name: str, role: str, password_stdin: bool) -> None:
    """Add a person; asks for a password of at least 8 characters."""
    password = (
        sys.stdin.readline().rstrip("\n")
        if password_stdin
        else click.prompt("Password", hide_input=True, confirmation_prompt=True)
    )
    added = session.services.accounts.add_user(name, Role(role), password)
    click.echo(f"{added.name} can sign in as {added.role}")


@user.command("list")
@json_option
@click.pass_obj
def user_list(session: Session, as_json: bool) -> None:
    """Who there is."""
    users = session.services.accounts.users()
    if as_json:
        print_json(
            [
                {"name": item.name, "role": item.role, "active": item.is_active, "created_at": item.created_at}
                for item in users
            ]
        )
        return
    print_table(
        ["name", "role", "active", "since"],
        [(item.name, item.role, "yes" if item.is_active else "no", item.created_at) for item in users],
        empty="no users yet; `al user add NAME --role ROLE` adds one",
    )


@click.group()
def token() -> None:
    """Tokens for programs."""


@token.command("create")
@click.argument("name")
@click.option("--role", type=ROLES, help="At most the user's own role, which is also the default.")
@click.option("--days", type=float, default=90.0, show_default=True, help="Days until it expires.")
@click.option("--note", default="", help="What it is for.")
@json_option
@click.pass_obj
def token_create(session: Session, name: str, role: str | None, days: float, note: str, as_json: bool) -> None:
    """Make a token for the user NAME; the secret is shown once."""
    record, secret = session.services.accounts.create_token(name, Role(role) if role else None, name=note, days=days)
    if as_json:
        print_json({"id": record.id, "role": record.role, "expires_at": record.expires_at, "token": secret})
        return
    click.echo(secret)
    click.echo(f"role {record.role}, until {record.expires_at:%Y-%m-%d}; use it as `Authorization: Bearer …`", err=True)


@token.command("revoke")
@click.argument("token_id", type=int)
@click.pass_obj
def token_revoke(session: Session, token_id: int) -> None:
    """End a token at once."""
    session.services.accounts.revoke_token(token_id)
    click.echo(f"token {token_id} is revoked")


@token.command("list")
@json_option
@click.pass_obj
def token_list(session: Session, as_json: bool) -> None:
    """Tokens, newest first; never their secrets."""
    tokens = session.services.accounts.tokens()
    if as_json:
        print_json([vars(item) for item in tokens])
        return
    print_table(
        ["id", "note", "role", "expires", "revoked", "last used"],
        [(item.id, item.name, item.role, item.expires_at, item.revoked_at, item.last_used_at) for item in tokens],
        empty="no tokens yet; `al token create NAME` makes one",
    )


COMMANDS = (user, token)
