"""A project `pets` whose rounds are run by hand up to the people: what the tests of the queue stand on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

from al_service.domain.records import Annotation, Assignment, Chosen, NewSample, User
from al_service.domain.states import AnnotationKind, JobKind, SampleState, Split, Stage
from al_service.loop.annotations import Answer
from al_service.loop.rounds import StageResult
from tests.integration.conftest import Loop

CLASSES = ("cat", "dog", "bird")
SAMPLES = 12


def fill(
    loop: Loop, batch: int = 6, reserve: int = 0, groups: str = "", samples: int = SAMPLES, **settings: object
) -> list[int]:
    """A project `pets` with that many samples and a round waiting for people: its batch are the first samples, in
    order, its reserve those that follow; groups: as in `choose`.
    """
    services = loop.services
    values = {"labels_per_round": batch, "auto_start": False, **settings}
    project = services.projects.create("pets", CLASSES, values)
    pool = [NewSample(f"{n}.png", f"{n:064x}", 8, 8, "PNG", 100, Split.POOL) for n in range(samples)]
    with services.store.write() as tx:
        ids = [one for one in tx.samples.add_many(project.id, pool, loop.clock()) if one is not None]
    ask(loop, ids[:batch], ids[batch : batch + reserve], groups)
    return ids


def ask(loop: Loop, sample_ids: list[int], reserve: list[int] | None = None, groups: str = "") -> None:
    """Run a round by hand up to the people, with these samples chosen and those in reserve; groups: as in `choose`."""
    assert loop.services.rounds.start("pets")[1]
    choose(loop, sample_ids, reserve, groups)


def choose(loop: Loop, sample_ids: list[int], reserve: list[int] | None = None, groups: str = "") -> None:
    """Bring the running round up to the people, with these samples chosen and those in reserve.

    groups: a digit for each in that order, the group of look-alikes that it is in; "-": in none.
    """
    services = loop.services
    record = services.rounds.all("pets")[-1]
    picks = [
        Chosen(sample_id, rank, None, {"code": "random"}, look_alike=int(group) if group.isdigit() else None)
        for rank, (sample_id, group) in enumerate(zip_longest([*sample_ids, *(reserve or [])], groups, fillvalue="-"))
    ]
    chosen, ahead = picks[: len(sample_ids)], picks[len(sample_ids) :]
    for kind, stage, result in (
        (JobKind.TRAIN, Stage.TRAIN, StageResult({"skipped": "by the test"}, Stage.SELECT)),
        (JobKind.SELECT, Stage.SELECT, StageResult({}, Stage.ANNOTATE, chosen=chosen, reserve=ahead)),
    ):
        with services.store.read() as tx:
            job = next(
                item for item in tx.jobs.all(states=["queued"]) if item.kind is kind and item.round_id == record.id
            )
        claimed = services.jobs.claim(job.id, job.attempt, "test")
        assert claimed is not None
        services.rounds.complete_stage(claimed, stage, result)


def lease(loop: Loop, user: User, count: int = 1) -> list[Assignment]:
    return list(loop.services.assignments.lease_next("pets", user, count).assignments)


def label(loop: Loop, assignment: Assignment, user: User, name: str = "cat", key: str | None = None) -> Annotation:
    answer = Answer(AnnotationKind.LABEL, name, key or f"{user.name}-{assignment.id}-{name}", 1.5)
    return loop.services.annotations.annotate(assignment.id, user, answer).annotation


def say(loop: Loop, assignment: Assignment, user: User, kind: AnnotationKind) -> Annotation:
    answer = Answer(kind, None, f"{user.name}-{assignment.id}-{kind}")
    return loop.services.annotations.annotate(assignment.id, user, answer).annotation


def sample_state(loop: Loop, sample_id: int) -> tuple[SampleState, str | None]:
    with loop.services.store.read() as tx:
        sample = tx.samples.get(sample_id)
    return sample.state, sample.class_name


@contextmanager
def at_once(loop: Loop) -> Iterator[Callable[[Callable[[], Any]], list[Any]]]:
    """Whatever is given inside is done in one transaction, in the order in which it came; a list gets its result."""
    store: Any = loop.services.store
    group = store._group
    is_at_work, may_go_on = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []
    errors: list[Exception] = []

    def first(_tx: Any) -> Callable[[], None]:
        is_at_work.set()
        may_go_on.wait(30)
        return lambda: None

    def start(work: Callable[[], Any]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 (the test shall see it)
                errors.append(error)

        threads.append(threading.Thread(target=run))
        threads[-1].start()

    start(lambda: store.write_together(first, about="the first"))
    assert is_at_work.wait(30)

    def come(work: Callable[[], Any]) -> list[Any]:
        got: list[Any] = []
        waiting = len(group._waiting)
        start(lambda: got.append(work()))
        while len(group._waiting) == waiting:
            threading.Event().wait(0.001)
        return got

    try:
        yield come
    finally:
        may_go_on.set()
        for thread in threads:
            thread.join(60)
    assert errors == []
