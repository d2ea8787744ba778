"""The posterior of the head: the prior where labels say nothing, tighter with labels, centred on the probe."""

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning.laplace import fit_laplace
from al_service.learning.probe import InvalidProbeDataError, fit_probe, probe_from_head


@pytest.fixture(scope="module")
def flat(digits) -> tuple[np.ndarray, np.ndarray]:
    """Digits as 64 grey values each."""
    return (digits.pixels[..., 0].reshape(len(digits.pixels), 64) / 255).astype(np.float16), digits.class_indices


def spread(found: np.ndarray) -> float:
    return float(found.std(1).mean())


@pytest.mark.parametrize("form", ["exact", "kronecker"])
def test_more_labels_tighten_the_samples(flat, form):
    embeddings, labels = flat
    spreads = []
    for count in (50, 200, 1000):
        probe = fit_probe(embeddings[:count], labels[:count], 10, l2=5 / count)
        posterior = fit_laplace(probe, embeddings[:count], form=form)
        spreads.append(spread(posterior.sample(30).sampled_probabilities(embeddings[1200:])))
    assert spreads[0] > 1.3 * spreads[1] > 1.5 * spreads[2]


@pytest.mark.parametrize("form", ["exact", "kronecker"])
def test_where_labels_say_nothing_the_posterior_is_the_prior(form):
    rng = np.random.default_rng(0)
    samples = rng.normal(size=(9, 40))
    probe = fit_probe(samples, np.arange(9) % 3, 3, l2=0.5)
    posterior = fit_laplace(probe, samples, form=form)
    assert posterior.prior_precision == pytest.approx(9 * 0.5)
    heads = posterior.sample(3000)
    scale = samples.std(0)
    away = np.linalg.svd((samples - samples.mean(0)) / scale)[2][-5:]  # directions in which no two samples differ
    along = (heads.weights - probe.weights) * scale @ away.T
    np.testing.assert_allclose(along.std(0), 1 / np.sqrt(9 * 0.5), rtol=0.08)
    equal = np.ones((8, 4))
    heads = fit_laplace(fit_probe(equal, np.arange(8) % 2, 2, l2=0.5), equal, form=form).sample(3000)
    np.testing.assert_allclose(heads.weights.std(0), 1 / np.sqrt(8 * 0.5), rtol=0.08)


@pytest.mark.parametrize("form", ["exact", "kronecker"])
def test_the_mean_of_heads_is_the_probe_and_their_answers_agree_with_it(flat, form):
    embeddings, labels = flat[0][:400], flat[1][:400]
    probe = fit_probe(embeddings, labels, 10, l2=0.02)
    heads = fit_laplace(probe, embeddings, form=form).sample(200)
    off = (heads.weights.mean(0) - probe.weights) / (heads.weights.std(0) / np.sqrt(200) + 1e-12)
    assert np.abs(off).max() < 6
    tests = flat[0][1200:]
    mean, alone = heads.sampled_probabilities(tests).mean(1), probe.probabilities(tests)
    assert (mean.argmax(1) == alone.argmax(1)).mean() > 0.97
    assert mean.max(1).mean() < alone.max(1).mean()  # an average over heads is less sure than the best one


def test_heads_differ_most_where_the_probe_errs(flat):
    embeddings, labels = flat
    probe = fit_probe(embeddings[:200], labels[:200], 10, l2=0.03)
    found = fit_laplace(probe, embeddings[:200]).sample(40).sampled_probabilities(embeddings[600:])
    wrong = probe.probabilities(embeddings[600:]).argmax(1) != labels[600:]
    spreads = found.std(1).mean(1)
    assert spreads[wrong].mean() > 1.15 * spreads[~wrong].mean()


def test_seeds_and_the_sum_of_biases(flat):
    embeddings, labels = flat[0][:100], flat[1][:100]
    posterior = fit_laplace(fit_probe(embeddings, labels, 10, l2=0.1), embeddings)
    two, three = posterior.sample(2, seed=3), posterior.sample(3, seed=3)
    np.testing.assert_array_equal(three.weights[:2], two.weights)
    assert not np.array_equal(posterior.sample(2, seed=4).weights, two.weights)
    np.testing.assert_allclose(three.bias.sum(1), posterior.probe.bias.sum(), atol=1e-3)


def test_the_form_follows_the_size(flat):
    rng = np.random.default_rng(1)
    wide = rng.normal(size=(80, 700))
    labels = np.arange(80) % 10
    assert fit_laplace(fit_probe(wide, labels, 10, l2=1.0), wide).form == "exact"  # 10 x 81 numbers: few labels
    probe = probe_from_head(torch.zeros(100, 700), torch.zeros(100))
    posterior = fit_laplace(probe, wide, l2=0.1)
    assert posterior.form == "kronecker"
    assert posterior.sample(2).weights.shape == (2, 100, 700)


def test_labels_of_weight_0_count_for_nothing(flat):
    embeddings, labels = flat[0][:100], flat[1][:100]
    probe = fit_probe(embeddings, labels, 10, l2=0.1)
    weights = (np.arange(100) < 60).astype(float)
    part = fit_laplace(probe, embeddings, sample_weights=weights).sample(2)
    np.testing.assert_allclose(part.weights, fit_laplace(probe, embeddings[:60]).sample(2).weights)


def test_wrong_input_is_refused(flat):
    embeddings, labels = flat[0][:30], flat[1][:30]
    probe = fit_probe(embeddings, labels, 10, l2=0.1)
    with pytest.raises(InvalidProbeDataError, match=r"\(L, 64\)"):
        fit_laplace(probe, embeddings[:, :5])
    with pytest.raises(InvalidProbeDataError, match="NaN"):
        fit_laplace(probe, np.full((3, 64), np.nan))
    with pytest.raises(InvalidProbeDataError, match=r"expected \(30,\)"):
        fit_laplace(probe, embeddings, sample_weights=np.zeros(30))
    with pytest.raises(InvalidInputError, match="stored head"):
        fit_laplace(probe_from_head(torch.zeros(10, 64), torch.zeros(10)), embeddings)
    with pytest.raises(InvalidInputError, match="kronecker"):
        fit_laplace(probe, embeddings, form="diagonal")
    with pytest.raises(InvalidInputError, match="members is 0"):
        fit_laplace(probe, embeddings).sample(0)
