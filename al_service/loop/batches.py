"""A round's batch from hand-over to end, and its reserve: samples chosen ahead, so that the queue never runs dry.

While a round trains, the one worker there may be is busy, so nothing can be chosen then. A round therefore chooses more
than its batch; the rest, ranked, waits as its reserve. People who finish the batch while the next round is at work get
the reserve, one after the other, and only as much of it as they ask for. The next batch replaces all of it at once.

All functions work inside the caller's transaction, after the project was locked.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, Project, Round, StageUpdate
from al_service.domain.states import Role, RoundState, SampleState, SelectionState, Stage, StageState, move_round
from al_service.errors import InvalidInputError
from al_service.loop.accounts import people
from al_service.loop.consensus import believe, rules_for
from al_service.loop.disputes import store_belief
from al_service.loop.ports import Transaction

#: The newest round's states in which people may have the reserve of the one before: it is being worked on, or it
#: failed and somebody has to look at it, which is no reason for everybody else to wait. A cancelled round was stopped
#: on purpose.
RESERVE_IS_OPENED_WHILE = (RoundState.RUNNING, RoundState.FAILED)


def hand_over(
    tx: Transaction, record: Round, chosen: Sequence[Chosen], reserve: Sequence[Chosen], now: datetime
) -> int:
    """Replace what people are asked by this round's batch; how many samples wait in its reserve.

    Open selections of other rounds leave the queue unless somebody holds them, and so does every reserve before. A
    round with nothing left to ask is closed at once.

    Raises:
        InvalidInputError: a sample is in the reserve twice, or in the batch as well.
    """
    reserve = [replace(pick, state=SelectionState.RESERVE, is_reserve=True) for pick in reserve]
    _check_distinct(chosen, reserve)
    tx.queue.retire_open_selections(record.project_id, except_round_id=record.id)
    _believe_what_is_answered(tx, record, [pick.sample_id for pick in (*chosen, *reserve)], now)
    # A person may still hold, or may just have answered, a sample that this round chose too: not asked twice.
    askable = tx.queue.askable([pick.sample_id for pick in (*chosen, *reserve)])
    batch = _within_budget(tx, record, chosen, askable)
    ahead = [pick for pick in reserve if pick.sample_id in askable]
    picks = _with_overlap(tx, record, [*batch, *ahead])
    tx.queue.add_selections(record.id, picks, max_skips=skips_asked(tx, record.config))
    tx.rounds.set_round(record.id, state=move_round(record.state, RoundState.ANNOTATING), stage=Stage.ANNOTATE)
    tx.rounds.set_stage(record.id, Stage.ANNOTATE, StageUpdate(state=StageState.RUNNING, started_at=now))
    if not any(pick.state is SelectionState.OPEN for pick in batch):
        close(tx, tx.rounds.get(record.id), "nothing left to ask", now)
    return len(ahead)


def _believe_what_is_answered(tx: Transaction, record: Round, sample_ids: Sequence[int], now: datetime) -> None:
    """Label what has answers enough for this round, of when more people were to answer: nobody could be asked again.

    Where they differ and a reviewer decides that, it is set aside.
    """
    config = record.config
    for sample in tx.samples.get_many(tx.annotations.with_labels(sample_ids)).values():
        answers = tx.annotations.active_of_sample(sample.id)
        rules = rules_for(tx, record.project_id, answers)
        belief = believe(answers, overlap=config.overlap_of(sample.sha256), max_skips=config.max_skips, rules=rules)
        if sample.state is SampleState.UNLABELLED and belief.state in (SampleState.LABELLED, SampleState.FLAGGED):
            store_belief(tx, sample, belief, answers[-1].id, answers, now)


def skips_asked(tx: Transaction, config: ProjectConfig) -> int:
    """Skips that take a sample out of the queue. Where it never comes back to who skipped it, no more than there are
    people: else it would wait for somebody who does not exist, and the round would not end.
    """
    if config.skip_policy != "others_only":
        return config.skips_asked
    labelers = sum(user.is_active and user.role.covers(Role.LABELER) for user in people(tx))
    return max(1, min(config.skips_asked, labelers))


def _with_overlap(tx: Transaction, record: Round, picks: Sequence[Chosen]) -> Sequence[Chosen]:
    """The picks, each with how many people answer it, where that is not the same for all."""
    config = record.config
    if config.overlap == 1 or config.overlap_share == 1.0:
        return picks
    samples = tx.samples.get_many(pick.sample_id for pick in picks)
    return [replace(pick, overlap=config.overlap_of(samples[pick.sample_id].sha256)) for pick in picks]


def _within_budget(tx: Transaction, record: Round, chosen: Sequence[Chosen], askable: set[int]) -> list[Chosen]:
    """The batch, in which picks that are not to be asked any more, or beyond the label budget, are retired.

    Labels may have come in since the round chose, and people may still hold samples of the batch before.
    """
    budget = tx.projects.get(record.project_id).config.label_budget
    counts = tx.samples.counts(record.project_id)
    left = max(0, budget - counts.all_labelled - counts.free - counts.leased) if budget else len(chosen)
    batch = []
    for pick in chosen:
        is_training = pick.reason.get("code") != "evaluation"
        if pick.sample_id not in askable or (is_training and left == 0):
            batch.append(replace(pick, state=SelectionState.RETIRED))
        else:
            left -= is_training
            batch.append(pick)
    return batch


def _check_distinct(chosen: Sequence[Chosen], reserve: Sequence[Chosen]) -> None:
    seen = {pick.sample_id for pick in chosen}
    for pick in reserve:
        if pick.sample_id in seen:
            raise InvalidInputError(
                f"sample {pick.sample_id} is in the reserve twice, or in the batch too; choose each sample once",
                sample=pick.sample_id,
            )
        seen.add(pick.sample_id)


def open_reserve(tx: Transaction, project: Project, wanted: int) -> int:
    """Put up to `wanted` samples of the reserve into the queue, in rank order; how many.

    None while the newest round still asks people itself, nor where nobody started a next one. Never more than the
    project's label budget leaves.
    """
    if not tx.queue.reserve_count(project.id):
        return 0
    last = tx.rounds.find_last(project.id)
    if last is None or last.state not in RESERVE_IS_OPENED_WHILE:
        return 0
    if project.config.label_budget:
        counts = tx.samples.counts(project.id)
        wanted = min(wanted, project.config.label_budget - counts.all_labelled - counts.free - counts.leased)
    return tx.queue.open_reserve(project.id, wanted) if wanted > 0 else 0


def is_answered(tx: Transaction, record: Round | None) -> bool:
    """True when a round waits for people and every sample it asked for is answered, flagged or given up."""
    return record is not None and record.state is RoundState.ANNOTATING and tx.queue.open_count_of_round(record.id) == 0


def cancel(tx: Transaction, record: Round, now: datetime) -> None:
    """End an open round: its jobs are stopped, its unanswered samples leave the queue, its labels stay."""
    for job in tx.jobs.of_round(record.id):
        tx.jobs.cancel(job.id, now)
    tx.queue.retire_all(record.id)
    tx.rounds.set_stage(record.id, record.stage, StageUpdate(state=StageState.CANCELLED, finished_at=now))
    tx.rounds.set_round(record.id, state=move_round(record.state, RoundState.CANCELLED), finished_at=now)


def close(tx: Transaction, record: Round, why: str, now: datetime) -> None:
    """Sum up a round that waited for people. Answers to its reserve come later and are not in these numbers."""
    annotate = record.stage_record(Stage.ANNOTATE)
    seconds = (now - annotate.started_at).total_seconds() if annotate.started_at else 0.0
    answered = record.answered_count
    rate = answered / seconds * 60 if answered and seconds > 0 else None
    facts = {"why": why, "answered": answered, "labels_per_minute": rate}
    over = StageUpdate(state=StageState.DONE, finished_at=now, seconds=seconds, result={"answered": answered})
    tx.rounds.set_stage(record.id, Stage.ANNOTATE, over)
    summed_up = StageUpdate(state=StageState.DONE, started_at=now, finished_at=now, seconds=0.0, result=facts)
    tx.rounds.set_stage(record.id, Stage.CLOSE, summed_up)
    tx.rounds.set_round(
        record.id,
        state=move_round(record.state, RoundState.CLOSED),
        stage=Stage.CLOSE,
        metrics={"labels_per_minute": rate, "answered": answered},
        finished_at=now,
    )
