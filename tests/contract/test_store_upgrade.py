"""A database of the first version, full of rows, becomes one of today and loses nothing, on both databases."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from al_service.domain.records import Chosen, ModelRecord, RoundProgress
from al_service.domain.review import ReviewFilter, ReviewKind
from al_service.domain.states import JobKind, SelectionState, Split
from al_service.errors import UnavailableError
from al_service.storage import migrate
from al_service.storage.engine import create_engines
from al_service.storage.store import SqlStore
from benchmarks.postgres_server import PostgresServer
from tests.contract.test_store_schema import details

AT = "'2026-01-02 03:04:05.000000+00:00'"
#: One project with two rounds, a job of every old kind, and every state of selections; {a}: a time of this database.
OLD_ROWS = """
INSERT INTO users VALUES (1, 'ann', 'labeler', NULL, true, {a});
INSERT INTO projects VALUES (1, 'birds', '{{}}', {a}, NULL);
INSERT INTO classes VALUES (31, 1, 'heron', 30), (32, 1, 'stork', 31);
WITH t (n) AS (VALUES (1), (2), (3), (4), (5))
  INSERT INTO samples SELECT n, 1, 'e' || n, 's' || n, 8, 8, 'png', 9, 'pool', 'unlabelled', '{{}}', {a} FROM t;
WITH t (n) AS (VALUES (1), (2)) INSERT INTO rounds
  SELECT n, 1, n, 'closed', 'close', 'x', '{{}}', '[]', 0, 0, 0, NULL, NULL, NULL, '{{}}', {a}, {a}, NULL FROM t;
WITH t (n, r, k, s) AS (VALUES (1, NULL, 'ingest', 'done'), (2, 1, 'train', 'failed'), (3, 1, 'score', 'running'),
  (8, 2, 'select', 'queued')) INSERT INTO jobs
  SELECT n, 1, r, k, s, 1, 3, '{{"a": 1}}', '{{}}', 7, 9, 'half', 'w', 'oh', {a}, {a}, {a}, {a}, {a}, {a} FROM t;
INSERT INTO job_rejections VALUES (1, 1, 'bad.png', 'no image');
INSERT INTO round_stages VALUES (1, 'score', 'done', 3, 1, {a}, {a}, 1.5, '{{}}', NULL);
WITH t (n, r, p, s) AS (VALUES (1, 1, 1, 'done'), (2, 1, 2, 'retired'), (3, 2, 3, 'open'), (4, 2, 4, 'flagged'),
  (9, 2, 5, 'skipped')) INSERT INTO selections SELECT n, 1, r, p, n, 0.25, '{{}}', s, 1, 3 FROM t;
INSERT INTO models VALUES (5, 1, 2, 'models/a', 'hash', 'print', '{{"accuracy": 0.5}}', {a});
INSERT INTO assignments VALUES (1, 1, 1, 1, 0, 'answered', {a}, {a}), (2, 1, 3, 1, 0, 'open', {a}, {a});
"""
_COUNTING = ["selections_count_delete", "selections_count_insert", "selections_count_update"]
#: What came with the history of promotions and the counts of selections.
_NEW_TRIGGERS = {
    "sqlite": ["promotions_no_delete", "promotions_no_update", *_COUNTING],
    "postgresql": ["promotions_no_change", *_COUNTING],
}


def rows_of(connection: sa.Connection, table: str) -> list[dict[str, Any]]:
    return [dict(row) for row in connection.execute(sa.text(f"SELECT * FROM {table} ORDER BY 1, 2")).mappings()]


@pytest.fixture
def old_store(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store whose database is of revision 0001 and has rows."""
    url = f"sqlite:///{tmp_path / 'old.db'}"
    if database_kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.create_database("old")
    engines = create_engines(url, pool_size=2)
    with engines.writer.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    store = SqlStore(url)
    with store._writing() as connection:
        time = f"CAST({AT} AS timestamptz)" if database_kind == "postgresql" else AT
        for statement in OLD_ROWS.format(a=time).strip().removesuffix(";").split(";"):
            connection.exec_driver_sql(statement)
        for table in ("jobs", "selections", "models") if database_kind == "postgresql" else ():
            connection.exec_driver_sql(f"SELECT setval('{table}_id_seq', 100)")
    yield store
    store.close()
    engines.dispose()
    if database_kind == "postgresql":
        server.drop_database("old")


def test_an_old_database_keeps_every_row(old_store: SqlStore, database_kind: str) -> None:
    tables = ("users", "projects", "samples", "sample_counts", "rounds", "jobs", "job_rejections", "round_stages")
    with pytest.raises(UnavailableError, match="schema is 0001"):
        old_store.check()
    with old_store._writing() as connection:
        before = {table: rows_of(connection, table) for table in (*tables, "classes", "selections", "assignments")}
        triggers = _triggers(connection)
    assert [len(before[table]) for table in ("jobs", "selections", "assignments")] == [4, 5, 2]
    old_store.migrate()
    old_store.migrate()
    steered = {
        "lane": "batch",
        "turn": 0,
        "assigned_to_id": None,
        "copy_group": None,
        "look_alike": None,
        "likely": None,
    }
    added = {
        "samples": {"dissent": 0},
        "classes": {"retired_at": None, "merged_into_id": None, "split_from_id": None},
        "jobs": {"progress_since": None},
        "selections": {"is_reserve": False, **steered},
        "assignments": {"suggestion_asked_at": None, "suggestion_seen_at": None},
        "rounds": {"class_ids": None},
    }
    with old_store._writing() as connection:
        for table, rows in before.items():
            expected = [row | added.get(table, {}) for row in rows]
            assert rows_of(connection, table) == expected, table
        assert _triggers(connection) == sorted([*triggers, *_NEW_TRIGGERS[database_kind]])
        if database_kind == "sqlite":
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def test_the_selections_of_an_old_database_are_counted(old_store: SqlStore) -> None:
    old_store.migrate()
    with old_store.read() as tx:
        assert tx.rounds.asking(1)() == RoundProgress(2, asked=3, answered=0, answered_ahead=0)
        assert [(record.selected_count, record.answered_count) for record in tx.rounds.all(1)] == [(2, 1), (3, 0)]
        assert (tx.queue.open_count_of_round(1), tx.queue.open_count_of_round(2)) == (0, 1)


