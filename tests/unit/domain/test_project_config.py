"""Project settings: every way to say them wrong is a clear refusal."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.domain.project_config import InvalidConfigError, ProjectConfig


def test_text_from_a_command_line_is_converted() -> None:
    config = ProjectConfig().with_values(
        {"labels_per_round": "20", "random_fraction": "0.25", "auto_start": "off", "strategy": "entropy"}
    )
    assert (config.labels_per_round, config.random_fraction, config.auto_start) == (20, 0.25, False)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"colour": "red"}, "unknown project setting 'colour'"),
        ({"labels_per_round": "many"}, "labels_per_round='many' is not a int"),
        ({"labels_per_round": "0"}, "outside 1"),
        ({"random_fraction": "nan"}, "outside 0.0..1.0"),
        ({"strategy": "magic"}, "is not one of"),
        ({"auto_start": 1}, "expected bool"),
        ({"labels_per_round": True}, "expected int"),
        ({"labels_per_round": 2.5}, "expected int"),
        ({"guidelines": None}, "expected str"),
        ({"weights": "default\0"}, "weights contains a NUL character"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidConfigError, match=words):
        ProjectConfig().with_values(values)


@given(
    st.integers(1, 1000),
    st.floats(0, 1),
    st.sampled_from(["random", "margin", "margin+k_center"]),
    st.text(st.characters(exclude_characters="\0")),
)
def test_what_is_stored_comes_back(count: int, fraction: float, strategy: str, guidelines: str) -> None:
    config = ProjectConfig(labels_per_round=count, random_fraction=fraction, strategy=strategy, guidelines=guidelines)
    assert ProjectConfig.from_json(config.to_json()) == config


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(InvalidConfigError, match="holdout_fraction is too large"):
        ProjectConfig().with_values({"holdout_fraction": 10**400})
