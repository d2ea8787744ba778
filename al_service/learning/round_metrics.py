"""What a round says of its model: metrics on the evaluation set, how many labels look wrong, settings that do nothing.

Plain JSON-able data under names that the board, dashboards and `al round show` read. Called by round_model.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from al_service.domain.project_config import ProjectConfig
from al_service.learning import label_noise
from al_service.learning.calibration import Calibration
from al_service.learning.evaluation import Evaluation, accuracy_gain

FINETUNE_ONLY = (
    "epochs_max",
    "learning_rate",
    "weight_decay",
    "minibatch_size",
    "warm_start",
    "class_balance",
    "focal_gamma",
    "label_smoothing",
    "ema_decay",
    "curriculum",
)
PROBE_ONLY = ("probe_l2",)
#: Settings that another one switches on: (it, the one, the value with which it does nothing).
SWITCHED = (
    ("curriculum_pacing", "curriculum", "none"),
    ("curriculum_difficulty", "curriculum", "none"),
)


@dataclass(frozen=True, eq=False)
class Measured:
    """A model on the evaluation set.

    Args:
        calibration: how good it is, before and after.
        right: (N,) bool, sample by sample.
        predicted: (N,) class indices.
    """

    calibration: Calibration
    right: np.ndarray
    predicted: np.ndarray

    def metrics(self, class_names: Sequence[str]) -> dict[str, Any]:
        """The round's metrics."""
        temperature = self.calibration.temperature
        return {
            **metrics_of(self.calibration.after, class_names),
            "calibration": {
                "temperature": temperature.value,
                "count": temperature.count,
                "before": _calibration_figures(self.calibration.before),
                "after": _calibration_figures(self.calibration.after),
            },
        }

    def as_plain_beside(self, other: "Measured") -> dict[str, Any]:
        """This model's figures, and how much more often another one is right on the same samples."""
        gain, interval = accuracy_gain(self.right, other.right)
        return {**summary_of(self.calibration.after), "gain": gain, "gain_ci95": list(interval)}


def noise_metrics(found: label_noise.LabelNoise, training_mode: str) -> dict[str, Any]:
    """How many labels look wrong, and the advice that follows."""
    words = label_noise.advice(found, training_mode)
    return {
        "label_noise": {"low": found.low, "high": found.high, "count": found.count, "can_tell": found.can_tell},
        "advice": [{"code": "label_noise", "text": words}] if words else [],
    }


def unused_settings(config: ProjectConfig) -> list[dict[str, str]]:
    """A word for every setting that was changed and does nothing beside the others."""
    plain, mode = ProjectConfig(), config.training_mode
    names = FINETUNE_ONLY if mode == "probe" else PROBE_ONLY
    idle = dict.fromkeys(names, f"training_mode={mode}")
    if config.semi_supervised == ("pseudo_labels" if mode == "probe" else "label_spreading"):
        idle["semi_supervised"] = f"training_mode={mode}"
    idle |= {name: f"{switch}={off}" for name, switch, off in SWITCHED if getattr(config, switch) == off}
    return [
        {"code": "unused_setting", "text": f"{name}={getattr(config, name)} does nothing while {reason}"}
        for name, reason in idle.items()
        if getattr(config, name) != getattr(plain, name)
    ]


def metrics_of(evaluation: Evaluation, class_names: Sequence[str]) -> dict[str, Any]:
    """The round's metrics as plain data, with class names."""
    return {
        **summary_of(evaluation),
        "evaluation_samples": evaluation.count,
        "per_class": {name: vars(one) for name, one in zip(class_names, evaluation.per_class, strict=True)},
        "confusion": {"classes": list(class_names), "counts": np.asarray(evaluation.confusion).tolist()},
    }


def summary_of(evaluation: Evaluation) -> dict[str, Any]:
    """The few numbers that two models are compared by."""
    return {
        "accuracy": evaluation.accuracy,
        "accuracy_ci95": list(evaluation.accuracy_ci95),
        "macro_f1": evaluation.macro_f1,
        "ece": evaluation.ece,
        "brier": evaluation.brier,
        "nll": evaluation.nll,
    }


def _calibration_figures(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "ece": evaluation.ece,
        "brier": evaluation.brier,
        "nll": evaluation.nll,
        "reliability": [
            {
                "count": one.count,
                "confidence": one.confidence,
                "accuracy": one.accuracy,
                "low": one.accuracy_ci95[0],
                "high": one.accuracy_ci95[1],
            }
            for one in evaluation.reliability
        ],
    }
