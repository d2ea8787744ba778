"""Batch selectors at a million samples beside their floor, and at 50,000 beside scikit-activeml.

The floor of a selector that picks one by one is a read of all embeddings per pick, measured in the same process before
and after. Every selection runs in a process of its own, whose peak memory is that of the selection. The peer runs in
the interpreter that BENCH_SKACTIVEML names (an environment with scikit-activeml 1.0.1); without it that part says so
and is left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch

from al_service.acquisition.badge import badge
from al_service.acquisition.k_center import k_center
from al_service.acquisition.two_stage import two_stage
from benchmarks.figures import Lines

PEER_VARIABLE = "BENCH_SKACTIVEML"
WIDTH, CLASSES, LABELLED, BLOCK = 512, 10, 100, 20_000
PARTS = ("embeddings", "probabilities", "labelled")
KINDS = ("clusters", "classes", "sheet")
READS = 5


@dataclass(frozen=True)
class Pool:
    """(N, D) float16 embeddings, (N, C) probabilities, and (100, D) embeddings that have labels."""

    embeddings: np.ndarray
    probabilities: np.ndarray
    labelled: np.ndarray


@dataclass(frozen=True)
class Selection:
    """One selection to measure.

    Args:
        kind: of embeddings: "clusters" (10, each of 32 directions and some noise), "classes" (1,000 such) or "sheet"
            (four directions, no clusters: distances fall quickly from pick to pick).
        labelled: samples that are covered from the start, up to 100; k-center alone looks at them.
        checked: the plain algorithm's first so many picks are compared with ours.
    """

    selector: str
    kind: str
    samples: int
    picks: int
    checked: int = 0
    labelled: int = LABELLED


def make_pool(kind: str, samples: int) -> Pool:
    """The same for the same kind and size, made block by block: nothing larger than the result is held."""
    rng = np.random.default_rng(samples)
    clusters, directions = {"clusters": (10, 32), "classes": (1000, 32), "sheet": (1, 4)}[kind]
    centres = rng.standard_normal((clusters, WIDTH), np.float32)
    spread = rng.standard_normal((min(clusters, 10), directions, WIDTH), np.float32) / np.float32(directions**0.5)
    rows = np.empty((samples + LABELLED, WIDTH), np.float16)
    for start in range(0, len(rows), BLOCK):
        count = min(BLOCK, len(rows) - start)
        cluster = rng.integers(clusters, size=count)
        block = centres[cluster]
        for one in range(len(spread)):
            members = np.flatnonzero(cluster % len(spread) == one)
            block[members] += rng.standard_normal((len(members), directions), np.float32) @ spread[one]
        if kind != "sheet":
            block += np.float32(0.2) * rng.standard_normal(block.shape, np.float32)
        rows[start : start + count] = block
    probabilities = np.empty((samples, CLASSES), np.float32)
    for start in range(0, samples, BLOCK):
        part = probabilities[start : start + BLOCK]
        part[:] = rng.dirichlet(np.full(CLASSES, 0.3), size=len(part))
    return Pool(rows[:samples], probabilities, rows[samples:])


def select(selector: str, pool: Pool, picks: int, seed: int = 0) -> np.ndarray:
    """Positions that ours chooses."""
    if selector == "k_center":
        return k_center(pool.embeddings, picks, pool.labelled)
    return badge(pool.probabilities, pool.embeddings, picks, rng=np.random.default_rng(seed))


def plain(selector: str, pool: Pool, picks: int, seed: int = 0) -> list[int]:
    """Positions that a sweep over all samples after every pick chooses."""
    return (_plain_k_center if selector == "k_center" else _plain_badge)(pool, picks, seed)


def _plain_k_center(pool: Pool, picks: int, seed: int) -> list[int]:
    embeddings, nearest = torch.from_numpy(pool.embeddings), torch.full((len(pool.embeddings),), torch.inf)
    positions: list[int] = []

    def sweep(centre: torch.Tensor) -> None:
        for rows, known in zip(embeddings.split(2048), nearest.split(2048), strict=True):
            torch.minimum(known, (rows.float() - centre).square_().sum(1), out=known)

    for centre in torch.from_numpy(pool.labelled).float():
        sweep(centre)
    if not len(pool.labelled):
        mean = torch.from_numpy(pool.embeddings.mean(0, dtype=np.float64)).float()
        positions.append(
            int(torch.cat([(rows.float() - mean).square_().sum(1) for rows in embeddings.split(2048)]).argmin())
        )
        sweep(embeddings[positions[0]].float())
        nearest[positions] = -1
    while len(positions) < picks:
        positions.append(int(nearest.argmax()))
        sweep(embeddings[positions[-1]].float())
        nearest[positions] = -1
    return positions


def _plain_badge(pool: Pool, picks: int, seed: int) -> list[int]:
    left, speed = np.random.default_rng(seed).standard_exponential(len(pool.embeddings)), np.inf
    positions = [int(gradient_squares(pool).argmax())]
    while len(positions) < picks:
        speed = np.minimum(speed, squared_gradient_distances(pool, positions[-1:]))
        speed[positions] = 0
        with np.errstate(divide="ignore"):
            positions.append(int(np.argmin(left / speed)))
        left = left - speed * (left[positions[-1]] / speed[positions[-1]])
        left[positions] = np.inf
        speed[positions] = 0
    return positions


def gradient_squares(pool: Pool) -> np.ndarray:
    """(N,) squared lengths of the gradients of the last layer."""
    return np.concatenate([_errors(p) * np.square(h.astype(np.float64)).sum(1) for p, h in _blocks(pool)])


def squared_gradient_distances(pool: Pool, positions: list[int] | np.ndarray) -> np.ndarray:
    """(N,) squared distances of gradients to the nearest of those at these positions."""
    chosen_errors = _error_rows(pool.probabilities[positions])
    chosen = pool.embeddings[positions].astype(np.float64)
    chosen_squares = np.square(chosen_errors).sum(1) * np.square(chosen).sum(1)
    nearest = []
    for outputs, rows in _blocks(pool):
        errors, embeddings = _error_rows(outputs), rows.astype(np.float64)
        squares = np.square(errors).sum(1) * np.square(embeddings).sum(1)
        products = (errors @ chosen_errors.T) * (embeddings @ chosen.T)
        nearest.append((squares[:, None] + chosen_squares - 2 * products).min(1).clip(0))
    return np.concatenate(nearest)


def _blocks(pool: Pool) -> list[tuple[np.ndarray, np.ndarray]]:
    starts = range(0, len(pool.embeddings), 2048)
    return [(pool.probabilities[at : at + 2048], pool.embeddings[at : at + 2048]) for at in starts]


def _errors(probabilities: np.ndarray) -> np.ndarray:
    return np.square(_error_rows(probabilities)).sum(1)


def _error_rows(probabilities: np.ndarray) -> np.ndarray:
    errors = probabilities.astype(np.float64)
    errors[np.arange(len(errors)), errors.argmax(1)] -= 1
    return errors


def measure(selection: str, folder: str = "") -> None:
    """In a process of its own: make the pool, select, and print the figures as one JSON line.

    With a folder, the pool's arrays are left there as .npy files, and the positions as `ours.npy`.
    """
    plan = Selection(**json.loads(selection))
    before = memory_mb("VmRSS")
    pool = make_pool(plan.kind, plan.samples)
    pool = replace(pool, labelled=pool.labelled[: plan.labelled])
    if folder:
        for name in PARTS:
            np.save(Path(folder) / f"{name}.npy", getattr(pool, name))
    reads = [_read_seconds(pool) for _ in range(READS)]
    started, used = time.perf_counter(), time.process_time()
    chosen = select(plan.selector, pool, plan.picks)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    peak = memory_mb("VmHWM") - before
    read = median([*reads, *(_read_seconds(pool) for _ in range(READS))])
    figures = {
        "seconds": seconds,
        "cpu_seconds": processor,
        "floor_seconds": read * plan.picks,
        "ratio_to_floor": seconds / (read * plan.picks),
        "peak_mb": peak,
        "peak_of_embeddings": peak / (pool.embeddings.nbytes / 2**20),
    }
    if plan.checked:
        started = time.perf_counter()
        first = plain(plan.selector, pool, plan.checked)
        sweeps = plan.checked + (len(pool.labelled) if plan.selector == "k_center" else 0)
        figures["plain_seconds_per_sweep"] = (time.perf_counter() - started) / sweeps
        figures["first_picks_identical_to_plain"] = sum(
            one == other for one, other in zip(first, chosen.tolist(), strict=False)
        )
    if folder:
        np.save(Path(folder) / "ours.npy", chosen)
    print(json.dumps(figures))


def _read_seconds(pool: Pool) -> float:
    words = torch.from_numpy(pool.embeddings.view(np.int64))
    started = time.perf_counter()
    words.sum()
    return time.perf_counter() - started


def memory_mb(name: str) -> float:
    """This process's memory by its name in /proc: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name)) / 1024


