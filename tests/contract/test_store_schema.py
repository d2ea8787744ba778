"""The migrated schema is the one that `schema.metadata` describes, on both databases."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from al_service.storage.schema import metadata
from al_service.storage.store import SqlStore
from benchmarks.postgres_server import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def described_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[sa.Engine]:
    """A database made from the metadata alone, without migrations."""
    if request.param == "sqlite":
        engine = sa.create_engine(f"sqlite:///{tmp_path / 'described.db'}")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        engine = sa.create_engine(server.create_database("described").replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        metadata.create_all(connection)
    yield engine
    engine.dispose()
    if request.param == "postgresql":
        server.drop_database("described")


def details(connection: sa.Connection) -> dict[str, object]:
    """What `compare_metadata` does not look at: CHECK constraints, indexes with their conditions, key names."""
    inspector = sa.inspect(connection)
    return {
        table: {
            "checks": sorted((check["name"], check["sqltext"]) for check in inspector.get_check_constraints(table)),
            "indexes": sorted(_index_words(index) for index in inspector.get_indexes(table)),
            "unique": sorted(repr(unique) for unique in inspector.get_unique_constraints(table)),
            "foreign": sorted(repr(key) for key in inspector.get_foreign_keys(table)),
            "primary": inspector.get_pk_constraint(table),
        }
        for table in metadata.tables
    }


def _index_words(index: Any) -> str:
    conditions = {key: str(value) for key, value in index.get("dialect_options", {}).items()}
    return f"{index['name']} {index['column_names']} {index['unique']} {conditions}"


def test_migrations_and_metadata_agree(store: SqlStore) -> None:
    with store._writing() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_constraints_and_indexes_agree(described_engine: sa.Engine, request: pytest.FixtureRequest) -> None:
    with described_engine.connect() as connection:
        described = details(connection)
        dialect = connection.dialect.name
    if dialect == "sqlite":
        url = f"sqlite:///{request.getfixturevalue('sqlite_template')}"
    else:
        url = request.getfixturevalue("postgres_server").url("migrated")
    store = SqlStore(url)
    with store._writing() as connection:
        migrated = details(connection)
    store.close()
    assert migrated == described


def test_every_constraint_has_a_name() -> None:
    for table in metadata.tables.values():
        assert all(constraint.name for constraint in table.constraints), table.name
