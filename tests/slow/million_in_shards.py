"""A batch in two stages from a pool that is never held whole; prints what that took as one JSON line."""

import json
import sys

import numpy as np

from al_service.acquisition.scored_pool import ScoredPool
from benchmarks.batch_selectors import make_pool, memory_mb

SHARDS, PICKS, RANDOM_FRACTION = 20, 1000, 0.1


def main(samples: int) -> None:
    """The shards one after the other, as score jobs have them, then the choice among their proposals."""
    size = samples // SHARDS
    all_bytes = 0
    # What the interpreter, torch and one shard's making need is not the selection's.
    make_pool("clusters", size)
    before = memory_mb("VmRSS")
    proposed: list[ScoredPool] = []
    for shard in range(SHARDS):
        pool = make_pool("clusters", size)
        all_bytes += pool.embeddings.nbytes
        ids = np.arange(shard * size, (shard + 1) * size)
        labelled = pool.labelled if shard == 0 else None
        scored = ScoredPool(ids, pool.probabilities, pool.embeddings, labelled_embeddings=labelled)
        proposed.append(scored.proposals("auto", PICKS, seed=[0, shard]))
        del scored, pool
    candidates = ScoredPool.merged(proposed, SHARDS, SHARDS * PICKS).beside(np.arange(samples))
    chosen = candidates.choose("auto", PICKS, seed=0, random_fraction=RANDOM_FRACTION)
    figures = {
        "chosen": len(chosen.sample_ids),
        "distinct": len(set(chosen.sample_ids)),
        "by_chance": sum(reason["code"] == "random" for reason in chosen.reasons),
        "shards_chosen_from": len({int(sample_id) // size for sample_id in chosen.sample_ids}),
        "peak_of_embeddings": (memory_mb("VmHWM") - before) / (all_bytes / 2**20),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
