"""What `al simulate` adds to a plan (domain/study_plan.py): settings as a command line gives them, and what makes two
studies differ.
"""

from collections.abc import Mapping
from typing import Any

from al_service.domain.project_config import ProjectConfig
from al_service.domain.study_plan import (
    DEFAULT,
    RANDOM,
    InvalidPlanError,
    Plan,
    checked_strategies,
    default_strategies,
    filled,
)
from al_service.errors import InvalidInputError

__all__ = [
    "DEFAULT",
    "NOT_SETTABLE",
    "RANDOM",
    "InvalidPlanError",
    "Plan",
    "StudyDiffersError",
    "checked_settings",
    "checked_strategies",
    "default_strategies",
    "differences",
    "filled",
]

#: Settings of a project that the study's own options take the place of.
NOT_SETTABLE = {"strategy": "--strategies", "labels_per_round": "--batch", "label_budget": "--budget"}


class StudyDiffersError(InvalidInputError):
    """The folder holds a study with other settings; its runs cannot be compared with new ones."""

    code = "study_differs"


def checked_settings(values: Mapping[str, str]) -> ProjectConfig:
    """Project settings as a command line gives them.

    Raises:
        InvalidConfigError: an unknown key, or a value out of range.
        InvalidPlanError: a key that an option of the study takes the place of.
    """
    for key in values:
        if key in NOT_SETTABLE:
            raise InvalidPlanError(f"a study takes {NOT_SETTABLE[key]} in the place of --set {key}=…")
    config = ProjectConfig().with_values(dict(values))
    if config.weights == "pretrained":
        raise InvalidPlanError(
            "weights=pretrained names a backbone of a project, and a study has none: give its file, "
            "--set weights=PATH (`al model export` writes one)"
        )
    return config


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Where two studies' plain data differ, in words.

    >>> differences({"batch": 10, "config": {"augment": "shift"}}, {"batch": 20, "config": {"augment": "none"}})
    ['batch was 10, now 20', "augment was 'shift', now 'none'"]
    """
    words = []
    for key in dict.fromkeys((*old, *new)):
        before, now = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            words += differences(before, now)
        elif before != now:
            words.append(f"{key} was {before!r}, now {now!r}")
    return words
