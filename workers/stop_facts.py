"""What a round finds out about whether more labels pay: agreement with the round before, and the expected gain.

Both look at the evaluation images, the project's protected random slice: nothing is asked from it for training, so it
stays the same from round to round. Agreement is taken over the images that both rounds predicted. `loop/stopping.py`
decides by these figures and the board shows them. Called by the train stage.
"""

import json
from dataclasses import asdict
from typing import Any

import numpy as np

from al_service.domain.class_book import ClassBook
from al_service.domain.records import LabelledImage, Round
from al_service.domain.states import Stage
from al_service.errors import NotFoundError
from al_service.learning.agreement import Agreement, agreement
from al_service.learning.learning_curve import ExpectedGain, MeasuredRound, expected_gain
from al_service.learning.round_model import Learned
from workers.context import WorkerContext
from workers.round_inputs import RoundInputs
from workers.running import JobRun

#: Fewer images agree or disagree by luck.
COMPARED_MIN = 50


def note_predictions(
    context: WorkerContext, run: JobRun, inputs: RoundInputs, learned: Learned, evaluation: list[LabelledImage]
) -> None:
    """Keep what this model says of the evaluation images, and put what follows from it into `learned`.

    Facts get `predictions_artifact`; metrics get `stopping` with `agreement` and `gain`, each None where nothing can be
    said yet.

    Args:
        evaluation: the rows that `learned.predicted` belongs to.
    """
    if learned.predicted is None:
        return
    names = inputs.record.class_names
    predicted = {str(row.sample_id): names[index] for row, index in zip(evaluation, learned.predicted, strict=True)}
    name = f"rounds/{inputs.record.id}/predictions-{run.job.id}-{run.job.attempt}.json"
    context.services.artifacts.put(name, json.dumps(predicted).encode())
    learned.facts["predictions_artifact"] = name
    with context.services.store.read() as tx:
        rounds = tx.rounds.all(inputs.record.project_id)
    before = [one for one in rounds if one.number < inputs.record.number and one.stage_record(Stage.TRAIN).result]
    since = _agreement(context, inputs.book, learned.facts["labels"], predicted, before)
    gain = _gain(inputs, learned, before)
    learned.metrics["stopping"] = {"agreement": since, "gain": None if gain is None else asdict(gain)}


def _agreement(
    context: WorkerContext, book: ClassBook, labels: int, predicted: dict[str, str], before: list[Round]
) -> dict[str, Any] | None:
    """With the newest earlier round that learned from fewer labels; a model of the same labels agrees with itself."""
    for one in reversed(before):
        name = _train_facts(one).get("predictions_artifact")
        new_labels = labels - _train_facts(one).get("labels", 0)
        if name is None or new_labels <= 0:
            continue
        found = _compared(context, book, name, predicted)
        if found is None or found.count < COMPARED_MIN:
            return None
        return {**asdict(found), "since_round": one.number, "new_labels": new_labels}
    return None


def _compared(context: WorkerContext, book: ClassBook, name: str, predicted: dict[str, str]) -> Agreement | None:
    try:
        earlier: dict[str, str] = json.loads(context.services.artifacts.get(name))
    except NotFoundError:  # somebody cleared old rounds away; the next round compares with this one
        return None
    both = [sample_id for sample_id in predicted if sample_id in earlier]
    if not both:
        return None
    return agreement([_today(book, predicted[one]) for one in both], [_today(book, earlier[one]) for one in both])


def _today(book: ClassBook, name: str) -> str:
    """A class by the name it has now: to rename one, or to merge two, is no disagreement."""
    known = book.meant(name)
    return name if known is None else known.name


def _gain(inputs: RoundInputs, learned: Learned, before: list[Round]) -> ExpectedGain | None:
    curve = [_point(_train_facts(one).get("labels"), one.metrics) for one in before]
    curve.append(_point(learned.facts["labels"], learned.metrics))
    return expected_gain([point for point in curve if point is not None], seed=inputs.record.seed)


def _point(labels: int | None, metrics: dict[str, Any]) -> MeasuredRound | None:
    if not labels or not metrics.get("evaluation_samples"):
        return None
    return MeasuredRound(labels, float(np.clip(metrics["accuracy"], 0, 1)), metrics["evaluation_samples"])


def _train_facts(record: Round) -> dict[str, Any]:
    return record.stage_record(Stage.TRAIN).result or {}
