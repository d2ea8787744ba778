"""A study: every strategy under every seed, finished runs kept on disk, what is missing done side by side.

The folder holds `study.json` (what makes runs comparable), `runs/STRATEGY-seed-K.json` (one finished run each, whole or
not there), `cache/` (pixels and embeddings, made again when deleted), and at the end `result.json`, `curves.png` and
`report.html`. After a kill the same command does what is missing; more seeds or strategies join what is there.
"""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from al_service.domain.strategy_names import STRATEGIES
from al_service.learning.checkpoints import backbone_hash
from al_service.learning.inference import embed
from al_service.learning.threads import threads_for
from al_service.simulation import crew
from al_service.simulation.files import find_json, no_room, write_json
from al_service.simulation.image_set import ImageSet, find_set
from al_service.simulation.plan import Plan, StudyDiffersError, differences
from al_service.simulation.run import PROBE, Material, Point, RunResult, precision_of, run, starting_network

STUDY, RUNS, CACHE = "study.json", "runs", "cache"
RESULTS = ("result.json", "curves.png", "report.html")
_FORMAT = 1


@dataclass(frozen=True)
class Progress:
    """How far a study is: measurements done and wanted, the seconds that are left (None: not known yet), words."""

    done: int
    total: int
    seconds_left: float | None
    words: str
    finished: tuple[str, int, Point] | None = None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class Study:
    """What is asked for.

    Args:
        folder: everything is kept there.
        plan: how each run goes.
        strategies: random first.
        seeds: each gives every strategy one run.
    """

    folder: Path
    plan: Plan
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]

    @property
    def cache(self) -> Path:
        """Pixels and embeddings."""
        return self.folder / CACHE

    def path_of(self, strategy: str, seed: int) -> Path:
        """The file of one run."""
        return self.folder / RUNS / f"{strategy}-seed-{seed}.json"

    def claim(self, data: ImageSet | None = None) -> None:
        """Write down what makes runs comparable, or compare with what is written.

        Args:
            data: the images, once they are read; before, only what was asked for is compared.

        Raises:
            StudyDiffersError: the folder holds a study with other settings or images, or results of something else.
            NoRoomError: it cannot be written.
        """
        wanted = {"format": _FORMAT, "plan": self.plan.to_json()}
        path = self.folder / STUDY
        held = find_json(path)
        if held is None:
            self._check_is_free()
        else:
            told = {key: held.get(key) for key in wanted}
            _refuse(self.folder, differences(told, json.loads(json.dumps(wanted))))
        if data is None:
            return
        fingerprint = data.fingerprint()
        if held is None:
            write_json(path, wanted | {"images": fingerprint})
        elif held.get("images") != fingerprint:
            _refuse(self.folder, ["the images behind the location have changed"])

    def _check_is_free(self) -> None:
        found = [name for name in (*RESULTS, RUNS) if (self.folder / name).exists()]
        if found:
            raise StudyDiffersError(
                f"{self.folder} holds {', '.join(found)} but no {STUDY}, so they are not from a study that could go "
                "on: choose another --out, or move them away"
            )

    def find_run(self, strategy: str, seed: int) -> RunResult | None:
        """The finished run, or None; a damaged file counts as none."""
        data = find_json(self.path_of(strategy, seed))
        try:
            return None if data is None else run_from_json(data)
        except (KeyError, TypeError):
            return None

    def missing(self) -> list[tuple[str, int]]:
        """Runs still to do; seed by seed, so that what is there early on compares all strategies."""
        return [(name, seed) for seed in self.seeds for name in self.strategies if self.find_run(name, seed) is None]


def _refuse(folder: Path, found: Sequence[str]) -> None:
    if found:
        raise StudyDiffersError(
            f"{folder} holds runs that cannot be compared with these: {'; '.join(found)}. "
            "Give the same options to go on there, or another --out",
            differences=list(found),
        )


def run_study(
    study: Study, data: ImageSet, *, processes: int, device: str = "cpu", on_progress: OnProgress | None = None
) -> list[RunResult]:
    """All runs, those of earlier starts included, strategy by strategy and seed by seed.

    Args:
        data: kept in the study's cache (`read_images`, `ImageSet.write`), where each process maps it.
        processes: run side by side, each in one thread.
        device: of all of them.

    Raises:
        StudyDiffersError: as `Study.claim`.
        InvalidImageSetError, InvalidPlanError: some seed leaves too few images.
        NoRoomError: a result cannot be written; finished runs are kept.
        ProcessLostError: a process died.
    """
    study.claim(data)
    watch = _Watch(study, on_progress)
    missing = study.missing()
    watch.expect(missing)
    if missing:
        embeddings_file = _embeddings(study, data, device, watch) if _wants_embeddings(study) else None
        shared = (study.cache, study.plan, embeddings_file, device)
        crew.work_through(_work, shared, missing, processes, watch.hear)
    found = [study.find_run(name, seed) for name in study.strategies for seed in study.seeds]
    return [one for one in found if one is not None]


