"""Stored models as networks: the round's own, warm where this process had it last, backbones, and the last head."""

import logging
from dataclasses import replace

import torch

from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import ModelRecord, Project
from al_service.errors import InvalidInputError, NotFoundError
from al_service.learning import checkpoints, networks, tensor_files
from al_service.learning.checkpoints import Checkpoint
from al_service.learning.networks import Network
from al_service.learning.probe import Probe, probe_from_head
from workers.context import WorkerContext
from workers.round_inputs import RoundInputs, class_ids_of

log = logging.getLogger(__name__)


def scoring_network(context: WorkerContext, model: ModelRecord) -> Network:
    """The network of that model, its head divided by the temperature, so that all it says is calibrated."""
    if context.network is None or context.network_name != model.artifact:
        keep_warm(context, read_checkpoint(context, model), model.artifact)
    return context.network


def keep_warm(context: WorkerContext, checkpoint: Checkpoint, artifact: str) -> None:
    """Make this the network that the next job of the round finds, by the name of its file: equal weights may have
    another temperature. The head is changed in place.
    """
    with torch.no_grad():
        checkpoint.network.head.linear.weight.div_(checkpoint.temperature)
        checkpoint.network.head.linear.bias.div_(checkpoint.temperature)
    context.network, context.network_name = checkpoint.network, artifact


def read_checkpoint(context: WorkerContext, model: ModelRecord) -> Checkpoint:
    """The stored checkpoint, put together with its backbone where it holds only a head."""
    artifacts = context.services.artifacts
    return checkpoints.from_bytes(artifacts.get(model.artifact), model.artifact, read_backbone=artifacts.get)


def in_names_of_round(checkpoint: Checkpoint, inputs: RoundInputs) -> Checkpoint:
    """The checkpoint of a round before with its classes called as this round calls them: some were renamed since."""
    ids = class_ids_of(inputs.record, inputs.book)
    before = inputs.book.translated(checkpoint.class_names, ids)
    now = {old: new for old, new in zip(before, inputs.record.class_names, strict=True) if old is not None}
    names = tuple(now.get(name, name) for name in checkpoint.class_names)
    return replace(checkpoint, class_names=names) if len(set(names)) == len(names) else checkpoint


def starting_network(context: WorkerContext, inputs: RoundInputs) -> Network:
    """The network that the round's training starts from, by the project's settings.

    Raises:
        InvalidInputError: weights=pretrained, and no backbone was trained yet.
    """
    config, record = inputs.config, inputs.record
    is_pretrained = config.weights == "pretrained"
    network = networks.build(
        config.network,
        len(record.class_names),
        inputs.image_px,
        weights="none" if is_pretrained else config.weights,
        # A frozen backbone is the same in every round, also one that nobody trained: its embeddings are kept.
        seed=config.seed if config.training_mode == "probe" else record.seed,
    )
    if is_pretrained:
        backbone = find_fitting_backbone(context, record.project_id, network)
        if backbone is None:
            raise no_backbone(inputs.project.name, network)
        checkpoints.load_backbone(network, context.services.artifacts.get(backbone.artifact), backbone.name)
    return network


def no_backbone(project_name: str, network: Network) -> InvalidInputError:
    """The error to raise where weights=pretrained and no backbone fits."""
    return InvalidInputError(
        f"weights=pretrained, and {project_name} has no pretrained backbone for {network.name} at "
        f"{network.image_px} px yet: run `al pretrain {project_name}`, or choose others with "
        f"`al project set {project_name} weights=none`"
    )


def find_fitting_backbone(context: WorkerContext, project_id: int, network: Network) -> ModelRecord | None:
    """The newest backbone that was pretrained on the project's images for such a network and side, or None."""
    with context.services.store.read() as tx:
        fitting = tx.models.backbones(project_id, network.name, network.image_px)
    # Backbones that probes stand on are in the registry too; only pretrained ones have passed over images.
    return next((one for one in fitting if "epochs" in one.metrics), None)


def registered_backbone(context: WorkerContext, project: Project, network: Network) -> ModelRecord:
    """The registry's entry of the frozen backbone, stored once however many heads stand on it."""
    model_hash = checkpoints.backbone_hash(network)
    with context.services.store.read() as tx:
        known = tx.models.find_by_hash(project.id, ModelKind.BACKBONE, model_hash)
    if known is not None and context.services.artifacts.has(known.artifact):
        return known
    data = checkpoints.backbone_to_bytes(network)
    name = f"models/{project.id}/backbone-{model_hash[:32]}.safetensors"
    context.services.artifacts.put(name, data)
    model = ModelRecord(
        id=0,
        project_id=project.id,
        round_id=None,
        artifact=name,
        model_hash=model_hash,
        data_fingerprint=None,
        metrics={},
        created_at=context.services.clock(),
        kind=ModelKind.BACKBONE,
        name=f"{network.name}, frozen",
        network_name=network.name,
        image_px=network.image_px,
        byte_count=len(data),
    )
    return context.services.models.register(project.name, model)


def find_last_head(context: WorkerContext, inputs: RoundInputs, network: Network) -> Probe | None:
    """The head of the last round, where it stood on the same backbone and knew the same classes; None otherwise.

    It only saves steps, so a lost or damaged file is no reason to fail.
    """
    with context.services.store.read() as tx:
        model = tx.models.find_newest(inputs.record.project_id, ModelKind.ROUND)
    if model is None:
        return None
    try:
        tensors, metadata = tensor_files.from_bytes(context.services.artifacts.get(model.artifact), model.artifact)
    except (NotFoundError, InvalidInputError) as error:
        log.warning("the last head cannot be read, and fitting starts from zero: %s", error)
        return None
    same_backbone = metadata.get("backbone_hash") == checkpoints.backbone_hash(network)
    before = metadata.get("class_names") or []
    same_classes = before == list(inputs.book.translated(before, class_ids_of(inputs.record, inputs.book)))
    if not same_backbone or not same_classes or not {"head.linear.weight", "head.linear.bias"} <= tensors.keys():
        return None
    return probe_from_head(tensors["head.linear.weight"], tensors["head.linear.bias"])
