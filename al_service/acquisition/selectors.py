"""All selectors by name: from scores, probabilities or embeddings to K positions, in order of choice and distinct.

Positions are of the arrays given and stay within this room: strategies turn them into sample ids. Ties go to the lower
position. Each lives in a module of its own, with its paper, its cost and the function for checked tensors that
strategies call; this one collects them, and a contract test runs over every one that is registered here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from al_service.acquisition.badge import badge
from al_service.acquisition.batch_bald import batch_bald
from al_service.acquisition.class_quota import class_quota
from al_service.acquisition.cluster_margin import cluster_margin
from al_service.acquisition.facility_location import facility_location
from al_service.acquisition.herding import herding
from al_service.acquisition.k_center import k_center
from al_service.acquisition.k_means import k_means
from al_service.acquisition.power import power
from al_service.acquisition.prob_cover import prob_cover
from al_service.acquisition.ranking import random_choice, top_k
from al_service.acquisition.two_stage import two_stage
from al_service.acquisition.typiclust import typiclust
from al_service.errors import InvalidInputError

__all__ = [
    "Selector", "badge", "batch_bald", "class_quota", "cluster_margin", "facility_location", "get", "herding",
    "k_center", "k_means", "names", "power", "prob_cover", "random_choice", "top_k", "two_stage", "typiclust",
]  # fmt: skip


class UnknownSelectorError(InvalidInputError):
    """No selector has this name; the message lists those that exist."""

    code = "unknown_selector"


@dataclass(frozen=True)
class Selector:
    """A selector as registered.

    Args:
        name: stored name.
        needs: the arrays that it takes first, in order: scores (N,), probabilities (N, C), embeddings (N, D),
            sampled_probabilities (N, M, C). Then comes k.
        function: gives (k,) int64 positions.
        draws: takes `rng`.
        takes_labelled: takes `labelled`, (L, D) embeddings that are covered already.
    """

    name: str
    needs: tuple[str, ...]
    function: Callable[..., Any]
    draws: bool = False
    takes_labelled: bool = False


_TABLE = (
    Selector("top_k", ("scores",), top_k),
    Selector("power", ("scores",), power, draws=True),
    Selector("k_center", ("embeddings",), k_center, takes_labelled=True),
    Selector("k_means", ("embeddings",), k_means, draws=True),
    Selector("badge", ("probabilities", "embeddings"), badge, draws=True),
    Selector("batch_bald", ("sampled_probabilities",), batch_bald, draws=True),
    Selector("cluster_margin", ("probabilities", "embeddings"), cluster_margin),
    Selector("typiclust", ("embeddings",), typiclust, draws=True, takes_labelled=True),
    Selector("prob_cover", ("embeddings",), prob_cover, takes_labelled=True),
    Selector("herding", ("embeddings",), herding, takes_labelled=True),
    Selector("facility_location", ("embeddings",), facility_location, takes_labelled=True),
    Selector("class_quota", ("probabilities", "scores"), class_quota),
)
_REGISTRY = {selector.name: selector for selector in _TABLE}


def names() -> tuple[str, ...]:
    """Names of all selectors."""
    return tuple(_REGISTRY)


def get(name: str) -> Selector:
    """The selector of that name.

    Raises:
        UnknownSelectorError: no such name.

    >>> import numpy as np
    >>> get("top_k").function(np.array([0.1, 0.9, 0.5]), 2)
    array([1, 2])
    """
    if name not in _REGISTRY:
        raise UnknownSelectorError(f"unknown selector {name!r}; known: {', '.join(_REGISTRY)}", name=name)
    return _REGISTRY[name]
