"""What must be true of a project after any crash, read from one snapshot of the database and from the stored files.

- every acknowledged answer is stored once, as it was given, and nothing else is (`prove_labels`)
- no round was started twice: each has fresh labels of its own, one job for each stage, one line in the audit log
- every round ended with the same kind of record: metrics, one model whose file loads, a batch that replays the same
"""

import hashlib
import json
from collections import Counter
from itertools import pairwise
from typing import Any

from al_service.bootstrap import replay_round
from al_service.learning import checkpoints
from tests.survival.rehearsed_project import LOOP, RehearsedProject

PEOPLES_ANSWERS = """
    SELECT annotations.id, users.name AS person, client_key, sample_id, kind, classes.name AS class_name, is_extra_vote
    FROM annotations JOIN users ON users.id = user_id LEFT JOIN classes ON classes.id = class_id
    WHERE annotations.project_id = ? AND NOT is_import ORDER BY annotations.id
"""
TRAINED_ON = """
    SELECT samples.sha256 || ':' || classes.name AS line
    FROM annotations JOIN samples ON samples.id = sample_id JOIN classes ON classes.id = class_id
    WHERE annotations.project_id = ? AND annotations.id <= ? AND samples.split = 'pool' ORDER BY line
"""


def prove(project: RehearsedProject) -> None:
    """Everything above. Nobody may be at work; the loop may go on meanwhile."""
    project.rows("BEGIN")
    try:
        prove_import(project)
        prove_labels(project)
        prove_single_flight(project)
        prove_assignments(project)
        for record in project.rows("SELECT * FROM rounds WHERE project_id = ? AND state = 'closed'", project.id):
            prove_record(project, dict(record))
    finally:
        project.rows("COMMIT")
    project.is_proven = True


def prove_import(project: RehearsedProject) -> None:
    """Every image is there once, also when the import was begun more than once; so is each evaluation label."""
    on_disk = sorted(hashlib.sha256(path.read_bytes()).hexdigest() for path in project.images.glob("*/*.png"))
    stored = project.rows("SELECT sha256 FROM samples WHERE project_id = ? ORDER BY sha256", project.id)
    assert [row["sha256"] for row in stored] == on_disk
    evaluation = "SELECT id FROM samples WHERE project_id = ? AND split = 'evaluation' ORDER BY id"
    imported = "SELECT sample_id AS id FROM annotations WHERE project_id = ? AND is_import ORDER BY sample_id"
    assert column(project, imported) == column(project, evaluation) != []


def prove_labels(project: RehearsedProject) -> None:
    """The log holds exactly the answers that people had acknowledged, and the labels are those answers."""
    stored = project.rows(PEOPLES_ANSWERS, project.id)
    acknowledged = [
        (f"labeler-{number}", client_key, sample_id, "label", class_name)
        for number, person in enumerate(project.people, start=1)
        for client_key, (sample_id, class_name) in person.tally.acknowledged.items()
    ]
    found = [tuple(row[name] for name in ("person", "client_key", "sample_id", "kind", "class_name")) for row in stored]
    assert sorted(found) == sorted(acknowledged)
    assert [person.tally.refused for person in project.people] == [[]] * len(project.people)
    assert most_common([row["sample_id"] for row in stored]) == 1, "a sample was answered twice"
    labels = "SELECT sample_id, name FROM labels JOIN classes ON classes.id = class_id WHERE labels.project_id = ?"
    pool = project.rows(f"{labels} AND split = 'pool'", project.id)
    assert {row["sample_id"]: row["name"] for row in pool} == {row["sample_id"]: row["class_name"] for row in stored}


def prove_single_flight(project: RehearsedProject) -> None:
    """Rounds follow each other without gap; each that people's labels started has enough labels of its own."""
    records = project.rows("SELECT * FROM rounds WHERE project_id = ? ORDER BY number", project.id)
    assert [row["number"] for row in records] == list(range(1, len(records) + 1))
    assert {row["state"] for row in records[:-1]} <= {"closed"}
    assert records[-1]["state"] in ("running", "annotating", "closed")
    started = "SELECT count(*) AS n FROM audit_log WHERE action = 'round.start' AND subject LIKE ? || '/%'"
    assert project.one(started, project.name)["n"] == len(records)
    answered = [row["id"] for row in project.rows(PEOPLES_ANSWERS, project.id)]
    for before, after in pairwise(records):
        fresh = sum(before["watermark"] < answer <= after["watermark"] for answer in answered)
        needed = json.loads(after["config"])["trigger_labels"] if after["trigger"] == "labels" else 1
        assert fresh >= needed, f"round {after['number']} ({after['trigger']}) started with {fresh} new labels"
    for record in records:
        assert record["label_count"] == sum(answer <= record["watermark"] for answer in answered)


