"""The learning curves as inline SVG: drawn for wide, middle and narrow pages, so that text keeps its size."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from al_service.simulation.palette import spread, style_of
from al_service.simulation.plan import RANDOM
from al_service.simulation.summary import mean_curve
from al_service.simulation.words import entry, percent

_LETTER_PX = 7.4
_TOP, _BOTTOM, _LEFT = 14, 44, 46
_LABEL_GAP_PX = 17.0
#: What the upright axis spans at least.
_SHARES_LEAST = 0.02
#: Savings below this are not drawn into the chart: the line would be a dot.
_WORTH_DRAWING = 1.03


@dataclass(frozen=True)
class _Size:
    name: str
    width: int
    height: int
    ticks: int


_SIZES = (_Size("wide", 1070, 450, 9), _Size("middle", 700, 400, 6), _Size("narrow", 350, 320, 4))


@dataclass(frozen=True)
class _Frame:
    """From labels and shares to places in the picture."""

    size: _Size
    right: float
    labels: tuple[float, float]
    shares: tuple[float, float]

    def x(self, labels: float) -> float:
        low, high = self.labels
        return _LEFT + (labels - low) / (high - low) * (self.size.width - self.right - _LEFT)

    def y(self, share: float) -> float:
        low, high = self.shares
        return _TOP + (high - share) / (high - low) * (self.size.height - _BOTTOM - _TOP)


def learning_curves(result: Mapping[str, Any]) -> str:
    """All three drawings; the page's style sheet shows one of them."""
    strategies: Sequence[str] = result["config"]["strategies"]
    curves = {name: mean_curve(result["runs"], name) for name in strategies}
    return "".join(_drawing(result, curves, size) for size in _SIZES)


def _drawing(result: Mapping[str, Any], curves: Mapping[str, list[dict[str, Any]]], size: _Size) -> str:
    points = [point for curve in curves.values() for point in curve]
    first, last = min(point["labels"] for point in points), max(point["labels"] for point in points)
    low, high = min(point["mean"] for point in points), max(point["mean"] for point in points)
    # Bands may leave the frame at the first points of few seeds; curves may not.
    low, high = (
        min(low, max(min(point["low"] for point in points), low - 0.15)),
        max(high, min(max(point["high"] for point in points), high + 0.05, 1.0)),
    )
    low = min(low, high - _SHARES_LEAST)
    steps = nice_steps(low, high, 6)
    frame = _Frame(
        size,
        right=max(len(name) for name in curves) * _LETTER_PX + 14,
        labels=(float(first), float(last)) if last > first else (first - 0.5, first + 0.5),
        shares=(steps[0], max(steps[-1], high)),
    )
    parts = [*_axes(frame, steps, size), *(_band(frame, result, name, curve) for name, curve in curves.items())]
    on_top = str(result["headline"])
    parts += [_line(frame, result, name, curves[name]) for name in sorted(curves, key=lambda name: name == on_top)]
    parts += [_saved(frame, result), *_names(frame, result, curves)]
    words = escape(_alternative(curves))
    return (
        f'<svg class="{size.name}" viewBox="0 0 {size.width} {size.height}" role="img" aria-label="{words}">'
        f'<clipPath id="inside-{size.name}"><rect x="{_LEFT}" y="{_TOP - 6}" '
        f'width="{size.width - frame.right - _LEFT + 4:.0f}" height="{size.height - _BOTTOM - _TOP + 8}"/></clipPath>'
        f"{''.join(parts)}</svg>"
    )


