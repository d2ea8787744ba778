"""The select job: the round's batch and its reserve, from the scores that the score jobs left behind."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from al_service.acquisition.arrays import Selection
from al_service.acquisition.scored_pool import ScoredPool
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Chosen, Round
from al_service.domain.states import Stage
from al_service.loop.rounds import StageResult
from al_service.loop.stopping import stop_of
from workers.batch_neighbours import Picks, similar_file, with_neighbours
from workers.context import WorkerContext
from workers.heat_maps import store_heat_maps
from workers.round_inputs import round_of
from workers.running import JobRun
from workers.score_stage import is_in_two_stages, score_artifacts

#: Second word of the seed of each draw, so that no two draws of a round share their numbers.
EVALUATION_DRAW = 1
RESERVE_DRAW = 2


def select(context: WorkerContext, run: JobRun) -> None:
    """Choose the batch among samples that are still unlabelled and in nobody's hands, and the reserve behind it; store
    ids, ranks, scores, reasons.
    """
    services = context.services
    with services.store.read() as tx:
        record = round_of(tx, run)
        selectable = [sample_id for sample_id, _ in tx.samples.selectable(record.project_id)]
        held = tx.queue.held_sample_ids(record.project_id)
        evaluation_ids = sorted(set(tx.samples.unlabelled_evaluation_ids(record.project_id)) - held)
        counts = tx.samples.counts(record.project_id)
        stop = stop_of(tx, tx.projects.get(record.project_id), counts.all_labelled)
    scored = record.stage_record(Stage.SCORE).result
    config, artifacts = record.config, score_artifacts(scored)
    free = np.setdiff1d(np.array(selectable, np.int64), np.array(sorted(held), np.int64))
    candidates = ScoredPool.read(services.artifacts.get, artifacts, free)
    if is_in_two_stages(scored):
        candidates = candidates.beside(free)
    left = max(0, config.label_budget - counts.all_labelled) if config.label_budget else len(free)
    left = 0 if stop is not None else left
    budget = min(config.labels_per_round, left)
    batch = candidates.choose(config.strategy, budget, seed=record.seed, **config.selection_options)
    chosen = _picks(batch, 0)
    missing = max(0, config.evaluation_labels - counts.evaluation_labelled)
    chosen += _evaluation_picks(evaluation_ids, missing, len(chosen), config, record.seed)
    reserve = _reserve(candidates, batch, left - budget, config, record.seed)
    name = f"rounds/{record.id}/candidates-{run.job.id}-{run.job.attempt}.npz"
    services.artifacts.put(name, ScoredPool(candidates.sample_ids, other_ids=candidates.other_ids).to_bytes())
    picks = with_neighbours(context, run, record, candidates, chosen, _picks(reserve, len(chosen)))
    facts = {
        **_store_similar(context, run, record, candidates, picks),
        **store_heat_maps(context, run, record, (*picks.batch, *picks.reserve)),
        "scores_artifacts": artifacts,
        "candidates_artifact": name,
        "candidates": len(candidates.sample_ids),
        "in_two_stages": candidates.other_ids is not None,
        "budget": budget,
        "evaluation_picks": len(chosen) - len(batch),
        **({} if stop is None else {"stop": stop.code}),
        **batch.facts,
    }
    services.rounds.complete_stage(
        run.job,
        Stage.SELECT,
        StageResult(
            facts,
            Stage.ANNOTATE,
            chosen=picks.batch,
            reserve=picks.reserve,
            metrics={"selected_per_reason": _count_reasons(chosen), "choice": batch.facts or None},
        ),
    )


def _store_similar(
    context: WorkerContext, run: JobRun, record: Round, candidates: ScoredPool, picks: Picks
) -> dict[str, str]:
    """Keep which images are similar to the chosen ones, for people who ask; where the file lies."""
    data = similar_file(candidates, picks.sample_ids, record.seed, context.settings.device)
    if data is None:
        return {}
    name = f"rounds/{record.id}/similar-{run.job.id}-{run.job.attempt}.json"
    context.services.artifacts.put(name, data)
    return {"similar_artifact": name}


def _reserve(candidates: ScoredPool, batch: Selection, left: int, config: ProjectConfig, seed: int) -> Selection:
    """What people get who finish the batch while the next round trains: chosen as if the batch were labelled."""
    count = min(left, round(config.reserve_factor * config.labels_per_round))
    return candidates.choose(
        config.strategy, count, seed=[seed, RESERVE_DRAW], already_chosen=batch.sample_ids, **config.selection_options
    )


def _picks(selection: Selection, first_rank: int) -> list[Chosen]:
    sample_ids: Sequence[Any] = selection.sample_ids
    return [
        Chosen(int(sample_id), first_rank + rank, selection.scores[rank], selection.reasons[rank])
        for rank, sample_id in enumerate(sample_ids)
    ]


def _evaluation_picks(ids: list[int], missing: int, rank: int, config: ProjectConfig, seed: int) -> list[Chosen]:
    """Evaluation samples that people still have to label: at most half a round's worth at a time, drawn at random."""
    count = min(len(ids), missing, max(1, config.labels_per_round // 2))
    drawn = np.random.default_rng([seed, EVALUATION_DRAW]).permutation(np.array(sorted(ids), np.int64))[:count]
    return [Chosen(int(sample_id), rank + at, None, {"code": "evaluation"}) for at, sample_id in enumerate(drawn)]


def _count_reasons(chosen: Sequence[Chosen]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for pick in chosen:
        counts[str(pick.reason["code"])] = counts.get(str(pick.reason["code"]), 0) + 1
    return counts