def test_an_old_model_is_an_entry_of_the_registry_and_the_next_one_gets_the_next_id(old_store: SqlStore) -> None:
    old_store.migrate()
    with old_store.read() as tx:
        model = tx.models.get(5)
        now = tx.projects.get(1).created_at
        assert tx.models.all(1) == [model]
        assert tx.models.promotions(1) == []
    assert model == ModelRecord(
        5, 1, 2, "models/a", "hash", "print", {"accuracy": 0.5}, now, name="round 2", round_number=2
    )
    with old_store.write() as tx:
        assert tx.models.add(model).id > 5


def test_an_old_database_gets_todays_constraints_and_indexes(
    old_store: SqlStore, database_kind: str, request: pytest.FixtureRequest
) -> None:
    old_store.migrate()
    fresh = SqlStore(request.getfixturevalue("database_url"))
    with old_store._writing() as connection:
        upgraded = details(connection)
    with fresh._writing() as connection:
        assert upgraded == details(connection)
    fresh.close()


def test_an_old_database_takes_the_new_values(old_store: SqlStore) -> None:
    old_store.migrate()
    with old_store.read() as tx:
        now = tx.projects.get(1).created_at
    with old_store.write() as tx:
        job = tx.jobs.add(
            project_id=1, round_id=2, kind=JobKind.SCORE_SHARD, payload={"count": 1}, attempts_max=1, now=now
        )
        assert tx.jobs.of_round(2, JobKind.SCORE_SHARD) == [job]
        study = tx.jobs.add(project_id=1, round_id=None, kind=JobKind.SIMULATE, payload={}, attempts_max=1, now=now)
        assert tx.jobs.all(kind=JobKind.SIMULATE) == [study]
        tx.queue.add_selections(1, [Chosen(5, 9, None, {}, SelectionState.RESERVE, is_reserve=True)])
    with pytest.raises(sa.exc.IntegrityError), old_store._writing() as connection:
        connection.exec_driver_sql("UPDATE selections SET state = 'odd'")
    with pytest.raises(sa.exc.IntegrityError), old_store._writing() as connection:
        connection.exec_driver_sql("UPDATE jobs SET kind = 'odd'")


def _triggers(connection: sa.Connection) -> list[str]:
    question = "SELECT name FROM sqlite_schema WHERE type = 'trigger' ORDER BY name"
    if connection.dialect.name == "postgresql":
        question = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname"
    return list(connection.execute(sa.text(question)).scalars())


#: Votes and a label from before disputes were kept: two people differ on one sample, a reviewer decided the other.
OLD_VOTES = """
INSERT INTO classes (id, project_id, name, position) VALUES (1, 1, 'owl', 0), (2, 1, 'wren', 1);
INSERT INTO users VALUES (2, 'bob', 'reviewer', NULL, true, {a});
WITH t (n, s, u, c, r) AS (VALUES (1, 1, 1, 1, false), (2, 1, 2, 2, false), (3, 2, 1, 1, false), (4, 2, 2, 2, true),
  (5, 3, 1, 1, false), (6, 3, 2, 1, false), (7, 4, 2, 2, false), (8, 4, 2, 1, false), (9, 4, 1, 1, false))
  INSERT INTO annotations (id, project_id, sample_id, user_id, kind, class_id, client_key, is_extra_vote, is_import,
    created_at, is_review, saw_suggestion) SELECT n, 1, s, u, 'label', c, 'k' || n, false, false, {a}, r, false FROM t;
WITH t (s, c) AS (VALUES (1, 1), (2, 2), (3, 1), (4, 1)) INSERT INTO labels
  (sample_id, project_id, split, class_id, votes, annotation_id, version, updated_at)
  SELECT s, 1, 'pool', c, 1, 1, 1, {a} FROM t;
"""


def test_old_labels_know_who_disagrees_and_what_a_reviewer_decided(old_store: SqlStore, database_kind: str) -> None:
    with old_store._writing() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0008")
        time = f"CAST({AT} AS timestamptz)" if database_kind == "postgresql" else AT
        for statement in OLD_VOTES.format(a=time).strip().removesuffix(";").split(";"):
            connection.exec_driver_sql(statement)
    old_store.migrate()
    with old_store.read() as tx:
        assert [tx.samples.get(sample_id).dissent for sample_id in range(1, 6)] == [50, 0, 0, 0, 0]
        page = tx.review_list.page(1, ReviewFilter(ReviewKind.REVIEWED), tuple(Split), after=None, limit=9)
        assert [row.sample.id for row in page.rows] == [2]
