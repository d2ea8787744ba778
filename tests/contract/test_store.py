"""The store as a whole, on both databases: transactions, failures, the word about itself, surviving a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import NewAnnotation
from al_service.domain.states import AnnotationKind, SampleState
from al_service.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from al_service.loop.ports import Store
from al_service.storage import engine
from al_service.storage.migrations import versions
from al_service.storage.store import SqlStore
from benchmarks.postgres_server import PostgresServer
from tests.contract.store_world import NOW, World

WRITE_THEN_WAIT = """
import sys, time
from datetime import UTC, datetime
from al_service.domain.project_config import ProjectConfig
from al_service.storage.store import SqlStore
store = SqlStore(sys.argv[1])
with store.write() as tx:
    tx.projects.add("kept", ["a"], ProjectConfig(), datetime.now(UTC))
print("committed", flush=True)
time.sleep(60)
"""


#: What a database is at after all migrations, by the number in the last file's name.
NEWEST_SCHEMA = f"schema {max(path.name[1:5] for path in Path(versions.__path__[0]).glob('v*.py'))}"


class TestStore:
    def test_it_is_a_store(self, store: SqlStore) -> None:
        as_port: Store = store
        assert as_port.check() == store.check()

    def test_a_block_that_ends_well_is_committed(self, store: SqlStore) -> None:
        with store.write() as tx:
            tx.projects.add("kept", [], ProjectConfig(), NOW)
        with store.read() as tx:
            assert [project.name for project in tx.projects.all()] == ["kept"]

    def test_a_block_that_raises_leaves_nothing(self, store: SqlStore) -> None:
        with pytest.raises(RuntimeError, match="stop"), store.write() as tx:
            tx.projects.add("lost", [], ProjectConfig(), NOW)
            raise RuntimeError("stop")
        with store.read() as tx:
            assert tx.projects.all() == []

    def test_a_write_sees_its_own_rows(self, store: SqlStore) -> None:
        with store.write() as tx:
            made = tx.projects.add("mine", ["a"], ProjectConfig(), NOW)
            assert tx.projects.find("mine") == made

    def test_writes_through_a_read_are_refused_by_the_database(self, store: SqlStore) -> None:
        with pytest.raises(sa.exc.DBAPIError, match=r"read-?only"), store.read() as tx:
            tx.projects.add("no", [], ProjectConfig(), NOW)

    def test_a_read_is_a_snapshot(self, store: SqlStore) -> None:
        with store.read() as before:
            assert before.projects.all() == []
            with store.write() as tx:
                tx.projects.add("later", [], ProjectConfig(), NOW)
            assert before.projects.all() == []
        with store.read() as after:
            assert len(after.projects.all()) == 1

    def test_after_a_conflict_the_transaction_goes_on(self, world: World) -> None:
        """Adding what is there raises, but does not spoil the transaction (on PostgreSQL an error would)."""
        with world.store.write() as tx:
            with pytest.raises(ConflictError):
                tx.projects.add("birds", [], ProjectConfig(), NOW)
            tx.projects.add("fish", [], ProjectConfig(), NOW)
        with world.store.read() as tx:
            assert [project.name for project in tx.projects.all()] == ["birds", "fish"]

    def test_a_swallowed_database_error_does_not_pass_for_a_commit(self, world: World) -> None:
        """PostgreSQL answers COMMIT of a broken transaction with a silent rollback; SQLite keeps the rest."""
        is_sqlite = world.store.check().startswith("sqlite")
        try:
            with world.store.write() as tx:
                tx.projects.add("fish", [], ProjectConfig(), NOW)
                with pytest.raises(ConflictError):
                    tx.projects.add_classes(999, ["no such project"])
        except ConflictError:
            assert not is_sqlite
        with world.store.read() as tx:
            assert (tx.projects.find("fish") is not None) == is_sqlite

    def test_a_missing_reference_is_a_conflict(self, world: World) -> None:
        new = NewAnnotation(world.project.id, 999, world.ann.id, None, AnnotationKind.SKIP, None, "key")
        with pytest.raises(ConflictError, match="does not exist"), world.store.write() as tx:
            tx.annotations.add(new, NOW)

    def test_what_is_not_there_is_not_found(self, world: World) -> None:
        with world.store.read() as tx:
            for find in (
                tx.projects.get,
                tx.samples.get,
                tx.annotations.get,
                tx.queue.get_selection,
                tx.queue.get_assignment,
                tx.rounds.get,
                tx.jobs.get,
                tx.accounts.get_user,
                tx.accounts.password_hash,
            ):
                with pytest.raises(NotFoundError, match="999"):
                    find(999)

    def test_numbers_beyond_64_bits_are_no_server_error(self, world: World) -> None:
        with pytest.raises((InvalidInputError, NotFoundError)), world.store.read() as tx:
            tx.samples.get(10**30)

    def test_a_broken_state_is_a_bug_not_a_conflict(self, world: World) -> None:
        """A CHECK constraint that fires must reach the log with its traceback, not end a job quietly."""
        (sample_id,) = world.add_samples(1)
        with pytest.raises(sa.exc.IntegrityError), world.store._writing() as connection:
            connection.exec_driver_sql(f"UPDATE samples SET state = 'odd' WHERE id = {sample_id}")

    def test_annotations_cannot_be_changed_or_deleted(self, world: World) -> None:
        (sample_id,) = world.add_samples(1)
        with world.store.write() as tx:
            world.answer(tx, sample_id, world.ann)
        for statement in ("UPDATE annotations SET client_key = 'other'", "DELETE FROM annotations"):
            with pytest.raises(sa.exc.DBAPIError, match="append-only"), world.store._writing() as connection:
                connection.exec_driver_sql(statement)
        with world.store.read() as tx:
            assert [found.client_key for found in tx.annotations.active_of_sample(sample_id)] == ["key-1"]

    def test_check_names_database_and_schema(self, store: SqlStore, store_url: str) -> None:
        word = store.check()
        assert word.startswith("sqlite 3." if store_url.startswith("sqlite") else "postgresql ")
        assert word.endswith(NEWEST_SCHEMA)

    def test_migrate_again_changes_nothing(self, world: World) -> None:
        world.store.migrate()
        with world.store.read() as tx:
            assert tx.projects.get(world.project.id).name == "birds"

    def test_a_newer_schema_is_refused(self, store: SqlStore) -> None:
        with store._writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        for attempt in (store.check, store.migrate):
            with pytest.raises(ConflictError, match="9999"):
                attempt()

    def test_close_then_use_again(self, world: World) -> None:
        world.store.close()
        with world.store.read() as tx:
            assert tx.projects.find("birds") is not None

    def test_a_forked_child_gets_connections_of_its_own(self, world: World) -> None:
        """RQ forks a work horse for each job; a session shared with the parent would end both."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                with world.store.write() as tx:
                    tx.projects.add("from-child", [], ProjectConfig(), NOW)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert status == 0
        with world.store.write() as tx:
            assert tx.projects.find("from-child") is not None