def nice_steps(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers from at most low to at least high, but not beyond 1 (100 %).

    >>> nice_steps(0.62, 0.97, 6)
    [0.6, 0.7, 0.8, 0.9, 1.0]
    """
    raw = max(high - low, 1e-3) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 6) for number in range(first, last + 1) if number * step <= 1 + 1e-9]


def _axes(frame: _Frame, steps: Sequence[float], size: _Size) -> list[str]:
    parts = []
    right, bottom = size.width - frame.right, size.height - _BOTTOM
    digits = 0 if all(abs(step * 100 - round(step * 100)) < 1e-6 for step in steps) else 1
    for step in steps:
        y = frame.y(step)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="tick" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{step * 100:.{digits}f} %</text>'
        )
    parts += [
        f'<text class="tick" x="{frame.x(count):.1f}" y="{bottom + 18}" text-anchor="middle">{count:,}</text>'
        for count in label_ticks(*frame.labels, size.ticks)
    ]
    parts.append(
        f'<text class="axis" x="{(right + _LEFT) / 2:.0f}" y="{size.height - 6}" text-anchor="middle">labels</text>'
    )
    return parts


def label_ticks(low: float, high: float, count: int) -> list[int]:
    """Round numbers of labels within low..high.

    >>> label_ticks(20, 240, 6)
    [50, 100, 150, 200]
    """
    raw = max((high - low) / count, 1.0)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    return [round(number * step) for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _stroke(result: Mapping[str, Any], name: str) -> tuple[str, str]:
    """CSS variable of the strategy's colour, and the dashes as an attribute."""
    strategies = result["config"]["strategies"]
    _, dashes = style_of(strategies, name)
    return colour(strategies, name), f' stroke-dasharray="{dashes}"' if dashes else ""


def colour(strategies: Sequence[str], name: str) -> str:
    """The CSS colour of a strategy: it changes with the page's ground."""
    light, dark = style_of(strategies, name)[0]
    return f"light-dark({light}, {dark})"


def _band(frame: _Frame, result: Mapping[str, Any], name: str, curve: Sequence[Mapping[str, Any]]) -> str:
    upper = [f"{frame.x(point['labels']):.1f},{frame.y(point['high']):.1f}" for point in curve]
    lower = [f"{frame.x(point['labels']):.1f},{frame.y(point['low']):.1f}" for point in reversed(curve)]
    fill, _ = _stroke(result, name)
    return (
        f'<polygon class="band" clip-path="url(#inside-{frame.size.name})" style="fill:{fill}" '
        f'points="{" ".join(upper + lower)}"/>'
    )


def _line(frame: _Frame, result: Mapping[str, Any], name: str, curve: Sequence[Mapping[str, Any]]) -> str:
    stroke, dashes = _stroke(result, name)
    places = " ".join(f"{frame.x(point['labels']):.1f},{frame.y(point['mean']):.1f}" for point in curve)
    dots = "".join(
        f'<circle class="dot" r="3.6" cx="{frame.x(point["labels"]):.1f}" cy="{frame.y(point["mean"]):.1f}" '
        f'style="fill:{stroke}"><title>{escape(_point_words(name, point))}</title></circle>'
        for point in curve
    )
    return f'<polyline class="series" style="stroke:{stroke}"{dashes} points="{places}"/>{dots}'


def _point_words(name: str, point: Mapping[str, Any]) -> str:
    words = f"{name}, {point['labels']:,} labels: {percent(point['mean'])}"
    return words if point["seeds"] == 1 else f"{words} ({percent(point['low'])} to {percent(point['high'])})"


def _saved(frame: _Frame, result: Mapping[str, Any]) -> str:
    """The labels saved, as a level line from one curve to the other."""
    name = str(result["headline"])
    if name == RANDOM:
        return ""
    one = entry(result, name)
    same = one["same_accuracy"]
    if one["label_savings_vs_random"] < _WORTH_DRAWING:
        return ""
    start, end = frame.x(same["labels"]), frame.x(same["random_labels"])
    y, floor = frame.y(same["accuracy"]), frame.size.height - _BOTTOM
    words = f"{round(same['labels']):,} instead of {round(same['random_labels']):,}"
    # Dropped to the axis, and the words down there: curves that level off leave that corner free.
    middle = min((start + end) / 2, frame.size.width - frame.right - len(words) * _LETTER_PX / 2)
    return (
        '<g aria-hidden="true">'
        f'<path class="saved" d="M{start:.1f} {y:.1f}H{end:.1f}M{start:.1f} {floor - 8:.1f}H{end:.1f}'
        f'm-5 -4l5 4l-5 4M{start + 5:.1f} {floor - 12:.1f}l-5 4l5 4"/>'
        f'<path class="saved dropped" d="M{start:.1f} {y:.1f}V{floor:.1f}M{end:.1f} {y:.1f}V{floor:.1f}"/>'
        f'<text class="saved-words" x="{middle:.1f}" y="{floor - 18:.1f}" text-anchor="middle">{words}</text>'
        "</g>"
    )


def _names(frame: _Frame, result: Mapping[str, Any], curves: Mapping[str, list[dict[str, Any]]]) -> list[str]:
    names = list(curves)
    wanted = [frame.y(curves[name][-1]["mean"]) for name in names]
    places = spread(wanted, _LABEL_GAP_PX, _TOP, frame.size.height - _BOTTOM)
    x = frame.size.width - frame.right + 10
    return [
        f'<text class="name" x="{x:.1f}" y="{place + 4:.1f}" style="fill:{_stroke(result, name)[0]}">'
        f"{escape(name)}</text>"
        for name, place in zip(names, places, strict=True)
    ]


def _alternative(curves: Mapping[str, list[dict[str, Any]]]) -> str:
    ends = "; ".join(
        f"{name} from {percent(curve[0]['mean'])} with {curve[0]['labels']} labels to {percent(curve[-1]['mean'])} "
        f"with {curve[-1]['labels']}"
        for name, curve in curves.items()
    )
    return f"Accuracy over labels: {ends}. The same numbers are in the table below."
