"""Colours that can be seen, and names that do not lie on each other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.domain.strategy_names import STRATEGIES
from al_service.simulation.palette import COLOURS, GREY, spread, style_of


def luminance(colour: str) -> float:
    values = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in values)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("light", "dark"), [GREY, *COLOURS])
def test_names_in_these_colours_can_be_read(light: str, dark: str) -> None:
    assert contrast(light, "#ffffff") >= 4.5
    assert contrast(dark, "#1d1d20") >= 4.5


def test_no_two_strategies_look_the_same() -> None:
    names = ["random", *(f"s{number}" for number in range(max(30, len(STRATEGIES))))]
    styles = {style_of(names, name) for name in names}
    assert len(styles) == len(names)
    assert style_of(names, "random")[0] == GREY


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_labels_keep_apart_in_order_and_inside(wanted: list[float]) -> None:
    places = spread(wanted, 10, 0, 100)
    by_place = sorted(range(len(wanted)), key=places.__getitem__)
    for one, other in itertools.pairwise(by_place):
        assert places[other] - places[one] >= 10 - 1e-9
        assert wanted[one] <= wanted[other]
    assert all(-1e-9 <= place <= 100 + 1e-9 for place in places)


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([5.0, 50.0, 30.0], 10, 0, 100) == [5.0, 50.0, 30.0]
