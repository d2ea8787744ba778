"""The simulate job: strategies compared on the project's own labelled images, as `al simulate` does on a folder.

In words: take the labelled images that the first attempt took (people go on labelling meanwhile), put their pixels
into a folder of this host's cache, run what is missing, and store result, report and picture. A finished run (one
strategy under one seed) is kept among the artifacts at once, so whatever attempt comes next, on whatever host, goes on
there; the folder may be deleted at any time.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from al_service.domain.class_book import ClassBook
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import LabelledImage, Project
from al_service.domain.states import JobKind
from al_service.domain.study_plan import Plan
from al_service.errors import NotFoundError
from al_service.learning import checkpoints, device, networks
from al_service.learning.image_side import SIZES_LOOKED_AT, choose_image_px
from al_service.loop.studies import COMPARING, NotEnoughLabelsError, plan_of
from al_service.simulation.files import held_alone
from al_service.simulation.image_set import ImageSet, InvalidImageSetError, find_set, write_pixels
from al_service.simulation.plan import StudyDiffersError
from al_service.simulation.reading import UNKNOWN_CLASS, UNREADABLE
from al_service.simulation.study import RUNS, Progress, Study, pool_size, run_study
from workers.caches import Rows, pixels_of
from workers.context import WorkerContext
from workers.models import find_fitting_backbone, no_backbone
from workers.running import JobRun, PausedError
from workers.study_results import store_results

#: So often a long study goes back to its queue, behind rounds and imports, once a run of it is finished.
GIVE_WAY_AFTER_S = 600.0
#: Rows of pixels copied at a time.
CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class _Inputs:
    """What the first attempt saw: content hashes, class names, which are evaluation images, and sample ids."""

    hashes: list[str]
    class_names: list[str]
    is_test: list[bool]
    sample_ids: list[int]


def simulate(context: WorkerContext, run: JobRun) -> None:
    """Run the study that the job's payload describes, and store what came out."""
    services = context.services
    with services.store.read() as tx:
        project = tx.projects.get(run.job.project_id)
        book = tx.projects.class_book(project.id)
        sizes = tx.samples.image_sizes(project.id, SIZES_LOOKED_AT)
    _clear_what_over_jobs_left(context, project)
    plan = plan_of(run.job)
    inputs = _in_names_of_today(_inputs(context, run, project), book)
    image_px = choose_image_px(plan.config, sizes)
    rows = pixels_of(context, run, inputs.hashes, image_px)
    folder = _folders(context) / str(run.job.id)
    with held_alone(folder):
        data = _image_set(project, inputs, rows, folder / "cache")
        config = _with_backbone(context, project, plan.config, data, folder)
        seeds = _seeds(plan.config, run.job.payload["seeds"])
        study = Study(
            folder, _cut(replace(plan, config=config), data, seeds), tuple(run.job.payload["strategies"]), seeds
        )
        kept = _KeptRuns(context, run, study, data)
        kept.restore()
        runs = run_study(
            study,
            data,
            # One core, as any job has: a worker shares its machine with others, and figures do not depend on it.
            processes=1,
            device=str(device.choose(context.settings.device)),
            on_progress=kept.watch(min(GIVE_WAY_AFTER_S, context.settings.job_timeout_s / 2)),
        )
        facts = store_results(services.artifacts, run.job, project, study, data, runs, plan)
    with services.store.write() as tx:
        services.jobs.finish(tx, run.job, facts)
    _clear(context, run.job.id)


def _seeds(config: ProjectConfig, count: int) -> tuple[int, ...]:
    """One after the project's own: under that one an import has drawn the evaluation images, so the images that are
    left would all be on one side.
    """
    return tuple(range(config.seed + 1, config.seed + 1 + count))


def _inputs(context: WorkerContext, run: JobRun, project: Project) -> _Inputs:
    artifacts, name = context.services.artifacts, f"{_prefix(run.job.id)}images.json"
    with suppress(NotFoundError):
        return _Inputs(**json.loads(artifacts.get(name)))
    with context.services.store.read() as tx:
        labelled = tx.samples.training_set(project.id, tx.annotations.latest_id(project.id))
        evaluation = tx.samples.evaluation_set(project.id)
    # In order of content hash: nothing depends on when something was labelled.
    rows = sorted([(row, False) for row in labelled] + [(row, True) for row in evaluation], key=_by_content)
    found = _Inputs(
        hashes=[row.sha256 for row, _ in rows],
        class_names=[row.class_name for row, _ in rows],
        is_test=[is_test for _, is_test in rows],
        sample_ids=[row.sample_id for row, _ in rows],
    )
    artifacts.put(name, json.dumps(vars(found)).encode())
    return found


