"""What a study found, in sentences. Pure: reads the result file's data."""

from collections.abc import Mapping
from typing import Any

from al_service.simulation.plan import RANDOM


def entry(result: Mapping[str, Any], strategy: str) -> Mapping[str, Any]:
    """The summary of one strategy."""
    return next(one for one in result["summary"] if one["strategy"] == strategy)


def headline_words(result: Mapping[str, Any]) -> str:
    """The first sentence: what the headline strategy needs for what random needs."""
    name = str(result["headline"])
    if name == RANDOM:
        reached = percent(entry(result, RANDOM)["final_accuracy"])
        return f"Random reaches {reached} with {result['config']['budget']:,} labels."
    return comparison_words(entry(result, name), len(result["config"]["seeds"]))


def comparison_words(one: Mapping[str, Any], seeds: int) -> str:
    """One strategy against random, as strongly as its interval lets us say."""
    name, same = one["strategy"], one["same_accuracy"]
    ours, random = f"{round(same['labels']):,}", f"{round(same['random_labels']):,}"
    low, high = one["label_savings_ci95"]
    if seeds == 1:
        return f"In one run, {name} needed {ours} labels for what random reached with {random}."
    if low > 1:
        return f"{name} needs {ours} labels for what random reaches with {random}."
    if high < 1:
        return f"Random does better here: it needs {random} labels for what {name} reaches with {ours}."
    if ours == random:
        return f"No difference between {name} and random shows here: both need about {ours} labels."
    return f"No clear difference here: {name} needs about {ours} labels for what random reaches with {random}."


def lead_words(result: Mapping[str, Any]) -> str:
    """The sentence below: accuracies, area, and how sure that is."""
    name, seeds = str(result["headline"]), len(result["config"]["seeds"])
    random = entry(result, RANDOM)
    if name == RANDOM:
        return "Give other strategies to compare it with."
    one = entry(result, name)
    words = (
        f"With {result['config']['budget']:,} labels {name} is right on {percent(one['final_accuracy'])} of images "
        f"that no model has learned from, random on {percent(random['final_accuracy'])}."
    )
    if seeds == 1:
        return f"{words} One seed is a look and no proof; ten seeds would be one."
    low, high = one["aubc_minus_random_ci95"]
    sure = (
        "above zero, so choosing helps on these images"
        if low > 0
        else "below zero, so choosing hurts on these images"
        if high < 0
        else "which holds zero, so chance alone could explain it"
    )
    return (
        f"{words} Over the whole curve that is {signed(one['aubc_minus_random'])} points of accuracy "
        f"({signed(low)} to {signed(high)}, 95 % over {seeds} seeds), {sure}."
    )


#: What strategies that change their ways say of a batch, in words.
REGIMES = {
    "cover": "typical images that no label covered yet",
    "uncertain": "images that the model was unsure about and that stood for many others",
}


def regime_words(result: Mapping[str, Any], strategy: str) -> str:
    """How a strategy that changes its ways went, in its first run; empty for others."""
    points = next(run["points"] for run in result["runs"] if run["strategy"] == strategy)
    spans: list[tuple[str, int]] = []
    for point in points:
        regime = (point.get("choice") or {}).get("regime")
        if regime is not None:
            if spans and spans[-1][0] == regime:
                spans.pop()
            spans.append((str(regime), point["labels"]))
    if not spans:
        return ""
    parts = [f"{REGIMES.get(regime, regime)} up to {labels:,} labels" for regime, labels in spans]
    return f"{strategy} asked for {', then for '.join(parts)}."


def percent(share: float) -> str:
    """A share as people read it.

    >>> percent(0.9731)
    '97.3 %'
    """
    return f"{share * 100:.1f} %"


def signed(share: float) -> str:
    """A difference of shares in percentage points.

    >>> signed(0.0312), signed(-0.004)
    ('+3.1', '−0.4')
    """
    return f"{share * 100:+.1f}".replace("-", "−")
