"""Selectors that look at the geometry of embeddings, beside scikit-activeml: seconds, memory and what they maximise.

The peer runs in the interpreter that BENCH_SKACTIVEML names (an environment with scikit-activeml 1.0.1); without it our
own figures are taken alone. Ours and the peer take turns, each in a process of its own, on the same float16 embeddings:
512 wide, of unit length, in 10 clusters of 32 directions each, beside 100 labelled.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_service.acquisition.cluster_margin import cluster_margin
from al_service.acquisition.facility_location import facility_location
from al_service.acquisition.herding import herding
from al_service.acquisition.k_means import k_means
from al_service.acquisition.prob_cover import prob_cover, radius
from al_service.acquisition.typiclust import typiclust
from al_service.geometry.distances import Centred, squared_to_nearest
from al_service.geometry.nearest_neighbours import nearest_rows
from benchmarks.figures import Lines

PEER_VARIABLE = "BENCH_SKACTIVEML"
WIDTH, CLUSTERS, DIRECTIONS, LABELLED = 512, 10, 32, 100
Case = Callable[[Lines, bool], None]


def write_embeddings(folder: Path, count: int) -> None:
    """`embeddings.npy`, `labelled.npy` and `probabilities.npy`, the same for the same count."""
    rng = np.random.default_rng(count)
    centres = rng.normal(size=(CLUSTERS, WIDTH))
    spread = rng.normal(size=(CLUSTERS, DIRECTIONS, WIDTH)) / np.sqrt(DIRECTIONS)
    cluster = rng.integers(0, CLUSTERS, count + LABELLED)
    rows = np.empty((count + LABELLED, WIDTH), np.float16)
    for one in range(CLUSTERS):
        members = np.flatnonzero(cluster == one)
        values = centres[one] + rng.normal(size=(len(members), DIRECTIONS)) @ spread[one]
        values += 0.2 * rng.normal(size=values.shape)
        rows[members] = values / np.linalg.norm(values, axis=1, keepdims=True)
    np.save(folder / "embeddings.npy", rows[:count])
    np.save(folder / "labelled.npy", rows[count:])
    np.save(folder / "probabilities.npy", rng.dirichlet(np.full(CLUSTERS, 0.3), size=count).astype(np.float32))


def _choose(selector: str, folder: Path, k: int, parameters: dict[str, Any]) -> np.ndarray:
    pool, labelled = np.load(folder / "embeddings.npy"), np.load(folder / "labelled.npy")
    if selector == "typiclust":
        return typiclust(pool, k, labelled, rng=np.random.default_rng(0), **parameters)
    if selector == "prob_cover":
        return prob_cover(pool, k, labelled, **parameters)
    if selector == "herding":
        return herding(pool, k, labelled=labelled)
    if selector == "k_means":
        return k_means(pool, k, rng=np.random.default_rng(0))
    if selector == "facility_location":
        return facility_location(pool, k, labelled=labelled)
    return cluster_margin(np.load(folder / "probabilities.npy"), pool, k)


def choose(selector: str, folder: str, k: str, parameters: str) -> None:
    """In a process of its own: one selection of ours, positions to `ours.npy`, figures as one JSON line."""
    started, used = time.perf_counter(), time.process_time()
    chosen = _choose(selector, Path(folder), int(k), json.loads(parameters))
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    np.save(Path(folder) / "ours.npy", chosen)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "cpu_seconds": processor, "peak_mb": peak / 1024}))


def ours(selector: str, folder: Path, k: int, **parameters: Any) -> dict[str, float]:
    """Figures of one selection of ours."""
    code = "import sys; from benchmarks.selectors_geometry import choose; choose(*sys.argv[1:])"
    return _figures([sys.executable, "-c", code, selector, str(folder), str(k), json.dumps(parameters)])


def peer(selector: str, folder: Path, k: int, delta: float | None = None) -> dict[str, float] | None:
    """Figures of one selection of scikit-activeml, None without its interpreter."""
    python = os.environ.get(PEER_VARIABLE)
    if python is None:
        return None
    script = Path(__file__).with_name("selectors_geometry_peer.py")
    # -P: the folder of the script holds modules named like the standard library's.
    return _figures(
        [python, "-P", str(script), selector, str(folder), str(k), *([] if delta is None else [str(delta)])]
    )


def _figures(command: list[str]) -> dict[str, float]:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if ran.returncode:
        raise RuntimeError(f"{command[0]} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def _objectives(folder: Path, whose: str, delta: float | None = None) -> dict[str, float]:
    """How the picks do: spread left in the pool, how typical they are, and what lies within delta of them."""
    pool, labelled = (torch.from_numpy(np.load(folder / f"{name}.npy")) for name in ("embeddings", "labelled"))
    chosen = torch.from_numpy(np.load(folder / f"{whose}.npy"))
    view = Centred.on_mean(pool)
    known = torch.cat([pool[chosen], labelled]).float() - view.origin
    squared = squared_to_nearest(view, known)
    _, near = nearest_rows(pool[chosen], 21, pool, metric="euclidean")
    found = {"mean_squared_to_nearest": float(squared.mean()), "mean_to_20_nearest": float(near[:, 1:].mean())}
    return found if delta is None else {**found, "covered": float((squared.sqrt() <= delta).float().mean())}


def _compare(lines: Lines, selector: str, count: int, k: int, variants: dict[str, dict[str, Any]]) -> None:
    """Ours in each variant, the peer once, ours again; the slower of our two runs counts."""
    with tempfile.TemporaryDirectory(prefix="bench-geometry-") as name:
        folder = Path(name)
        write_embeddings(folder, count)
        delta = next(iter(variants.values())).get("delta")
        first = {what: ours(selector, folder, k, **parameters) for what, parameters in variants.items()}
        theirs = peer(selector, folder, k, delta)
        for what, parameters in variants.items():
            again = ours(selector, folder, k, **parameters)
            figures: dict[str, Any] = {
                "samples": count,
                "picks": k,
                **parameters,
                "ours": {key: max(value, again[key]) for key, value in first[what].items()},
                "ours_objectives": _objectives(folder, "ours", delta),
            }
            if theirs is not None:
                figures["peer"], figures["peer_objectives"] = theirs, _objectives(folder, "peer", delta)
                figures["times_faster"] = theirs["seconds"] / figures["ours"]["seconds"]
                figures["times_less_processor"] = theirs["cpu_seconds"] / figures["ours"]["cpu_seconds"]
            lines.add(what, runs=2, **figures)


def typiclust_beside_peer(lines: Lines, quick: bool) -> None:
    """With our cap of 500 clusters, and with as many clusters as the peer takes (no cap)."""
    count, k = (2_000, 100) if quick else (50_000, 1_000)
    variants = {"typiclust, capped": {}, "typiclust, as many clusters": {"clusters_max": k + LABELLED}}
    _compare(lines, "typiclust", count, k, variants)


def prob_cover_beside_peer(lines: Lines, quick: bool) -> None:
    """With delta found by each, and with one delta for both."""
    count, k = (1_000, 100) if quick else (10_000, 1_000)
    _compare(lines, "prob_cover", count, k, {"prob_cover": {}})
    with tempfile.TemporaryDirectory(prefix="bench-geometry-") as name:
        write_embeddings(Path(name), count)
        delta = radius(torch.from_numpy(np.load(Path(name) / "embeddings.npy")))
    # The pure radius covers all at once in such data; with a part of it the picks decide what is covered.
    _compare(lines, "prob_cover", count, k, {"prob_cover, same delta": {"delta": round(0.6 * delta, 3)}})


def alone(lines: Lines, quick: bool) -> None:
    """What no peer does, or not at this size."""
    count, k = (2_000, 100) if quick else (50_000, 1_000)
    with tempfile.TemporaryDirectory(prefix="bench-geometry-") as name:
        write_embeddings(Path(name), count)
        for selector in ("prob_cover", "k_means", "herding", "facility_location", "cluster_margin"):
            found = ours(selector, Path(name), k)
            lines.add(selector, runs=1, samples=count, picks=k, ours=found, objectives=_objectives(Path(name), "ours"))


CASES: list[Case] = [typiclust_beside_peer, prob_cover_beside_peer, alone]


def run(lines: Lines, *, quick: bool) -> None:
    """All cases."""
    for case in CASES:
        case(lines, quick)