def _in_names_of_today(inputs: _Inputs, book: ClassBook) -> _Inputs:
    """Classes may have been renamed or merged since the first attempt; images of one that was split are left out."""
    names = [name if (known := book.meant(name)) is None else known.name for name in inputs.class_names]
    return replace(inputs, class_names=names)


def _by_content(pair: tuple[LabelledImage, bool]) -> str:
    return pair[0].sha256


def _image_set(project: Project, inputs: _Inputs, rows: Rows, folder: Path) -> ImageSet:
    """The images that can be read, in the folder, their pixels mapped; classes in the project's order.

    Raises:
        NotEnoughLabelsError: images to learn from have fewer than two classes.
    """
    readable = rows.positions.tolist()
    known = {inputs.class_names[row] for row in readable if not inputs.is_test[row]}
    names = tuple(name for name in project.class_names if name in known)
    if len(names) < 2:
        raise NotEnoughLabelsError(
            f"{project.name} has readable labelled images of {len(names)} class{'' if len(names) == 1 else 'es'} "
            f"({', '.join(names) or 'none'}), and a study needs two or more: label some images of other classes first"
        )
    index = {name: number for number, name in enumerate(names)}
    places = [place for place, row in enumerate(readable) if inputs.class_names[row] in index]
    at = [readable[place] for place in places]
    left_out = {UNREADABLE: len(rows.unreadable), UNKNOWN_CLASS: len(readable) - len(at)}
    found = ImageSet(
        name=project.name,
        # Only its shape is looked at; what is written is mapped below.
        pixels=np.broadcast_to(np.uint8(0), (len(at), *rows.values.shape[1:])),
        class_indices=np.array([index[inputs.class_names[row]] for row in at], np.int64),
        class_names=names,
        hashes=tuple(inputs.hashes[row] for row in at),
        sample_ids=tuple(f"image {inputs.sample_ids[row]}" for row in at),
        is_test=np.array([inputs.is_test[row] for row in at], bool),
        left_out={reason: count for reason, count in left_out.items() if count},
    )
    there = find_set(folder)
    if there is None or there.fingerprint() != found.fingerprint():
        step = max(1, CHUNK_BYTES // (found.image_px**2 * 3))
        chunks = (np.array(places[start : start + step], np.int64) for start in range(0, len(places), step))
        write_pixels(folder, (rows.values[chunk] for chunk in chunks))
        found.write_facts(folder)
    written = find_set(folder)
    assert written is not None
    return written


def _with_backbone(
    context: WorkerContext, project: Project, config: ProjectConfig, data: ImageSet, folder: Path
) -> ProjectConfig:
    """The settings, `pretrained` replaced by the file of the project's newest backbone that fits.

    Raises:
        InvalidInputError: there is none.
    """
    if config.weights != "pretrained":
        return config
    network = networks.build(config.network, data.class_count, data.image_px)
    backbone = find_fitting_backbone(context, project.id, network)
    if backbone is None:
        raise no_backbone(project.name, network)
    content = context.services.artifacts.get(backbone.artifact)
    checkpoints.load_backbone(network, content, backbone.name)  # damaged ones are told of by name
    path = folder / f"backbone-{backbone.id}.safetensors"
    path.write_bytes(content)
    return replace(config, weights=str(path))


def _cut(plan: Plan, data: ImageSet, seeds: Sequence[int]) -> Plan:
    """The plan with no more labels than every seed's pool has.

    Raises:
        NotEnoughLabelsError: a seed leaves nothing to measure on, or nothing to choose.
    """
    try:
        size = pool_size(data, plan, seeds)
        for seed in seeds[: 1 if data.brings_test else len(seeds)]:
            data.split(seed, plan.config.holdout_fraction)
    except InvalidImageSetError as error:
        raise NotEnoughLabelsError(
            f"{data.name} has {len(data.hashes)} labelled images, and under one of the seeds none of them is left to "
            f"learn from or to measure on (holdout_fraction={plan.config.holdout_fraction}): label more, evaluation "
            "images among them"
        ) from error
    if plan.initial + 1 > size:
        raise NotEnoughLabelsError(
            f"{data.name} has {size} labelled images to choose among, and the first batch alone takes {plan.initial}: "
            "start a study with a smaller one, or label more first"
        )
    return plan.within(size)


class _KeptRuns:
    """Finished runs among the artifacts, for the attempt that comes next, and the word of how far things are."""

    def __init__(self, context: WorkerContext, run: JobRun, study: Study, data: ImageSet) -> None:
        self._artifacts, self._run, self._study, self._data = context.services.artifacts, run, study, data
        self._prefix = f"{_prefix(run.job.id)}{_key(study, data)}/"

    def restore(self) -> None:
        """Put the runs of earlier attempts into the study's folder."""
        study = self._study
        try:
            study.claim(self._data)
        except StudyDiffersError:
            # Images have become unreadable, or another backbone is the newest: runs of before cannot be compared.
            shutil.rmtree(study.folder / RUNS, ignore_errors=True)
            (study.folder / "study.json").unlink(missing_ok=True)
            study.claim(self._data)
        for strategy, seed in study.missing():
            with suppress(NotFoundError):
                content = self._artifacts.get(self._name(strategy, seed))
                path = study.path_of(strategy, seed)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)

    def watch(self, give_way_after_s: float) -> "_Watch":
        """What a study tells its progress to."""
        return _Watch(self, self._run, time.monotonic() + give_way_after_s)

    def keep(self, strategy: str, seed: int) -> None:
        """Keep the run that has just been finished."""
        self._artifacts.put(self._name(strategy, seed), self._study.path_of(strategy, seed).read_bytes())

    def _name(self, strategy: str, seed: int) -> str:
        return f"{self._prefix}{strategy}-seed-{seed}.json"


