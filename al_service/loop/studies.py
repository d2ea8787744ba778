"""Studies: which strategy would have needed fewer labels, tried on a project's own labelled images by a worker.

A study is a job of kind `simulate`: its payload says what was asked for, its result what came out, and the files lie
among the artifacts. Here a study is started and found; how it goes is in al_service/simulation and workers/study_job.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from al_service.domain.model_kinds import ModelKind
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Job, Project
from al_service.domain.states import JobKind, JobState
from al_service.domain.study_plan import InvalidPlanError, Plan, checked_strategies, default_strategies, fitted
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.assignments import active_project, locked_project
from al_service.loop.jobs import Jobs
from al_service.loop.ports import Store, Transaction

SEEDS, SEEDS_MAX = 3, 100
#: What a worker says it is doing while it trains one model after the other.
COMPARING = "comparing strategies"
#: Labelled images to choose among: below, figures are noise.
POOL_LEAST = 20
#: Batches that people send are small numbers; one above every pool is a slip of the keyboard.
LABELS_MAX = 10_000_000


class NotEnoughLabelsError(InvalidInputError):
    """The project has too few labels for a study; the message says how many it has and how many it takes."""

    code = "not_enough_labels"


class InvalidStudyError(InvalidInputError):
    """A study that cannot be run as asked."""

    code = "invalid_study"


class StudyUnderWayError(ConflictError):
    """Another study of the project is queued or running; nothing was started."""

    code = "study_under_way"


@dataclass(frozen=True)
class Asked:
    """As a person asks; None is what the service chooses by itself.

    Args:
        strategies: beside random, which is always there.
        seeds: repetitions of everything.
        initial, batch, budget, random_budget: as in domain/study_plan.py.
    """

    strategies: Sequence[str] | None = None
    seeds: int = SEEDS
    initial: int | None = None
    batch: int | None = None
    budget: int | None = None
    random_budget: int | None = None


@dataclass(frozen=True)
class Outlook:
    """What a study would have to work with, and what it would do where nobody says anything else.

    Args:
        classes: that have labels to learn from.
        labelled: images that models may learn from.
        evaluation: labelled evaluation images; where there are none, a share of the labelled ones is kept aside.
        pool: images to choose among; an estimate where a share is kept aside.
        strategies, seeds, plan: of a study that nobody says more of; plan is None where no study can start.
        why_not: why no study can start, in words; None where one can.
    """

    classes: int
    labelled: int
    evaluation: int
    pool: int
    strategies: tuple[str, ...]
    seeds: int
    plan: Plan | None
    why_not: str | None


class Studies:
    """Use cases around studies."""

    def __init__(self, store: Store, jobs: Jobs, clock: Callable[[], datetime]) -> None:
        self._store, self._jobs, self._clock = store, jobs, clock

    def start(self, name: str, asked: Asked, *, user_id: int | None = None) -> tuple[Job, bool]:
        """Queue a study of the project: (job, True); (the one under way, False) when there is one already.

        It takes the labels that are there when a worker begins, and the project's settings of now.

        Raises:
            NotFoundError: no such project, or it is archived.
            UnknownStrategyError, InvalidPlanError, InvalidStudyError: what was asked for cannot be.
            NotEnoughLabelsError, StudyUnderWayError: see there.
        """
        strategies = checked_strategies(default_strategies() if asked.strategies is None else asked.strategies)
        if len(strategies) == 1:
            raise InvalidStudyError("a study compares strategies with random: name at least one other, e.g. auto")
        if not 1 <= asked.seeds <= SEEDS_MAX:
            raise InvalidStudyError(f"seeds is {asked.seeds}, expected 1 to {SEEDS_MAX} repetitions")
        with self._store.write() as tx:
            project = locked_project(tx, name)
            alive = [JobState.QUEUED, JobState.RUNNING]
            if running := tx.jobs.all(project_id=project.id, states=alive, kind=JobKind.SIMULATE, limit=1):
                _check_is_that(running[0], asked)
                return running[0], False
            plan = _plan(tx, project, asked)
            payload = plan.to_json() | {"strategies": list(strategies), "seeds": asked.seeds}
            job = self._jobs.submit(tx, project_id=project.id, kind=JobKind.SIMULATE, payload=payload)
            details = {key: value for key, value in payload.items() if key != "config"}
            tx.accounts.add_audit(user_id=user_id, action="study", subject=name, details=details, now=self._clock())
        self._jobs.ring(job)
        return job, True

    def all(self, name: str, *, limit: int = 100) -> list[Job]:
        """Studies of the project, newest first."""
        with self._store.read() as tx:
            return tx.jobs.all(project_id=active_project(tx, name).id, kind=JobKind.SIMULATE, limit=limit)

    def get(self, name: str, study_id: int) -> Job:
        """The study of that id if it is of this project, or NotFoundError."""
        with self._store.read() as tx:
            project = active_project(tx, name)
            try:
                job = tx.jobs.get(study_id)
            except NotFoundError:
                job = None
        if job is None or job.project_id != project.id or job.kind is not JobKind.SIMULATE:
            raise NotFoundError(f"{name} has no study {study_id}", study=study_id)
        return job

    def outlook(self, name: str) -> Outlook:
        """What a study of the project would have to work with."""
        with self._store.read() as tx:
            project = active_project(tx, name)
            facts = _facts(tx, project)
            why_not, plan = None, None
            try:
                plan = _plan(tx, project, Asked())
            except InvalidInputError as error:
                why_not = error.message
        return Outlook(**facts, strategies=default_strategies(), seeds=SEEDS, plan=plan, why_not=why_not)


def _check_is_that(running: Job, asked: Asked) -> None:
    """Whether the study under way is the one that is asked for, as far as anybody said.

    Raises:
        StudyUnderWayError: it is another one.
    """
    said: dict[str, object] = {name: getattr(asked, name) for name in ("initial", "batch", "budget", "random_budget")}
    said["seeds"] = None if asked.seeds == SEEDS else asked.seeds
    said["strategies"] = None if asked.strategies is None else list(checked_strategies(asked.strategies))
    others = [name for name, value in said.items() if value is not None and running.payload[name] != value]
    if others:
        raise StudyUnderWayError(
            f"study {running.id} is {running.state}, with other {' and '.join(others)}; wait for it, or cancel it, and "
            "start yours then",
            study=running.id,
        )


def plan_of(job: Job) -> Plan:
    """What a study does, from its job."""
    values = {key: job.payload[key] for key in ("initial", "batch", "budget", "random_budget")}
    return Plan(**values, config=ProjectConfig.from_json(job.payload["config"]))


def models_of(job: Job) -> int:
    """How many models a study trains."""
    return plan_of(job).models(job.payload["strategies"], job.payload["seeds"])


def _facts(tx: Transaction, project: Project) -> dict[str, int]:
    """classes, labelled, evaluation and pool, as in `Outlook`."""
    counts, per_class = tx.samples.counts(project.id), tx.samples.class_counts(project.id)
    labelled, evaluation = counts.all_labelled, counts.evaluation_labelled
    pool = labelled if evaluation else int(labelled * (1 - project.config.holdout_fraction))
    classes = sum(count > 0 for count in per_class.values())
    return {"classes": classes, "labelled": labelled, "evaluation": evaluation, "pool": pool}


def _plan(tx: Transaction, project: Project, asked: Asked) -> Plan:
    """The whole plan, checked against what the project has.

    Raises:
        NotEnoughLabelsError, InvalidPlanError, InvalidStudyError: see there.
    """
    facts, config = _facts(tx, project), project.config
    _check_labels(project, facts)
    _check_backbone(tx, project)
    sizes = {name: getattr(asked, name) for name in ("initial", "batch", "budget", "random_budget")}
    for name, value in sizes.items():
        if value is not None and value > LABELS_MAX:
            raise InvalidStudyError(f"{name} is {value}, expected at most {LABELS_MAX} labels")
    if asked.batch is not None and asked.batch < 1:
        # Before other sizes are made of it.
        raise InvalidPlanError(f"batch is {asked.batch}, expected at least 1")
    plan = fitted(facts["classes"], facts["pool"], config, **sizes)
    if plan.initial + plan.batch > facts["pool"]:
        raise NotEnoughLabelsError(
            f"{project.name} has {facts['pool']} labelled images to choose among, and a first batch of {plan.initial} "
            f"with a second of {plan.batch} needs {plan.initial + plan.batch}: choose smaller ones, or label more first"
        )
    if plan.budget <= plan.initial:
        raise InvalidStudyError(
            f"budget is {plan.budget} and initial is {plan.initial}: nothing would be left to choose; give a budget of "
            f"{plan.initial + plan.batch} or more"
        )
    # Beyond the pool there is nothing to choose; the count of models, asked for with every list, stays small.
    return plan.within(facts["pool"])


def _check_labels(project: Project, facts: dict[str, int]) -> None:
    name, config = project.name, project.config
    if facts["classes"] < 2:
        has = "no labels yet" if not facts["labelled"] else "labels of one class only"
        raise NotEnoughLabelsError(
            f"{name} has {has}, and a study needs images of two classes or more: label some images first"
        )
    if not facts["evaluation"] and config.holdout_fraction == 0:
        raise NotEnoughLabelsError(
            f"{name} has no labelled evaluation images to measure on, and holdout_fraction is 0, so none can be kept "
            f"aside: label evaluation images, or `al project set {name} holdout_fraction=0.2`"
        )
    if facts["pool"] < POOL_LEAST:
        share = f"{config.holdout_fraction * 100:.0f} %"
        aside = "" if facts["evaluation"] else f" once {share} are kept aside to measure on"
        raise NotEnoughLabelsError(
            f"{name} has {facts['pool']} labelled images to choose among{aside}, and a study needs {POOL_LEAST} or "
            "more: label some images first"
        )


def _check_backbone(tx: Transaction, project: Project) -> None:
    """Whether there is any pretrained backbone where the settings want one; a worker sees whether it fits."""
    if project.config.weights != "pretrained":
        return
    # Backbones that probes stand on are in the registry too; only pretrained ones have passed over images.
    models = tx.models.all(project.id, limit=1000)
    if not any(one.kind is ModelKind.BACKBONE and "epochs" in one.metrics for one in models):
        raise InvalidStudyError(
            f"weights=pretrained, and {project.name} has no pretrained backbone yet: run `al pretrain {project.name}`, "
            f"or choose others with `al project set {project.name} weights=none`"
        )
