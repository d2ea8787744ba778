"""The import job: every row read, verified and decoded once, stored under its content hash, or rejected with its
reason.

Killed anywhere and started again it ends the same: what is stored is recognised by external id or content hash, the
evaluation split is drawn by content (not by order), and labels carry a key per sample. Only its report differs: it
counts what the last attempt did, and calls the rest already there.
"""

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path

from al_service import images
from al_service.domain.class_book import ClassBook
from al_service.domain.records import NewSample, Project, RejectedRow
from al_service.domain.states import Role, Split
from al_service.errors import ConflictError, InvalidInputError
from al_service.ingest.parts import open_parts
from al_service.ingest.rows import Limits, Source, SourceRow
from al_service.ingest.rows import RejectedRow as RefusedRow
from al_service.ingest.sources import open_archive_file, open_source
from al_service.ingest.split import in_evaluation
from al_service.loop.accounts import IMPORT_USER
from al_service.loop.annotations import RESERVED_KEY_PREFIX
from al_service.loop.ports import Transaction
from al_service.loop.uploads import SCHEME
from al_service.storage.artifacts import image_name
from workers.context import WorkerContext
from workers.running import JobRun

CHUNK = 256
DECODE_THREADS = 4


@dataclass(frozen=True)
class ReadImage:
    """A verified image with its bytes, ready to be stored."""

    row: SourceRow
    data: bytes
    sample: NewSample


@dataclass
class Tally:
    """What an import did; its fields are the words of the report."""

    added: int = 0
    already_there: int = 0
    exact_duplicates: int = 0
    rejected: int = 0
    labels_added: int = 0
    evaluation: int = 0

    def facts(self) -> dict[str, int]:
        """Plain data for the job's result."""
        return dict(vars(self))


@dataclass
class Import:
    """One import under way."""

    context: WorkerContext
    run: JobRun
    project: Project
    book: ClassBook
    draws_evaluation: bool
    tally: Tally = field(default_factory=Tally)

    @property
    def use_labels(self) -> str:
        """all, evaluation or none."""
        return str(self.run.job.payload["use_labels"])


def ingest(context: WorkerContext, run: JobRun) -> None:
    """Body of the import job."""
    payload = run.job.payload
    # A folder of its own for each attempt: a superseded one that still runs must not clear away its successor's.
    scratch = Path(context.settings.data_dir) / "scratch" / f"import-{run.job.id}-{run.job.attempt}"
    scratch.mkdir(parents=True, exist_ok=True)
    try:
        with _open_source(context, run, scratch) as source:
            work = _begin(context, run, source)
            run.progress(0, source.count, "importing images")
            done = 0
            for chunk in _chunks(source, CHUNK):
                _store_chunk(work, chunk)
                done += len(chunk)
                run.progress(done, source.count, "importing images")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    with context.services.store.write() as tx:
        context.services.jobs.finish(tx, run.job, work.tally.facts())
    context.services.uploads.imported(payload["location"], run.job.project_id)


def _open_source(context: WorkerContext, run: JobRun, scratch: Path) -> Source:
    """The source at the job's location. An upload may be a stranger's: no path that it names is read here."""
    location, labels = run.job.payload["location"], run.job.payload["labels"]
    if not location.startswith(SCHEME):
        return open_source(location, labels=labels, scratch=scratch, limits=Limits(allow_absolute_paths=True))
    uploads = context.services.uploads
    with context.services.store.read() as tx:
        project = tx.projects.get(run.job.project_id)
    upload = uploads.get(project.name, location.removeprefix(SCHEME))
    file = open_parts(partial(uploads.read_part, upload), upload.byte_count, upload.part_bytes)
    limits = Limits(rows_max=context.settings.upload_files_max)
    return open_archive_file(file, upload.name, labels=labels, scratch=scratch, limits=limits)


def _begin(context: WorkerContext, run: JobRun, source: Source) -> Import:
    wanted = run.job.payload["use_labels"] != "none" and source.classes
    with context.services.store.write() as tx:
        project = tx.projects.get(run.job.project_id)
        if wanted and not project.classes:
            tx.projects.add_classes(project.id, source.classes)
            project = tx.projects.get(project.id)
        book = tx.projects.class_book(project.id)
    if not project.classes:
        raise InvalidInputError(
            f"project {project.name} has no classes and {run.job.payload['location']} brings none; "
            "create the project with --classes a,b,c"
        )
    brings_test = any(isinstance(row, SourceRow) and row.split == "test" for row in source)
    return Import(context, run, project, book, draws_evaluation=not brings_test)


