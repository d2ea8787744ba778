"""Scoring beside its floors: from pixels on disk, from image files, with dropout passes, and in how much memory.

The floor of scoring is a bare forward pass of the same network over a tensor in memory, in the layout and the minibatch
size that are quickest for it. The floor of decoding is the quickest decoder that we know of, over the same files, on
all cores, with nothing done with the pixels. Ours and the floor take turns in one process.
"""

import functools
import hashlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.io import ImageReadMode, decode_image, read_file

from al_service.acquisition.scored_pool import ScoredPool
from al_service.ingest.digits import write_digits
from al_service.learning import networks
from al_service.learning.decoding import decode_pixels
from al_service.learning.inference import Inference, embed, head_outputs, predict
from al_service.learning.mc_dropout import drops_in_head_only
from al_service.learning.threads import threads_for
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.row_store import RowStore
from benchmarks.figures import Lines
from benchmarks.image_sets import CIFAR10_VARIABLE, cifar10_archive
from benchmarks.rounds import timed
from workers.caches import CHUNK_ROWS_MAX

CPU = torch.device("cpu")
PASSES = 20
PASS_TURNS = 9
#: How many images of CIFAR-10 to score; all by default.
IMAGES_VARIABLE = "BENCH_SCORING_IMAGES"
SIZES = (64, 128, 256, 1024)
TRIED_IMAGES = 2048
SHARD = 20_000
CLASSES = 10


@dataclass(frozen=True)
class Case:
    """A network at a size over image files; how many of them, and how many turns."""

    dataset: str
    network: str
    image_px: int
    images: int
    turns: int

    def build(self) -> networks.Network:
        """The network with fresh weights, at rest."""
        return networks.build(self.network, CLASSES, self.image_px).eval()

    def facts(self) -> dict[str, Any]:
        """What a line says of the case."""
        return {"dataset": self.dataset, "network": self.network, "image_px": self.image_px}


def run(lines: Lines, *, quick: bool) -> None:
    """Digits, CIFAR-10 where the caller has it, dropout passes, memory, and a GPU where there is one."""
    turns, most = (1, 512) if quick else (3, int(os.environ.get(IMAGES_VARIABLE, "50000")))
    with tempfile.TemporaryDirectory(prefix="bench-scoring-") as name:
        folder = Path(name)
        write_digits(folder / "digits")
        files = sorted((folder / "digits").glob("*/*.png"))[:most]
        cases = [Case("digits", "small_cnn", 8, len(files), turns), Case("digits", "resnet18", 32, len(files), turns)]
        archive = cifar10_archive()
        if archive is None or quick:
            print(f"scoring: CIFAR-10 is left out (of a quick run, or set {CIFAR10_VARIABLE} to an archive)")
        else:
            files = _unpacked(archive, folder / "cifar10", most)
            cases = [Case("cifar10", one, 32, len(files), turns) for one in ("small_cnn", "resnet18")]
        for number, case in enumerate(cases):
            _scored(lines, case, files[: case.images], folder / f"case-{number}")
            _passes(lines, case, 256 if quick else 4096)
        if not quick:
            _passes(lines, Case("random", "vgg11", 32, 0, 3), 512)
        _memory(lines, (2_000, 6_000) if quick else (100_000, 300_000, 1_000_000), folder)
    if torch.cuda.is_available():
        for network in ("resnet18", "resnet50"):
            gpu(lines, network, 256 if quick else 4096, turns)


# -- first and second time -----------------------------------------------------------------------------------------


def _scored(lines: Lines, case: Case, files: Sequence[Path], folder: Path) -> None:
    """First time (decoding included) and second time (pixels on disk) of the same images."""
    hashes = [hashlib.sha256(str(path).encode()).hexdigest() for path in files]
    network = case.build()
    with threads_for(case.image_px, CPU) as threads, multiprocessing.get_context("fork").Pool() as pool:
        tensor = torch.from_numpy(
            decode_pixels(lambda key: Path(key).read_bytes(), list(map(str, files)), case.image_px)
        )
        bare, floor_minibatch = quickest_forward(network, tensor)
        decoder, decode = quickest_decoder(files, pool)
        done: list[int] = []
        predict(network, tensor.numpy(), on_progress=lambda so_far, _: done.append(so_far))  # finds the minibatch size
        seconds: dict[str, list[float]] = {"first": [], "second": [], "bare": [], "decode": []}
        for turn in range(case.turns):
            place = folder / str(turn)
            seconds["bare"].append(timed(bare))
            seconds["decode"].append(timed(decode))
            seconds["first"].append(timed(lambda place=place: _first_time(network, files, hashes, place)))
            seconds["second"].append(timed(lambda place=place: _second_time(network, hashes, place, "second")))
    floors = {
        "second": seconds["bare"],
        "first": [sum(two) for two in zip(seconds["bare"], seconds["decode"], strict=True)],
    }
    for what, floor in floors.items():
        ratio = statistics.median(mine / its for mine, its in zip(seconds[what], floor, strict=True))
        ours = statistics.median(seconds[what])
        figures = {
            "seconds": ours,
            "floor_seconds": statistics.median(floor),
            "ratio": ratio,
            "images": len(files),
            "images_per_s": len(files) / ours,
            "threads": threads,
            "minibatch": done[0],
            "floor_minibatch": floor_minibatch,
        }
        extra = {"decoder": decoder, "decode_seconds": statistics.median(seconds["decode"])} if what == "first" else {}
        lines.add(f"score_{what}_time", runs=case.turns, **case.facts(), **figures, **extra)


