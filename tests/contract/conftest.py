"""Fixtures of the contract tests: a fresh, migrated store on SQLite and on PostgreSQL."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from al_service.storage.store import SqlStore
from tests.contract.store_world import World
from tests.postgres_server import PostgresServer, running_postgres

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


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty, migrated database, once per kind."""
    if request.param == "sqlite":
        path = tmp_path / "al.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = f"test_{next(_numbers)}"
    yield server.create_database(name, template=TEMPLATE)
    server.drop_database(name)


@pytest.fixture
def store(store_url: str) -> Iterator[SqlStore]:
    """An empty store, once per kind of database."""
    opened = SqlStore(store_url)
    yield opened
    opened.close()


@pytest.fixture
def world_on_sqlite(sqlite_template: Path, tmp_path: Path) -> Iterator[World]:
    """A small project in a SQLite file."""
    shutil.copyfile(sqlite_template, tmp_path / "only.db")
    opened = SqlStore(f"sqlite:///{tmp_path / 'only.db'}")
    yield World(opened)
    opened.close()


@pytest.fixture
def world(store: SqlStore) -> World:
    """A small project in an empty store, once per kind of database."""
    return World(store)
