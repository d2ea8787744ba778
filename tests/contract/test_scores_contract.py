"""What every registered score keeps, whatever it measures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition import scores
from al_service.acquisition.arrays import InvalidArrayError

# Scores of disagreement between passes are 0 where all passes are equally unsure; the others are 1 there.
DISAGREEMENT = {"bald", "mean_std", "variation_ratio"}
every_score = pytest.mark.parametrize("score", [scores.get(name) for name in scores.names()], ids=scores.names())

every_score_of_passes = pytest.mark.parametrize(
    "score",
    [scores.get(name) for name in scores.names() if scores.get(name).needs == "sampled_probabilities"],
    ids=lambda score: score.name,
)


def outputs(score: scores.Score, samples: int, classes: int = 4, passes: int = 5, seed: int = 0) -> np.ndarray:
    """Probabilities from nearly uniform to nearly certain, in the shape that the score reads."""
    rng = np.random.default_rng(seed)
    shape = (samples, classes) if score.needs == "probabilities" else (samples, passes, classes)
    logits = rng.normal(size=shape) * rng.uniform(0.01, 8, size=(samples,) + (1,) * (len(shape) - 1))
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def repeated(score: scores.Score, rows: np.ndarray, passes: int = 5) -> np.ndarray:
    return rows if score.needs == "probabilities" else np.repeat(rows[:, None], passes, axis=1)


@every_score
@given(samples=st.integers(1, 30), classes=st.integers(2, 12), passes=st.integers(1, 7), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_is_in_0_1_and_float64_and_follows_a_permutation(score, samples, classes, passes, seed):
    rows = outputs(score, samples, classes, passes, seed)
    found = score.function(rows)
    order = np.random.default_rng(seed).permutation(samples)
    assert found.shape == (samples,) and found.dtype == np.float64
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_array_equal(score.function(rows[order]), found[order])


@every_score
@given(samples=st.integers(2, 40), cut=st.integers(1, 39), seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_is_the_same_when_the_pool_is_split(score, samples, cut, seed):
    rows = outputs(score, samples, seed=seed)
    cut = min(cut, samples - 1)
    parts = np.concatenate([score.function(rows[:cut]), score.function(rows[cut:])])
    np.testing.assert_allclose(parts, score.function(rows), rtol=0, atol=1e-15)


@every_score
def test_does_not_depend_on_the_order_of_classes(score):
    rows = outputs(score, 20)
    np.testing.assert_allclose(score.function(rows[..., ::-1]), score.function(rows), rtol=0, atol=1e-12)


@every_score
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_is_exactly_0_for_a_certain_model(score, dtype):
    rows = repeated(score, np.eye(6, dtype=dtype))
    np.testing.assert_array_equal(score.function(rows), np.zeros(6))


@every_score
@pytest.mark.parametrize("classes", [2, 3, 7, 10, 1000])
def test_of_a_uniform_row_is_1_or_for_disagreement_0(score, classes):
    rows = repeated(score, np.full((3, classes), 1 / classes, dtype=np.float32))
    expected = 0.0 if score.name in DISAGREEMENT else 1.0
    np.testing.assert_allclose(score.function(rows), np.full(3, expected), atol=1e-6)


@every_score_of_passes
def test_of_contradicting_certain_passes_is_1_except_for_the_expected_entropy(score):
    found = score.function(np.array([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_allclose(found, [0.0 if score.name == "expected_entropy" else 1.0])


@every_score
def test_gives_torch_for_torch_and_numpy_for_numpy_with_equal_values(score):
    rows = outputs(score, 9)
    from_numpy, from_torch = score.function(rows), score.function(torch.from_numpy(rows))
    assert isinstance(from_numpy, np.ndarray)
    assert isinstance(from_torch, torch.Tensor) and from_torch.device == torch.device("cpu")
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())


@every_score
def test_of_an_empty_pool_is_empty(score):
    assert score.function(outputs(score, 0)).shape == (0,)


@every_score
def test_leaves_its_input_alone_and_reads_read_only_arrays(score):
    rows = outputs(score, 9)
    before = rows.copy()
    rows.flags.writeable = False
    score.function(rows)
    np.testing.assert_array_equal(rows, before)


@every_score
def test_refuses_what_is_no_probability_and_names_the_row(score):
    for value, text in ((np.nan, "NaN"), (np.inf, "NaN"), (3.0, "sums to"), (-0.5, "negative")):
        rows = outputs(score, 9)
        rows[(4, 0, 0) if rows.ndim == 3 else (4, 0)] = value
        with pytest.raises(InvalidArrayError, match=r"\[4") as caught:
            score.function(rows)
        assert text in str(caught.value)


@every_score
def test_refuses_logits_one_class_and_other_shapes(score):
    logits = np.log(outputs(score, 5))
    with pytest.raises(InvalidArrayError, match="softmax"):
        score.function(logits)
    with pytest.raises(InvalidArrayError, match="1 classes"):
        score.function(repeated(score, np.ones((3, 1))))
    with pytest.raises(InvalidArrayError, match="shape"):
        score.function(np.ones(3))
    with pytest.raises(InvalidArrayError, match="list"):
        score.function([[0.5, 0.5]])
    with pytest.raises(InvalidArrayError, match="dtype"):
        score.function(outputs(score, 5).astype(complex))
