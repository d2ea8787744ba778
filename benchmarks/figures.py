"""Figures and how they are written down: medians, intervals, ratios, one JSON object per line."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


@cache
def machine() -> Mapping[str, Any]:
    """What the figures were measured on, in general words."""
    import torch  # seconds to load, and the benchmarks of the service alone do without

    return {
        "cores": os.cpu_count(),
        "system": platform.system(),
        "processor": platform.machine(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


@dataclass
class Lines:
    """Where one benchmark's lines go: a file, and a short form on stderr for whoever waits.

    Args:
        benchmark: name, stands in every line.
        folder: gets `<benchmark>.jsonl`, which is written anew.
    """

    benchmark: str
    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.path.write_text("", encoding="utf-8")

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.benchmark}.jsonl"

    def add(self, what: str, *, runs: int, **figures: Any) -> dict[str, Any]:
        """Append one line and say it."""
        line = {"benchmark": self.benchmark, "what": what, **rounded(figures), "runs": runs, "machine": machine()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        short = " ".join(f"{key}={json.dumps(value)}" for key, value in rounded(figures).items())
        print(f"{self.benchmark}: {what} {short}", file=sys.stderr, flush=True)
        return line


def rounded(value: Any, digits: int = 4) -> Any:
    """The same with every float cut to that many significant digits.

    >>> rounded({"seconds": 0.123456, "of": [1.00001, 2]})
    {'seconds': 0.1235, 'of': [1.0, 2]}
    """
    if isinstance(value, Mapping):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item, digits) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{digits}g}")
    return value


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 in milliseconds.

    >>> percentiles_ms([0.001, 0.002, 0.003])["p50_ms"]
    2.0
    """
    p50, p95, p99 = np.percentile(np.asarray(seconds), (50, 95, 99)) * 1000
    return {"p50_ms": float(p50), "p95_ms": float(p95), "p99_ms": float(p99)}


def median_of(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each figure over several runs.

    >>> median_of([{"p50_ms": 1.0}, {"p50_ms": 9.0}, {"p50_ms": 2.0}])
    {'p50_ms': 2.0}
    """
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def mean_interval(values: Sequence[float]) -> tuple[float, list[float]]:
    """The mean and its 95 % interval (Student's t); the interval of one value is that value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, [mean, mean]
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * stats.sem(values))
    return mean, [mean - half, mean + half]
