"""Alembic without a command line: the schema's revision is read and raised inside the caller's transaction."""

import threading
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from al_service.errors import ConflictError
from al_service.storage.dialect import is_postgres
from al_service.storage.failures import DatabaseUnavailableError

SCRIPTS = Path(__file__).parent / "migrations"
#: Any constant that no other program uses for advisory locks in the same database.
MIGRATION_LOCK = 0x616C_5F73_6572_7669

#: Alembic keeps the running migration in module globals; two threads must not migrate at once.
_one_migration = threading.Lock()


class SchemaTooNewError(ConflictError):
    """The database was migrated by a newer version of the service; install that version."""

    code = "schema_too_new"


def upgrade_schema(connection: sa.Connection) -> None:
    """Run what is missing up to the newest revision, all or nothing.

    Args:
        connection: in a write transaction (SQLite: BEGIN IMMEDIATE, so that other processes wait).

    Raises:
        SchemaTooNewError: the database knows a revision that this code does not.
    """
    with _one_migration:
        if is_postgres(connection):
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
        config = _config()
        if _current(connection, config) != _newest(config):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def word_about_schema(connection: sa.Connection) -> str:
    """`schema 0001`, when the schema is the one this code expects.

    Raises:
        SchemaTooNewError: it is newer.
        DatabaseUnavailableError: it is older or not there; whoever migrates may be at it.
    """
    config = _config()
    current = _current(connection, config)
    newest = _newest(config)
    if current != newest:
        raise DatabaseUnavailableError(
            f"the database schema is {current or 'missing'}, this version needs {newest}; migrate it"
        )
    return f"schema {current}"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _newest(config: Config) -> str | None:
    return ScriptDirectory.from_config(config).get_current_head()


def _current(connection: sa.Connection, config: Config) -> str | None:
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is not None and current not in known:
        raise SchemaTooNewError(
            f"the database schema is {current}, which this version does not know; install the newer version"
        )
    return current
