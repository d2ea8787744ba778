"""The names of scores: what each reads, whether it is normalised, and its function. Filled by the modules of scores."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from al_service.acquisition.arrays import FloatArray
from al_service.errors import InvalidInputError

Needs = Literal["probabilities", "sampled_probabilities", "embeddings", "target_sampled_probabilities"]
ScoreFunction = Callable[..., FloatArray]


class UnknownScoreError(InvalidInputError):
    """No score has this name; the message lists those that exist."""

    code = "unknown_score"


class RepeatedScoreError(InvalidInputError):
    """A score of this name is already registered."""

    code = "repeated_score"


@dataclass(frozen=True)
class Score:
    """A score as registered.

    Attributes:
        name: as stored.
        needs: the array that it reads first.
        function: called with the arrays of `inputs`, in that order; (N,) float64, higher = ask first.
        also: what it reads besides; "target_sampled_probabilities" are those of other samples, all else has N rows.
        is_normalised: whether it lies in [0, 1]. If not, it is at least 0 and means something in comparison only.
    """

    name: str
    needs: Needs
    function: ScoreFunction
    also: tuple[Needs, ...] = ()
    is_normalised: bool = True

    @property
    def inputs(self) -> tuple[Needs, ...]:
        """Names of all arrays that the function takes."""
        return (self.needs, *self.also)


_REGISTRY: dict[str, Score] = {}


def register(
    name: str, needs: Needs, *also: Needs, is_normalised: bool = True
) -> Callable[[ScoreFunction], ScoreFunction]:
    """Decorator that gives a score its stored name.

    Raises:
        RepeatedScoreError: the name is taken.
    """

    def add(function: ScoreFunction) -> ScoreFunction:
        if name in _REGISTRY:
            raise RepeatedScoreError(f"score {name!r} is already registered as {_REGISTRY[name].function.__qualname__}")
        _REGISTRY[name] = Score(name, needs, function, also, is_normalised)
        return function

    return add


def names() -> tuple[str, ...]:
    """Names of all registered scores, in order of registration."""
    return tuple(_REGISTRY)


def get(name: str) -> Score:
    """The score registered under that name.

    Raises:
        UnknownScoreError: no such name.
    """
    if name not in _REGISTRY:
        raise UnknownScoreError(f"unknown score {name!r}; known: {', '.join(_REGISTRY)}", name=name)
    return _REGISTRY[name]
