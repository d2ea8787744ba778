"""Run by the interpreter that BENCH_SKACTIVEML names: CoreSet or BADGE of scikit-activeml, figures as one JSON line.

Imports nothing of ours: the peer lives in an environment of its own.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet


class GivenProbabilities(SkactivemlClassifier):
    """A classifier that has predicted already: BADGE is given the same probabilities as ours."""

    def __init__(self, probabilities=None, classes=None, missing_label=np.nan, random_state=None):
        super().__init__(classes=classes, missing_label=missing_label, random_state=random_state)
        self.probabilities = probabilities

    def fit(self, X, y, sample_weight=None):
        """There is nothing to fit."""
        return self

    def predict_proba(self, X):
        """Of the whole pool, in its order."""
        return self.probabilities


def main(selector: str, folder: Path, k: int) -> None:
    """Choose k of `embeddings.npy` beside `labelled.npy`, write the positions to `peer.npy`."""
    pool, labelled = (np.load(folder / f"{name}.npy").astype(np.float32) for name in ("embeddings", "labelled"))
    probabilities = np.load(folder / "probabilities.npy")
    samples = np.concatenate([pool, labelled])
    answers = np.concatenate([np.full(len(pool), np.nan), np.arange(len(labelled)) % probabilities.shape[1]])
    warnings.simplefilter("ignore")
    started, used = time.perf_counter(), time.process_time()
    if selector == "k_center":
        chosen = CoreSet(random_state=0).query(samples, answers, batch_size=k)
    else:
        classifier = GivenProbabilities(probabilities, classes=list(range(probabilities.shape[1])))
        chosen = Badge(random_state=0).query(samples, answers, classifier, fit_clf=False, batch_size=k)
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    np.save(folder / "peer.npy", np.asarray(chosen))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"seconds": seconds, "cpu_seconds": processor, "peak_mb": peak / 1024}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
