"""People at work in one project of the real services, and what must hold whatever they do and in which order.

`Life` does one thing at a time, told by numbers; `must_hold` looks at the database. A property test, threads and
processes share both. As a program (`python -m tests.integration.queue_life URL PROJECT SEED STEPS`) it is one process
of a crowd.
"""

import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa

from al_service.domain.records import Annotation, Chosen, NewSample, Sample, User
from al_service.domain.states import AnnotationKind, JobKind, Role, SampleState, SelectionState, Split, Stage
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.job_queue.inline_queue import InlineQueue
from al_service.loop.annotations import Answer
from al_service.loop.class_change_kinds import AddClasses, Change, MergeClass, RenameClass, SplitClass
from al_service.loop.consensus import believe
from al_service.loop.reviews import Verdict
from al_service.loop.rounds import StageResult
from al_service.loop.services import Services, assemble
from al_service.loop.tasks import Wish
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.store import SqlStore

CLASSES = ("cat", "dog")
NAMES = ("ann", "bob", "cat", "dan")
MAX_SKIPS = 2
#: What may come back when several are at it: somebody else was faster, or it is over.
REFUSALS = (ConflictError, InvalidInputError, NotFoundError)
LABEL, SKIP, FLAG = AnnotationKind.LABEL, AnnotationKind.SKIP, AnnotationKind.FLAG


