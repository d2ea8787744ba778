"""Runs side by side and kept on disk: what is there is not done again, what cannot be compared is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from al_service.domain.project_config import ProjectConfig
from al_service.simulation.files import NoRoomError, StudyBusyError, held_alone, write_json, write_whole
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import Plan, StudyDiffersError
from al_service.simulation.study import Progress, Study, pool_size, run_from_json, run_study, run_to_json

PLAN = Plan(6, 6, 12, 12, ProjectConfig(training_mode="probe", probe_l2=0.01))


def a_study(folder: Path, data: ImageSet, **changes: Any) -> Study:
    study = Study(folder, **{"plan": PLAN, "strategies": ("random", "margin"), "seeds": (0, 1), **changes})
    data.write(study.cache)
    return study


def accuracies(runs: list[Any]) -> dict[tuple[str, int], list[float]]:
    return {(run.strategy, run.seed): [point.accuracy for point in run.points] for run in runs}


def test_all_runs_are_done_and_more_join_later(grey_set: ImageSet, tmp_path: Path) -> None:
    told: list[Progress] = []
    first = run_study(a_study(tmp_path, grey_set), grey_set, processes=1, on_progress=told.append)
    assert [(run.strategy, run.seed) for run in first] == [
        ("random", 0), ("random", 1), ("margin", 0), ("margin", 1),
    ]  # fmt: skip
    assert (told[-1].done, told[-1].total, told[-1].seconds_left) == (8, 8, 0.0)
    assert [one.finished[:2] for one in told if one.finished] == [
        ("random", 0), ("margin", 0), ("random", 1), ("margin", 1),
    ]  # fmt: skip
    told.clear()
    larger = a_study(tmp_path, grey_set, strategies=("random", "margin", "entropy"), seeds=(0, 1, 2))
    more = run_study(larger, grey_set, processes=1, on_progress=told.append)
    assert len(more) == 9
    assert {one.finished[:2] for one in told if one.finished} == {
        ("entropy", 0), ("entropy", 1), ("entropy", 2), ("margin", 2), ("random", 2),
    }  # fmt: skip
    assert accuracies(first).items() <= accuracies(more).items()


def test_figures_do_not_depend_on_how_many_processes_there_are(grey_set: ImageSet, tmp_path: Path) -> None:
    alone = run_study(a_study(tmp_path / "one", grey_set), grey_set, processes=1)
    together = run_study(a_study(tmp_path / "two", grey_set), grey_set, processes=2)
    assert accuracies(alone) == accuracies(together)
    assert [run.picks for run in alone] == [run.picks for run in together]


def test_a_damaged_run_is_done_again(grey_set: ImageSet, tmp_path: Path) -> None:
    study = a_study(tmp_path, grey_set)
    first = run_study(study, grey_set, processes=1)
    study.path_of("margin", 0).write_text('{"strategy": "mar')
    study.path_of("random", 1).write_text("{}")
    assert study.missing() == [("margin", 0), ("random", 1)]
    assert accuracies(run_study(study, grey_set, processes=1)) == accuracies(first)


def test_runs_survive_the_file(grey_set: ImageSet, tmp_path: Path) -> None:
    (run, *_) = run_study(a_study(tmp_path, grey_set, strategies=("margin",), seeds=(0,)), grey_set, processes=1)
    assert run_from_json(json.loads(json.dumps(run_to_json(run)))) == run


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (Plan(6, 3, 12, 12, PLAN.config), "batch was 6, now 3"),
        (Plan(6, 6, 12, 12, ProjectConfig(training_mode="probe", probe_l2=0.1)), r"probe_l2 was 0\.01, now 0\.1"),
        (Plan(6, 6, 12, 18, PLAN.config), "random_budget was 12, now 18"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    grey_set: ImageSet, tmp_path: Path, plan: Plan, words: str
) -> None:
    a_study(tmp_path, grey_set).claim(grey_set)
    with pytest.raises(StudyDiffersError, match=words):
        a_study(tmp_path, grey_set, plan=plan).claim()


def test_other_images_in_the_same_folder_are_refused(grey_set: ImageSet, tmp_path: Path) -> None:
    study = a_study(tmp_path, grey_set)
    study.claim(grey_set)
    study.claim(grey_set)
    changed = ImageSet(**{**vars(grey_set), "class_indices": 1 - grey_set.class_indices})
    with pytest.raises(StudyDiffersError, match="the images behind the location have changed"):
        study.claim(changed)


def test_results_of_something_else_are_left_alone(grey_set: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("ten years of work")
    with pytest.raises(StudyDiffersError, match=r"holds result\.json but no study\.json"):
        a_study(tmp_path, grey_set).claim(grey_set)
    assert (tmp_path / "result.json").read_text() == "ten years of work"


def test_one_folder_has_one_process(tmp_path: Path) -> None:
    with (
        held_alone(tmp_path),
        pytest.raises(StudyBusyError, match="another `al simulate` works in"),
        held_alone(tmp_path),
    ):
        pass
    with held_alone(tmp_path):
        pass


def test_files_are_whole_or_as_they_were(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "file", b"first")
    write_whole(tmp_path / "a" / "file", b"second")
    assert (tmp_path / "a" / "file").read_bytes() == b"second"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["file"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a" / "file", float("nan"))
    assert (tmp_path / "a" / "file").read_bytes() == b"second"
    with pytest.raises(NoRoomError, match="Finished runs are kept"):
        write_whole(tmp_path / "a" / "file" / "below", b"")


def test_all_seeds_have_the_same_labels_however_large_their_pools_are(grey_set: ImageSet, tmp_path: Path) -> None:
    seeds = (0, 1, 2)
    plan = Plan(6, 20, 100, 100, PLAN.config)
    smallest = pool_size(grey_set, plan, seeds)
    assert smallest == min(len(grey_set.split(seed, 0.2)[0]) for seed in seeds)
    study = a_study(tmp_path, grey_set, plan=plan.within(smallest), seeds=seeds)
    runs = run_study(study, grey_set, processes=1)
    assert {run.points[-1].labels for run in runs} == {smallest}
