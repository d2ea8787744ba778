"""The pretrain job: a backbone from the pool's images alone, for projects with many images and few labels."""

import json
import time
from dataclasses import asdict
from typing import Any

import numpy as np

from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import LabelledImage, ModelRecord, Project
from al_service.domain.states import JobKind
from al_service.errors import InvalidInputError, NotFoundError
from al_service.learning import checkpoints, device, networks
from al_service.learning.image_side import SIZES_LOOKED_AT, choose_image_px
from al_service.learning.pretraining import PretrainConfig
from al_service.learning.pretraining import pretrain as pretrain_backbone
from al_service.learning.threads import threads_for
from al_service.learning.views import views_for
from workers.caches import pixels_of
from workers.context import WorkerContext
from workers.round_inputs import class_indices
from workers.running import JobRun, PausedError
from workers.training_states import KeptStates

#: Labelled images that the k-NN probe looks at, of either kind: enough to compare two backbones.
PROBE_IMAGES_MAX = 2000
#: So often a long pretraining goes back to its queue, behind rounds and imports; it goes on from its state.
GIVE_WAY_AFTER_S = 600.0


def pretrain(context: WorkerContext, run: JobRun) -> None:
    """Train a backbone on the unlabelled and labelled images of the pool, and enter it in the model registry."""
    services = context.services
    with services.store.read() as tx:
        project = tx.projects.get(run.job.project_id)
        labelled = tx.samples.training_set(project.id, tx.annotations.latest_id(project.id))
        evaluation = tx.samples.evaluation_set(project.id)
        sizes = tx.samples.image_sizes(project.id, SIZES_LOOKED_AT)
    config, image_px = project.config, choose_image_px(project.config, sizes)
    torch_device = device.choose(context.settings.device)
    _clear_states_of_over_jobs(context, project)
    rows = pixels_of(context, run, _images(context, run, project, labelled), image_px)
    states = KeptStates(services.artifacts, _prefix(run.job.id))
    give_way_at = time.monotonic() + min(GIVE_WAY_AFTER_S, context.settings.job_timeout_s / 2)

    def keep(state: bytes) -> None:
        if states.keep("state", state) and time.monotonic() > give_way_at:
            raise PausedError("pretraining has kept its state and lets other jobs go first")

    with threads_for(image_px, torch_device):
        network, report = pretrain_backbone(
            config.network,
            rows.values,
            PretrainConfig(
                epochs=run.job.payload["epochs"],
                views=views_for(image_px, flip=config.augment == "shift+flip"),
                seed=config.seed,
                mixed_precision=config.mixed_precision,
                state_every_s=context.settings.training_state_every_s,
            ),
            weights="none" if config.weights == "pretrained" else config.weights,
            device=torch_device,
            on_progress=lambda done, total: run.progress(done, total, "learning from images without labels"),
            state=states.find("state"),
            on_state=keep,
            probe=_probe(context, run, project, labelled, evaluation, image_px),
        )
    if report.collapsed:
        raise InvalidInputError(f"the backbone is of no use and was not kept: {report.warning}")
    facts = asdict(report) | {"image_px": image_px, "unreadable": len(rows.unreadable), "device": str(torch_device)}
    _register(context, run, project, network, facts)
    states.clear()


def _prefix(job_id: int) -> str:
    return f"pretraining/{job_id}-"


def _images(context: WorkerContext, run: JobRun, project: Project, labelled: list[LabelledImage]) -> list[str]:
    """The images of the first attempt, in the same order for all: people go on labelling, and images are imported,
    while a long training pauses or is killed, and a state fits only the images it was made with.
    """
    artifacts, name = context.services.artifacts, f"{_prefix(run.job.id)}images.json"
    try:
        return list(json.loads(artifacts.get(name)))
    except NotFoundError:
        with context.services.store.read() as tx:
            pool = [sha256 for _, sha256 in tx.samples.selectable(project.id)]
        hashes = sorted({*pool, *(row.sha256 for row in labelled)})
        artifacts.put(name, json.dumps(hashes).encode())
        return hashes


def _clear_states_of_over_jobs(context: WorkerContext, project: Project) -> None:
    """Remove what failed and cancelled pretrainings of the project left; nobody goes on with them once another runs."""
    with context.services.store.read() as tx:
        jobs = tx.jobs.all(project_id=project.id, kind=JobKind.PRETRAIN)
    for job in jobs:
        if job.state.is_over:
            KeptStates(context.services.artifacts, _prefix(job.id)).clear()


def _probe(
    context: WorkerContext,
    run: JobRun,
    project: Project,
    labelled: list[LabelledImage],
    evaluation: list[LabelledImage],
    image_px: int,
) -> tuple[Any, np.ndarray, Any, np.ndarray] | None:
    """Labelled images for a k-NN probe: the training set looks, the evaluation set is looked at."""
    names = project.class_names
    parts: list[Any] = []
    for examples in (labelled, evaluation):
        # In order of content hash: a draw that does not depend on when something was labelled.
        some = sorted((row for row in examples if row.class_name in names), key=lambda row: row.sha256)
        some = some[:PROBE_IMAGES_MAX]
        rows = pixels_of(context, run, [row.sha256 for row in some], image_px)
        if not len(rows.positions):
            return None
        parts += [rows.values, class_indices(some, names)[rows.positions]]
    return parts[0], parts[1], parts[2], parts[3]


def _register(
    context: WorkerContext, run: JobRun, project: Project, network: networks.Network, facts: dict[str, Any]
) -> None:
    services = context.services
    data = checkpoints.backbone_to_bytes(network, seed=project.config.seed, extra={"project_id": project.id})
    name = f"models/{project.id}/backbone-job-{run.job.id}-{run.job.attempt}.safetensors"
    services.artifacts.put(name, data)
    now = services.clock()
    with services.store.write() as tx:
        model = tx.models.add(
            ModelRecord(
                id=0,
                project_id=project.id,
                round_id=None,
                artifact=name,
                model_hash=checkpoints.backbone_hash(network),
                data_fingerprint=None,
                metrics={key: facts[key] for key in ("knn_accuracy", "knn_accuracy_before", "images", "epochs")},
                created_at=now,
                kind=ModelKind.BACKBONE,
                name=f"{network.name}, {facts['epochs']} epochs on {facts['images']} images",
                network_name=network.name,
                image_px=network.image_px,
                byte_count=len(data),
            )
        )
        services.jobs.finish(tx, run.job, facts | {"model": model.id})
