"""What a round may learn from, read in one transaction: labels up to its watermark, the evaluation set, sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from al_service.domain.class_book import ClassBook
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import LabelledImage, Project, Round
from al_service.learning.image_side import SIZES_LOOKED_AT, choose_image_px
from al_service.loop.ports import Transaction
from workers.context import WorkerContext
from workers.running import JobRun


@dataclass(frozen=True)
class RoundInputs:
    """What a round may learn from and is measured on."""

    record: Round
    project: Project
    book: ClassBook
    labelled: list[LabelledImage]
    evaluation: list[LabelledImage]
    image_px: int

    @property
    def config(self) -> ProjectConfig:
        """The round's own copy of the settings."""
        return self.record.config


def read_round_inputs(context: WorkerContext, run: JobRun) -> RoundInputs:
    """Labels as the round calls their classes; those of classes that it does not know are left out."""
    with context.services.store.read() as tx:
        record = round_of(tx, run)
        labelled = tx.samples.training_set(record.project_id, record.watermark)
        evaluation = tx.samples.evaluation_set(record.project_id)
        sizes = tx.samples.image_sizes(record.project_id, SIZES_LOOKED_AT)
        project = tx.projects.get(record.project_id)
        book = tx.projects.class_book(record.project_id)
    return RoundInputs(
        record,
        project,
        book,
        rows_of_round(labelled, record, book),
        rows_of_round(evaluation, record, book),
        choose_image_px(record.config, sizes),
    )


def rows_of_round(rows: Sequence[LabelledImage], record: Round, book: ClassBook) -> list[LabelledImage]:
    """The rows whose class the round knows, by the name that it had when the round started.

    People rename and merge classes while a round is at work. It goes on with the classes it began with: a class that
    was renamed is the same, labels of one that was merged count for what it was merged into (for itself, where the
    round does not know that one), and of one that was split no labels are left.
    """
    ids = class_ids_of(record, book)
    names = dict(zip(ids, record.class_names, strict=True))
    for class_id, name in zip(ids, record.class_names, strict=True):
        today = None if class_id is None else book.today(class_id)
        if today is not None:
            names.setdefault(today.id, name)
    return [replace(row, class_name=names[row.class_id]) for row in rows if row.class_id in names]


def class_ids_of(record: Round, book: ClassBook) -> tuple[int | None, ...]:
    """Ids of the round's classes in class_index order; by their names, where it is of before classes could change."""
    if record.class_ids is not None:
        return record.class_ids
    found = (book.named(name) for name in record.class_names)
    return tuple(None if known is None else known.id for known in found)


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
