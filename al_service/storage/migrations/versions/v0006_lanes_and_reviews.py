"""Lanes of the queue (batch, tasks by hand, gold), priorities and persons; reviewers' verdicts; classes that change;
what the service knows of people's skill; what they set for themselves.

SQLite can neither take a NOT NULL away nor add a constraint that has a name, so there selections and classes are made
anew, as in revision 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
for _name in ("users", "projects", "rounds", "samples"):
    sa.Table(_name, _metadata, sa.Column("id", _ID, primary_key=True))


def _ref(table: str, name: str, *, nullable: bool = False, primary_key: bool = False) -> "sa.Column[int]":
    key = sa.ForeignKey(f"{table}.id")
    return sa.Column(name, _ID, key, nullable=nullable, primary_key=primary_key, autoincrement=False)


def _time(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False)


_OLD_CLASSES = "id, project_id, name, position"
_CLASSES = sa.Table(
    "classes",
    _metadata,
    sa.Column("id", _ID, primary_key=True),
    _ref("projects", "project_id"),
    sa.Column("name", sa.Text(), nullable=False),
    sa.Column("position", sa.BigInteger(), nullable=False),
    sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
    _ref("classes", "merged_into_id", nullable=True),
    sa.UniqueConstraint("project_id", "name"),
    sa.UniqueConstraint("project_id", "position"),
)
LANES = "lane IN ('batch', 'task', 'gold')"
BATCH_HAS_ROUND = "lane <> 'batch' OR round_id IS NOT NULL"
#: As revision 0005 left them; the new ones follow in `_SELECTIONS`.
_OLD_SELECTIONS = "id, project_id, round_id, sample_id, rank, score, reason, state, overlap, max_skips, is_reserve"
_SELECTIONS = sa.Table(
    "selections",
    _metadata,
    sa.Column("id", _ID, primary_key=True),
    _ref("projects", "project_id"),
    _ref("rounds", "round_id", nullable=True),
    _ref("samples", "sample_id"),
    sa.Column("rank", sa.BigInteger(), nullable=False),
    sa.Column("score", sa.Double(), nullable=True),
    sa.Column("reason", sa.JSON(), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("overlap", sa.BigInteger(), nullable=False),
    sa.Column("max_skips", sa.BigInteger(), nullable=False),
    sa.Column("is_reserve", sa.Boolean(), nullable=False),
    sa.Column("lane", sa.String(20), nullable=False),
    sa.Column("turn", sa.BigInteger(), nullable=False),
    _ref("users", "assigned_to_id", nullable=True),
    sa.Column("copy_group", sa.BigInteger(), nullable=True),
    sa.Column("look_alike", sa.BigInteger(), nullable=True),
    sa.Column("likely", sa.JSON(), nullable=True),
    sa.CheckConstraint("state IN ('reserve', 'open', 'done', 'flagged', 'skipped', 'retired')", name="state"),
    sa.CheckConstraint(LANES, name="lane"),
    sa.CheckConstraint(BATCH_HAS_ROUND, name="batch_has_round"),
    sa.UniqueConstraint("round_id", "sample_id"),
)
_GOLD = sa.Table(
    "gold",
    _metadata,
    _ref("samples", "sample_id", primary_key=True),
    _ref("projects", "project_id"),
    _ref("classes", "class_id"),
    _ref("users", "user_id"),
    _time("created_at"),
    sa.Index("ix_gold_project_id", "project_id", "sample_id"),
)
_CLASS_ALIASES = sa.Table(
    "class_aliases",
    _metadata,
    sa.Column("id", _ID, primary_key=True),
    _ref("projects", "project_id"),
    sa.Column("name", sa.Text(), nullable=False),
    _ref("classes", "class_id"),
    sa.UniqueConstraint("project_id", "name"),
)
_ANNOTATOR_SKILLS = sa.Table(
    "annotator_skills",
    _metadata,
    _ref("projects", "project_id", primary_key=True),
    _ref("users", "user_id", primary_key=True),
    sa.Column("skill", sa.JSON(), nullable=False),
    _time("updated_at"),
)
_USER_SETTINGS = sa.Table(
    "user_settings",
    _metadata,
    _ref("users", "user_id", primary_key=True),
    sa.Column("settings", sa.JSON(), nullable=False),
    _time("updated_at"),
)
OPEN_GOLD = "state = 'open' AND lane = 'gold'"
OPEN_BATCH = "state = 'open' AND lane = 'batch'"
OPEN_NAMED = "state = 'open' AND assigned_to_id IS NOT NULL"
INDEXES = (
    "CREATE UNIQUE INDEX uq_selections_open_sample ON selections (sample_id) WHERE state = 'open' AND lane <> 'gold'",
    "CREATE UNIQUE INDEX uq_selections_open_gold ON selections (sample_id, assigned_to_id) WHERE " + OPEN_GOLD,
    "CREATE INDEX ix_selections_queue ON selections (project_id, turn, round_id, rank, id) WHERE " + OPEN_BATCH,
    "CREATE INDEX ix_selections_by_hand ON selections (project_id, turn, id) WHERE state = 'open' AND lane <> 'batch'",
    "CREATE INDEX ix_selections_assigned ON selections (assigned_to_id) WHERE " + OPEN_NAMED,
    "CREATE INDEX ix_selections_reserve ON selections (project_id, round_id, rank, id) WHERE state = 'reserve'",
)
#: Of a verdict, and of an answer of somebody who had the model's suggestion on the screen.
ADDED = (
    "ALTER TABLE annotations ADD COLUMN is_review BOOLEAN NOT NULL DEFAULT false",
    "ALTER TABLE annotations ADD COLUMN saw_suggestion BOOLEAN NOT NULL DEFAULT false",
    "ALTER TABLE assignments ADD COLUMN suggestion_asked_at {time}",
    "ALTER TABLE assignments ADD COLUMN suggestion_seen_at {time}",
    "ALTER TABLE rounds ADD COLUMN class_ids JSON",
)
COUNTED = "round_id, is_reserve, state"


def upgrade() -> None:
    """Add the columns and tables; rows that are there are of the lane `batch`."""
    bind = op.get_bind()
    is_postgres = bind.dialect.name == "postgresql"
    for statement in ADDED:
        bind.exec_driver_sql(statement.format(time="TIMESTAMP WITH TIME ZONE" if is_postgres else "DATETIME"))
    for statement in _on_postgres() if is_postgres else ():
        bind.exec_driver_sql(statement)
    if not is_postgres:
        _on_sqlite(bind)
    for statement in INDEXES:
        bind.exec_driver_sql(statement)
    _metadata.create_all(bind, [_GOLD, _CLASS_ALIASES, _ANNOTATOR_SKILLS, _USER_SETTINGS], checkfirst=False)


def _on_sqlite(bind: sa.Connection) -> None:
    # Until the commit a reference may point to a row that is being moved.
    bind.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
    bind.exec_driver_sql("DROP TRIGGER selections_count_delete")
    _made_anew(bind, _CLASSES, _OLD_CLASSES, "", "")
    _made_anew(bind, _SELECTIONS, _OLD_SELECTIONS, ", lane, turn", ", 'batch', 0")
    count = (
        "INSERT INTO selection_counts VALUES (ROW.round_id, ROW.is_reserve, ROW.state, STEP) "
        "ON CONFLICT (round_id, is_reserve, state) DO UPDATE SET count = count + STEP;"
    )
    gained = count.replace("ROW", "NEW").replace("STEP", "1")
    lost = count.replace("ROW", "OLD").replace("STEP", "-1")
    # A selection without a round never gets one, nor does one lose it.
    for name, event, row, work in (
        ("insert", "INSERT", "NEW", gained),
        ("update", "UPDATE OF is_reserve, state", "NEW", f"{lost} {gained}"),
        ("delete", "DELETE", "OLD", lost),
    ):
        bind.exec_driver_sql(
            f"CREATE TRIGGER selections_count_{name} AFTER {event} ON selections "
            f"WHEN {row}.round_id IS NOT NULL BEGIN {work} END"
        )


def _made_anew(bind: sa.Connection, table: sa.Table, kept: str, added: str, values: str) -> None:
    """The table as it is described here with its rows; what is added gets these values.

    The rows are deleted and inserted again: only so does SQLite see that every reference to them holds again.
    """
    # Every name is written in this file.
    bind.exec_driver_sql(f"CREATE TEMPORARY TABLE kept_rows AS SELECT * FROM {table.name}")  # noqa: S608
    bind.exec_driver_sql(f"DELETE FROM {table.name}")  # noqa: S608
    bind.exec_driver_sql(f"DROP TABLE {table.name}")
    _metadata.create_all(bind, [table], checkfirst=False)
    copy = f"INSERT INTO {table.name} ({kept}{added}) SELECT {kept}{values} FROM kept_rows ORDER BY id"  # noqa: S608
    bind.exec_driver_sql(copy)
    bind.exec_driver_sql("DROP TABLE kept_rows")


def _on_postgres() -> list[str]:
    statements = [
        "ALTER TABLE annotations ALTER COLUMN is_review DROP DEFAULT",
        "ALTER TABLE annotations ALTER COLUMN saw_suggestion DROP DEFAULT",
        "ALTER TABLE classes ADD COLUMN retired_at TIMESTAMP WITH TIME ZONE",
        f"ALTER TABLE classes ADD COLUMN merged_into_id BIGINT {_references('classes', 'merged_into_id', 'classes')}",
        "ALTER TABLE selections ALTER COLUMN round_id DROP NOT NULL",
        "ALTER TABLE selections ADD COLUMN lane VARCHAR(20) NOT NULL DEFAULT 'batch'",
        "ALTER TABLE selections ALTER COLUMN lane DROP DEFAULT",
        f"ALTER TABLE selections ADD CONSTRAINT ck_selections_lane CHECK ({LANES})",
        f"ALTER TABLE selections ADD CONSTRAINT ck_selections_batch_has_round CHECK ({BATCH_HAS_ROUND})",
        "ALTER TABLE selections ADD COLUMN turn BIGINT NOT NULL DEFAULT 0",
        "ALTER TABLE selections ALTER COLUMN turn DROP DEFAULT",
        f"ALTER TABLE selections ADD COLUMN assigned_to_id BIGINT {_references(*_ASSIGNED)}",
        "ALTER TABLE selections ADD COLUMN copy_group BIGINT",
        "ALTER TABLE selections ADD COLUMN look_alike BIGINT",
        "ALTER TABLE selections ADD COLUMN likely JSON",
        "DROP INDEX uq_selections_open_sample",
        "DROP INDEX ix_selections_queue",
        "DROP INDEX ix_selections_reserve",
    ]
    return statements + [_count_function(event, changes) for event, changes in _CHANGES.items()]


_ASSIGNED = ("selections", "assigned_to_id", "users")


def _references(table: str, column: str, target: str) -> str:
    return f"CONSTRAINT fk_{table}_{column} REFERENCES {target} (id)"


_GAINED = f"SELECT {COUNTED}, 1 AS step FROM gained WHERE round_id IS NOT NULL"  # noqa: S608
_LOST = f"SELECT {COUNTED}, -1 AS step FROM lost WHERE round_id IS NOT NULL"  # noqa: S608
_CHANGES = {"insert": _GAINED, "update": f"{_LOST} UNION ALL {_GAINED}", "delete": _LOST}


def _count_function(event: str, changes: str) -> str:
    """As revision 0005 made it, but without the selections that no round made."""
    body = (
        "BEGIN INSERT INTO selection_counts AS known (KEY, count) "
        "SELECT KEY, sum(step) FROM (CHANGES) AS changes GROUP BY KEY HAVING sum(step) <> 0 ORDER BY KEY "
        "ON CONFLICT (KEY) DO UPDATE SET count = known.count + excluded.count; RETURN NULL; END"
    ).replace("CHANGES", changes)
    function = f"CREATE OR REPLACE FUNCTION selections_count_{event}() RETURNS trigger LANGUAGE plpgsql"
    return f"{function} AS $$ {body.replace('KEY', COUNTED)} $$"
