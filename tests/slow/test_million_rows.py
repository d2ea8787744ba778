"""Selections from a pool of a million samples: what they hold in memory, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.batch_selectors import Selection, ours

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SAMPLES = 1_000_000
IN_SHARDS = Path(__file__).with_name("million_in_shards.py")


@pytest.mark.parametrize("selector", ["k_center", "badge"])
def test_a_selection_holds_little_beside_the_embeddings_and_outruns_a_read_per_pick(selector: str) -> None:
    figures = ours(Selection(selector, "clusters", SAMPLES, picks=1000, checked=20))
    assert figures["peak_of_embeddings"] <= 1.5
    assert figures["ratio_to_floor"] <= 2.0
    assert figures["first_picks_identical_to_plain"] == 20


def test_a_pool_in_shards_is_chosen_from_in_less_memory_than_its_embeddings_take() -> None:
    ran = subprocess.run(
        [sys.executable, str(IN_SHARDS), str(SAMPLES)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ran.returncode == 0, ran.stderr
    figures = json.loads(ran.stdout.splitlines()[-1])
    assert figures["chosen"] == figures["distinct"] == 1000
    assert figures["by_chance"] == 100
    assert figures["shards_chosen_from"] == 20
    # All embeddings are 1 GB; a worker that makes one shard of them after the other holds one and the proposals.
    assert figures["peak_of_embeddings"] <= 0.5
