"""One colour per strategy, the same in picture and page: Okabe and Ito's, told apart by colour-blind people, random
always grey. Each is written beside its line too, so colour is never the only sign.
"""

from collections.abc import Sequence

from al_service.simulation.plan import RANDOM

#: (on light ground, on dark ground); both at least 3 : 1 against it.
GREY = ("#6b6b75", "#a3a3af")
COLOURS = (
    ("#0072b2", "#56b4e9"),
    ("#b65000", "#f08c3c"),
    ("#00795a", "#2cc197"),
    ("#a8507f", "#e09bc4"),
    ("#8a6a00", "#e6c229"),
    ("#5b50c8", "#a79dff"),
    ("#a12a2a", "#ff8f85"),
    ("#3c6e71", "#8fc7ca"),
)
#: Further strategies share colours and differ by their dashes.
DASHES = ("", "7 4", "2 3", "10 3 2 3")


def style_of(strategies: Sequence[str], name: str) -> tuple[tuple[str, str], str]:
    """The strategy's two colours and its dashes (SVG's way; empty: a whole line).

    >>> style_of(["random", "margin"], "random")
    (('#6b6b75', '#a3a3af'), '7 4')
    """
    if name == RANDOM:
        return GREY, DASHES[1]
    place = [one for one in strategies if one != RANDOM].index(name)
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places for labels near where they are wanted, at least `gap` apart and within low..high, in the order given.

    >>> spread([1.0, 1.0, 5.0], 2.0, 0.0, 6.0)
    [0.0, 2.0, 5.0]
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    places = [min(max(wanted[at], low), high) for at in order]
    # Blocks of touching labels, each centred on what its members want.
    blocks: list[list[float]] = []  # [sum of what is wanted, count, place of the first in the order]
    for number, place in enumerate(places):
        blocks.append([place, 1, number])
        while len(blocks) > 1 and _top(blocks[-2], gap) + blocks[-2][1] * gap > _top(blocks[-1], gap):
            last = blocks.pop()
            blocks[-1] = [blocks[-1][0] + last[0], blocks[-1][1] + last[1], blocks[-1][2]]
    found = [0.0] * len(wanted)
    for block in blocks:
        first = _top(block, gap)
        first = max(low, min(first, high - (block[1] - 1) * gap))
        for offset in range(int(block[1])):
            found[order[int(block[2]) + offset]] = first + offset * gap
    return found


def _top(block: Sequence[float], gap: float) -> float:
    return block[0] / block[1] - (block[1] - 1) * gap / 2
