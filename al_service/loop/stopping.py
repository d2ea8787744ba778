"""When a project has labels enough: its budget, predictions that no longer change, a next hundred that adds little.

A pure decision from the settings, the number of labels and what recent rounds found out about themselves (metrics under
`stopping`, written by workers/stop_facts.py). A project that stops asks nothing more; labels that still come in are
learned in a last round. Loosening the setting lets it go on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Project
from al_service.loop.ports import Transaction

#: Agreement is averaged over so many rounds, since a single one can be luck.
STABLE_ROUNDS = 3
#: Newest rounds that are read for them; rounds without new labels say nothing.
ROUNDS_LOOKED_AT = 12


@dataclass(frozen=True)
class Stop:
    """Why a project asks no more: a code for programs and a sentence for people."""

    code: str
    text: str


def budget_spent(config: ProjectConfig, labelled: int) -> bool:
    """True when the project has as many labels as it may ask for."""
    return bool(config.label_budget) and labelled >= config.label_budget


def why_stop(config: ProjectConfig, labelled: int, found: Sequence[dict[str, Any]]) -> Stop | None:
    """Why the project should ask no more, or None.

    Args:
        config: the project's settings as they are now.
        labelled: pool and train samples with a label.
        found: `metrics["stopping"]` of the last rounds that have it, oldest first.
    """
    if budget_spent(config, labelled):
        return Stop("budget_spent", f"The label budget of {config.label_budget} is used up.")
    kappas = [kappa for one in found if (kappa := (one.get("agreement") or {}).get("kappa")) is not None]
    if config.stop_kappa and len(kappas) >= STABLE_ROUNDS:
        mean = round(fmean(kappas[-STABLE_ROUNDS:]), 6)  # in binary the mean of three times 0.99 is less than 0.99
        if mean >= config.stop_kappa:
            return Stop(
                "stable",
                f"Predictions have become stable: from round to round kappa was {mean:.3f} on average over the last "
                f"{STABLE_ROUNDS}, and the project stops at {config.stop_kappa:g}.",
            )
    gain = found[-1].get("gain") if found else None
    if config.stop_gain and gain is not None and gain["high"] < config.stop_gain:
        return Stop(
            "little_gain",
            f"The next {gain['labels']} labels would add {100 * gain['high']:.1f} points of accuracy at most, less "
            f"than the project's limit of {100 * config.stop_gain:g}.",
        )
    return None


def stop_of(tx: Transaction, project: Project, labelled: int) -> Stop | None:
    """Why this project should ask no more, or None. Rounds are read only where a setting asks for them."""
    config = project.config
    rounds = tx.rounds.all(project.id, limit=ROUNDS_LOOKED_AT) if config.stop_kappa or config.stop_gain else []
    found = [record.metrics["stopping"] for record in rounds if record.metrics.get("stopping")]
    return why_stop(config, labelled, found)


def limits(config: ProjectConfig) -> tuple[float, ...]:
    """The settings that stop a project; where they changed, one that had stopped looks again."""
    return config.label_budget, config.stop_kappa, config.stop_gain
