"""When the next round starts: a pure decision from facts that one transaction read.

A watermark, not a modulo: new labels are counted since the last round's watermark, so none is skipped or counted twice.
"""

from dataclasses import dataclass
from datetime import datetime

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Round
from al_service.domain.states import JobKind, JobState, RoundState, SampleState, Split
from al_service.loop.ports import Transaction
from al_service.loop.stopping import Stop, limits, stop_of


@dataclass(frozen=True)
class LoopFacts:
    """What the decision looks at; all from one transaction.

    Attributes:
        unlabelled: pool samples that could still be asked.
        labelled: pool and train samples with a label.
        new_labels: of these, changed since the last round's watermark.
        has_queue: a selection is open, perhaps leased; a reserve that waits is not.
        importing: an import is queued or running.
        imported: of the unlabelled pool samples at least one came in since the last round started.
        stop: why the project asks no more, or None.
    """

    last_round: Round | None
    unlabelled: int
    labelled: int
    new_labels: int
    has_queue: bool
    importing: bool
    imported: bool
    stop: Stop | None = None


def loop_facts(tx: Transaction, project_id: int) -> LoopFacts:
    """Everything a trigger decision looks at, from one transaction.

    Cost: the same for any pool and any batch; the scheduler looks twice a second.
    """
    counts = tx.samples.state_counts(project_id)
    labelled = counts[Split.POOL, SampleState.LABELLED] + counts[Split.TRAIN, SampleState.LABELLED]
    last = tx.rounds.find_last(project_id)
    alive = [JobState.QUEUED, JobState.RUNNING]
    newest = tx.samples.newest_selectable_at(project_id)
    return LoopFacts(
        last_round=last,
        unlabelled=counts[Split.POOL, SampleState.UNLABELLED],
        labelled=labelled,
        new_labels=tx.annotations.new_label_count(project_id, last.watermark if last else 0),
        has_queue=tx.queue.has_open(project_id),
        importing=bool(tx.jobs.all(project_id=project_id, states=alive, kind=JobKind.INGEST, limit=1)),
        imported=newest is not None and (last is None or newest >= last.started_at),
        stop=stop_of(tx, tx.projects.get(project_id), labelled),
    )


def decide(config: ProjectConfig, facts: LoopFacts, now: datetime) -> str | None:
    """Why a round should start now (`first`, `labels`, `time`, `queue_empty`, `final`), or None.

    A failed or cancelled round waits for a person: starting the same thing again by itself would loop.
    """
    last = facts.last_round
    if not config.auto_start:
        return None
    if last is None:
        return "first" if facts.unlabelled + facts.labelled > 0 and not facts.importing else None
    if last.state in (RoundState.RUNNING, RoundState.FAILED, RoundState.CANCELLED):
        return None
    if facts.stop is not None or facts.unlabelled == 0:
        return "final" if facts.new_labels > 0 and not facts.has_queue else None
    if facts.new_labels >= config.labels_to_trigger:
        return "labels"
    waited = (now - last.started_at).total_seconds()
    if config.trigger_interval_s and waited >= config.trigger_interval_s and facts.new_labels > 0:
        return "time"
    # A round that found nothing to ask finds nothing again, until something has changed.
    has_changed = facts.new_labels > 0 or facts.imported or limits(last.config) != limits(config)
    is_futile = last.selected_count == 0 and not has_changed
    return "queue_empty" if not facts.has_queue and not is_futile else None
