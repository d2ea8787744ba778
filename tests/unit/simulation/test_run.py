"""One curve: what is shared by strategies, what follows from the seed, what is counted."""

from dataclasses import replace

import numpy as np
import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.learning.inference import embed
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import Plan
from al_service.simulation.run import Material, RunResult, run, starting_network

FINETUNE = ProjectConfig(epochs_max=2)
PROBE = ProjectConfig(training_mode="probe", probe_l2=0.01)
MODES = pytest.mark.parametrize("config", [FINETUNE, PROBE], ids=["finetune", "probe"])


def material(data: ImageSet, plan: Plan) -> Material:
    return Material(data, plan, embed(starting_network(data, plan.config, plan.config.seed), data.pixels))


def figures(result: RunResult) -> list[tuple]:
    """All but the clock."""
    return [(point.labels, point.accuracy, point.macro_f1, point.selected_per_class) for point in result.points]


@MODES
def test_a_run_repeats_itself_and_strategies_share_their_start(grey_set: ImageSet, config: ProjectConfig) -> None:
    shared = material(grey_set, Plan(6, 6, 18, 18, config))
    ours, again, random = (run(shared, name, 1) for name in ("margin+k_center", "margin+k_center", "random"))
    assert figures(ours) == figures(again)
    assert ours.picks == again.picks
    assert figures(ours)[0] == figures(random)[0]
    assert ours.picks[:6] == random.picks[:6]
    assert ours.picks != random.picks
    assert run(shared, "random", 2).picks[:6] != random.picks[:6]


@MODES
def test_what_is_chosen_is_distinct_and_never_measured_on(grey_set: ImageSet, config: ProjectConfig) -> None:
    shared = material(grey_set, Plan(4, 7, 30, 30, config))
    result = run(shared, "bald", 0)
    pool, test = grey_set.split(0, config.holdout_fraction)
    rows = [grey_set.sample_ids.index(name) for name in result.picks]
    assert len(set(rows)) == len(rows) == 30
    assert set(rows) <= set(pool.tolist())
    assert (result.pool_images, result.test_images) == (len(pool), len(test))
    for point in result.points:
        assert sum(point.selected_per_class.values()) == point.labels
        assert point.selected_per_class == grey_set.per_class(rows[: point.labels])


def test_every_stage_of_a_chosen_batch_is_timed(grey_set: ImageSet) -> None:
    first, second = run(material(grey_set, Plan(6, 6, 12, 12, PROBE)), "margin", 0).points
    assert first.seconds["score"] == first.seconds["select"] == 0.0 < first.seconds["train"]
    assert min(second.seconds.values()) > 0


def test_the_whole_pool_can_be_labelled(grey_set: ImageSet) -> None:
    pool, _ = grey_set.split(0, 0.2)
    result = run(material(grey_set, Plan(10, 20, len(pool), len(pool), PROBE)), "margin+k_center", 0)
    assert sorted(result.picks) == sorted(grey_set.sample_ids[row] for row in pool)
    assert result.uncertain == ()


@MODES
def test_an_empty_start_chooses_without_a_model(grey_set: ImageSet, config: ProjectConfig) -> None:
    shared = material(grey_set, Plan(0, 6, 12, 12, config))
    result = run(shared, "k_center", 3)
    assert [point.labels for point in result.points] == [6, 12]
    assert figures(result) == figures(run(shared, "k_center", 3))


def test_a_strategy_that_changes_its_ways_is_heard(grey_set: ImageSet) -> None:
    result = run(material(grey_set, Plan(0, 4, 12, 12, PROBE)), "auto", 0)
    assert [point.choice and point.choice["regime"] for point in result.points] == ["cover", "uncertain", "uncertain"]
    assert run(material(grey_set, Plan(4, 4, 8, 8, PROBE)), "margin", 0).points[1].choice is None


def test_labels_of_one_class_guess_that_class(grey_set: ImageSet) -> None:
    shared = material(grey_set, Plan(1, 10, 11, 11, PROBE))
    first, second = run(shared, "margin", 0).points
    _, test = grey_set.split(0, 0.2)
    known = next(name for name, count in first.selected_per_class.items() if count)
    assert first.accuracy == pytest.approx(np.mean(grey_set.class_indices[test] == grey_set.class_names.index(known)))
    assert second.accuracy > first.accuracy


def test_the_least_certain_images_come_first(grey_set: ImageSet) -> None:
    uncertain = run(material(grey_set, Plan(6, 6, 12, 12, PROBE)), "margin", 0).uncertain
    margins = [one["guesses"][0]["probability"] - one["guesses"][1]["probability"] for one in uncertain]
    assert margins == sorted(margins)
    for one in uncertain:
        assert one["sample_id"] == grey_set.sample_ids[one["row"]]
        assert one["class_name"] == grey_set.class_names[grey_set.class_indices[one["row"]]]


@pytest.mark.parametrize(
    "changes",
    [
        {"semi_supervised": "label_spreading", "training_mode": "probe"},
        {"semi_supervised": "pseudo_labels"},
        {"warm_start": "shrink_perturb"},
        {"curriculum": "easy_first", "curriculum_difficulty": "previous_round"},
    ],
)
def test_other_ways_to_learn(grey_set: ImageSet, changes: dict[str, str]) -> None:
    config = replace(FINETUNE, **changes)
    shared = material(grey_set, Plan(6, 6, 12, 12, config))
    assert figures(run(shared, "margin", 0)) == figures(run(shared, "margin", 0))


def test_test_images_that_are_brought_are_the_same_for_all_seeds(grey_set: ImageSet) -> None:
    is_test = np.arange(60) < 20
    shared = material(replace(grey_set, is_test=is_test), Plan(6, 6, 12, 12, PROBE))
    for seed in (0, 1):
        result = run(shared, "random", seed)
        assert (result.pool_images, result.test_images) == (40, 20)
        assert not set(result.picks) & set(grey_set.sample_ids[:20])
