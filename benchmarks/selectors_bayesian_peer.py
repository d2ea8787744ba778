"""Run by the interpreter that BENCH_BAAL names: one batch by Baal's BatchBALD, figures as one JSON line.

Imports nothing of ours: the peer lives in an environment of its own.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np


def main(folder: str, k: int, draws: int) -> None:
    """Choose k of `sampled.npy` with so many draws, write the positions to `peer.npy`."""
    import torch
    from baal.active.heuristics import BatchBALD

    predictions = np.load(Path(folder) / "sampled.npy").transpose(0, 2, 1)  # (N, M, C) -> (N, C, M)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    started, used = time.perf_counter(), time.process_time()
    ranks, scores = BatchBALD(num_samples=k, num_draw=draws).get_ranks(predictions)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    np.save(Path(folder) / "peer.npy", ranks[:k])
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    chosen = int((np.asarray(scores) > 0).sum())
    print(json.dumps({"seconds": seconds, "cpu_seconds": processor, "peak_mb": peak / 1024, "scored_above_0": chosen}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