@dataclass
class Life:
    """One project and its people.

    Attributes:
        alone: nobody else does anything meanwhile, so that what a lease promised still holds when one looks.
        given: every lease so far, by who got it; said: every answer.
        tasks: selections that were asked for or moved by hand.
    """

    services: Services
    project: str
    people: list[User]
    key_prefix: str = "k"
    alone: bool = True
    given: list[tuple[User, int]] = field(default_factory=list)
    said: list[tuple[User, Annotation]] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    _keys: int = 0

    @property
    def sample_ids(self) -> list[int]:
        with self.services.store.read() as tx:
            project = tx.projects.find(self.project)
            assert project is not None
            found = [tx.samples.in_state(project.id, state, tuple(Split), after=0, limit=1000) for state in SampleState]
        return sorted(sample.id for samples in found for sample in samples)

    def lease(self, who: int, count: int) -> None:
        """Nobody is given what they labelled or flagged, unless by name, nor the same sample twice."""
        user = self.people[who % len(self.people)]
        held = self.services.assignments.lease_next(self.project, user, count, look_alike=who % 2 == 1).assignments
        ids = [item.sample.id for item in held]
        assert len(ids) == len(set(ids)) <= count
        with self.services.store.read() as tx:
            for item in held if self.alone else ():
                if item.selection.assigned_to_id == user.id:
                    continue
                mine = {one.kind for one in tx.annotations.active_of_sample(item.sample.id) if one.user_id == user.id}
                assert not mine & {LABEL, FLAG}, (user.name, item.sample.id)
        self.given += [(user, item.id) for item in held if (user, item.id) not in self.given]

    def answer(self, which: int, kind: AnnotationKind, class_number: int) -> None:
        """On any lease that was ever given, also one that is over; the same key again changes nothing."""
        if not self.given:
            return
        user, assignment_id = self.given[which % len(self.given)]
        self._keys += 1
        name = self._class_name(class_number) if kind is LABEL else None
        answer = Answer(kind, name, f"{self.key_prefix}-{self._keys}")
        stored = self.services.annotations.annotate(assignment_id, user, answer)
        again = self.services.annotations.annotate(assignment_id, user, answer)
        assert (stored.is_new, again.is_new, again.annotation.id) == (True, False, stored.annotation.id)
        self.said.append((user, stored.annotation))

    def undo(self, which: int) -> None:
        if self.said:
            user, annotation = self.said[which % len(self.said)]
            _, fresh = self.services.annotations.undo(annotation.id, user)
            if fresh is not None:
                self.given.append((user, fresh.id))

    def release(self, which: int) -> None:
        if self.given:
            user, assignment_id = self.given[which % len(self.given)]
            self.services.assignments.release(assignment_id, user)

    def renew(self, which: int) -> None:
        if self.given:
            user, assignment_id = self.given[which % len(self.given)]
            self.services.assignments.renew(assignment_id, user)

    def put_back(self, which: int) -> None:
        self.services.lanes.put_back(self._sample(which), self.people[0])

    def exclude(self, which: int) -> None:
        self.services.lanes.exclude(self._sample(which), self.people[0])

    def ask_by_hand(self, which: int, who: int, priority: int) -> None:
        """One sample, for anybody (an even number) or for one person, sooner or later."""
        name = self.people[who % len(self.people)].name if who % 2 else None
        wish = Wish((self._sample(which),), name, 1 if name else 1 + who % 3, priority % 5 - 2)
        made = self.services.tasks.ask(self.project, wish, self.people[0])
        self.tasks += [task.selection.id for task in made]

    def withdraw(self, which: int) -> None:
        if self.tasks:
            self.services.tasks.withdraw(self.tasks[which % len(self.tasks)], self.people[0])

    def judge(self, which: int, who: int, class_number: int, *, gold: bool) -> None:
        """A verdict of somebody who has just looked."""
        sample_id, user = self._sample(which), self.people[who % len(self.people)]
        with self.services.store.read() as tx:
            version = tx.samples.get(sample_id).label_version or 0
        self._keys += 1
        key = f"{self.key_prefix}-verdict-{self._keys}"
        verdict = Verdict(sample_id, self._class_name(class_number), version, key)
        given = self.services.reviews.set_gold(verdict, user) if gold else self.services.reviews.label(verdict, user)
        self.said.append((user, given.annotation))

    def remove_gold(self, which: int) -> None:
        self.services.reviews.remove_gold(self._sample(which), self.people[0])

    def change_classes(self, which: int, kind: int) -> None:
        """Rename, merge, split or add one; never the last two."""
        names = self.services.projects.get(self.project).class_names
        first, second = names[which % len(names)], names[(which + 1) % len(names)]
        self._keys += 1
        fresh = f"{self.key_prefix}-class-{self._keys}"
        changes: list[Change] = [
            RenameClass(first, fresh),
            SplitClass(first, (f"{fresh}-a", f"{fresh}-b")),
            MergeClass(first, second) if len(names) > 2 else AddClasses((fresh,)),
        ]
        self.services.classes.apply(self.project, changes[kind % len(changes)], self.people[0])

    def _class_name(self, number: int) -> str:
        """Any name that any class ever had: pages with old buttons go on saying it."""
        with self.services.store.read() as tx:
            project = tx.projects.find(self.project)
            assert project is not None
            book = tx.projects.class_book(project.id)
        names = [*(known.name for known in book.classes), *sorted(book.aliases)]
        return names[number % len(names)]

    def _sample(self, which: int) -> int:
        ids = self.sample_ids
        return ids[which % len(ids)]

    def hand_over(self, which: list[int], reserved: int) -> None:
        """A round by hand up to the people; its batch are these samples, the last ones of them its reserve."""
        record, is_new = self.services.rounds.start(self.project)
        if not is_new:
            return
        ids = self.sample_ids
        wanted = list(dict.fromkeys(ids[number % len(ids)] for number in which))
        picks = [
            Chosen(sample_id, rank, None, {"code": "random"}, copy_group=rank % 3 or None, look_alike=rank // 2)
            for rank, sample_id in enumerate(wanted)
        ]
        cut = max(0, len(picks) - reserved)
        for kind, stage, result in (
            (JobKind.TRAIN, Stage.TRAIN, StageResult({"skipped": "by the test"}, Stage.SELECT)),
            (JobKind.SELECT, Stage.SELECT, StageResult({}, Stage.ANNOTATE, chosen=picks[:cut], reserve=picks[cut:])),
        ):
            with self.services.store.read() as tx:
                job = next(iter(tx.jobs.of_round(record.id, kind)))
            claimed = self.services.jobs.claim(job.id, job.attempt, "test")
            assert claimed is not None
            self.services.rounds.complete_stage(claimed, stage, result)

    def act(self, rng: random.Random) -> None:
        """Anything of the above, by chance; being refused is fine."""
        number, other = rng.randrange(10_000), rng.randrange(10_000)
        acts: list[tuple[float, Callable[[], None]]] = [
            (6, lambda: self.lease(number, 1 + other % 3)),
            (6, lambda: self.answer(len(self.given) - 1 - number % 5, LABEL, other)),
            (1, lambda: self.answer(number, LABEL, other)),
            (1, lambda: self.answer(number, SKIP, 0)),
            (0.5, lambda: self.answer(number, FLAG, 0)),
            (2, lambda: self.undo(number)),
            (1, lambda: self.release(number)),
            (1, lambda: self.renew(number)),
            (0.5, lambda: self.put_back(number)),
            (0.3, lambda: self.exclude(number)),
            (0.7, lambda: self.ask_by_hand(number, other, other)),
            (0.3, lambda: self.withdraw(number)),
            (0.5, lambda: self.judge(number, other, other, gold=False)),
            (0.3, lambda: self.judge(number, other, other, gold=True)),
            (0.1, lambda: self.remove_gold(number)),
            (0.3, lambda: self.change_classes(number, other)),
            (0.5, lambda: self.hand_over([rng.randrange(10_000) for _ in range(8)], other % 3)),
        ]
        [(_, act)] = rng.choices(acts, [weight for weight, _ in acts])
        try:
            act()
        except REFUSALS:
            return


def new_life(services: Services, project: str, *, samples: int, overlap: int, key_prefix: str = "k") -> Life:
    """A project of that many samples, all asked for by a first round."""
    settings = {"auto_start": False, "overlap": overlap, "max_skips": MAX_SKIPS, "gold_share": 0.3}
    made = services.projects.create(project, CLASSES, settings)
    rows = [NewSample(f"{n}.png", f"{n:064x}", 8, 8, "PNG", 100, Split.POOL) for n in range(samples)]
    with services.store.write() as tx:
        tx.samples.add_many(made.id, rows, services.clock())
    people = [services.accounts.ensure_user(name, Role.REVIEWER) for name in NAMES]
    life = Life(services, project, people, key_prefix)
    life.hand_over(list(range(samples)), 2)
    return life


def must_hold(services: Services, project: str, *, overlap: int, excluded: set[int] | None = None) -> None:
    """What must hold at any moment; excluded: samples whose state is a reviewer's word, not their answers'."""
    with services.store.read() as tx:
        found = tx.projects.find(project)
        assert found is not None
        counts = tx.samples.counts(found.id)
        samples = [
            sample
            for state in SampleState
            for sample in tx.samples.in_state(found.id, state, tuple(Split), after=0, limit=1000)
        ]
        answers = {sample.id: tx.annotations.active_of_sample(sample.id) for sample in samples}
        records = tx.rounds.all(found.id)
        picks = {record.id: tx.queue.selections(record.id) for record in records}
        book = tx.projects.class_book(found.id)
        of_classes = set(tx.classes.label_counts(found.id))
    assert of_classes <= {known.id for known in book.active}
    names = {known.name for known in book.active}
    assert {one.class_name for said in answers.values() for one in said if one.kind is LABEL} <= names
    by_hand = _asked_by_hand(services, found.id, overlap)
    parts = (counts.free, counts.leased, counts.labelled, counts.skipped, counts.flagged, counts.not_queued)
    assert sum(parts) == counts.total == len(samples)
    for sample in samples:
        belief = believe(answers[sample.id], overlap=overlap, max_skips=MAX_SKIPS)
        if sample.id in by_hand:
            _must_be_one_of_its_answers(sample, answers[sample.id])
        elif sample.id in (excluded or set()):
            assert sample.state in (SampleState.SKIPPED, belief.state)
        else:
            assert (sample.state, sample.class_name) == (belief.state, belief.class_name), sample.id
        assert (sample.label_version is None) == (sample.class_name is None)
    for record in records:
        states = Counter(pick.state for pick in picks[record.id])
        assert (record.selected_count, record.answered_count) == (states.total(), states[SelectionState.DONE])
    _leases_must_hold(services, found.id, overlap, {sample.id: sample.state for sample in samples})


def _asked_by_hand(services: Services, project_id: int, overlap: int) -> set[int]:
    """Samples about which so many people were asked as somebody wished, not as many as the project's overlap says; what
    is asked again as its class was split is asked as in a batch.
    """
    assert isinstance(services.store, SqlStore)
    statement = sa.text(
        "SELECT sample_id FROM selections WHERE project_id = :project AND (lane <> 'batch' OR overlap <> :overlap) "
        "AND CAST(reason AS TEXT) NOT LIKE '%class_split%'"
    )
    with services.store._writing() as connection:
        return set(connection.execute(statement, {"project": project_id, "overlap": overlap}).scalars())


def _must_be_one_of_its_answers(sample: Sample, answers: list[Annotation]) -> None:
    """However many were asked: a label is somebody's, and a verdict stands."""
    verdicts = [one.class_name for one in answers if one.is_review]
    if verdicts:
        assert (sample.state, sample.class_name) == (SampleState.LABELLED, verdicts[-1]), sample.id
    elif sample.class_name is not None:
        assert sample.class_name in {one.class_name for one in answers if one.kind is LABEL}, sample.id


def _leases_must_hold(services: Services, project_id: int, overlap: int, states: dict[int, SampleState]) -> None:
    store = services.store
    assert isinstance(store, SqlStore)
    with store._writing() as connection:

        def rows(statement: str) -> list[Any]:
            return list(connection.execute(sa.text(statement), {"project": project_id}))

        held = rows(
            "SELECT s.id, s.sample_id, s.lane, s.overlap, a.user_id, a.slot FROM assignments a JOIN selections s "
            "ON s.id = a.selection_id WHERE a.project_id = :project AND a.state = 'open'"
        )
        asked = rows("SELECT sample_id, lane FROM selections WHERE project_id = :project AND state = 'open'")
    assert max(Counter((row.id, row.slot) for row in held).values(), default=1) == 1
    assert max(Counter((row.sample_id, row.user_id) for row in held).values(), default=1) == 1
    # A reviewer who lowers how many answer a sample takes it out of nobody's hands.
    in_batch = [row.sample_id for row in held if row.lane == "batch" and row.overlap == overlap]
    assert max(Counter(in_batch).values(), default=0) <= overlap
    assert max(Counter(row.sample_id for row in asked if row.lane != "gold").values(), default=1) == 1
    assert {states[row.sample_id] for row in asked if row.lane == "batch"} <= {SampleState.UNLABELLED}


def services_on(url: str, folder: Path, lease_ttl_s: float) -> Services:
    """The real services over a database, with the real time and a queue that nobody works off."""
    clock = lambda: datetime.now(UTC)  # noqa: E731
    return assemble(SqlStore(url), InlineQueue(lambda job: None), FileArtifacts(folder), clock, lease_ttl_s=lease_ttl_s)


def main() -> None:
    """One process of a crowd."""
    url, project, seed, steps = sys.argv[1:]
    with TemporaryDirectory() as folder:
        services = services_on(url, Path(folder), 0.2)
        people = [services.accounts.get_user(name) for name in NAMES]
        life, rng = Life(services, project, people, f"process-{seed}", alone=False), random.Random(int(seed))
        for _ in range(int(steps)):
            life.act(rng)
    sys.stdout.write(f"{len(life.given)} {len(life.said)}\n")


if __name__ == "__main__":
    main()
