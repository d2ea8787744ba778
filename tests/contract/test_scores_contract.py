"""What every registered score keeps, whatever it measures."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition import scores
from al_service.acquisition.arrays import CHUNK_ELEMENTS, InvalidArrayError

# Scores of disagreement between passes are 0 where all passes are equally unsure; the others are 1 there.
DISAGREEMENT = {"bald", "mean_std", "variation_ratio", "vote_entropy", "mean_kl", "dropquery", "epig"}
# With more than one array, block products put the last digits of a row elsewhere, by where the row stands.
DIGITS = {"epig": 2e-13}
WIDTH, TARGETS = 6, 3
every_score = pytest.mark.parametrize("score", [scores.get(name) for name in scores.names()], ids=scores.names())

every_score_of_passes = pytest.mark.parametrize(
    "score",
    [scores.get(name) for name in scores.names() if scores.get(name).inputs == ("sampled_probabilities",)],
    ids=lambda score: score.name,
)

Arrays = dict[str, np.ndarray]


def logits_of(score: scores.Score, samples: int, classes: int = 4, passes: int = 5, seed: int = 0) -> Arrays:
    """What the score reads, with logits for probabilities: from nearly uniform to nearly certain."""
    rng = np.random.default_rng(seed)
    shapes = {
        "probabilities": (samples, classes),
        "sampled_probabilities": (samples, passes, classes),
        "target_sampled_probabilities": (TARGETS, passes, classes),
    }
    found = {}
    for name in score.inputs:
        if name == "embeddings":
            found[name] = rng.normal(size=(samples, WIDTH))
        else:
            sharpness = rng.uniform(0.01, 8, size=(shapes[name][0],) + (1,) * (len(shapes[name]) - 1))
            found[name] = rng.normal(size=shapes[name]) * sharpness
    return found


def softmax(logits: Arrays) -> Arrays:
    def rows(values: np.ndarray) -> np.ndarray:
        exponentials = np.exp(values - values.max(-1, keepdims=True, initial=-np.inf))
        return exponentials / exponentials.sum(-1, keepdims=True)

    return {name: values if name == "embeddings" else rows(values) for name, values in logits.items()}


def outputs(score: scores.Score, samples: int, classes: int = 4, passes: int = 5, seed: int = 0) -> Arrays:
    """Probabilities, and whatever else the score reads, by name and in the order in which it reads them."""
    return softmax(logits_of(score, samples, classes, passes, seed))


def repeated(score: scores.Score, rows: np.ndarray, passes: int = 5) -> Arrays:
    """The same rows for every array of probabilities, in every pass."""
    arrays: Arrays = {}
    for name in score.inputs:
        if name == "embeddings":
            arrays[name] = np.ones((len(rows), WIDTH))
        else:
            arrays[name] = rows if name == "probabilities" else np.repeat(rows[:, None], passes, axis=1)
    return arrays


def at(arrays: Arrays, rows: np.ndarray | slice) -> Arrays:
    """Some of the samples; the targets stay."""
    return {name: values if name.startswith("target") else values[rows] for name, values in arrays.items()}


def applied(score: scores.Score, arrays: Arrays):
    return score.function(*arrays.values())


@every_score
@given(samples=st.integers(1, 30), classes=st.integers(2, 12), passes=st.integers(1, 7), seed=st.integers(0, 2**16))
@settings(max_examples=25, deadline=None)
def test_is_in_range_and_float64_and_follows_a_permutation(score, samples, classes, passes, seed):
    arrays = outputs(score, samples, classes, passes, seed)
    found = applied(score, arrays)
    order = np.random.default_rng(seed).permutation(samples)
    assert found.shape == (samples,) and found.dtype == np.float64
    assert np.isfinite(found).all() and (found >= 0).all()
    assert not score.is_normalised or (found <= 1).all()
    permuted = applied(score, at(arrays, order))
    np.testing.assert_allclose(permuted, found[order], rtol=0, atol=DIGITS.get(score.name, 0))


@every_score
@given(samples=st.integers(0, 20), classes=st.integers(2, 12), passes=st.integers(1, 7), seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_of_logits_is_the_score_of_their_probabilities(score, samples, classes, passes, seed):
    logits = logits_of(score, samples, classes, passes, seed)
    found = scores.from_logits(score.name, *logits.values())
    np.testing.assert_allclose(found, applied(score, softmax(logits)), rtol=1e-12, atol=1e-12)


@every_score
@given(samples=st.integers(2, 40), cut=st.integers(1, 39), seed=st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_is_the_same_when_the_pool_is_split(score, samples, cut, seed):
    arrays = outputs(score, samples, seed=seed)
    cut = min(cut, samples - 1)
    parts = [applied(score, at(arrays, slice(cut))), applied(score, at(arrays, slice(cut, None)))]
    tolerance = DIGITS.get(score.name, 1e-15)
    np.testing.assert_allclose(np.concatenate(parts), applied(score, arrays), rtol=0, atol=tolerance)


@every_score
@pytest.mark.parametrize("classes", [5, 900])
def test_is_the_same_over_a_pool_of_several_chunks(score, classes):
    classes = 5 if score.name == "epig" else classes  # its cost is the square of the classes
    samples = CHUNK_ELEMENTS // (classes * 4) + 3
    few = outputs(score, 3, classes, passes=4)
    arrays = {
        name: values if name.startswith("target") else np.concatenate([values[:1]] * (samples - 2) + [values[1:]])
        for name, values in few.items()
    }
    found, expected = applied(score, arrays), applied(score, few)
    tolerance = DIGITS.get(score.name, 1e-15)
    np.testing.assert_allclose(found[-2:], expected[1:], rtol=0, atol=tolerance)
    np.testing.assert_allclose(found[:-2], expected[0], rtol=0, atol=tolerance)


@every_score
def test_does_not_depend_on_the_order_of_classes(score):
    arrays = outputs(score, 20)
    turned = {name: values if name == "embeddings" else values[..., ::-1] for name, values in arrays.items()}
    np.testing.assert_allclose(applied(score, turned), applied(score, arrays), rtol=0, atol=1e-12)


@every_score
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_is_exactly_0_for_a_certain_model(score, dtype):
    np.testing.assert_array_equal(applied(score, repeated(score, np.eye(6, dtype=dtype))), np.zeros(6))


@every_score
@pytest.mark.parametrize("classes", [2, 3, 7, 10, 1000])
def test_of_a_uniform_row_is_1_or_for_disagreement_0(score, classes):
    found = applied(score, repeated(score, np.full((3, classes), 1 / classes, dtype=np.float32)))
    if score.name in DISAGREEMENT:
        np.testing.assert_allclose(found, np.zeros(3), atol=1e-13)
    elif score.is_normalised:
        np.testing.assert_allclose(found, np.ones(3), atol=1e-13)
    else:
        np.testing.assert_allclose(found, np.sqrt(1 - 1 / classes) * np.sqrt(WIDTH), rtol=1e-12)


@every_score_of_passes
def test_of_contradicting_certain_passes_is_1_except_for_the_expected_entropy(score):
    found = score.function(np.array([[[1.0, 0.0], [0.0, 1.0]]]))
    np.testing.assert_allclose(found, [0.0 if score.name == "expected_entropy" else 1.0])


@every_score
def test_gives_torch_for_torch_and_numpy_for_numpy_with_equal_values(score):
    arrays = outputs(score, 9)
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    from_numpy, from_torch = applied(score, arrays), applied(score, tensors)
    assert isinstance(from_numpy, np.ndarray)
    assert isinstance(from_torch, torch.Tensor) and from_torch.device == torch.device("cpu")
    np.testing.assert_array_equal(from_numpy, from_torch.numpy())


@every_score
def test_of_an_empty_pool_is_empty(score):
    assert applied(score, outputs(score, 0)).shape == (0,)


@every_score
def test_leaves_its_input_alone_and_reads_read_only_arrays(score):
    arrays = outputs(score, 9)
    before = {name: values.copy() for name, values in arrays.items()}
    writable = applied(score, arrays)
    for values in arrays.values():
        values.flags.writeable = False
    np.testing.assert_array_equal(applied(score, arrays), writable)
    for name, values in before.items():
        np.testing.assert_array_equal(arrays[name], values)


@every_score
def test_refuses_what_is_no_probability_and_names_the_row(score):
    for value, text in ((np.nan, "NaN"), (np.inf, "NaN"), (3.0, "sums to"), (-0.5, "negative")):
        for name in score.inputs:
            arrays = outputs(score, 9)
            row = 1 if name.startswith("target") else 4
            arrays[name][(row, 0, 0) if arrays[name].ndim == 3 else (row, 0)] = value
            if name == "embeddings" and np.isfinite(value):
                continue
            with pytest.raises(InvalidArrayError, match=rf"{name}\[{row}") as caught:
                applied(score, arrays)
            assert text in str(caught.value)


@every_score
def test_refuses_logits_one_class_and_other_shapes(score):
    arrays = outputs(score, 5)
    others = list(arrays.values())[1:]
    logits = np.log(arrays[score.needs])
    with pytest.raises(InvalidArrayError, match="softmax"):
        score.function(logits, *others)
    with pytest.raises(InvalidArrayError, match="1 classes"):
        score.function(repeated(score, np.ones((5, 1)))[score.needs], *others)
    with pytest.raises(InvalidArrayError, match="shape"):
        score.function(np.ones(5), *others)
    with pytest.raises(InvalidArrayError, match="list"):
        score.function([[0.5, 0.5]], *others)
    with pytest.raises(InvalidArrayError, match="dtype"):
        score.function(arrays[score.needs].astype(complex), *others)
