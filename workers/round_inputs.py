"""What a round may learn from, read in one transaction: labels up to its watermark, the evaluation set, sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Project, Round
from al_service.learning.image_side import SIZES_LOOKED_AT, choose_image_px
from al_service.loop.ports import LabelledImage, Transaction
from workers.context import WorkerContext
from workers.running import JobRun


@dataclass(frozen=True)
class RoundInputs:
    """What a round may learn from and is measured on."""

    record: Round
    project: Project
    labelled: list[LabelledImage]
    evaluation: list[LabelledImage]
    image_px: int

    @property
    def config(self) -> ProjectConfig:
        """The round's own copy of the settings."""
        return self.record.config


def read_round_inputs(context: WorkerContext, run: JobRun) -> RoundInputs:
    """Labels of classes that the round does not know are left out."""
    with context.services.store.read() as tx:
        record = round_of(tx, run)
        labelled = tx.samples.training_set(record.project_id, record.watermark)
        evaluation = tx.samples.evaluation_set(record.project_id)
        sizes = tx.samples.image_sizes(record.project_id, SIZES_LOOKED_AT)
        project = tx.projects.get(record.project_id)
    known = set(record.class_names)
    return RoundInputs(
        record,
        project,
        [row for row in labelled if row.class_name in known],
        [row for row in evaluation if row.class_name in known],
        choose_image_px(record.config, sizes),
    )


def round_of(tx: Transaction, run: JobRun) -> Round:
    """The round that the job belongs to."""
    return tx.rounds.get(run.job.round_id or 0)


def class_indices(rows: Sequence[LabelledImage], class_names: Sequence[str]) -> np.ndarray:
    """(N,) int64."""
    index = {name: position for position, name in enumerate(class_names)}
    return np.array([index[row.class_name] for row in rows], np.int64)


def precision_of(config: ProjectConfig) -> str:
    """How exactly networks compute, as `inference.predict` takes it."""
    return "float32" if config.mixed_precision == "off" else "auto"
