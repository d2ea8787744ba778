"""One run: a strategy under a seed labels, trains, measures, scores and chooses, until the budget is spent.

Everything follows from the seed: the protected share, the first batch, weights, minibatches, masks, choices. Two
strategies under one seed share split, first batch and first model, so their difference is the strategy's. Training is
the service's own (learning/round_model.py), and so are scoring and the temperature that scores are read at.

Where a model cannot be trained yet (labels of one class), the best guess is that class, and the next batch is chosen as
from an empty start: by a strategy that no model has told anything, on embeddings that do without labels.
"""

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from al_service.acquisition.scored_pool import ScoredPool, first_look_size
from al_service.domain.project_config import ProjectConfig
from al_service.domain.strategy_names import STRATEGIES
from al_service.learning import networks, round_model
from al_service.learning.checkpoints import Checkpoint
from al_service.learning.evaluation import evaluate
from al_service.learning.inference import Inference, embed, head_outputs, predict
from al_service.learning.mc_dropout import drops_in_head_only
from al_service.learning.networks import Network
from al_service.learning.opinions import committee_of
from al_service.learning.probe import Probe, probe_from_head
from al_service.learning.round_model import Examples, Learned, Lesson, Means
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import RANDOM, Plan

PROBE = "probe"
#: Images shown of those that a run's last model is least sure of.
UNCERTAIN = 12
#: Pixels up to here are held in memory by a run.
IN_MEMORY_BYTES = 256 * 2**20
_CLASSES_TO_TRAIN = 2


@dataclass(frozen=True, eq=False)
class Material:
    """What all runs of a study share.

    Args:
        data: the images.
        plan: how runs go.
        embeddings: (N, D) float16 of all images by the network that nobody trained on labels, or None: what a frozen
            backbone stands on, and what an empty start is chosen from.
        device: see learning/device.py.
    """

    data: ImageSet
    plan: Plan
    embeddings: np.ndarray | None = None
    device: str = "cpu"


@dataclass(frozen=True)
class Point:
    """One measurement.

    Args:
        labels: count.
        accuracy, macro_f1: on the images kept aside.
        seconds: train: of the model; score and select: of choosing the batch that led here, 0 where it was drawn.
        selected_per_class: of all labelled images.
        f1_per_class: None for a class that is neither there nor guessed.
        choice: what the strategy said of the batch that led here, such as its regime and why; None where it says
            nothing.
    """

    labels: int
    accuracy: float
    macro_f1: float
    seconds: dict[str, float]
    selected_per_class: dict[str, int]
    f1_per_class: dict[str, float | None]
    choice: dict[str, Any] | None = None


@dataclass(frozen=True)
class RunResult:
    """One curve.

    Args:
        test_images, pool_images: counts.
        picks: sample ids in order of labelling.
        uncertain: of the images left at the end, those that the last model is least sure of: row, guesses, margin.
    """

    strategy: str
    seed: int
    points: tuple[Point, ...]
    pool_images: int
    test_images: int
    picks: tuple[str, ...] = ()
    uncertain: tuple[dict[str, Any], ...] = ()


def run(
    material: Material, strategy: str, seed: int, on_point: Callable[[int, Point], None] = lambda number, point: None
) -> RunResult:
    """The whole curve of a strategy.

    Args:
        seed: of everything; see the module.
        on_point: called after each measurement with its number from 1.

    Raises:
        InvalidImageSetError: the seed leaves nothing to learn from or to measure on.
        TrainingDivergedError, InvalidArrayError: as training and strategies.
    """
    return _Run(material, strategy, seed).to_the_end(on_point)


