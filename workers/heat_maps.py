"""Heat maps of a batch and its reserve, made while the network is warm, so that people who ask see them at once.

Called by the select job for the samples that it chose; nothing here changes which samples these are, and nothing here
ends a round: a network without maps, or too little memory, is written down, and people get their images without.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from al_service.domain.heat_maps import HeatMap, HeatMapsOf, heat_maps_to_bytes
from al_service.domain.records import Chosen, ModelRecord, Round
from al_service.errors import InvalidInputError
from al_service.insight.explanation import evidence_maps
from al_service.learning import device
from al_service.learning.networks import Network
from al_service.learning.threads import threads_for
from workers.caches import pixels_of
from workers.context import WorkerContext
from workers.models import scoring_network
from workers.round_inputs import class_ids_of
from workers.running import JobRun

log = logging.getLogger(__name__)

CLASSES_STORED = 3
#: People wait for the batch meanwhile: of more images the first in rank get maps, and of a slow network as many as are
#: done in this time.
IMAGES_MAX = 1000
SECONDS_MAX = 20.0
#: More places than an image can be told apart by; finer maps are averaged.
SIDE_MAX = 32
MINIBATCH = 64
FAILED = "Making the heat maps of this round failed; the log of the worker says why."
ONE_PLACE = "The model sees these images as one place, so it cannot say where it looks."


def store_heat_maps(context: WorkerContext, run: JobRun, record: Round, picks: Sequence[Chosen]) -> dict[str, Any]:
    """Keep what speaks for the three likeliest classes of each pick, the first in rank first; what to write down of it.

    Picks of which the model has no opinion get none: evaluation samples, above all, which measure the model.

    Returns:
        {"heat_maps": {"artifact", "images", "of", "seconds"}}, {"heat_maps": {"why_none"}}, or {} without a model.
    """
    with context.services.store.read() as tx:
        model = tx.models.find_of_round(record.id)
    wanted = [pick for pick in picks if pick.likely]
    if model is None or not wanted:
        return {}
    started = time.monotonic()
    try:
        maps = _made(context, run, record, model, wanted[:IMAGES_MAX])
    except InvalidInputError as error:
        log.warning("round %d has no heat maps: %s", record.number, error)
        return {"heat_maps": {"why_none": error.message}}
    except (RuntimeError, MemoryError):
        log.exception("round %d has no heat maps", record.number)
        return {"heat_maps": {"why_none": FAILED}}
    if not maps:
        return {"heat_maps": {"why_none": ONE_PLACE}}
    name = f"rounds/{record.id}/heat-maps-{run.job.id}-{run.job.attempt}.json"
    context.services.artifacts.put(name, heat_maps_to_bytes(maps))
    seconds = time.monotonic() - started
    return {"heat_maps": {"artifact": name, "images": len(maps), "of": len(wanted), "seconds": seconds}}


def _made(
    context: WorkerContext, run: JobRun, record: Round, model: ModelRecord, picks: Sequence[Chosen]
) -> HeatMapsOf:
    """Sample id -> maps; empty where a map would have a single place."""
    started = time.monotonic()
    with context.services.store.read() as tx:
        samples = tx.samples.get_many([pick.sample_id for pick in picks])
        class_ids = class_ids_of(record, tx.projects.class_book(record.project_id))
    network = scoring_network(context, model)
    on = device.choose(context.settings.device)
    network.to(on)
    rows = pixels_of(context, run, [samples[pick.sample_id].sha256 for pick in picks], network.image_px)
    there = [picks[position] for position in rows.positions.tolist()]
    maps: HeatMapsOf = {}
    with threads_for(network.image_px, on):
        for start in range(0, len(there), MINIBATCH):
            run.progress(start, len(there), "heat maps")
            if time.monotonic() - started > SECONDS_MAX:
                log.warning("round %d: heat maps for %d of %d images in time", record.number, start, len(there))
                break
            part = there[start : start + MINIBATCH]
            made = _of_minibatch(network, np.array(rows.values[start : start + len(part)]), part, class_ids)
            if made is None:
                return {}
            maps |= made
    return maps


def _of_minibatch(
    network: Network, pixels: np.ndarray, picks: Sequence[Chosen], class_ids: Sequence[int | None]
) -> HeatMapsOf | None:
    """(n, px, px, 3) uint8 -> the maps of these picks, or None where maps have a single place."""
    index_of = {class_id: index for index, class_id in enumerate(class_ids)}
    likely = [[class_id for class_id, _ in pick.likely or ()][:CLASSES_STORED] for pick in picks]
    most = max(map(len, likely))
    # Where a class has gone meanwhile, the first one is computed again in its place and left out below.
    indices = [[index_of[one] for one in (*ids, *[ids[0]] * (most - len(ids)))] for ids in likely]
    found = evidence_maps(network, torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.tensor(indices))
    height, width = found.shape[2:]
    if height * width == 1:
        return None
    if max(height, width) > SIDE_MAX:
        found = adaptive_avg_pool2d(found, (min(height, SIDE_MAX), min(width, SIDE_MAX)))
    cells = _cells(found)
    height, width = cells.shape[2:]
    return {
        pick.sample_id: tuple(
            HeatMap(class_id, width, height, cells[row, at].tobytes()) for at, class_id in enumerate(likely[row])
        )
        for row, pick in enumerate(picks)
    }


def _cells(maps: Tensor) -> np.ndarray:
    """(n, K, h, w) -> uint8: what speaks for a class, as a share of the strongest place of all maps of an image."""
    positive = maps.clamp(min=0)
    strongest = positive.amax((1, 2, 3), keepdim=True)
    shares = positive / strongest.clamp(min=torch.finfo(positive.dtype).tiny)
    cells: np.ndarray = (shares * 255).round().to(torch.uint8).cpu().numpy()
    return cells