def _chunks(rows: Iterable[SourceRow | RefusedRow], size: int) -> Iterator[list[SourceRow | RefusedRow]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _store_chunk(work: Import, chunk: list[SourceRow | RefusedRow]) -> None:
    services = work.context.services
    rejected = [RejectedRow(row.external_id, row.reason) for row in chunk if isinstance(row, RefusedRow)]
    rows = [row for row in chunk if isinstance(row, SourceRow)]
    with services.store.read() as tx:
        known = tx.samples.find_by_external_ids(work.project.id, [row.external_id for row in rows])
    # Bytes are read here, in order (an archive is a stream); verifying releases Python's lock, so threads help.
    loaded = [(row, _load(row)) for row in rows if row.external_id not in known]
    pixels_max = work.context.settings.image_pixels_max
    with ThreadPoolExecutor(DECODE_THREADS) as pool:
        checked = list(pool.map(lambda pair: _check(work, pair[0], pair[1], pixels_max), loaded))
    good = [item for item in checked if isinstance(item, ReadImage)]
    rejected += [item for item in checked if isinstance(item, RejectedRow)]
    named = {image_name(item.sample.sha256): item.data for item in good}
    services.artifacts.put_many({name: data for name, data in named.items() if not services.artifacts.has(name)})
    with services.store.write() as tx:
        _store_rows(work, tx, good, rejected)
    work.tally.already_there += len(known)
    work.tally.rejected += len(rejected)


def _load(row: SourceRow) -> bytes | InvalidInputError:
    try:
        return row.read()
    except InvalidInputError as error:
        return error


def _check(work: Import, row: SourceRow, data: bytes | InvalidInputError, pixels_max: int) -> ReadImage | RejectedRow:
    if isinstance(data, InvalidInputError):
        return RejectedRow(row.external_id, data.message)
    label_counts = row.label is not None and work.use_labels != "none"
    if label_counts and work.book.meant(row.label or "") is None:
        return RejectedRow(row.external_id, _no_class(row))
    try:
        facts = images.verify(data, pixels_max=pixels_max)
    except InvalidInputError as error:
        return RejectedRow(row.external_id, error.message)
    sample = NewSample(
        external_id=row.external_id,
        sha256=facts.sha256,
        width=facts.width,
        height=facts.height,
        format=facts.format,
        byte_count=facts.byte_count,
        split=_split(work, row, facts.sha256),
        metadata=row.metadata,
    )
    return ReadImage(row, data, sample)


def _split(work: Import, row: SourceRow, sha256: str) -> Split:
    forced = work.run.job.payload["split"]
    if forced is not None:
        return Split(forced)
    if row.split == "test":
        return Split.EVALUATION
    config = work.project.config
    drawn = work.draws_evaluation and in_evaluation(sha256, fraction=config.holdout_fraction, seed=config.seed)
    return Split.EVALUATION if drawn else Split.POOL


def _store_rows(work: Import, tx: Transaction, good: list[ReadImage], rejected: list[RejectedRow]) -> None:
    now = work.context.services.clock()
    # Classes may have changed since the import began: whoever is rejected now is not stored, as if it had come today.
    tx.projects.lock(work.project.id)
    work.book = tx.projects.class_book(work.project.id)
    gone = [item for item in good if item.row.label and _label_counts(work, item) and _is_gone(work, item)]
    good = [item for item in good if item not in gone]
    rejected += [RejectedRow(item.row.external_id, _no_class(item.row)) for item in gone]
    ids = tx.samples.add_many(work.project.id, [item.sample for item in good], now)
    tx.samples.add_rejections(work.run.job.id, rejected)
    added = [(sample_id, item) for sample_id, item in zip(ids, good, strict=True) if sample_id is not None]
    labels = [(sample_id, item.row.label) for sample_id, item in added if item.row.label and _label_counts(work, item)]
    if labels:
        tx.annotations.add_labels(
            work.project.id, import_user_id(tx, now), labels, f"{RESERVED_KEY_PREFIX}import-{work.run.job.id}", now
        )
    tally = work.tally
    tally.added += len(added)
    tally.exact_duplicates += len(good) - len(added)
    tally.labels_added += len(labels)
    tally.evaluation += sum(item.sample.split is Split.EVALUATION for _, item in added)


def _is_gone(work: Import, item: ReadImage) -> bool:
    return work.book.meant(item.row.label or "") is None


def _no_class(row: SourceRow) -> str:
    return f"label {row.label!r} is not a class of this project"


def _label_counts(work: Import, item: ReadImage) -> bool:
    return work.use_labels == "all" or (work.use_labels == "evaluation" and item.sample.split is Split.EVALUATION)


def import_user_id(tx: Transaction, now: datetime) -> int:
    """The user in whose name imported labels are logged; cannot sign in."""
    try:
        known = tx.accounts.find_user(IMPORT_USER)
        return (known or tx.accounts.add_user(IMPORT_USER, Role.LABELER, None, now)).id
    except ConflictError:
        # Another project's first import was faster by a moment.
        found = tx.accounts.find_user(IMPORT_USER)
        if found is None:
            raise
        return found.id
