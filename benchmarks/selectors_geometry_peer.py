"""Run by the interpreter that BENCH_SKACTIVEML names: one selection by scikit-activeml, figures as one JSON line.

Imports nothing of ours: the peer lives in an environment of its own.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np


def main(selector: str, folder: str, k: int, delta: float | None) -> None:
    """Choose k of `embeddings.npy` beside `labelled.npy`, write the positions to `peer.npy`."""
    from skactiveml.pool import ProbCover, TypiClust

    pool, labelled = (np.load(Path(folder) / f"{name}.npy").astype(np.float32) for name in ("embeddings", "labelled"))
    samples = np.concatenate([pool, labelled])
    answers = np.concatenate([np.full(len(pool), np.nan), np.arange(len(labelled)) % 10])
    made = {
        "typiclust": lambda: TypiClust(random_state=0),
        "prob_cover": lambda: ProbCover(random_state=0, n_classes=10, deltas=None if delta is None else [delta]),
    }
    strategy = made[selector]()
    warnings.simplefilter("ignore")
    started, used = time.perf_counter(), time.process_time()
    chosen = strategy.query(samples, answers, batch_size=k)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    np.save(Path(folder) / "peer.npy", chosen)
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    found = {"seconds": seconds, "cpu_seconds": processor, "peak_mb": peak / 1024}
    if selector == "prob_cover":
        found["delta"] = float(strategy.delta_max_)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else None)
