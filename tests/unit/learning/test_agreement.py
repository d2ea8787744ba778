"""Cohen's kappa against scikit-learn's, and where it says nothing."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from al_service.errors import InvalidInputError
from al_service.learning.agreement import Agreement, agreement


@pytest.mark.parametrize("seed", range(5))
def test_it_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    first = rng.choice(["cat", "dog", "owl"], 200, p=[0.7, 0.2, 0.1])
    second = np.where(rng.random(200) < 0.8, first, rng.choice(["cat", "dog", "owl", "elk"], 200))
    found = agreement(list(first), list(second))
    assert found.kappa == pytest.approx(cohen_kappa_score(first, second))
    assert found == agreement(list(second), list(first))
    assert (found.share, found.count) == (np.mean(first == second), 200)


def test_the_same_is_one_and_chance_is_zero():
    assert agreement(["a", "b"], ["a", "b"]).kappa == 1
    assert agreement(["a", "a", "b", "b"], ["a", "b", "a", "b"]).kappa == 0
    assert agreement(["a", "b"], ["b", "a"]).kappa == -1


def test_one_class_everywhere_says_nothing():
    assert agreement(["a"] * 9, ["a"] * 9) == Agreement(None, 1.0, 9)
    assert agreement(["a"] * 9, ["b"] * 9).kappa == 0


@pytest.mark.parametrize(("first", "second"), [([], []), (["a"], ["a", "b"])])
def test_lists_must_match(first, second):
    with pytest.raises(InvalidInputError, match="expected as many of both"):
        agreement(first, second)
