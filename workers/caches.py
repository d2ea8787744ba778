"""Pixels and embeddings by content hash, from the caches on disk; what is not there yet is made first and kept.

An image is decoded once, and a backbone with the same weights sees it once, whatever round or worker asks. An image
that has vanished or cannot be decoded any more never stops a round: it is left out, and the answer says which.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from al_service.errors import InvalidInputError, NotFoundError
from al_service.learning import device
from al_service.learning.checkpoints import backbone_hash
from al_service.learning.decoding import Decoder
from al_service.learning.inference import embed
from al_service.learning.networks import Network
from al_service.learning.threads import threads_for
from al_service.loop.ports import image_name
from al_service.storage.row_store import RowStore
from al_service.storage.row_view import RowView
from workers.context import WorkerContext
from workers.running import JobRun

log = logging.getLogger(__name__)

#: Rows made and stored at a time: a killed worker loses so many at most, and memory stays flat.
CHUNK_BYTES = 64 * 2**20
CHUNK_ROWS_MAX = 8192
#: Threads that fetch images from remote storage, where each is waited for.
REMOTE_READERS = 16


class NonFiniteEmbeddingsError(InvalidInputError):
    """A network gives NaN for images; such rows are never kept."""

    code = "non_finite_embeddings"


@dataclass(frozen=True, eq=False)
class Rows:
    """What was asked for, less what cannot be read.

    Args:
        values: a row for each of `positions`, read from disk piece by piece.
        positions: (n,) int64, rising: which of the hashes asked for these are.
        unreadable: hashes of images that have vanished or cannot be decoded.
    """

    values: RowView
    positions: np.ndarray
    unreadable: tuple[str, ...]


def pixels_of(context: WorkerContext, run: JobRun, hashes: Sequence[str], image_px: int) -> Rows:
    """The images as (n, image_px, image_px, 3) uint8."""
    store = context.pixel_rows(image_px, _samples(context, run))
    missing = store.missing(hashes)
    unreadable: list[str] = []
    chunk = max(1, min(CHUNK_ROWS_MAX, CHUNK_BYTES // (image_px * image_px * 3)))
    settings = context.settings
    with Decoder(
        image_px,
        readers=REMOTE_READERS if settings.remote_storage_url else None,
        pixels_max=settings.image_pixels_max,
        expected_count=len(missing),
    ) as decoder:
        for start in range(0, len(missing), chunk):
            run.progress(start, len(missing), "decoding images")
            wanted = [hashes[position] for position in missing[start : start + chunk]]
            pixels, bad = _decode(context, run, decoder, wanted, start, len(missing))
            unreadable += sorted(bad)
            good = [sha256 for sha256 in wanted if sha256 not in bad]
            if good:
                store.append(good, pixels)
    if len(missing) > chunk:
        store.compact(everything=True)  # training reads at random, which is fastest from few large shards
    return _without(store, hashes, unreadable)


def embeddings_of(
    context: WorkerContext, run: JobRun, network: Network, hashes: Sequence[str], *, precision: str = "float32"
) -> Rows:
    """What a frozen backbone says of the images, (n, D) float16; kept for all rounds, projects and hosts.

    Args:
        precision: as in `inference.predict`. All who share a backbone's rows want one precision, on any device.
    """
    store = context.embedding_rows(backbone_hash(network), *_shape(context, run, network))
    return _embedded(context, run, network, hashes, store, precision, "embedding images")


def embeddings_of_round(
    context: WorkerContext, run: JobRun, network: Network, hashes: Sequence[str], *, precision: str
) -> Rows:
    """As `embeddings_of` for a backbone that this round trained. They are kept on this host until later rounds come."""
    store = context.round_embedding_rows(run.job.project_id, backbone_hash(network), *_shape(context, run, network))
    return _embedded(context, run, network, hashes, store, precision, "scoring")


def _shape(context: WorkerContext, run: JobRun, network: Network) -> tuple[int, int, int]:
    return network.embedding_width, network.image_px, _samples(context, run)


def _embedded(
    context: WorkerContext,
    run: JobRun,
    network: Network,
    hashes: Sequence[str],
    store: RowStore,
    precision: str,
    words: str,
) -> Rows:
    missing = store.missing(hashes)
    unreadable: tuple[str, ...] = ()
    if len(missing):
        wanted = [hashes[position] for position in missing]
        pixels = pixels_of(context, run, wanted, network.image_px)
        unreadable = pixels.unreadable
        torch_device = device.choose(context.settings.device)
        for start in range(0, len(pixels.positions), CHUNK_ROWS_MAX):
            part = pixels.positions[start : start + CHUNK_ROWS_MAX]
            with threads_for(network.image_px, torch_device):
                rows = embed(
                    network,
                    pixels.values.part(start, start + len(part)),
                    device=torch_device,
                    precision=precision,
                    sizes=context.minibatch_sizes,
                    on_progress=lambda done, _, start=start: run.progress(start + done, len(wanted), words),
                )
            names = [wanted[position] for position in part]
            _check_finite(network, names, rows)
            store.append(names, rows)
    return _without(store, hashes, unreadable)


def _samples(context: WorkerContext, run: JobRun) -> int:
    """All images of the project, which say what room they will take."""
    with context.services.store.read() as tx:
        counts = tx.samples.counts(run.job.project_id)
    return counts.total + counts.train_total + counts.evaluation_total


def _without(store: RowStore, hashes: Sequence[str], unreadable: Sequence[str]) -> Rows:
    left_out = set(unreadable)
    positions = np.array([at for at, sha256 in enumerate(hashes) if sha256 not in left_out], np.int64)
    kept = hashes if not left_out else [hashes[position] for position in positions]
    return Rows(store.view(kept), positions, tuple(unreadable))


def _check_finite(network: Network, hashes: Sequence[str], rows: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(rows).all(1))
    if len(bad):
        raise NonFiniteEmbeddingsError(
            f"{network.name} gives NaN for image {hashes[bad[0]]}, and for {len(bad)} of {len(rows)} images in all, "
            "expected numbers: its weights are damaged or its training went wrong. Nothing was kept; set other weights "
            "or take an earlier model"
        )


def _decode(
    context: WorkerContext, run: JobRun, decoder: Decoder, hashes: Sequence[str], start: int, total: int
) -> tuple[np.ndarray, set[str]]:
    """The images that can be read, in order, and the hashes of those that cannot."""
    decoded = decoder.decode(
        lambda sha256: context.services.artifacts.get(image_name(sha256)),
        hashes,
        on_progress=lambda done, _: run.progress(start + done, total, "decoding images"),
    )
    if any(isinstance(failure.error, NotFoundError) for failure in decoded.failures):
        context.services.artifacts.check()  # that the images are gone, and not all of the storage
    for failure in decoded.failures:
        log.warning("image %s is left out: %s", hashes[failure.position], failure.error)
    return decoded.pixels, {hashes[failure.position] for failure in decoded.failures}
