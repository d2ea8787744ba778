"""What a finished study leaves: result, report, the same for a page of the service, picture, and a few facts."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from al_service.domain.records import Job, Project
from al_service.domain.study_plan import Plan
from al_service.loop.ports import Artifacts
from al_service.simulation.curves_picture import draw_curves
from al_service.simulation.image_set import ImageSet
from al_service.simulation.report import page_part, render_report
from al_service.simulation.result import result_of
from al_service.simulation.run import RunResult
from al_service.simulation.study import Study
from al_service.simulation.words import entry, headline_words, lead_words

#: Said with every study of a project.
CAVEAT = (
    "Where images were chosen by a strategy before they were labelled, chance does better among them than it would in "
    "the whole pool, and the savings shown here are smaller than those over the whole pool."
)


def store_results(
    artifacts: Artifacts,
    job: Job,
    project: Project,
    study: Study,
    data: ImageSet,
    runs: Sequence[RunResult],
    asked: Plan,
) -> dict[str, Any]:
    """Store the files under studies/<project>/<job>/ and give the facts that the job is finished with."""
    # The settings as the project has them: the file of a backbone is a place on this host.
    plan = replace(study.plan, config=asked.config)
    notes = _notes(data, plan, asked)
    result = result_of(data, plan, study.strategies, study.seeds, runs) | {
        "caveat": CAVEAT,
        "notes": notes,
        "made_by": "a study of the service",
    }
    folder = f"studies/{project.id}/{job.id}"
    contents = {
        "result": ("result.json", json.dumps(result, ensure_ascii=False, allow_nan=False).encode()),
        "report": ("report.html", render_report(result).encode()),
        "page": ("page.html", page_part(result).encode()),
        "curves": ("curves.png", draw_curves(result)),
    }
    artifacts.put_many({f"{folder}/{name}": content for name, content in contents.values()})
    one = entry(result, str(result["headline"]))
    return {
        "headline": result["headline"],
        "words": headline_words(result),
        "lead": lead_words(result),
        "label_savings": one["label_savings_vs_random"],
        "label_savings_ci95": one["label_savings_ci95"],
        "labels": one["same_accuracy"]["labels"],
        "random_labels": one["same_accuracy"]["random_labels"],
        "strategies": list(study.strategies),
        "seeds": len(study.seeds),
        "budget": plan.budget,
        "images": len(data.hashes),
        "test_images": result["dataset"]["test_images"],
        "notes": notes,
        "artifacts": {key: f"{folder}/{name}" for key, (name, _) in contents.items()},
    }


def _notes(data: ImageSet, plan: Plan, asked: Plan) -> list[str]:
    """What was done otherwise than asked."""
    notes = [f"{count} images left out: {reason}" for reason, count in data.left_out.items()]
    if plan.budget < asked.budget:
        notes.append(f"the budget is cut from {asked.budget} to the {plan.budget} images there are to choose among")
    if not data.brings_test:
        share = f"{plan.config.holdout_fraction * 100:.0f} %"
        notes.append(
            f"no evaluation image has a label, so each repetition keeps {share} of the images aside to measure on"
        )
    return notes
