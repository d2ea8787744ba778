"""What reviewers look through: how far people disagree about a sample, whether a reviewer decided, and indexes for the
lists.

Samples and labels that are there get both from the answers that count.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ADDED = (
    "ALTER TABLE samples ADD COLUMN dissent BIGINT NOT NULL DEFAULT 0",
    "ALTER TABLE labels ADD COLUMN is_reviewed BOOLEAN NOT NULL DEFAULT false",
)
_COUNTS = "a.kind = 'label' AND NOT EXISTS (SELECT 1 FROM annotations AS undo WHERE undo.undoes_id = a.id)"
FILL_REVIEWED = f"""
UPDATE labels SET is_reviewed = true WHERE sample_id IN (
  SELECT a.sample_id FROM annotations AS a WHERE a.is_review AND {_COUNTS}
)
"""  # noqa: S608
#: A vote names what its class is today.
_AGAINST = "CASE WHEN coalesce(named.merged_into_id, named.id) = believed.class_id THEN 0 ELSE 1 END"
#: Per cent rounded half up, and at least 1 where anybody disagrees; a person's vote is their last one.
FILL_DISSENT = f"""
UPDATE samples SET dissent = CASE WHEN share.dissent = 0 THEN 1 ELSE share.dissent END FROM (
  SELECT believed.sample_id, sum({_AGAINST}) AS against, (200 * sum({_AGAINST}) + count(*)) / (2 * count(*)) AS dissent
  FROM (SELECT max(a.id) AS id FROM annotations AS a WHERE {_COUNTS} GROUP BY a.sample_id, a.user_id) AS last
  JOIN annotations AS vote ON vote.id = last.id
  JOIN classes AS named ON named.id = vote.class_id
  JOIN labels AS believed ON believed.sample_id = vote.sample_id
  WHERE NOT believed.is_reviewed
  GROUP BY believed.sample_id
) AS share WHERE share.sample_id = samples.id AND share.against > 0
"""  # noqa: S608
INDEXES = (
    "DROP INDEX ix_labels_by_class",
    "CREATE INDEX ix_labels_by_class ON labels (project_id, class_id, annotation_id, split)",
    "CREATE INDEX ix_labels_reviewed ON labels (project_id, annotation_id) WHERE is_reviewed",
    "CREATE INDEX ix_samples_disputed ON samples (project_id, dissent, id) WHERE dissent > 0",
)
NO_DEFAULTS = (
    "ALTER TABLE samples ALTER COLUMN dissent DROP DEFAULT",
    "ALTER TABLE labels ALTER COLUMN is_reviewed DROP DEFAULT",
)


def upgrade() -> None:
    """Add the columns, fill them, make the indexes."""
    bind = op.get_bind()
    without_defaults = NO_DEFAULTS if bind.dialect.name == "postgresql" else ()
    for statement in (*ADDED, FILL_REVIEWED, FILL_DISSENT, *without_defaults, *INDEXES):
        bind.exec_driver_sql(statement)
