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

    def top(block: list[int]) -> float:
        """Where a block of touching labels begins: centred on what its members want, inside the limits."""
        middle = sum(wanted[at] for at in block) / len(block)
        length = (len(block) - 1) * gap
        return max(low, min(middle - length / 2, high - length))

    blocks: list[list[int]] = []
    for at in order:
        blocks.append([at])
        while len(blocks) > 1 and top(blocks[-2]) + len(blocks[-2]) * gap > top(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    found = [0.0] * len(wanted)
    for block in blocks:
        first = top(block)
        for offset, at in enumerate(block):
            found[at] = first + offset * gap
    return found
