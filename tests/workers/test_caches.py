"""Pixels and embeddings by content hash: what is made, what is left out, what is refused. Real files, no broker."""

import hashlib
import io
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from al_service.bootstrap import open_services
from al_service.images import square_pixels
from al_service.learning import networks
from al_service.learning.checkpoints import backbone_hash
from al_service.learning.inference import embed
from al_service.loop.ports import image_name
from al_service.settings import Settings
from al_service.storage.artifacts import ArtifactStorageError
from tests.workers.file_ledger import FileLedger, make_job
from workers import caches
from workers.caches import NonFiniteEmbeddingsError
from workers.context import WorkerContext
from workers.running import Interrupts, JobRun


def png(seed: int, side: int = 9) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def context(tmp_path: Path) -> Iterator[WorkerContext]:
    settings = Settings(data_dir=tmp_path / "data", device="cpu")
    services = open_services(settings)
    services.projects.create("pets", ("cat", "dog"), {})
    yield WorkerContext(settings, services, "test-worker", interrupts=Interrupts())
    services.store.close()


@pytest.fixture
def run(context: WorkerContext, tmp_path: Path) -> JobRun:
    job = replace(make_job(7, 1), project_id=context.services.projects.get("pets").id)
    return JobRun(job, FileLedger(tmp_path), 60.0, Interrupts())


def stored(context: WorkerContext, *files: bytes) -> list[str]:
    """Files among the artifacts; their hashes."""
    hashes = [hashlib.sha256(data).hexdigest() for data in files]
    for sha256, data in zip(hashes, files, strict=True):
        context.services.artifacts.put(image_name(sha256), data)
    return hashes


def path_of(context: WorkerContext, sha256: str) -> Path:
    return context.settings.artifact_dir / image_name(sha256)


def test_images_that_vanished_or_are_damaged_are_left_out_and_the_others_decoded(
    context: WorkerContext, run: JobRun, caplog: pytest.LogCaptureFixture
) -> None:
    files = [png(seed) for seed in range(10)]
    hashes = stored(context, *files)
    path_of(context, hashes[2]).unlink()
    path_of(context, hashes[5]).write_bytes(b"\x89PNG\r\n\x1a\n damaged on the disk")
    with caplog.at_level(logging.WARNING):
        rows = caches.pixels_of(context, run, hashes, 8)
    assert rows.positions.tolist() == [0, 1, 3, 4, 6, 7, 8, 9]
    assert set(rows.unreadable) == {hashes[2], hashes[5]}
    expected = np.stack([square_pixels(files[at], 8) for at in rows.positions])
    np.testing.assert_array_equal(rows.values[:], expected)
    told = [message for message in caplog.messages if "is left out" in message]
    assert [any(hashes[at] in message for message in told) for at in (2, 5)] == [True, True] and len(told) == 2


def test_a_pool_that_is_decoded_in_several_parts_leaves_the_right_ones_out(context: WorkerContext, run: JobRun) -> None:
    """Rows of 12 MiB, of which five are made at a time."""
    files = [png(seed, 2) for seed in range(7)]
    hashes = stored(context, *files)
    for at in (1, 5):
        path_of(context, hashes[at]).unlink()
    rows = caches.pixels_of(context, run, hashes, 2048)
    assert rows.positions.tolist() == [0, 2, 3, 4, 6] and set(rows.unreadable) == {hashes[1], hashes[5]}
    for at, position in enumerate(rows.positions):
        np.testing.assert_array_equal(rows.values[at : at + 1][0], square_pixels(files[position], 2048))


def test_no_images_and_only_unreadable_ones(context: WorkerContext, run: JobRun) -> None:
    assert caches.pixels_of(context, run, [], 8).values.shape == (0, 8, 8, 3)
    [sha256] = stored(context, b"no image")
    rows = caches.pixels_of(context, run, [sha256], 8)
    assert (rows.values.shape, rows.unreadable) == ((0, 8, 8, 3), (sha256,))


def test_a_storage_that_is_gone_leaves_no_image_out(context: WorkerContext, run: JobRun) -> None:
    hashes = stored(context, png(1), png(2))
    context.settings.artifact_dir.rename(context.settings.artifact_dir.with_name("elsewhere"))
    with pytest.raises(ArtifactStorageError, match="is it mounted"):
        caches.pixels_of(context, run, hashes, 8)


def test_the_setting_for_the_largest_image_counts_here_too(context: WorkerContext, run: JobRun) -> None:
    hashes = stored(context, png(1, 9), png(2, 20))
    context.settings = replace(context.settings, image_pixels_max=100)
    rows = caches.pixels_of(context, run, hashes, 8)
    assert (rows.positions.tolist(), rows.unreadable) == ([0], (hashes[1],))


def test_images_are_embedded_once_with_the_threads_that_their_side_is_worth(
    context: WorkerContext, run: JobRun
) -> None:
    files = [png(seed) for seed in range(6)]
    hashes = stored(context, *files)
    network = networks.build("small_cnn", 2, 8).eval()
    threads: list[int] = []
    network.backbone.register_forward_hook(lambda *_: threads.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        rows = caches.embeddings_of(context, run, network, hashes)
        assert torch.get_num_threads() == 2
        asked = len(threads)
        again = caches.embeddings_of(context, run, network, hashes)
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1} and len(threads) == asked, "small images want one thread, and are embedded once"
    expected = embed(network, np.stack([square_pixels(data, 8) for data in files]))
    np.testing.assert_allclose(rows.values[:], expected, atol=5e-3, rtol=2e-3)
    np.testing.assert_array_equal(again.values[:], rows.values[:])


def test_embeddings_that_are_no_numbers_are_refused_and_not_kept(context: WorkerContext, run: JobRun) -> None:
    hashes = stored(context, *(png(seed) for seed in range(3)))
    network = networks.build("small_cnn", 2, 8).eval()
    with torch.no_grad():
        next(network.backbone.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteEmbeddingsError, match=rf"small_cnn gives NaN for image {hashes[0]}.*3 of 3 images"):
        caches.embeddings_of(context, run, network, hashes)
    store = context.embedding_rows(backbone_hash(network), network.embedding_width, 8, 0)
    assert len(store.missing(hashes)) == 3
