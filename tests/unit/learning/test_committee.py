"""Committees: bootstrap without loss of a class, one product for all members, classes by name."""

import numpy as np
import pytest
import torch

from al_service.errors import InvalidInputError
from al_service.learning.committee import (
    Committee,
    InvalidCommitteeError,
    bootstrap_counts,
    fit_committee,
    stack_members,
)
from al_service.learning.probe import InvalidProbeDataError, fit_probe


@pytest.fixture(scope="module")
def flat(digits) -> tuple[np.ndarray, np.ndarray]:
    """Digits as 64 grey values each."""
    return (digits.pixels[..., 0].reshape(len(digits.pixels), 64) / 255).astype(np.float16), digits.class_indices


def test_a_bootstrap_sample_keeps_the_size_of_every_class():
    labels = np.array([0] * 40 + [1] * 5 + [2])
    drawn = [bootstrap_counts(labels, np.random.default_rng(seed)) for seed in range(200)]
    for counts in drawn:
        assert [counts[labels == one].sum() for one in range(3)] == [40, 5, 1]
    left_out = np.mean([(counts[:40] == 0).mean() for counts in drawn])
    assert left_out == pytest.approx((1 - 1 / 40) ** 40, abs=0.01)


def test_members_are_probes_of_their_bootstrap_samples_written_out(flat):
    embeddings, labels = flat[0][:120], flat[1][:120]
    committee = fit_committee(embeddings, labels, 10, members=3, l2=0.1, seed=5)
    for member in range(3):
        counts = bootstrap_counts(labels, np.random.default_rng([5, member])).astype(int)
        rows = np.repeat(np.arange(120), counts)
        copies = fit_probe(embeddings[rows], labels[rows], 10, l2=0.1)
        np.testing.assert_allclose(committee.weights[member], copies.weights, atol=1e-5)
        np.testing.assert_allclose(committee.bias[member], copies.bias, atol=1e-5)


def test_all_members_in_one_product_are_each_member_alone_whatever_the_blocks(flat):
    embeddings, labels = flat
    committee = fit_committee(embeddings[:100], labels[:100], 10, members=4, l2=0.1)
    found = committee.sampled_probabilities(embeddings)
    assert found.shape == (len(embeddings), 4, 10) and found.dtype == np.float32 and len(committee) == 4
    np.testing.assert_allclose(found.sum(2), 1, atol=1e-5)
    for member in range(4):
        logits = embeddings.astype(np.float32) @ committee.weights[member].T + committee.bias[member]
        expected = torch.from_numpy(logits).softmax(1).numpy()
        np.testing.assert_allclose(found[:, member], expected, atol=1e-6)
    np.testing.assert_allclose(committee.sampled_probabilities(torch.from_numpy(embeddings[:7])), found[:7], atol=1e-6)
    assert committee.sampled_probabilities(embeddings[:0]).shape == (0, 4, 10)


def test_members_disagree_where_they_are_wrong_and_fewer_labels_disagree_more(flat):
    embeddings, labels = flat

    def disagreement(count: int) -> tuple[np.ndarray, np.ndarray]:
        found = fit_committee(embeddings[:count], labels[:count], 10, members=8, l2=0.03).sampled_probabilities(
            embeddings[600:]
        )
        mean = found.mean(1)
        return found.std(1).mean(1), mean.argmax(1) != labels[600:]

    few, wrong = disagreement(60)
    many, _ = disagreement(500)
    assert few[wrong].mean() > 1.5 * few[~wrong].mean()
    assert many.mean() < 0.7 * few.mean()


def test_the_same_seed_gives_the_same_members_and_more_members_keep_the_first(flat):
    embeddings, labels = flat[0][:80], flat[1][:80]
    two, three = (fit_committee(embeddings, labels, 10, members=count, l2=0.1, seed=1) for count in (2, 3))
    np.testing.assert_array_equal(three.weights[:2], two.weights)
    assert not np.allclose(two.weights[0], two.weights[1])


def test_a_class_with_one_label_is_known_to_every_member_and_a_missing_one_is_unlikely(flat):
    embeddings, labels = flat
    rows = np.concatenate([np.flatnonzero(labels == 3)[:20], np.flatnonzero(labels == 7)[:1]])
    found = fit_committee(embeddings[rows], labels[rows], 10, members=6).sampled_probabilities(embeddings[rows])
    assert (found[-1, :, 7] > 0.5).all()
    assert found[:, :, [0, 1, 2, 4, 5, 6, 8, 9]].sum(2).max() < 0.06


def test_networks_are_put_side_by_side_by_class_name():
    first, second = np.array([[0.2, 0.8], [1.0, 0.0]]), np.array([[0.1, 0.2, 0.7], [0.0, 0.5, 0.5]])
    found, names = stack_members([first, second], [["cat", "dog"], ["emu", "dog", "cat"]])
    assert names == ("cat", "dog", "emu")
    np.testing.assert_allclose(found[0], [[0.2, 0.8, 0], [0.7, 0.2, 0.1]])
    found, names = stack_members([first], [["cat", "dog"]], ["emu", "dog", "cat"])
    np.testing.assert_allclose(found[:, 0], [[0, 0.8, 0.2], [0, 0, 1]])


def test_what_does_not_fit_is_refused(flat):
    with pytest.raises(InvalidInputError, match="members is 0"):
        fit_committee(flat[0][:20], flat[1][:20], 10, members=0)
    with pytest.raises(InvalidProbeDataError, match=r"expected \(N, 3\)"):
        Committee(np.zeros((2, 4, 3), np.float32), np.zeros((2, 4), np.float32)).sampled_probabilities(np.ones((5, 2)))
    rows = np.full((2, 2), 0.5)
    for arrays, names, wanted, text in (
        ([], [], None, "0 members"),
        ([rows, rows[:1]], [["a", "b"]] * 2, None, "member 1 has outputs"),
        ([rows], [["a", "a"]], None, "1 class names"),
        ([rows], [["a", "b"]], ["a", "c"], "'b'"),
        ([rows], [["a", "b"]], ["a", "b", "b"], "twice"),
    ):
        with pytest.raises(InvalidCommitteeError, match=text):
            stack_members(arrays, names, wanted)
