"""The result file: everything that is known of a study as plain JSON, which the page and the picture are drawn from."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from al_service import __version__
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import DEFAULT, RANDOM, Plan
from al_service.simulation.run import RunResult
from al_service.simulation.summary import summarise

#: Longest side of the pictures in the gallery.
PICTURE_PX = 160
_ENLARGED_PX = 96


def result_of(
    data: ImageSet, plan: Plan, strategies: Sequence[str], seeds: Sequence[int], runs: Sequence[RunResult]
) -> dict[str, Any]:
    """All of it.

    Args:
        runs: one for each strategy and seed.
    """
    summary = summarise(runs, strategies, plan.budget)
    return {
        "dataset": {
            "name": data.name,
            "images": len(data.hashes),
            "classes": list(data.class_names),
            "per_class": data.per_class(np.flatnonzero(data.class_indices >= 0)),
            "pool_images": sorted({run.pool_images for run in runs}),
            "test_images": sorted({run.test_images for run in runs}),
            "test": "given" if data.brings_test else "drawn for each seed",
            "image_px": data.image_px,
            "left_out": data.left_out,
            "fingerprint": data.fingerprint(),
        },
        "config": {
            "strategies": list(strategies),
            "initial": plan.initial,
            "budget": plan.budget,
            "batch": plan.batch,
            "random_budget": plan.random_budget,
            "seeds": list(seeds),
            "settings": plan.config.to_json(),
            "software": {
                "al_service": __version__,
                "torch": re.sub(r"\+.*", "", torch.__version__),
                "numpy": np.__version__,
            },
        },
        "runs": [_run(run) for run in runs],
        "summary": summary,
        "headline": headline(summary),
        "gallery": _gallery(data, runs, headline(summary)),
    }


def headline(summary: Sequence[Mapping[str, Any]]) -> str:
    """The strategy that the page speaks of first: the default where it took part, else the one with the largest area;
    random where there is no other.
    """
    others = [one for one in summary if one["strategy"] != RANDOM]
    if not others:
        return RANDOM
    named = [one for one in others if one["strategy"] == DEFAULT]
    return str((named or [max(others, key=lambda one: one["aubc"])])[0]["strategy"])


def _run(run: RunResult) -> dict[str, Any]:
    points = [
        {
            "labels": point.labels,
            "accuracy": point.accuracy,
            "macro_f1": point.macro_f1,
            "seconds": point.seconds,
            "selected_per_class": point.selected_per_class,
            "f1_per_class": point.f1_per_class,
            "choice": point.choice,
        }
        for point in run.points
    ]
    return {"strategy": run.strategy, "seed": run.seed, "points": points}


def _gallery(data: ImageSet, runs: Sequence[RunResult], strategy: str) -> dict[str, Any] | None:
    """The images that the headline strategy's first model is least sure of at the end, as small JPEG files."""
    run = next((one for one in runs if one.strategy == strategy and one.uncertain), None)
    if run is None:
        return None
    pictures = [
        {
            "sample_id": one["sample_id"],
            "class_name": one["class_name"],
            "guesses": one["guesses"],
            "jpeg": jpeg_base64(data.pixels[one["row"]]),
        }
        for one in run.uncertain
    ]
    return {"strategy": run.strategy, "seed": run.seed, "labels": run.points[-1].labels, "images": pictures}


def jpeg_base64(pixels: np.ndarray) -> str:
    """(px, px, 3) uint8 as a small JPEG file in base64; tiny images are enlarged first, which JPEG would smear."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if image.width <= _ENLARGED_PX // 2:
        factor = _ENLARGED_PX // image.width
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((PICTURE_PX, PICTURE_PX))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return base64.b64encode(out.getvalue()).decode("ascii")