def pool_size(data: ImageSet, plan: Plan, seeds: Sequence[int]) -> int:
    """Images that every seed can choose from: the smallest pool, so that all curves have the same labels."""
    if data.brings_test:
        seeds = seeds[:1]
    return min(len(data.split(seed, plan.config.holdout_fraction)[0]) for seed in seeds)


class _Watch:
    """Keeps finished runs and tells how far things are."""

    def __init__(self, study: Study, on_progress: OnProgress | None) -> None:
        self._study, self._on_progress = study, on_progress
        self._pieces: list[tuple[str, int]] = []
        self._points: dict[int, int] = {}
        self._work_done, self._work_total, self._total = 0.0, 0.0, 0
        self._started = time.monotonic()

    def expect(self, pieces: list[tuple[str, int]]) -> None:
        """What is to be done from here on."""
        self._pieces = pieces
        labels = [self._study.plan.labels(name) for name, _ in pieces]
        self._total = sum(map(len, labels))
        self._work_total = sum(_work_of(count) for counts in labels for count in counts)
        self._started = time.monotonic()

    def say(self, done: int, total: int, words: str) -> None:
        """Before the first run."""
        if self._on_progress is not None:
            self._on_progress(Progress(done, total, None, words))
        self._started = time.monotonic()

    def hear(self, news: crew.Told | crew.Done) -> None:
        """What a process says."""
        strategy, seed = self._pieces[news.piece]
        if isinstance(news, crew.Done):
            write_json(self._study.path_of(strategy, seed), run_to_json(news.result))
            self._tell(f"{strategy}, seed {seed}", (strategy, seed, news.result.points[-1]))
            return
        labels: int = news.what
        self._points[news.piece] = self._points.get(news.piece, 0) + 1
        self._work_done += _work_of(labels)
        self._tell(f"{strategy}, seed {seed}: {labels} labels", None)

    def _tell(self, words: str, finished: tuple[str, int, Point] | None) -> None:
        if self._on_progress is None:
            return
        passed = time.monotonic() - self._started
        left = passed * (self._work_total / self._work_done - 1) if self._work_done else None
        self._on_progress(Progress(sum(self._points.values()), self._total, left, words, finished))


def _work_of(labels: int) -> float:
    """About how long a measurement takes, beside others: some of it grows with the labels."""
    return 1 + math.sqrt(labels) / 10


def _work(shared: tuple[Path, Plan, Path | None, str], piece: tuple[str, int], tell: crew.Tell) -> RunResult:
    """One run, in a process of the crew."""
    folder, plan, embeddings_file, device = shared
    data = find_set(folder)
    if data is None:
        raise FileNotFoundError(f"{folder} has lost its images while the study was running; start it again")
    embeddings = None if embeddings_file is None else np.load(embeddings_file, mmap_mode="r")
    return run(Material(data, plan, embeddings, device), *piece, lambda number, point: tell(point.labels))


def _wants_embeddings(study: Study) -> bool:
    """A frozen backbone always; else an empty start that some strategy may use."""
    is_frozen = study.plan.config.training_mode == PROBE
    return is_frozen or (study.plan.initial == 0 and any(STRATEGIES[name].needs_model for name in study.strategies))


def _embeddings(study: Study, data: ImageSet, device: str, watch: _Watch) -> Path:
    """The file with embeddings of all images by the network that saw no label; made once."""
    config = study.plan.config
    network = starting_network(data, config, config.seed)
    path = study.cache / f"embeddings-{backbone_hash(network)[:16]}-{data.fingerprint()[:16]}.npy"
    if not path.is_file():
        with threads_for(data.image_px, torch.device(device)):
            rows = embed(
                network,
                data.pixels,
                device=device,
                precision=precision_of(config),
                on_progress=lambda done, total: watch.say(done, total, "embedding images"),
            )
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as file:
                np.save(file, rows)
            part.replace(path)
        except OSError as error:
            raise no_room(path, error) from error
    return path


def run_to_json(result: RunResult) -> dict[str, Any]:
    """Plain data, as kept and as in the result file."""
    return asdict(result)


def run_from_json(data: Mapping[str, Any]) -> RunResult:
    """The reverse.

    Raises:
        KeyError, TypeError: it is something else.
    """
    points = tuple(Point(**point) for point in data["points"])
    return RunResult(**{**data, "points": points, "picks": tuple(data["picks"]), "uncertain": tuple(data["uncertain"])})
