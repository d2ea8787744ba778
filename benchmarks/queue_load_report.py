"""What the queue's load test says: figures of each server, ratios within a turn, and what was promised and kept."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.figures import Lines, median_of, percentiles_ms
from benchmarks.labelers import Measured
from benchmarks.load import Tally

FLOOR, SMALL, LARGE, PEER = "floor", "small_pool", "large_pool", "label_studio"
FLOOR_ROUTE = "commit"
ROUTES = ("next_assignment", "submit")
#: What the project has promised (docs/benchmarks.md).
FLOOR_TIMES_MAX = 3.0
GROWTH_MAX = 1.3
PEER_TIMES_MIN = 20.0

#: What each server did when it was asked in this turn.
Turn = Mapping[str, Measured]


def report(lines: Lines, database: str, labelers: int, turns: Sequence[Turn]) -> None:
    """Every line about one database and so many people: each server, then ours against floor, pool and peer."""
    where = {"database": database, "labelers": labelers}
    for name in turns[0]:
        told = [figures(turn[name]) for turn in turns]
        lines.add("server", runs=len(turns), **where, server=name, **_medians(told))
    for ours in (SMALL, LARGE):
        times = _ratios(turns, ours, FLOOR)
        is_met = times["seconds_per_request"] <= FLOOR_TIMES_MAX
        lines.add(
            "against_floor", runs=len(turns), **where, server=ours, times=times, limit=FLOOR_TIMES_MAX, is_met=is_met
        )
    growth = _growth(turns)
    lines.add(
        "pool_growth", runs=len(turns), **where, times=growth, limit=GROWTH_MAX, is_met=growth["p50"] <= GROWTH_MAX
    )
    if PEER in turns[0]:
        for ours in (SMALL, LARGE):
            more = _median_ratio(turns, ours, PEER, answers_per_s)
            is_met = more >= PEER_TIMES_MIN
            lines.add(
                "against_peer", runs=len(turns), **where, server=ours, times=more, limit=PEER_TIMES_MIN, is_met=is_met
            )


def figures(measured: Measured) -> dict[str, Any]:
    """One server in one turn."""
    tally = measured.tally
    found: dict[str, Any] = {"requests_per_s": requests_per_s(measured), "errors": len(tally.errors)}
    if "submit" in tally.in_time:
        found["answers_per_s"] = answers_per_s(measured)
    for route, seconds in tally.seconds.items():
        found |= {f"{route}_{key}": value for key, value in percentiles_ms(seconds).items()}
    if measured.cpu_ms is not None:
        found["cpu_ms_per_request"] = measured.cpu_ms
    return found


def requests_per_s(measured: Measured) -> float:
    """Requests that were answered within the measured time, each second."""
    return sum(measured.tally.in_time.values()) / measured.tally.elapsed_s


def answers_per_s(measured: Measured) -> float:
    """Acknowledged answers within the measured time, each second."""
    return measured.tally.in_time.get("submit", 0) / measured.tally.elapsed_s


def promises(tally: Tally, stored: set[tuple[int, str]]) -> dict[str, int]:
    """Acknowledged answers, those of them that are not stored, and samples that went to two people.

    Args:
        stored: (sample, key) of every answer that the server has.
    """
    acknowledged = [(sample, key) for sample, _, key in tally.acknowledged]
    return {
        "acknowledged": len(acknowledged),
        "lost": len(set(acknowledged) - stored) + len(acknowledged) - len(set(acknowledged)),
        "given_to_two": given_to_two(tally),
        "held_by_two_at_once": held_by_two_at_once(tally),
        "errors": len(tally.errors),
    }


def given_to_two(tally: Tally) -> int:
    """Samples that two people were given, at whatever time."""
    people: dict[int, set[int]] = defaultdict(set)
    for sample, person, _, _ in tally.held:
        people[sample].add(person)
    return sum(len(those) > 1 for those in people.values())


def held_by_two_at_once(tally: Tally) -> int:
    """Samples that a second person was given before the first one's answer was sent."""
    spans: dict[int, list[tuple[float, float, int]]] = defaultdict(list)
    for sample, person, since, until in tally.held:
        spans[sample].append((since, until, person))
    return sum(_overlap(sorted(those)) for those in spans.values())


def _overlap(spans: Sequence[tuple[float, float, int]]) -> bool:
    return any(
        later[2] != earlier[2] and later[0] < earlier[1]
        for number, earlier in enumerate(spans)
        for later in spans[number + 1 :]
    )


def _medians(told: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The medians of what every turn has; of errors the sum."""
    shared = set.intersection(*(set(one) for one in told))
    found = median_of([{key: value for key, value in one.items() if key in shared} for one in told])
    return found | {"errors": sum(one["errors"] for one in told)}


def _ratios(turns: Sequence[Turn], ours: str, floor: str) -> dict[str, float]:
    """How many times as long as the floor: by throughput, by what one request waits, by processor time."""
    found = {"seconds_per_request": _median_ratio(turns, floor, ours, requests_per_s)}
    for route in ROUTES:
        ratios = [_p50(turn[ours], route) / _p50(turn[floor], FLOOR_ROUTE) for turn in turns]
        found[f"{route}_p50"] = statistics.median(ratios)
    return found | _cpu_ratio(turns, ours, floor)


def _growth(turns: Sequence[Turn]) -> dict[str, float]:
    """What "next" takes with the large pool, in times of the small one."""
    ratios = [_p50(turn[LARGE], ROUTES[0]) / _p50(turn[SMALL], ROUTES[0]) for turn in turns]
    return {"p50": statistics.median(ratios)} | _cpu_ratio(turns, LARGE, SMALL)


def _cpu_ratio(turns: Sequence[Turn], one: str, other: str) -> dict[str, float]:
    pairs = [(turn[one].cpu_ms, turn[other].cpu_ms) for turn in turns]
    ratios = [mine / its for mine, its in pairs if mine is not None and its]
    return {"cpu_ms_per_request": statistics.median(ratios)} if ratios else {}


def _median_ratio(turns: Sequence[Turn], one: str, other: str, figure: Callable[[Measured], float]) -> float:
    return statistics.median(figure(turn[one]) / figure(turn[other]) for turn in turns)


def _p50(measured: Measured, route: str) -> float:
    return percentiles_ms(measured.tally.seconds[route])["p50_ms"]
