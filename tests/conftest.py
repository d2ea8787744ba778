"""Databases for every test that wants one: SQLite files and a PostgreSQL that the test run starts itself."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from al_service.storage.store import SqlStore
from benchmarks.postgres_server import PostgresServer, running_postgres

TEMPLATE = "migrated"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL for the whole test run, with a migrated database to copy from."""
    with running_postgres() as server:
        store = SqlStore(server.create_database(TEMPLATE))
        store.migrate()
        store.close()
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file to copy from."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    store = SqlStore(f"sqlite:///{path}")
    store.migrate()
    store.close()
    return path


@pytest.fixture
def database_kind() -> str:
    """Which database `database_url` gives; tests that want both parametrize this name."""
    return "sqlite"


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty, migrated database."""
    if database_kind == "sqlite":
        path = tmp_path / "al.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"test_{next(_numbers)}"
    yield server.create_database(name, template=TEMPLATE)
    server.drop_database(name)
