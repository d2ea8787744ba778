"""BatchBALD beside Baal's, and what dropout passes from kept embeddings cost beside the backbone.

Baal runs in the interpreter that BENCH_BAAL names (an environment with baal 2.1.0); without it our own figures are
taken alone. Ours and the peer take turns, each in a process of its own, on the same (N, 20, 10) probabilities. What a
batch tells about the passes is judged for both by the same simulation, which neither of them uses.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np

from al_service.acquisition.batch_bald import batch_bald
from al_service.learning import networks
from al_service.learning.inference import head_outputs, predict
from benchmarks.figures import Lines

PEER_VARIABLE = "BENCH_BAAL"
SAMPLES, PASSES, CLASSES, PICKS, PEER_DRAWS = 10_000, 20, 10, 100, 50
SIMULATED, JUDGED = 20_000, (5, 10, 20, 50)
DROPOUT_PASSES, TURNS = 50, 5
Case = Callable[[Lines, bool], None]


def make_sampled(samples: int) -> np.ndarray:
    """(N, 20, 10) float32 as dropout gives it: rows from unsure to sure, passes that differ by a part of that."""
    rng = np.random.default_rng(samples)
    logits = rng.normal(size=(samples, 1, CLASSES)) * rng.uniform(0.1, 4, (samples, 1, 1))
    logits = logits + 0.4 * rng.uniform(0.5, 1.5, (samples, 1, 1)) * rng.normal(size=(samples, PASSES, CLASSES))
    exponentials = np.exp(logits - logits.max(2, keepdims=True))
    return (exponentials / exponentials.sum(2, keepdims=True)).astype(np.float32)


def simulated_information(batch: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n,) nats that the first 1, 2, ... labels tell about which pass is right, from answers drawn from the passes."""
    rng = np.random.default_rng(seed)
    right = rng.integers(0, PASSES, SIMULATED)
    logs, told = np.zeros((SIMULATED, PASSES)), []
    for q in batch.astype(np.float64):
        answers = (rng.random(SIMULATED)[:, None] > q.cumsum(1)[right]).sum(1).clip(max=CLASSES - 1)
        logs += np.log(q[:, answers].T)
        beliefs = np.exp(logs - logs.max(1, keepdims=True))
        beliefs /= beliefs.sum(1, keepdims=True)
        told.append(np.log(PASSES) + np.where(beliefs > 0, beliefs * np.log(beliefs.clip(1e-300)), 0).sum(1).mean())
    return np.array(told)


def choose(folder: str, k: str) -> None:
    """In a process of its own: one batch of ours, positions to `ours.npy`, figures as one JSON line."""
    sampled = np.load(Path(folder) / "sampled.npy")
    started, used = time.perf_counter(), time.process_time()
    chosen = batch_bald(sampled, int(k), rng=np.random.default_rng(0))
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    np.save(Path(folder) / "ours.npy", chosen)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "cpu_seconds": processor, "peak_mb": peak / 1024}))


def batch_bald_beside_peer(lines: Lines, quick: bool) -> None:
    """10,000 samples, 100 picks; a quick run has 1,000 and 10. Ours before and after the peer: the slower counts."""
    samples, picks = (1_000, 10) if quick else (SAMPLES, PICKS)
    with tempfile.TemporaryDirectory(prefix="bench-bayesian-") as name:
        folder = Path(name)
        np.save(folder / "sampled.npy", make_sampled(samples))
        code = "import sys; from benchmarks.selectors_bayesian import choose; choose(*sys.argv[1:])"
        run_ours = [sys.executable, "-c", code, str(folder), str(picks)]
        before, theirs = _figures(run_ours), _peer(folder, picks)
        slower = max(before, _figures(run_ours), key=lambda one: one["seconds"])
        facts = {"samples": samples, "passes": PASSES, "classes": CLASSES, "picks": picks}
        lines.add("batch_bald", runs=2, **facts, **slower, **_judged(folder, "ours"))
        if theirs is None:
            print(f"selectors_bayesian: Baal is left out (set {PEER_VARIABLE} to a Python that has it)")
            return
        judged = _judged(folder, "peer")
        lines.add("batch_bald_peer", runs=1, peer="baal 2.1.0", draws=PEER_DRAWS, **facts, **theirs, **judged)
        lines.add("batch_bald_ratio", runs=1, **{key: theirs[key] / slower[key] for key in slower})


def passes_from_embeddings(lines: Lines, quick: bool) -> None:
    """50 dropout passes over kept embeddings of resnet18 at 32 px, beside one pass of the backbone over the pixels."""
    count = 512 if quick else 4096
    network = networks.build("resnet18", CLASSES, 32).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    embeddings = predict(network, pixels).embeddings
    clean, passes = [], []
    for _ in range(1 if quick else TURNS):
        started = time.perf_counter()
        predict(network, pixels)
        between = time.perf_counter()
        head_outputs(network, embeddings, mc_passes=DROPOUT_PASSES)
        clean.append(between - started)
        passes.append(time.perf_counter() - between)
    share = median(one / other for one, other in zip(passes, clean, strict=True))
    facts = {"network": "resnet18", "image_px": 32, "images": count, "passes": DROPOUT_PASSES}
    lines.add(
        "passes_from_embeddings",
        runs=len(clean),
        **facts,
        backbone_seconds=median(clean),
        passes_seconds=median(passes),
        share=share,
    )


def _judged(folder: Path, whose: str) -> dict[str, dict[str, float]]:
    chosen = np.load(folder / f"{whose}.npy")
    told = simulated_information(np.load(folder / "sampled.npy")[chosen])
    return {"told_nats": {str(n): float(told[n - 1]) for n in JUDGED if n <= len(told)}}


def _peer(folder: Path, k: int) -> dict[str, float] | None:
    python = os.environ.get(PEER_VARIABLE)
    if python is None:
        return None
    script = Path(__file__).with_name("selectors_bayesian_peer.py")
    # -P: the folder of the script holds modules named like the standard library's.
    return _figures([python, "-P", str(script), str(folder), str(k), str(PEER_DRAWS)])


def _figures(command: list[str]) -> dict[str, float]:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if ran.returncode:
        raise RuntimeError(f"{command[0]} ended with {ran.returncode}: {ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


CASES: list[Case] = [batch_bald_beside_peer, passes_from_embeddings]


def run(lines: Lines, *, quick: bool) -> None:
    """All cases."""
    for case in CASES:
        case(lines, quick)