def round_seed(seed: int, number: int) -> int:
    """Seed of a round, in [0, 2**31)."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0] >> 1)


class _Rows:
    """Some rows of an array, read slice by slice, so that a mapped array is never in memory as a whole."""

    def __init__(self, values: np.ndarray, positions: np.ndarray) -> None:
        self._values, self._positions = values, positions
        self.shape = (len(positions), *values.shape[1:])
        self.dtype = values.dtype

    def __len__(self) -> int:
        return len(self._positions)

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self._values[self._positions[key]])


class _Run:
    def __init__(self, material: Material, strategy: str, seed: int) -> None:
        self.data, self.plan, self.config = material.data, material.plan, material.plan.config
        self.material, self.strategy, self.seed = material, strategy, seed
        self.needs = STRATEGIES[strategy]
        self.is_frozen = self.config.training_mode == PROBE
        self.pool, self.test = self.data.split(seed, self.config.holdout_fraction)
        self.labelled = np.empty(0, np.int64)
        self.network: Network | None = None  # its head is calibrated
        self.previous: Checkpoint | None = None
        self.start: Probe | None = None
        self.seconds = {"train": 0.0, "score": 0.0, "select": 0.0}
        self.choice: dict[str, Any] | None = None

    def to_the_end(self, on_point: Callable[[int, Point], None]) -> RunResult:
        points: list[Point] = []
        for number, count in enumerate(self.plan.labels(self.strategy)):
            self.seconds = {"train": 0.0, "score": 0.0, "select": 0.0}
            self._label(min(count, len(self.pool)) - len(self.labelled), number)
            points.append(self._measured(number))
            on_point(number + 1, points[-1])
        return RunResult(
            strategy=self.strategy,
            seed=self.seed,
            points=tuple(points),
            pool_images=len(self.pool),
            test_images=len(self.test),
            picks=tuple(self.data.sample_ids[row] for row in self.labelled.tolist()),
            uncertain=self._uncertain(len(points)),
        )

    # -- choose --------------------------------------------------------------------------------------------------

    def _label(self, count: int, number: int) -> None:
        """The next rows: at random at first, where the plan says so; by the strategy otherwise."""
        if number == 0 and self.plan.initial:
            chosen = np.random.default_rng([self.seed, 0]).permutation(self.pool)[:count]
        else:
            chosen = self._chosen(count, number)
        self.labelled = np.concatenate([self.labelled, chosen])

    def _chosen(self, count: int, number: int) -> np.ndarray:
        started = time.perf_counter()
        free = np.setdiff1d(self.pool, self.labelled)
        scored = self._scored(free, round_seed(self.seed, number))
        self.seconds["score"] = time.perf_counter() - started
        started = time.perf_counter()
        selection = scored.choose(
            self.strategy, count, seed=round_seed(self.seed, number), **self.config.selection_options
        )
        self.seconds["select"] = time.perf_counter() - started
        self.choice = dict(selection.facts) or None
        return np.array(selection.sample_ids, np.int64)

    def _scored(self, free: np.ndarray, seed: int) -> ScoredPool:
        if not self.needs.needs_model:
            return ScoredPool(free)
        if self.network is None:
            return self._first_look(free) if self.needs.cold_start else ScoredPool(free)
        outputs = self._opinions(free, seed) if self.needs.needs_sampled else self._outputs(free, 0, seed)
        labelled = self._outputs(self.labelled, 0, seed).embeddings if self.needs.needs_embeddings else None
        return ScoredPool(
            free,
            outputs.probabilities,
            outputs.embeddings if self.needs.needs_embeddings else None,
            outputs.sampled_probabilities,
            labelled_embeddings=labelled,
        )

    def _first_look(self, free: np.ndarray) -> ScoredPool:
        """What a strategy with a cold start sees before there is a model, as in the service's first round."""
        known, labelled = self.material.embeddings, self.labelled
        most = first_look_size(self.plan.batch)
        looked_at = np.sort(np.random.default_rng([self.seed, 1]).permutation(free)[:most])
        if known is None:
            network = starting_network(self.data, self.config, self.seed)
            pixels = pixels_at(self.data, np.concatenate([looked_at, labelled]))
            both = embed(network, pixels, device=self.material.device, precision=precision_of(self.config))
            rows, seen = both[: len(looked_at)], both[len(looked_at) :]
        else:
            rows, seen = np.asarray(known[looked_at]), np.asarray(known[labelled])
        return ScoredPool(looked_at, embeddings=rows, labelled_embeddings=seen if len(labelled) else None)

    def _opinions(self, rows: np.ndarray, seed: int) -> Inference:
        """Outputs with those of dropout passes or of a committee, as the settings say."""
        if self.config.committee == "dropout":
            return self._outputs(rows, self.config.mc_passes, seed)
        outputs, labelled = self._outputs(rows, 0, seed), self._outputs(self.labelled, 0, seed).embeddings
        indices = self.data.class_indices[self.labelled]
        committee = committee_of(self.config, labelled, indices, len(self.data.class_names), seed=seed)
        return replace(outputs, sampled_probabilities=committee.sampled_probabilities(outputs.embeddings))

    def _outputs(self, rows: np.ndarray, passes: int, seed: int) -> Inference:
        assert self.network is not None
        if self.is_frozen and (not passes or drops_in_head_only(self.network)):
            return head_outputs(
                self.network, self._values(rows), mc_passes=passes, seed=seed, device=self.material.device
            )
        return predict(
            self.network,
            pixels_at(self.data, rows),
            mc_passes=passes,
            seed=seed,
            device=self.material.device,
            precision=precision_of(self.config),
        )

    # -- learn ---------------------------------------------------------------------------------------------------

    def _measured(self, number: int) -> Point:
        started = time.perf_counter()
        classes = np.unique(self.data.class_indices[self.labelled])
        if len(classes) < _CLASSES_TO_TRAIN:
            self.network = None
            metrics = self._of_one_class(int(classes[0]))
        else:
            learned = self._learned(number)
            metrics = learned.metrics
            self._keep(learned, round_seed(self.seed, number))
        self.seconds["train"] = time.perf_counter() - started
        return Point(
            labels=len(self.labelled),
            accuracy=float(metrics["accuracy"]),
            macro_f1=float(metrics["macro_f1"]),
            seconds={name: round(value, 4) for name, value in self.seconds.items()},
            selected_per_class=self.data.per_class(self.labelled),
            f1_per_class={name: one["f1"] for name, one in metrics["per_class"].items()},
            choice=self.choice,
        )

    def _learned(self, number: int) -> Learned:
        config, seed = self.config, round_seed(self.seed, number)
        network = starting_network(self.data, config, config.seed if self.is_frozen else seed)
        lesson = Lesson(
            config=config,
            class_names=self.data.class_names,
            seed=seed,
            labelled=self._examples(self.labelled),
            evaluation=self._examples(self.test),
            unlabelled=self._unlabelled(),
            previous=self.previous,
            start=self.start,
        )
        learn = round_model.fit_head if self.is_frozen else round_model.finetune
        return learn(lesson, network, self._means())

    def _means(self) -> Means:
        # The labels are the truth here: nobody asks how many of them are wrong.
        return Means(device=self.material.device, precision=precision_of(self.config), looks_for_wrong_labels=False)

    def _keep(self, learned: Learned, seed: int) -> None:
        """The model that scores: calibrated, as the service's is."""
        config, self.network = self.config, learned.network
        head = self.network.head.linear
        if self.is_frozen:
            self.start = probe_from_head(head.weight.detach().clone(), head.bias.detach().clone())
        elif config.warm_start != "none" or config.curriculum != "none":
            self.previous = Checkpoint(copy.deepcopy(self.network), self.data.class_names, seed)
        with torch.no_grad():
            head.weight.div_(learned.temperature)
            head.bias.div_(learned.temperature)

    def _unlabelled(self) -> Any:
        wanted = "label_spreading" if self.is_frozen else "pseudo_labels"
        free = np.setdiff1d(self.pool, self.labelled)
        return self._values(free) if self.config.semi_supervised == wanted and len(free) else None

    def _examples(self, rows: np.ndarray) -> Examples:
        return Examples(self._values(rows), self.data.class_indices[rows])

    def _values(self, rows: np.ndarray) -> Any:
        if not self.is_frozen:
            return pixels_at(self.data, rows)
        assert self.material.embeddings is not None
        return np.asarray(self.material.embeddings[rows])

    def _of_one_class(self, class_index: int) -> dict[str, Any]:
        """Metrics of always guessing the one class that is known."""
        guesses = np.zeros((len(self.test), self.data.class_count))
        guesses[:, class_index] = 1.0
        found = evaluate(guesses, self.data.class_indices[self.test])
        per_class = {name: vars(one) for name, one in zip(self.data.class_names, found.per_class, strict=True)}
        return {"accuracy": found.accuracy, "macro_f1": found.macro_f1, "per_class": per_class}

    # -- look ----------------------------------------------------------------------------------------------------

    def _uncertain(self, number: int) -> tuple[dict[str, Any], ...]:
        """What the last model is least sure of among the images left."""
        free = np.setdiff1d(self.pool, self.labelled)
        if self.network is None or not len(free) or self.strategy == RANDOM:
            return ()
        probabilities = self._outputs(free, 0, round_seed(self.seed, number)).probabilities
        order = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
        best = np.take_along_axis(probabilities, order, axis=1)  # (n, C) -> (n, 2)
        least = np.argsort(best[:, 0] - best[:, 1], kind="stable")[:UNCERTAIN]
        names, classes = self.data.class_names, self.data.class_indices
        return tuple(
            {
                "row": int(free[at]),
                "sample_id": self.data.sample_ids[free[at]],
                "class_name": names[classes[free[at]]],
                "guesses": [{"class_name": names[order[at, k]], "probability": float(best[at, k])} for k in (0, 1)],
            }
            for at in least.tolist()
        )


def pixels_at(data: ImageSet, rows: np.ndarray) -> Any:
    """The pixels of these rows: in memory where they are few, else read piece by piece."""
    wanted = _Rows(data.pixels, rows)
    return wanted[:] if len(rows) * data.image_px**2 * 3 <= IN_MEMORY_BYTES else wanted


def starting_network(data: ImageSet, config: ProjectConfig, seed: int) -> Network:
    """The network before it sees a label."""
    return networks.build(config.network, data.class_count, data.image_px, weights=config.weights, seed=seed)


def precision_of(config: ProjectConfig) -> str:
    """How exactly networks compute, as `inference.predict` takes it."""
    return "float32" if config.mixed_precision == "off" else "auto"
