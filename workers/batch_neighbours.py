"""What people get besides a batch and its reserve: near-copies, look-alikes, likely classes, similar images.

Called by the select job for the samples that it chose; nothing here changes which samples these are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from al_service.acquisition.scored_pool import ScoredPool
from al_service.domain.records import Chosen, Likely, Round
from al_service.geometry.look_alikes import look_alike_groups
from al_service.geometry.near_copies import near_copies
from al_service.geometry.nearest_neighbours import nearest_rows
from al_service.learning import device
from al_service.learning.image_side import SIZES_LOOKED_AT, choose_image_px
from workers.caches import pixels_of
from workers.context import WorkerContext
from workers.round_inputs import class_ids_of
from workers.running import JobRun

LIKELY_STORED = 5
SIMILAR_STORED = 20
#: Distances that are measured for similar images: a million images for a batch and reserve of 300. Beyond, each sample
#: is compared with as many images as are left for it, drawn by the round's seed.
DISTANCES_MAX = 300_000_000
#: Second word of the seed of that draw; see select_stage.
SIMILAR_DRAW = 5


@dataclass(frozen=True)
class Picks:
    """A round's batch and its reserve."""

    batch: list[Chosen]
    reserve: list[Chosen]

    @property
    def sample_ids(self) -> list[int]:
        """The batch's, then the reserve's."""
        return [pick.sample_id for pick in (*self.batch, *self.reserve)]

    def with_values(self, name: str, values: Sequence[Any]) -> "Picks":
        """Each pick with its value, in the order of `sample_ids`."""
        changes: list[dict[str, Any]] = [{name: value} for value in values]
        picks = [replace(pick, **change) for pick, change in zip((*self.batch, *self.reserve), changes, strict=True)]
        return Picks(picks[: len(self.batch)], picks[len(self.batch) :])


def with_neighbours(
    context: WorkerContext, run: JobRun, record: Round, scored: ScoredPool, batch: list[Chosen], reserve: list[Chosen]
) -> Picks:
    """The picks with their near-copies, look-alikes and likely classes, as far as those are known."""
    with context.services.store.read() as tx:
        book = tx.projects.class_book(record.project_id)
    picks = Picks(batch, reserve)
    picks = picks.with_values("copy_group", _copy_groups(context, run, record, picks.sample_ids))
    picks = picks.with_values("look_alike", _look_alikes(scored, batch, reserve))
    return picks.with_values("likely", _likely(scored, class_ids_of(record, book), picks.sample_ids))


def _copy_groups(context: WorkerContext, run: JobRun, record: Round, sample_ids: list[int]) -> list[int | None]:
    """Near-copies among these samples, by the pixels that training and scoring see; most are decoded already."""
    with context.services.store.read() as tx:
        samples = tx.samples.get_many(sample_ids)
        model = tx.models.find_of_round(record.id)
        sizes = tx.samples.image_sizes(record.project_id, SIZES_LOOKED_AT)
    image_px = model.image_px if model is not None else None
    hashes = [samples[sample_id].sha256 for sample_id in sample_ids]
    rows = pixels_of(context, run, hashes, image_px or choose_image_px(record.config, sizes))
    groups: list[int | None] = [None] * len(sample_ids)
    for position, group in zip(rows.positions.tolist(), near_copies(rows.values).tolist(), strict=True):
        groups[position] = group if group >= 0 else None
    return groups


def _look_alikes(scored: ScoredPool, batch: list[Chosen], reserve: list[Chosen]) -> list[int | None]:
    """Groups among the batch, then among the reserve; None without embedding: of all, where the strategy has no use
    for them, of evaluation samples, and of those drawn beside the candidates.
    """
    groups: list[int | None] = []
    first = 0
    for picks in (batch, reserve):
        rows, positions = _rows_of(scored, [pick.sample_id for pick in picks])
        found: list[int | None] = [None] * len(picks)
        if scored.embeddings is not None and len(rows):
            numbers = look_alike_groups(scored.embeddings[rows]) + first
            first = int(numbers.max()) + 1
            for position, number in zip(positions.tolist(), numbers.tolist(), strict=True):
                found[position] = number
        groups += found
    return groups


def _likely(scored: ScoredPool, class_ids: Sequence[int | None], sample_ids: list[int]) -> list[Likely | None]:
    """The likeliest classes of each sample, without those that are gone by now; None where no model has seen it."""
    likely: list[Likely | None] = [None] * len(sample_ids)
    if scored.probabilities is None:
        return likely
    rows, positions = _rows_of(scored, sample_ids)
    chances = scored.probabilities[rows]
    best = np.argsort(-chances, axis=1, kind="stable")[:, :LIKELY_STORED]
    for position, indices, row in zip(positions.tolist(), best.tolist(), chances, strict=True):
        named = [(class_ids[index], round(float(row[index]), 4)) for index in indices]
        likely[position] = tuple((class_id, chance) for class_id, chance in named if class_id is not None)
    return likely


def similar_file(scored: ScoredPool, sample_ids: list[int], seed: int, device_name: str) -> bytes | None:
    """The 20 nearest images of each sample by cosine, labelled ones included, as JSON: sample id -> [[id, distance] …],
    the nearest first. None without embeddings.

    Cost: at most 3 * 10^8 distances; memory as `nearest_rows`. The pool's embeddings are not copied.
    """
    if scored.embeddings is None:
        return None
    rows, positions = _rows_of(scored, sample_ids)
    if not len(rows):
        return None
    queries = scored.embeddings[rows]
    most = max(SIMILAR_STORED + 1, DISTANCES_MAX // len(rows))
    rng = np.random.default_rng([seed, SIMILAR_DRAW])
    parts = []
    for ids, embeddings in ((scored.sample_ids, scored.embeddings), (scored.labelled_ids, scored.labelled_embeddings)):
        if ids is None or embeddings is None or not len(ids):
            continue
        if len(ids) > most:
            drawn = np.sort(rng.permutation(len(ids))[:most])
            ids, embeddings = ids[drawn], embeddings[drawn]
        nearest, distances = nearest_rows(queries, SIMILAR_STORED + 1, embeddings, device=device.choose(device_name))
        parts.append((ids[nearest.cpu().numpy()], distances.cpu().numpy()))
    near_ids = np.concatenate([found for found, _ in parts], axis=1)
    near = np.concatenate([found for _, found in parts], axis=1)
    order = np.argsort(near, axis=1, kind="stable")
    similar = {}
    for at, position in enumerate(positions.tolist()):
        pairs = [(int(near_ids[at, column]), round(float(near[at, column]), 4)) for column in order[at]]
        own = sample_ids[position]
        similar[str(own)] = [pair for pair in pairs if pair[0] != own][:SIMILAR_STORED]
    return json.dumps(similar, separators=(",", ":")).encode()


def _rows_of(scored: ScoredPool, sample_ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the pool that hold these samples, and which of the samples those are."""
    order = np.argsort(scored.sample_ids, kind="stable")
    wanted = np.array(sample_ids, np.int64)
    if not len(order):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.searchsorted(scored.sample_ids[order], wanted).clip(max=len(order) - 1)
    rows = order[places]
    positions = np.flatnonzero(scored.sample_ids[rows] == wanted)
    return rows[positions], positions