def _first_time(network: networks.Network, files: Sequence[Path], hashes: list[str], place: Path) -> None:
    """As a worker without anything on disk: decode and keep pixels by shards, then score from there."""
    rows = _pixel_rows(network, place)
    names = list(map(str, files))
    for start in range(0, len(files), SHARD):
        shard = slice(start, start + SHARD)
        rows.append(hashes[shard], decode_pixels(lambda key: Path(key).read_bytes(), names[shard], network.image_px))
    _second_time(network, hashes, place, "first")


def _second_time(network: networks.Network, hashes: list[str], place: Path, name: str) -> None:
    """From pixels on disk to probabilities and embeddings on disk, in the steps of the score job."""
    rows = _pixel_rows(network, place)
    embeddings = RowStore(place / name / "embeddings", (network.embedding_width,), "float16")
    scores = FileArtifacts(place / name)
    for number, start in enumerate(range(0, len(hashes), SHARD)):
        shard = hashes[start : start + SHARD]
        pixels = rows.view(shard)
        for first in range(0, len(shard), CHUNK_ROWS_MAX):
            part = slice(first, first + CHUNK_ROWS_MAX)
            embeddings.append(shard[part], embed(network, pixels.part(first, first + CHUNK_ROWS_MAX)))
        found = head_outputs(network, embeddings.view(shard))
        sample_ids = np.arange(start, start + len(shard))
        scores.put(f"scores-{number}.npz", ScoredPool(sample_ids, found.probabilities, found.embeddings).to_bytes())


def _pixel_rows(network: networks.Network, place: Path) -> RowStore:
    return RowStore(place / "pixels", (network.image_px, network.image_px, 3), "uint8")


def quickest_forward(network: networks.Network, pixels: torch.Tensor) -> tuple[Callable[[], None], int]:
    """One bare pass over (N, px, px, 3) pixels, in the layout and the minibatch size that win on some; that size."""
    as_stored = pixels.permute(0, 3, 1, 2)
    layouts = {"channels_last": as_stored, "channels_first": as_stored.contiguous()}

    def forward(images: torch.Tensor, size: int) -> None:
        with torch.inference_mode():
            for part in images.split(size):
                network(part)

    ways = [(images, size) for images in layouts.values() for size in SIZES]
    # In turns, so that a slow moment of the machine falls on all of them.
    calls = [functools.partial(forward, images[:TRIED_IMAGES], size) for images, size in ways]
    tries = [[timed(call) for call in calls] for _ in range(4)]
    images, size = ways[min(range(len(ways)), key=lambda way: min(turn[way] for turn in tries))]
    return lambda: forward(images, size), size


def quickest_decoder(files: Sequence[Path], pool: Pool) -> tuple[str, Callable[[], object]]:
    """The quickest of several decoders over some of the files: its name, and the call that decodes all of them."""
    names = list(map(str, files))
    ways: dict[str, Callable[[list[str]], object]] = {
        "torchvision": _decode_some,
        "torchvision, processes": lambda some: pool.map(_decode_some, _blocks(some)),
        "Pillow, processes": lambda some: pool.map(_decode_some_by_pillow, _blocks(some)),
    }
    tried = names[:TRIED_IMAGES]
    best = min(ways, key=lambda way: min(timed(lambda: ways[way](tried)) for _ in range(2)))
    return best, lambda: ways[best](names)


def _blocks(names: list[str]) -> list[list[str]]:
    return [names[start : start + 256] for start in range(0, len(names), 256)]


def _decode_some(names: list[str]) -> int:
    return len([decode_image(read_file(name), ImageReadMode.RGB) for name in names])


def _decode_some_by_pillow(names: list[str]) -> int:
    from PIL import Image

    return len([Image.open(name).convert("RGB").tobytes() for name in names])


def _unpacked(archive: Path, folder: Path, most: int) -> list[Path]:
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png"))[:most]


# -- dropout passes ------------------------------------------------------------------------------------------------


