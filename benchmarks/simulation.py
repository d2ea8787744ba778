"""One simulated project: label, train, measure, score, choose, again; learning and acquisition alone, no service.

Everything follows from the seed: protected split, first random batch, weights, minibatches, masks, choices. Two
strategies under one seed start from the same batch and the same first model, so their difference is the strategy's.
"""

from dataclasses import dataclass

import numpy as np

from al_service.acquisition.scored_pool import ScoredPool
from al_service.domain.project_config import ProjectConfig
from al_service.domain.strategy_names import STRATEGIES
from al_service.learning import networks, training
from al_service.learning.inference import predict
from al_service.loop.rounds import round_seed
from benchmarks.image_sets import ImageSet


@dataclass(frozen=True)
class Plan:
    """How a simulated project goes.

    Args:
        labels: after each round, rising; the first batch is drawn at random.
        config: the project's settings; the strategy's name comes with each run.
    """

    labels: tuple[int, ...]
    config: ProjectConfig = ProjectConfig()


@dataclass(frozen=True)
class Curve:
    """What came out: accuracy on the protected split at each count of labels."""

    strategy: str
    seed: int
    labels: tuple[int, ...]
    accuracy: tuple[float, ...]


class Simulation:
    """One seed's project; `curve` runs one strategy from the start that all share."""

    def __init__(self, data: ImageSet, plan: Plan, seed: int) -> None:
        protected = data.protected(seed)
        self._data, self._plan, self._seed = data, plan, seed
        self._pool, self._evaluation = np.flatnonzero(~protected), np.flatnonzero(protected)

    def curve(self, strategy: str) -> Curve:
        """Accuracy at each count of labels of the plan."""
        counts = self._plan.labels
        labelled = np.random.default_rng([self._seed, 0]).permutation(self._pool)[: counts[0]]
        network = self._train(labelled, 0)
        accuracy = [self._accuracy(network)]
        for number, count in enumerate(counts[1:], start=1):
            labelled = np.concatenate([labelled, self._choose(strategy, network, labelled, count, number)])
            network = self._train(labelled, number)
            accuracy.append(self._accuracy(network))
        return Curve(strategy, self._seed, counts, tuple(accuracy))

    def _train(self, labelled: np.ndarray, number: int) -> networks.Network:
        data, config, seed = self._data, self._plan.config, round_seed(self._seed, number)
        network = networks.build(config.network, data.class_count, data.image_px, weights=config.weights, seed=seed)
        how = training.TrainConfig(
            epochs_max=config.epochs_max,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            minibatch_size=config.minibatch_size,
            augment=config.augment,
            seed=seed,
        )
        training.train(network, data.pixels[labelled], data.class_indices[labelled], how)
        return network

    def _accuracy(self, network: networks.Network) -> float:
        likeliest = predict(network, self._data.pixels[self._evaluation]).probabilities.argmax(1)
        return float((likeliest == self._data.class_indices[self._evaluation]).mean())

    def _choose(
        self, strategy: str, network: networks.Network, labelled: np.ndarray, count: int, number: int
    ) -> np.ndarray:
        """The next rows of the data to label."""
        free = np.setdiff1d(self._pool, labelled)
        needs, config, seed = STRATEGIES[strategy], self._plan.config, round_seed(self._seed, number)
        pool = ScoredPool(free)
        if needs.needs_model:
            passes = config.mc_passes if needs.needs_sampled else 0
            outputs = predict(network, self._data.pixels[free], mc_passes=passes, seed=seed)
            known = predict(network, self._data.pixels[labelled]).embeddings if needs.needs_embeddings else None
            pool = ScoredPool(
                free,
                outputs.probabilities,
                outputs.embeddings,
                outputs.sampled_probabilities,
                labelled_embeddings=known,
            )
        size = count - len(labelled)
        chosen = pool.choose(strategy, size, seed=seed, random_fraction=config.random_fraction)
        return np.array(chosen.sample_ids, np.int64)