def prove_assignments(project: RehearsedProject) -> None:
    """Nobody was handed a sample that somebody else had: leases are long here, so each sample was leased once."""
    leased = "SELECT sample_id FROM selections JOIN assignments ON selections.id = selection_id"
    assert most_common(column(project, f"{leased} WHERE selections.project_id = ?")) <= 1, (
        "a sample was leased to two people"
    )


def prove_record(project: RehearsedProject, record: dict[str, Any]) -> None:
    """A closed round has one job and one result for each stage, and what it chose can be chosen again."""
    stages = {row["stage"]: row for row in project.rows("SELECT * FROM round_stages WHERE round_id = ?", record["id"])}
    jobs = project.rows("SELECT * FROM jobs WHERE round_id = ?", record["id"])
    is_cold = record["label_count"] == 0
    assert sorted(job["kind"] for job in jobs) == ["score", "select", "train"], (
        "auto looks at images in cold rounds too"
    )
    for job in jobs:
        stage = stages[job["kind"]]
        assert (job["state"], stage["job_id"], stage["attempt"]) == ("done", job["id"], job["attempt"])
        result = json.loads(stage["result"])
        # How many of the reserve were stored, only the hand-over knows.
        assert {key: value for key, value in result.items() if key != "reserve"} == json.loads(job["result"])
        names = [value for key, value in result.items() if key in ("artifact", "candidates_artifact")]
        assert all(name.endswith(f"-{job['id']}-{job['attempt']}.npz") for name in names)
    assert {row["state"] for row in stages.values()} <= ({"done", "skipped"} if is_cold else {"done"})
    assert record["error"] is None
    prove_batch(project, record)
    prove_model(project, record, is_cold)


def prove_batch(project: RehearsedProject, record: dict[str, Any]) -> None:
    """The batch is distinct samples of the pool that had no label, and replays the same."""
    batch = project.rows(
        "SELECT * FROM selections JOIN samples ON samples.id = sample_id WHERE round_id = ? AND NOT is_reserve",
        record["id"],
    )
    ids = [row["sample_id"] for row in batch]
    assert len(ids) == len(set(ids)) == LOOP["labels_per_round"]
    assert {row["split"] for row in batch} == {"pool"}
    labelled = "SELECT sample_id FROM annotations WHERE project_id = ? AND id <= ?"
    assert not set(ids) & set(column(project, labelled, record["watermark"]))
    replay = replay_round(project.service.services, project.name, record["number"])
    assert replay["identical"]
    assert sorted(replay["recorded"]) == sorted(ids)


def prove_model(project: RehearsedProject, record: dict[str, Any], is_cold: bool) -> None:
    """One model, trained on exactly the labels up to the watermark, whose file loads and is the one of the record."""
    models = project.rows("SELECT * FROM models WHERE round_id = ?", record["id"])
    metrics = json.loads(record["metrics"])
    assert len(models) == (0 if is_cold else 1)
    assert ("accuracy" in metrics) is not is_cold
    for model in models:
        checkpoint = checkpoints.from_bytes(project.service.services.artifacts.get(model["artifact"]))
        assert checkpoints.model_hash(checkpoint.network) == model["model_hash"] == record["model_hash"]
        lines = [row["line"] for row in project.rows(TRAINED_ON, project.id, record["watermark"])]
        fingerprint = hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
        assert fingerprint == model["data_fingerprint"] == record["data_fingerprint"]
        assert len(lines) == record["label_count"]
        evaluated = "SELECT count(*) AS n FROM samples WHERE project_id = ? AND split = 'evaluation'"
        assert metrics["evaluation_samples"] == project.one(evaluated, project.id)["n"]
        assert 0 < metrics["accuracy"] <= 1
        assert {"macro_f1", "ece", "nll", "per_class", "selected_per_reason", "answered"} <= metrics.keys()


def column(project: RehearsedProject, sql: str, *values: Any) -> list[Any]:
    """The first column of a query about this project."""
    return [row[0] for row in project.rows(sql, project.id, *values)]


def most_common(values: list[Any]) -> int:
    """How often the most frequent value is there."""
    return max(Counter(values).values(), default=0)