def _passes(lines: Lines, case: Case, count: int) -> None:
    """Scoring with dropout passes against scoring without."""
    network, pixels = case.build(), random_pixels(count, case.image_px)
    with threads_for(case.image_px, CPU):
        scored = functools.partial(_score_job, network, pixels)
        scored(mc_passes=PASSES), scored()  # the minibatch sizes are found
        turns = [(timed(functools.partial(scored, mc_passes=PASSES)), timed(scored)) for _ in range(PASS_TURNS)]
    figures = {
        "seconds": statistics.median(with_passes for with_passes, _ in turns),
        "floor_seconds": statistics.median(without for _, without in turns),
        "ratio": statistics.median(with_passes / without for with_passes, without in turns),
    }
    facts = {"network": case.network, "image_px": case.image_px, "images": count, "passes": PASSES}
    lines.add("mc_dropout", runs=len(turns), **facts, **figures)


def _score_job(network: networks.Network, pixels: np.ndarray, mc_passes: int = 0) -> Inference:
    """The score job's way from pixels to outputs."""
    if mc_passes and not drops_in_head_only(network):
        return predict(network, pixels, mc_passes=mc_passes)
    return head_outputs(network, embed(network, pixels), mc_passes=mc_passes)


def random_pixels(count: int, image_px: int) -> np.ndarray:
    """Noise; networks take the same time for it as for photographs."""
    return np.random.default_rng(0).integers(0, 256, (count, image_px, image_px, 3), np.uint8)


# -- memory --------------------------------------------------------------------------------------------------------


def _memory(lines: Lines, counts: Sequence[int], folder: Path) -> None:
    """Peak memory of a fresh process that scores pools of growing length by shards."""
    code = "import sys; from pathlib import Path; from benchmarks.scoring import score_by_shards as score; "
    code += "print(score(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))"
    shard = min(SHARD, min(counts))
    peaks = {}
    for count in counts:
        command = [sys.executable, "-c", code, str(count), str(folder / f"memory-{count}"), str(shard)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks[count] = float(ran.stdout.split()[-1])
        lines.add("memory_of_scoring", runs=1, images=count, shard=shard, peak_mb=peaks[count])
    lines.add(
        "memory_growth", runs=1, ratio=peaks[max(counts)] / peaks[min(counts)], times_images=max(counts) / min(counts)
    )


def score_by_shards(count: int, folder: Path, shard: int) -> float:
    """Fill a row store with noise, score it shard by shard into others, and give the peak of our memory in MB."""
    network = networks.build("small_cnn", CLASSES, 8).eval()
    rows = _pixel_rows(network, folder)
    noise = random_pixels(shard, 8)
    for start in range(0, count, shard):
        hashes = _numbered(start, min(count, start + shard))
        rows.append(hashes, noise[: len(hashes)])
    before = _own_memory_mb()
    peak = before
    probabilities = RowStore(folder / "probabilities", (network.class_count,), "float32")
    embeddings = RowStore(folder / "embeddings", (network.embedding_width,), "float16")
    with threads_for(8, CPU):
        for start in range(0, count, shard):
            hashes = _numbered(start, min(count, start + shard))
            found = predict(network, rows.view(hashes), minibatch_size=256)
            probabilities.append(hashes, found.probabilities)
            embeddings.append(hashes, found.embeddings)
            peak = max(peak, _own_memory_mb())
    return peak


def _numbered(start: int, stop: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in range(start, stop)]


def _own_memory_mb() -> float:
    """Memory that nobody can take back from this process; pages of mapped files do not count."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) / 1024


# -- GPU -----------------------------------------------------------------------------------------------------------


def gpu(lines: Lines, name: str, count: int, turns: int, device: str = "cuda") -> None:
    """Images per second at 224 px from an array in memory, against a bare pass over the same images."""
    network = networks.build(name, 1000, 224).to(device).eval()
    pixels = random_pixels(count, 224)
    kind = torch.device(device).type
    for precision, half in (("float32", False), ("auto", True)):

        def bare(half: bool = half) -> None:
            with torch.inference_mode(), torch.autocast(kind, torch.float16, enabled=half):
                for part in torch.from_numpy(pixels).split(SIZES[2]):
                    network(part.to(device).permute(0, 3, 1, 2))
            if kind == "cuda":
                torch.cuda.synchronize()

        ours = functools.partial(_predicted, network, pixels, device, precision)
        ours(), bare()
        seconds = [(timed(ours), timed(bare)) for _ in range(max(3, turns))]
        figures = {
            "images_per_s": count / statistics.median(mine for mine, _ in seconds),
            "floor_images_per_s": count / statistics.median(its for _, its in seconds),
            "ratio": statistics.median(mine / its for mine, its in seconds),
        }
        facts = {"network": name, "image_px": 224, "precision": precision, "images": count}
        lines.add("gpu", runs=len(seconds), **facts, **figures)


def _predicted(network: networks.Network, pixels: np.ndarray, device: str, precision: str) -> Inference:
    return predict(network, pixels, device=device, precision=precision)
