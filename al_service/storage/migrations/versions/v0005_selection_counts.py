"""Counts of a round's selections by state, kept by triggers, as the samples' are: every answer says how far people are,
and a batch may hold a hundred thousand.

The index that these counts were made from goes: nothing else asks it, and every answer had to write it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_metadata = sa.MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s"},
)
_rounds = sa.Table("rounds", _metadata, sa.Column("id", _ID, primary_key=True))

selection_counts = sa.Table(
    "selection_counts",
    _metadata,
    sa.Column("round_id", _ID, sa.ForeignKey("rounds.id"), primary_key=True),
    sa.Column("is_reserve", sa.Boolean(), primary_key=True),
    sa.Column("state", sa.String(20), primary_key=True),
    sa.Column("count", sa.BigInteger(), nullable=False),
)

KEY = "round_id, is_reserve, state"


def upgrade() -> None:
    """Add the counts with what is there, and the triggers that keep them."""
    bind = op.get_bind()
    _metadata.create_all(bind, [selection_counts], checkfirst=False)
    bind.exec_driver_sql(f"INSERT INTO selection_counts SELECT {KEY}, count(*) FROM selections GROUP BY {KEY}")  # noqa: S608
    for statement in _on_postgres() if bind.dialect.name == "postgresql" else _on_sqlite():
        bind.exec_driver_sql(statement)
    bind.exec_driver_sql("DROP INDEX ix_selections_by_state")


def _on_sqlite() -> list[str]:
    count = (
        "INSERT INTO selection_counts VALUES (ROW.round_id, ROW.is_reserve, ROW.state, STEP) "
        "ON CONFLICT (round_id, is_reserve, state) DO UPDATE SET count = count + STEP;"
    )
    gained = count.replace("ROW", "NEW").replace("STEP", "1")
    lost = count.replace("ROW", "OLD").replace("STEP", "-1")
    return [
        f"CREATE TRIGGER selections_count_insert AFTER INSERT ON selections BEGIN {gained} END",
        f"CREATE TRIGGER selections_count_update AFTER UPDATE OF {KEY} ON selections BEGIN {lost} {gained} END",
        f"CREATE TRIGGER selections_count_delete AFTER DELETE ON selections BEGIN {lost} END",
    ]


def _on_postgres() -> list[str]:
    """Counting is one upsert per statement, not per row, in key order, so that two statements cannot deadlock."""
    count = (
        "BEGIN INSERT INTO selection_counts AS known (KEY, count) "
        "SELECT KEY, sum(step) FROM (CHANGES) AS changes GROUP BY KEY HAVING sum(step) <> 0 ORDER BY KEY "
        "ON CONFLICT (KEY) DO UPDATE SET count = known.count + excluded.count; RETURN NULL; END"
    )
    gained, lost = "SELECT KEY, 1 AS step FROM gained", "SELECT KEY, -1 AS step FROM lost"
    statements = []
    for event, tables, changes in (
        ("INSERT", "NEW TABLE AS gained", gained),
        ("UPDATE", "OLD TABLE AS lost NEW TABLE AS gained", f"{lost} UNION ALL {gained}"),
        ("DELETE", "OLD TABLE AS lost", lost),
    ):
        name = f"selections_count_{event.lower()}"
        body = count.replace("CHANGES", changes).replace("KEY", KEY)
        statements.append(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$")
        statements.append(
            f"CREATE TRIGGER {name} AFTER {event} ON selections REFERENCING {tables} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        )
    return statements
