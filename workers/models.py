"""The network of a stored model, warm where it is the one this process had last."""

import torch

from al_service.domain.records import ModelRecord
from al_service.learning import checkpoints
from al_service.learning.checkpoints import Checkpoint
from al_service.learning.networks import Network
from workers.context import WorkerContext


def scoring_network(context: WorkerContext, model: ModelRecord) -> Network:
    """The network of that model, its head divided by the temperature, so that all it says is calibrated."""
    if context.network is None or context.network_hash != model.model_hash:
        checkpoint = read_checkpoint(context, model)
        keep_warm(context, checkpoint, model.model_hash)
    return context.network


def keep_warm(context: WorkerContext, checkpoint: Checkpoint, model_hash: str) -> None:
    """Make this the network that the next job of the round finds. The head is changed in place."""
    with torch.no_grad():
        checkpoint.network.head.linear.weight.div_(checkpoint.temperature)
        checkpoint.network.head.linear.bias.div_(checkpoint.temperature)
    context.network, context.network_hash = checkpoint.network, model_hash


def read_checkpoint(context: WorkerContext, model: ModelRecord) -> Checkpoint:
    """The stored checkpoint, put together with its backbone where it holds only a head."""
    artifacts = context.services.artifacts
    return checkpoints.from_bytes(artifacts.get(model.artifact), model.artifact, read_backbone=artifacts.get)