class _Watch:
    """Keeps finished runs, reports, and stops the study where it has to; called between two measurements."""

    def __init__(self, kept: _KeptRuns, run: JobRun, give_way_at: float) -> None:
        self._kept, self._run, self._give_way_at = kept, run, give_way_at

    def __call__(self, progress: Progress) -> None:
        if progress.finished is not None:
            self._kept.keep(*progress.finished[:2])
        # One text for all measurements: with a new one, speed and time left would begin anew.
        is_comparing = progress.seconds_left is not None
        self._run.progress(progress.done, progress.total, COMPARING if is_comparing else progress.words)
        if progress.finished is not None and progress.done < progress.total and time.monotonic() > self._give_way_at:
            raise PausedError("the study has kept its finished runs and lets other jobs go first")


def _key(study: Study, data: ImageSet) -> str:
    """Of all that makes runs comparable; the same on every host."""
    plan = study.plan.to_json()
    plan["config"]["weights"] = Path(plan["config"]["weights"]).name
    return hashlib.sha256(json.dumps([plan, data.fingerprint()]).encode()).hexdigest()[:16]


def _prefix(job_id: int) -> str:
    return f"study-states/{job_id}/"


def _folders(context: WorkerContext) -> Path:
    return context.cache_folder / "studies"


def _clear(context: WorkerContext, job_id: int) -> None:
    for name in context.services.artifacts.names(_prefix(job_id)):
        context.services.artifacts.delete(name)
    shutil.rmtree(_folders(context) / str(job_id), ignore_errors=True)


def _clear_what_over_jobs_left(context: WorkerContext, project: Project) -> None:
    """Remove what failed and cancelled studies of the project left; nobody goes on with them once another runs. And of
    this host's folders those of any study that is over.
    """
    with context.services.store.read() as tx:
        jobs = tx.jobs.all(project_id=project.id, kind=JobKind.SIMULATE)
        over = {job.id for job in jobs if job.state.is_over}
        for path in _folders(context).glob("*"):
            with suppress(ValueError, NotFoundError):
                if tx.jobs.get(int(path.name)).state.is_over:
                    over.add(int(path.name))
    for job_id in over:
        _clear(context, job_id)
