"""The queue's rules hold whatever people do, in any order, at once: a property test, eight threads, four processes, on
both databases.
"""

import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from al_service.domain.states import AnnotationKind, SampleState
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.services import Services
from tests.integration.conftest import Loop
from tests.integration.queue_life import Life, must_hold, new_life, services_on

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite", "postgresql"])

SAMPLES = 5
THREADS, PROCESSES, STEPS = 8, 4, 30
NUMBER = st.integers(0, 7)
SMALL = settings(
    max_examples=10,
    stateful_step_count=14,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_names = count()


class QueueLife(RuleBasedStateMachine):
    """People and rounds do things to one project of the real services, one after the other."""

    def __init__(self, loop: Loop) -> None:
        super().__init__()
        self.loop = loop
        self.excluded: set[int] = set()

    @initialize(overlap=st.integers(1, 3))
    def begin(self, overlap: int) -> None:
        self.overlap = overlap
        name = f"life-{next(_names)}"
        self.life = new_life(self.loop.services, name, samples=SAMPLES, overlap=overlap, key_prefix=name)

    @rule(who=NUMBER, number=st.integers(1, 4))
    def lease(self, who: int, number: int) -> None:
        self.life.lease(who, number)

    @rule(which=NUMBER, kind=st.sampled_from([*[AnnotationKind.LABEL] * 3, AnnotationKind.SKIP, AnnotationKind.FLAG]))
    def answer(self, which: int, kind: AnnotationKind) -> None:
        self._unless(ConflictError, lambda: self.life.answer(which, kind, which))

    @rule(which=NUMBER)
    def undo(self, which: int) -> None:
        self._unless(ConflictError, lambda: self.life.undo(which))

    @rule(which=NUMBER)
    def release(self, which: int) -> None:
        self.life.release(which)

    @rule(which=NUMBER)
    def renew(self, which: int) -> None:
        self._unless(ConflictError, lambda: self.life.renew(which))

    @rule(seconds=st.sampled_from([50, 120, 301]))
    def wait(self, seconds: int) -> None:
        self.loop.clock.advance(seconds)
        self.loop.services.assignments.expire()

    @rule(which=st.lists(NUMBER, max_size=4), reserved=st.integers(0, 2))
    def hand_over(self, which: list[int], reserved: int) -> None:
        self.life.hand_over(which, reserved)

    @rule(which=NUMBER)
    def put_back(self, which: int) -> None:
        self._unless(ConflictError, lambda: self.life.put_back(which))

    @rule(which=NUMBER)
    def exclude(self, which: int) -> None:
        sample_id = self.life._sample(which)
        if self._unless(ConflictError, lambda: self.life.exclude(which)):
            self.excluded.add(sample_id)

    @rule(which=NUMBER, who=NUMBER, priority=NUMBER)
    def ask_by_hand(self, which: int, who: int, priority: int) -> None:
        self._unless(ConflictError, lambda: self.life.ask_by_hand(which, who, priority))

    @rule(which=NUMBER)
    def withdraw(self, which: int) -> None:
        self._unless(NotFoundError, lambda: self.life.withdraw(which))

    @rule(which=NUMBER, who=NUMBER, gold=st.booleans())
    def judge(self, which: int, who: int, gold: bool) -> None:
        self._unless(ConflictError, lambda: self.life.judge(which, who, which, gold=gold))

    @rule(which=NUMBER, kind=NUMBER)
    def change_classes(self, which: int, kind: int) -> None:
        self.life.change_classes(which, kind)

    @rule(which=NUMBER)
    def remove_gold(self, which: int) -> None:
        self._unless(NotFoundError, lambda: self.life.remove_gold(which))

    def _unless(self, refusal: type[Exception], act: object) -> bool:
        try:
            act()  # type: ignore[operator]
        except (refusal, InvalidInputError):
            return False
        return True

    @invariant()
    def everything_holds(self) -> None:
        if hasattr(self, "life"):
            must_hold(self.loop.services, self.life.project, overlap=self.overlap, excluded=self.excluded)


def test_whatever_people_do_one_after_the_other(loop: Loop) -> None:
    run_state_machine_as_test(lambda: QueueLife(loop), settings=SMALL)


@pytest.fixture
def busy(database_url: str, tmp_path: Path) -> Iterator[Services]:
    """The services with the real time and leases that are over after a fifth of a second."""
    services = services_on(database_url, tmp_path / "artifacts", 0.2)
    yield services
    services.store.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("overlap", [1, 2])
def test_whatever_eight_threads_do_at_once(busy: Services, overlap: int) -> None:
    first = new_life(busy, "crowd", samples=12, overlap=overlap)
    together = Barrier(THREADS)

    def work(number: int) -> tuple[int, int]:
        life, rng = Life(busy, "crowd", first.people, f"thread-{number}", alone=False), random.Random(number)
        together.wait()
        for _ in range(STEPS):
            life.act(rng)
        return len(life.given), len(life.said)

    with ThreadPoolExecutor(THREADS) as pool:
        done = list(pool.map(work, range(THREADS)))
    assert min(map(sum, zip(*done, strict=True))) > 0, done
    must_hold(busy, "crowd", overlap=overlap, excluded=_given_up(busy, first))


def test_whatever_four_processes_do_at_once(busy: Services, database_url: str) -> None:
    first = new_life(busy, "crowd", samples=12, overlap=1)
    command = [sys.executable, "-m", "tests.integration.queue_life", database_url, "crowd"]
    children = [
        subprocess.Popen([*command, str(number), str(STEPS)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for number in range(PROCESSES)
    ]
    ended = [(*child.communicate(), child.returncode) for child in children]
    assert [code for _, _, code in ended] == [0] * PROCESSES, [error for _, error, _ in ended]
    given_and_said = [[int(word) for word in out.split()] for out, _, _ in ended]
    assert min(map(sum, zip(*given_and_said, strict=True))) > 0, given_and_said
    must_hold(busy, "crowd", overlap=1, excluded=_given_up(busy, first))


def _given_up(services: Services, life: Life) -> set[int]:
    """Samples that a reviewer may have excluded: nobody knows in which order threads came to that."""
    with services.store.read() as tx:
        found = tx.projects.find(life.project)
        assert found is not None
        excluded = {
            entry["details"]["sample"] for entry in tx.accounts.audit(10_000) if entry["action"].endswith("exclude")
        }
        return {sample for sample in excluded if tx.samples.get(sample).state is SampleState.SKIPPED}
