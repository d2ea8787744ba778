"""Draws by a keyed hash: the wanted share, the same each time, and independent of each other."""

import hashlib

from al_service.domain.draws import is_drawn
from al_service.domain.project_config import ProjectConfig

KEYS = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(10_000)]


def drawn(what: str, share: float, seed: int = 0) -> set[str]:
    return {key for key in KEYS if is_drawn(what, key, share=share, seed=seed)}


def test_the_share_is_met_within_five_standard_deviations() -> None:
    for share in (0.0, 0.01, 0.3, 0.5, 1.0):
        spread = 5 * (share * (1 - share) * len(KEYS)) ** 0.5
        assert abs(len(drawn("overlap", share)) - share * len(KEYS)) <= spread


def test_a_larger_share_only_adds() -> None:
    assert drawn("overlap", 0.1) < drawn("overlap", 0.2) < drawn("overlap", 0.9)


def test_another_name_or_seed_draws_independently() -> None:
    first = drawn("overlap", 0.5)
    for other in (drawn("gold", 0.5), drawn("overlap", 0.5, seed=1)):
        assert abs(len(first & other) - len(KEYS) / 4) < 5 * (3 / 16 * len(KEYS)) ** 0.5


def test_how_many_people_answer_an_image() -> None:
    config = ProjectConfig(overlap=3, overlap_share=0.25)
    votes = [config.overlap_of(key) for key in KEYS]
    assert set(votes) == {1, 3}
    assert abs(votes.count(3) - 2500) < 5 * (3 / 16 * len(KEYS)) ** 0.5
    assert {ProjectConfig(overlap=3).overlap_of(key) for key in KEYS[:100]} == {3}
    assert {ProjectConfig(overlap=3, overlap_share=0.0).overlap_of(key) for key in KEYS[:100]} == {1}