class TestSqlite:
    def test_durability_settings(self, sqlite_template: Path) -> None:
        store = SqlStore(f"sqlite:///{sqlite_template}")
        with store._writing() as connection:
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            }
        store.close()
        assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}

    def test_a_committed_row_survives_kill_9(self, sqlite_template: Path, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'al.db'}"
        (tmp_path / "al.db").write_bytes(sqlite_template.read_bytes())
        child = subprocess.Popen([sys.executable, "-c", WRITE_THEN_WAIT, url], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "committed\n"
            child.send_signal(signal.SIGKILL)
            child.wait()
        store = SqlStore(url)
        with store.read() as tx:
            assert [project.name for project in tx.projects.all()] == ["kept"]
        store.close()

    def test_a_lock_that_stays_is_unavailable(self, world_on_sqlite: World, monkeypatch: pytest.MonkeyPatch) -> None:
        path = world_on_sqlite.store._engines.name
        monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 0.05)
        impatient = SqlStore(f"sqlite:///{path}")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError, match="locked"), impatient.write():
            pass
        other.close()
        impatient.close()

    def test_a_write_inside_a_write_fails_at_once(self, world_on_sqlite: World) -> None:
        store = world_on_sqlite.store
        with pytest.raises(RuntimeError, match="inside"), store.write(), store.write():
            pass

    def test_a_missing_folder_is_unavailable(self, tmp_path: Path) -> None:
        store = SqlStore(f"sqlite:///{tmp_path}/none/al.db")
        with pytest.raises(UnavailableError, match="could not be opened"):
            store.check()
        store.close()

    def test_a_file_that_is_no_database_is_unavailable(self, tmp_path: Path) -> None:
        (tmp_path / "al.db").write_text("no database" * 100)
        store = SqlStore(f"sqlite:///{tmp_path}/al.db")
        with pytest.raises(UnavailableError, match="not an SQLite database"):
            store.check()
        store.close()

    def test_a_full_disk_is_unavailable(self, world_on_sqlite: World) -> None:
        world_on_sqlite.add_samples(1)
        with world_on_sqlite.store._writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(UnavailableError, match="disk is full"):
            world_on_sqlite.add_samples(5000)

    def test_an_unmigrated_file_is_unavailable(self, tmp_path: Path) -> None:
        store = SqlStore(f"sqlite:///{tmp_path}/al.db")
        with pytest.raises(UnavailableError, match="missing"):
            store.check()
        store.close()

    def test_several_starts_at_once_migrate_once(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/al.db"
        script = "import sys; from al_service.storage.store import SqlStore; SqlStore(sys.argv[1]).migrate()"
        children = [subprocess.Popen([sys.executable, "-c", script, url]) for _ in range(2)]
        assert [child.wait() for child in children] == [0, 0]


class TestPostgres:
    def test_settings(self, postgres_server: PostgresServer) -> None:
        store = SqlStore(postgres_server.create_database("settings", template="migrated"))
        names = ("synchronous_commit", "statement_timeout", "lock_timeout", "jit", "TimeZone", "transaction_isolation")
        with store._writing() as connection:
            found = {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names}
        store.close()
        assert found == {
            "synchronous_commit": "on",
            "statement_timeout": "1min",
            "lock_timeout": "30s",
            "jit": "off",
            "TimeZone": "UTC",
            "transaction_isolation": "read committed",
        }

    def test_several_starts_at_once_migrate_once(self, postgres_server: PostgresServer) -> None:
        url = postgres_server.create_database("fresh")
        stores = [SqlStore(url) for _ in range(4)]
        threads = [threading.Thread(target=store.migrate) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {store.check().split(", ")[1] for store in stores} == {NEWEST_SCHEMA}
        for store in stores:
            store.close()

    def test_a_server_that_is_not_there_is_unavailable(self, tmp_path: Path) -> None:
        store = SqlStore(f"postgresql://nobody@/none?host={tmp_path}")
        with pytest.raises(UnavailableError, match="does not answer"):
            store.check()
        store.close()

    def test_a_lock_that_stays_is_unavailable(
        self, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "BUSY_TIMEOUT_S", 1)
        store = SqlStore(postgres_server.create_database("locked", template="migrated"))
        world = World(store)
        with store.write() as holder, pytest.raises(UnavailableError, match="lock timeout"):
            holder.projects.lock(world.project.id)
            with store.write() as tx:
                tx.projects.lock(world.project.id)
        store.close()

    def test_a_lost_connection_is_unavailable_and_then_replaced(self, postgres_server: PostgresServer) -> None:
        store = SqlStore(postgres_server.create_database("lost", template="migrated"))
        with pytest.raises(UnavailableError), store.write() as tx:
            tx.projects.all()
            postgres_server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'lost'")
            tx.projects.all()
        with store.read() as tx:
            assert tx.projects.all() == []
        store.close()

    def test_a_connection_that_broke_while_it_was_idle_is_replaced_unnoticed(
        self, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "PINGED_AFTER_S", 0)
        store = SqlStore(postgres_server.create_database("idle", template="migrated"))
        for use in (store.read, store.write):
            with use() as tx:
                assert tx.projects.all() == []
            postgres_server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'idle'")
            with use() as tx:
                assert tx.projects.all() == []
        store.close()

    def test_a_connection_in_use_is_not_asked_whether_it_lives(
        self, postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(engine, "PINGED_AFTER_S", 3600)
        store = SqlStore(postgres_server.create_database("busy", template="migrated"))
        with store.read() as tx:
            tx.projects.all()
        pings: list[object] = []
        store._engines.writer.dialect.do_ping = pings.append
        for _ in range(3):
            with store.write() as tx:
                tx.projects.all()
        assert pings == []
        store.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "no url", "sqlite://", "sqlite:///:memory:"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        SqlStore(url)


def test_states_and_label_agree(world: World) -> None:
    (sample_id,) = world.add_samples(1)
    for name, state in (("owl", SampleState.UNLABELLED), (None, SampleState.LABELLED)):
        with pytest.raises(InvalidInputError, match="does not go with"), world.store.write() as tx:
            tx.samples.set_label(tx.samples.get(sample_id), name, votes=1, annotation_id=1, state=state, now=NOW)
