"""A curriculum grows, ends with everything, never loses a class, and takes the easy ones first where told so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.learning import networks, training
from al_service.learning.curriculum import (
    ORDERS,
    PACINGS,
    Curriculum,
    InvalidCurriculumError,
    entropy_difficulty,
    share_in_play,
)

labelled_sets = st.integers(1, 80).flatmap(
    lambda count: st.tuples(
        st.lists(st.floats(-5, 5), min_size=count, max_size=count),
        st.lists(st.integers(0, 4), min_size=count, max_size=count),
    )
)


@given(
    labelled=labelled_sets,
    order=st.sampled_from(ORDERS),
    pacing=st.sampled_from(PACINGS),
    epochs_max=st.integers(1, 30),
)
def test_it_grows_ends_with_all_and_always_has_every_class(labelled, order, pacing, epochs_max):
    difficulty, labels = map(np.array, labelled)
    curriculum = Curriculum(difficulty, labels, order=order, pacing=pacing, epochs_max=epochs_max)
    rng = np.random.default_rng(0)
    before: set[int] = set()
    for epoch in range(1, epochs_max + 1):
        rows = curriculum(epoch, rng).tolist()
        assert len(set(rows)) == len(rows) and before <= set(rows)
        assert set(labels[rows]) == set(labels)
        before = set(rows)
        if epoch > epochs_max / 2 + 1:
            assert len(rows) == len(labels)
        assert (len(rows) == len(labels)) >= (epoch >= curriculum.whole_from_epoch)
    assert before == set(range(len(labels)))


@given(labelled=labelled_sets, pacing=st.sampled_from(PACINGS), seed=st.integers(0, 1000))
def test_what_is_in_play_is_easier_or_harder_than_what_is_not(labelled, pacing, seed):
    difficulty, labels = map(np.array, labelled)
    for order, sign in (("easy_first", 1), ("hard_first", -1)):
        curriculum = Curriculum(difficulty, labels, order=order, pacing=pacing, epochs_max=10, seed=seed)
        rows = curriculum(2, np.random.default_rng(0))
        for one in np.unique(labels):
            of_class = np.flatnonzero(labels == one)
            inside = np.intersect1d(of_class, rows)
            outside = np.setdiff1d(of_class, rows)
            if len(outside):
                assert (sign * difficulty[inside]).max() <= (sign * difficulty[outside]).min()


@given(labelled=labelled_sets, epoch=st.integers(1, 10), seed=st.integers(0, 1000))
def test_random_order_does_not_look_at_the_difficulty(labelled, epoch, seed):
    difficulty, labels = map(np.array, labelled)
    first, second = (
        Curriculum(values, labels, order="random_order", pacing="linear", epochs_max=10, seed=seed)
        for values in (difficulty, difficulty[::-1] ** 2)
    )
    assert first(epoch, np.random.default_rng(1)).tolist() == second(epoch, np.random.default_rng(1)).tolist()


def test_equal_seeds_give_equal_rows_and_other_seeds_other_ties():
    arguments = {"order": "easy_first", "pacing": "step", "epochs_max": 10}
    first, again, other = (
        Curriculum(np.zeros(50), np.zeros(50, int), **arguments, seed=seed)(1, np.random.default_rng(0))
        for seed in (0, 0, 1)
    )
    assert first.tolist() == again.tolist() and len(first) == 10
    assert set(first) != set(other)


def test_pacings_start_at_a_fifth_and_root_is_ahead_of_linear_ahead_of_step():
    shares = {pacing: [share_in_play(epoch, 20, pacing) for epoch in range(1, 21)] for pacing in PACINGS}
    for found in shares.values():
        assert found[0] == pytest.approx(0.2) and found[10:] == [1] * 10 and found == sorted(found)
    assert all(
        root > linear > step
        for root, linear, step in zip(shares["root"][1:10], shares["linear"][1:10], shares["step"][1:10], strict=True)
    )
    assert Curriculum([0.0], [0], order="easy_first", pacing="root", epochs_max=20).whole_from_epoch == 11
    assert share_in_play(1, 1, "step") == 1 and share_in_play(2, 2, "step") == 1


def test_difficulties():
    rows = np.array([[0.25] * 4, [1, 0, 0, 0], [0.7, 0.1, 0.1, 0.1]])
    hardness = entropy_difficulty(rows)
    assert hardness[0] == 1 and hardness[1] == 0 and 0 < hardness[2] < 1
    assert entropy_difficulty(np.ones((3, 1))).tolist() == [0, 0, 0]
    assert entropy_difficulty(np.empty((0, 4))).tolist() == []


def test_training_takes_it(digits):
    labels = digits.class_indices[:60]
    curriculum = Curriculum(np.arange(60.0), labels, order="easy_first", pacing="root", epochs_max=4)
    network = networks.build("small_cnn", 10, 8)
    config = training.TrainConfig(epochs_max=4, patience=4)
    report = training.train(network, digits.pixels[:60], labels, config, order=curriculum, record_samples=True)
    assert report.epochs == 4 and report.samples is not None
    # Every class's easiest row was there from the start, its hardest only at the end.
    for one in np.unique(labels):
        of_class = np.flatnonzero(labels == one)
        assert report.samples.visits[of_class[0]] > report.samples.visits[of_class[-1]] > 0


def test_what_does_not_fit_is_refused():
    good = {"order": "easy_first", "pacing": "linear", "epochs_max": 5}
    labels = np.zeros(3, int)
    for difficulty, class_indices, changes, text in (
        (np.zeros(3), labels, {"order": "none"}, "easy_first"), (np.zeros(3), labels, {"pacing": "slow"}, "linear"),
        (np.zeros(3), labels[:2], {}, r"expected \(3,\)"), (np.zeros(0), labels[:0], {}, "N >= 1"),
        (np.array([0, np.nan, 1]), labels, {}, "finite"), (np.zeros(3), labels, {"epochs_max": 0}, "expected 1 to"),
        (np.zeros(3), labels * 1.5, {}, "float64"),
    ):  # fmt: skip
        with pytest.raises(InvalidCurriculumError, match=text):
            Curriculum(difficulty, class_indices, **{**good, **changes})
    with pytest.raises(InvalidCurriculumError, match="epoch is 6"):
        Curriculum(np.zeros(3), labels, **good)(6, np.random.default_rng(0))
    for function, arguments, text in (
        (entropy_difficulty, (np.ones(3),), "expected \\(N, C\\)"),
        (entropy_difficulty, (np.ones((2, 2)),), "sums to 2"),
    ):  # fmt: skip
        with pytest.raises(InvalidCurriculumError, match=text):
            function(*arguments)