def ours(selection: Selection, folder: Path | None = None) -> dict[str, float]:
    """Figures of one selection of ours."""
    code = "import sys; from benchmarks.batch_selectors import measure; measure(*sys.argv[1:])"
    arguments = [json.dumps(asdict(selection)), *([] if folder is None else [str(folder)])]
    return _figures([sys.executable, "-c", code, *arguments])


def peer(selector: str, folder: Path, picks: int) -> dict[str, float] | None:
    """Figures of one selection of scikit-activeml from the arrays in a folder, None without its interpreter."""
    python = os.environ.get(PEER_VARIABLE)
    if python is None:
        return None
    return _figures(
        [python, str(Path(__file__).with_name("batch_selectors_peer.py")), selector, str(folder), str(picks)]
    )


def _figures(command: list[str]) -> dict[str, float]:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if ran.returncode:
        raise RuntimeError(f"{command[0]} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def objective(selector: str, pool: Pool, chosen: np.ndarray) -> float:
    """What the picks leave; lower is better: the covering radius, or the mean squared distance of gradients."""
    if selector == "badge":
        return float(squared_gradient_distances(pool, chosen).mean())
    centres = torch.from_numpy(np.concatenate([pool.embeddings[chosen], pool.labelled])).double()
    blocks = torch.from_numpy(pool.embeddings).split(2048)
    return max(float(torch.cdist(rows.double(), centres).min(1).values.max()) for rows in blocks)


def k_center_alone(lines: Lines, quick: bool) -> None:
    """At the largest size, on three kinds of embeddings, and where nothing has a label."""
    _alone(lines, "k_center", quick)
    _alone(lines, "k_center", quick, ("clusters",), labelled=0)


def badge_alone(lines: Lines, quick: bool) -> None:
    """At the largest size, on three kinds of embeddings."""
    _alone(lines, "badge", quick)


def _alone(lines: Lines, selector: str, quick: bool, kinds: tuple[str, ...] = KINDS, labelled: int = LABELLED) -> None:
    samples, picks, checked = (20_000, 100, 20) if quick else (1_000_000, 1_000, 20)
    for kind in kinds:
        selection = Selection(selector, kind, samples, picks, checked, labelled)
        lines.add("alone", runs=1, **asdict(selection), ours=ours(selection))


def k_center_beside_peer(lines: Lines, quick: bool) -> None:
    """The same pool, the same labelled samples."""
    _beside_peer(lines, "k_center", quick)


def badge_beside_peer(lines: Lines, quick: bool) -> None:
    """The same pool, the same probabilities."""
    _beside_peer(lines, "badge", quick)


def _beside_peer(lines: Lines, selector: str, quick: bool) -> None:
    selection = Selection(selector, "clusters", *((2_000, 50) if quick else (50_000, 1_000)))
    with tempfile.TemporaryDirectory(prefix="bench-selectors-") as name:
        folder = Path(name)
        runs = [ours(selection, folder)]
        theirs = peer(selector, folder, selection.picks)
        if theirs is None:
            print(f"batch_selectors: scikit-activeml is left out; set {PEER_VARIABLE} to a Python that has it")
            lines.add("ours_alone", runs=1, **asdict(selection), ours=runs[0])
            return
        runs.append(ours(selection, folder))
        pool = Pool(*(np.load(folder / f"{part}.npy") for part in PARTS))
        chosen = {whose: np.load(folder / f"{whose}.npy") for whose in ("ours", "peer")}
        slower = max(runs, key=lambda run: run["seconds"])
        lines.add(
            "beside_peer",
            runs=2,
            **asdict(selection),
            ours=slower,
            peer=theirs,
            times_faster=theirs["seconds"] / slower["seconds"],
            times_less_processor=theirs["cpu_seconds"] / max(run["cpu_seconds"] for run in runs),
            objective={whose: objective(selector, pool, positions) for whose, positions in chosen.items()},
            picks_in_common=len(np.intersect1d(*chosen.values())),
        )


def in_two_stages(lines: Lines, quick: bool) -> None:
    """How much farther the covering radius reaches when shards choose first, against one stage over all."""
    samples, picks = (2_000, 50) if quick else (100_000, 1_000)
    pool = make_pool("clusters", samples)
    whole = objective("k_center", pool, k_center(pool.embeddings, picks, pool.labelled))
    for shards in (2, 8):
        parts = [[part] for part in np.array_split(pool.embeddings, shards)]
        chosen = two_stage(lambda arrays, count: k_center(arrays[0], count, pool.labelled), parts, picks)
        reached = objective("k_center", pool, chosen)
        lines.add("two_stage", runs=1, samples=samples, picks=picks, shards=shards, radius_ratio=reached / whole)


CASES: list[Callable[[Lines, bool], None]] = [
    k_center_alone,
    badge_alone,
    k_center_beside_peer,
    badge_beside_peer,
    in_two_stages,
]


def run(lines: Lines, *, quick: bool) -> None:
    """All cases, in turn."""
    for case in CASES:
        case(lines, quick)
