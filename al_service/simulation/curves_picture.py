"""Learning curves as a PNG: mean and 95 % band of each strategy, its name at the end of its line."""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from al_service.simulation.palette import spread, style_of
from al_service.simulation.summary import mean_curve

_LABEL_GAP = 0.045
_DASHES = {"": "-", "7 4": (0, (5, 3)), "2 3": (0, (1.5, 2)), "10 3 2 3": (0, (7, 2, 1.5, 2))}


def draw_curves(result: Mapping[str, Any]) -> bytes:
    """The picture's bytes.

    Args:
        result: as in result.json.
    """
    # A second to load, and only a study that is over needs it. No pyplot: that keeps figures for the whole process.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), dpi=160, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    strategies = result["config"]["strategies"]
    ends: list[tuple[str, float, float]] = []
    for name in strategies:
        curve = mean_curve(result["runs"], name)
        (colour, _), dashes = style_of(strategies, name)
        labels = [point["labels"] for point in curve]
        mean = np.array([point["mean"] for point in curve]) * 100
        low, high = (np.array([point[key] for point in curve]) * 100 for key in ("low", "high"))
        axes.fill_between(labels, low, high, color=colour, alpha=0.16, linewidth=0)
        marker = "o" if len(labels) == 1 else None
        axes.plot(labels, mean, color=colour, linewidth=2, linestyle=_DASHES[dashes], marker=marker)
        ends.append((name, float(labels[-1]), float(mean[-1])))
    axes.margins(x=0.01)
    axes.set_ylim(top=min(101.0, axes.get_ylim()[1]))
    bottom, top = axes.get_ylim()
    span = top - bottom
    places = spread([(end - bottom) / span for _, _, end in ends], _LABEL_GAP, 0.0, 1.0)
    for (name, last, end), place in zip(ends, places, strict=True):
        (colour, _), _ = style_of(strategies, name)
        axes.annotate(
            _plain(name),
            xy=(last, end),
            xytext=(1.015, place),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=11,
            annotation_clip=False,
        )
    seeds = len(result["config"]["seeds"])
    axes.set_xlabel("labels")
    axes.set_ylabel(f"accuracy on images kept aside, % (mean{', 95 % band' if seeds > 1 else ''}, n = {seeds})")
    axes.set_title(_plain(str(result["dataset"]["name"]).rsplit("/", 1)[-1]), loc="left", fontsize=12)
    axes.grid(color="#d9d9de", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()


def _plain(text: str) -> str:
    """Text in which the drawing library finds no formulas."""
    return text.replace("$", r"\$")
