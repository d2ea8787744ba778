"""Class quotas: in proportion, at least one each, never more than there are, the best of each class first."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from al_service.acquisition.arrays import InvalidArrayError
from al_service.acquisition.class_quota import class_quota
from al_service.errors import InvalidInputError


def predicted(*counts: int) -> np.ndarray:
    """Rows that are predicted to be of each class that often."""
    return np.concatenate([np.tile(np.eye(len(counts))[one] * 0.5 + 0.5 / len(counts), (n, 1)) for one, n in
                           enumerate(counts)])  # fmt: skip


def quotas(rows: np.ndarray, chosen: np.ndarray) -> list[int]:
    return np.bincount(rows[chosen].argmax(1), minlength=rows.shape[1]).tolist()


def slow_quota_order(rows: np.ndarray, scores: np.ndarray, k: int, hardness: np.ndarray, power: float) -> list[int]:
    """Place by place: the class that got least for its weight takes its best sample that is left."""
    classes = rows.argmax(1)
    left = {one: sorted(np.flatnonzero(classes == one), key=lambda n: (-scores[n], n)) for one in range(len(hardness))}
    weight = {one: (len(left[one]) / len(rows)) ** power * hardness[one] for one in left}
    places = dict.fromkeys(left, 0)
    chosen: list[int] = []
    for _ in range(k):
        waiting = [one for one in left if left[one]]
        best = max(
            waiting,
            key=lambda one: (places[one] == 0, weight[one] / (places[one] + 0.5), scores[left[one][0]], -left[one][0]),
        )
        places[best] += 1
        chosen.append(int(left[best].pop(0)))
    return chosen


@given(n=st.integers(1, 40), classes=st.integers(2, 5), share=st.floats(0, 1), seed=st.integers(0, 9999))
@settings(max_examples=80, deadline=None)
def test_is_the_slow_version_and_its_first_of_many_are_the_few(n, classes, share, seed):
    rng = np.random.default_rng(seed)
    rows, scores = rng.dirichlet(np.full(classes, 0.3), size=n), rng.integers(0, 4, n) / 4
    hardness, power = rng.integers(0, 3, classes) / 2, float(rng.choice([0, 1]))
    k = round(share * n)
    found = class_quota(rows, scores, k, hardness, share_power=power)
    assert found.dtype == np.int64
    assert found.tolist() == slow_quota_order(rows, scores, k, hardness, power)
    order = rng.permutation(n)
    distinct = scores + rng.permutation(n) / (1000 * n)
    first, second = class_quota(rows, distinct, k), class_quota(rows[order], distinct[order], k)
    assert order[second].tolist() == first.tolist()
    assert class_quota(rows, distinct, n)[:k].tolist() == first.tolist()


def test_equal_weights_take_turns_and_unequal_ones_are_in_proportion():
    rows = predicted(60, 60, 60)
    scores = np.arange(180) / 180
    chosen = class_quota(rows, scores, 9, np.ones(3))
    assert chosen.tolist() == [179, 119, 59, 178, 118, 58, 177, 117, 57]
    rows = predicted(100, 400)
    assert quotas(rows, class_quota(rows, np.ones(500), 60, np.ones(2), share_power=0)) == [30, 30]
    assert quotas(rows, class_quota(rows, np.ones(500), 60, np.ones(2))) == [20, 40]
    assert quotas(rows, class_quota(rows, np.ones(500), 60, np.ones(2), share_power=1)) == [12, 48]
    assert quotas(rows, class_quota(rows, np.ones(500), 60, np.array([0.8, 0.1]), share_power=1)) == [40, 20]


def test_a_rare_or_easy_class_gets_one_and_a_class_that_runs_out_leaves_its_places_to_others():
    rows = predicted(1000, 1, 2)
    chosen = class_quota(rows, np.ones(1003), 10, np.array([1.0, 0.0, 50.0]))
    assert quotas(rows, chosen) == [7, 1, 2]
    assert quotas(rows, class_quota(rows, np.ones(1003), 2, np.array([1.0, 0.0, 50.0]))) == [1, 0, 1]


def test_without_hardness_the_class_of_unsure_rows_gets_more():
    rows = np.concatenate([np.tile([0.98, 0.01, 0.01], (50, 1)), np.tile([0.3, 0.4, 0.3], (50, 1))])
    few, many, none = quotas(rows, class_quota(rows, np.ones(100), 20))
    assert none == 0 and 1 <= few < 4 < many


def test_tensors_give_tensors_and_wrong_input_is_refused():
    rows = torch.from_numpy(predicted(3, 3))
    found = class_quota(rows, np.ones(6), 2)
    assert isinstance(found, torch.Tensor) and found.tolist() == [0, 3]
    with pytest.raises(InvalidArrayError, match="5 rows for 6"):
        class_quota(rows, np.ones(5), 2)
    with pytest.raises(InvalidArrayError, match="hardness has 3 values for 2 classes"):
        class_quota(rows, np.ones(6), 2, np.ones(3))
    with pytest.raises(InvalidArrayError, match=r"hardness\[1\] is -1"):
        class_quota(rows, np.ones(6), 2, np.array([1.0, -1.0]))
    with pytest.raises(InvalidInputError, match="share_power"):
        class_quota(rows, np.ones(6), 2, share_power=2)
    with pytest.raises(InvalidInputError, match="0 to 6"):
        class_quota(rows, np.ones(6), 7)
