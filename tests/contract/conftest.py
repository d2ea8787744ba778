"""Stores for the contract tests, on both kinds of database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from al_service.storage.store import SqlStore
from tests.contract.store_world import World


@pytest.fixture(params=["sqlite", "postgresql"])
def database_kind(request: pytest.FixtureRequest) -> str:
    """Every contract test runs on both."""
    return str(request.param)


@pytest.fixture
def store_url(database_url: str) -> str:
    """The URL of an empty, migrated database, once per kind."""
    return database_url


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
