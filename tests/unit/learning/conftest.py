"""Real images and one trained network, shared by the tests of this folder."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from al_service.learning import networks, training


class Digits:
    """scikit-learn's 8x8 digits as (N, 8, 8, 3) uint8, in a fixed random order."""

    def __init__(self) -> None:
        data = load_digits()
        order = np.random.default_rng(0).permutation(len(data.images))
        grey = (data.images[order] * 255 / 16).astype(np.uint8)
        self.pixels = np.repeat(grey[..., None], 3, axis=3)
        self.class_indices = data.target[order].astype(np.int64)


@pytest.fixture(scope="session")
def digits() -> Digits:
    return Digits()


@pytest.fixture(scope="session")
def training_run(digits: Digits) -> tuple[networks.Network, training.TrainReport]:
    """small_cnn after a short training on the first 200 digits, and what the training reported."""
    network = networks.build("small_cnn", 10, 8)
    config = training.TrainConfig(epochs_max=30)
    return network, training.train(network, digits.pixels[:200], digits.class_indices[:200], config)


@pytest.fixture
def trained(training_run: tuple[networks.Network, training.TrainReport]) -> networks.Network:
    """The trained network; tests must not change its weights."""
    return training_run[0].eval()


@pytest.fixture
def flat(digits) -> tuple[np.ndarray, np.ndarray]:
    """Digits as 64 grey values each, which do as embeddings."""
    return (digits.pixels[..., 0].reshape(len(digits.pixels), 64) / 255).astype(np.float16), digits.class_indices
