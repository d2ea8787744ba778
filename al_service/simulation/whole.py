"""A study from what was asked for to the three files: read, check, run, summarise, draw. Called by the command line."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from al_service.learning import device as devices
from al_service.simulation.curves_picture import draw_curves
from al_service.simulation.files import held_alone, write_json, write_whole
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import (
    Plan,
    checked_settings,
    checked_strategies,
    default_strategies,
    filled,
)
from al_service.simulation.reading import read_images
from al_service.simulation.report import render_report
from al_service.simulation.result import result_of
from al_service.simulation.study import Progress, Study, pool_size, run_study


@dataclass(frozen=True)
class Asked:
    """As a person asks; None is what a study chooses by itself."""

    location: str
    folder: Path
    test_location: str | None = None
    strategies: tuple[str, ...] | None = None
    initial: int | None = None
    batch: int | None = None
    budget: int | None = None
    random_budget: int | None = None
    seeds: int = 5
    settings: dict[str, str] = field(default_factory=dict)
    processes: int = 1
    device: str = "auto"


@dataclass(frozen=True)
class Outcome:
    """What came out.

    Args:
        result: as in result.json.
        remarks: what was done otherwise than asked.
    """

    result: dict[str, Any]
    remarks: tuple[str, ...]


def simulate(asked: Asked, on_progress: Callable[[Progress], None] = lambda progress: None) -> Outcome:
    """Run what is missing and write result.json, curves.png and report.html into the folder.

    Raises:
        InvalidInputError: bad options, a source that cannot be read, images of one class, a folder with another study.
        UnavailableError: no room on the disk, a process died, a data set cannot be fetched.
        StudyBusyError: another process works in the folder.
    """
    config = checked_settings(asked.settings)
    strategies = checked_strategies(asked.strategies or default_strategies())
    seeds = tuple(range(config.seed, config.seed + asked.seeds))
    device = str(devices.choose(asked.device))
    with held_alone(asked.folder):
        data = read_images(
            asked.location,
            asked.folder / "cache",
            config,
            test_location=asked.test_location,
            on_progress=lambda done, total, words: on_progress(Progress(done, total, None, words)),
        )
        wanted = filled(
            data.class_count,
            config,
            initial=asked.initial,
            batch=asked.batch,
            budget=asked.budget,
            random_budget=asked.random_budget,
        )
        plan = wanted.within(pool_size(data, wanted, seeds))
        study = Study(asked.folder, plan, strategies, seeds)
        runs = run_study(study, data, processes=asked.processes, device=device, on_progress=on_progress)
        result = result_of(data, plan, strategies, seeds, runs)
        write_json(asked.folder / "result.json", result)
        write_whole(asked.folder / "curves.png", draw_curves(result))
        write_whole(asked.folder / "report.html", render_report(result).encode())
    return Outcome(result, tuple(_remarks(data, wanted, plan)))


def _remarks(data: ImageSet, wanted: Plan, plan: Plan) -> list[str]:
    remarks = [f"{count} images left out: {reason}" for reason, count in data.left_out.items()]
    if plan.budget < wanted.budget:
        remarks.append(f"the budget is cut from {wanted.budget} to the {plan.budget} images of the pool")
    return remarks
