"""How well people agree, and how well each answers: estimated from what several people answered, and put to use.

Mathematics in `domain.agreement_tables` and `domain.dawid_skene`; none of it runs inside a transaction.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from al_service.domain.agreement_tables import AgreementTables, agreement_tables
from al_service.domain.annotator_skill import Skill, weighted_vote
from al_service.domain.dawid_skene import estimate_skills
from al_service.domain.records import ClassInfo, GoldResult, Project
from al_service.domain.states import SampleState
from al_service.loop.assignments import active_project
from al_service.loop.consensus import Rules, believe, rules_of
from al_service.loop.disputes import store_belief
from al_service.loop.ports import Store, Transaction

log = logging.getLogger(__name__)

#: Of a project's newest answers, so many are looked at.
RECENT_ANSWERS = 100_000
#: Skills are estimated from at most so many votes, the newest: a few seconds of one core.
VOTES_MAX = 10_000
#: Samples that are settled anew in one transaction: it must stay short, because people's answers wait for it.
SETTLED_TOGETHER = 50
#: Projects whose agreement is remembered.
KEPT_PROJECTS = 32
#: Agreement that took longer than this is kept for so many times as long.
QUICK_S = 0.2
KEPT_TIMES = 10

Votes = Sequence[tuple[int, int, int]]


@dataclass(frozen=True)
class ProjectAgreement:
    """What a project's answers say of its people.

    Attributes:
        tables: classes and people by id.
        gold: each person's labels of samples that are known for sure.
        skills: as last estimated; empty unless the project weighs votes.
        latest_annotation: the newest answer that this rests on.
    """

    project: Project
    tables: AgreementTables
    gold: Mapping[int, GoldResult]
    skills: Mapping[int, Skill]
    people: Mapping[int, str]
    latest_annotation: int


@dataclass(frozen=True)
class _Kept:
    """Tables as they were made: of which answers and classes, and until when (monotonic) they do although answers came
    since.
    """

    latest: int
    classes: tuple[ClassInfo, ...]
    tables: AgreementTables
    good_until: float


class Skills:
    """Agreement of a project's people, and their skills. Thread-safe.

    Args:
        quick_s, kept_times: see `QUICK_S`, `KEPT_TIMES`.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        *,
        quick_s: float = QUICK_S,
        kept_times: float = KEPT_TIMES,
    ) -> None:
        self._store = store
        self._clock = clock
        self._quick_s = quick_s
        self._kept_times = kept_times
        self._lock = threading.Lock()
        self._making = threading.Lock()
        self._kept: dict[int, _Kept] = {}
        #: When this process last estimated skills of a project and stored none.
        self._estimated_at: dict[int, datetime] = {}

    def agreement(self, project_name: str) -> ProjectAgreement:
        """How far the project's people agree, by class, person and pair.

        Cost: one read transaction of a handful of statements. Votes are read and tables made only after new answers or
        changed classes, linear in the newest `RECENT_ANSWERS`. Tables that took longer than `QUICK_S` are kept for
        `KEPT_TIMES` as long, so that a page that polls while people answer takes a tenth of a core at most.

        Raises:
            NotFoundError: no such project, or it is archived.
        """
        with self._store.read() as tx:
            project = active_project(tx, project_name)
            latest = tx.annotations.latest_id(project.id)
            gold = {result.user_id: result for result in tx.lanes.gold_results(project.id)}
            skills = tx.skills.all(project.id)
            people = {user.id: user.name for user in tx.accounts.users()}
        kept = self._find_kept(project, latest) or self._make(project, latest)
        return ProjectAgreement(project, kept.tables, gold, skills, people, kept.latest)

    def _find_kept(self, project: Project, latest: int) -> _Kept | None:
        with self._lock:
            kept = self._kept.get(project.id)
        if kept is None or kept.classes != project.classes:
            return None
        return kept if kept.latest == latest or time.monotonic() < kept.good_until else None

    def _make(self, project: Project, latest: int) -> _Kept:
        # One at a time: who waited finds what was made meanwhile.
        with self._making:
            found = self._find_kept(project, latest)
            if found is not None:
                return found
            started = time.monotonic()
            with self._store.read() as tx:
                latest = tx.annotations.latest_id(project.id)
                votes = tx.skills.votes(project.id, RECENT_ANSWERS)
            # A class that came or went since belongs to the next look.
            known = {info.id for info in project.classes}
            tables = agreement_tables(vote for vote in votes if vote[2] in known)
            took = time.monotonic() - started
            until = time.monotonic() + (self._kept_times * took if took > self._quick_s else 0.0)
            made = _Kept(latest, project.classes, tables, until)
            self._keep(project.id, made)
            return made

    def _keep(self, project_id: int, kept: _Kept) -> None:
        with self._lock:
            self._kept.pop(project_id, None)
            self._kept[project_id] = kept
            if len(self._kept) > KEPT_PROJECTS:
                del self._kept[next(iter(self._kept))]

    def estimate_if_due(self, project_id: int) -> int:
        """Estimate a project's skills once after each start and end of a round, and settle anew what they change; how
        many labels changed.

        Only where votes are weighed. Two schedulers may do it at once: both store the same.
        """
        with self._store.read() as tx:
            project = tx.projects.get(project_id)
            if project.config.consensus != "weighted" or not self._is_due(tx, project_id):
                return 0
        return self.estimate(project_id)

    def _is_due(self, tx: Transaction, project_id: int) -> bool:
        last = tx.rounds.find_last(project_id)
        if last is None:
            return False
        stored = tx.skills.updated_at(project_id)
        times = [at for at in (stored, self._estimated_at.get(project_id)) if at is not None]
        return not times or max(times) < (last.finished_at or last.started_at)

    def estimate(self, project_id: int) -> int:
        """Estimate and store a project's skills, and settle anew what they change; how many labels changed.

        Nothing is stored where classes changed meanwhile, or where there are fewer than two.

        Cost: as `estimate_skills` of at most `VOTES_MAX` votes, outside any transaction; then one short transaction for
        the skills and one for each `SETTLED_TOGETHER` labels that change.
        """
        now = self._clock()
        with self._store.read() as tx:
            project = tx.projects.get(project_id)
            class_ids = {info.id for info in project.classes}
            votes = [vote for vote in tx.skills.votes(project_id, RECENT_ANSWERS) if vote[2] in class_ids][-VOTES_MAX:]
            known = tx.skills.known(project_id, RECENT_ANSWERS)
        # Noted first: an estimate that fails is not tried again at every look.
        self._estimated_at[project_id] = now
        if len(class_ids) < 2:
            return 0
        known = {sample_id: class_id for sample_id, class_id in known.items() if class_id in class_ids}
        found = estimate_skills(votes, known=known, class_ids=class_ids)
        with self._store.write() as tx:
            tx.projects.lock(project_id)
            if tx.projects.get(project_id).classes != project.classes:
                return 0
            tx.skills.replace(project_id, found.skills, now)
        if found.skills:
            # What is stored says when; a change of classes may take it away.
            del self._estimated_at[project_id]
        changed = self._settle_anew(project_id, self._to_settle(project, votes, found.skills))
        log.info(
            "%s: skills of %d people from %d votes; %d labels changed",
            project.name,
            len(found.skills),
            len(votes),
            changed,
        )
        return changed

    def _to_settle(self, project: Project, votes: Votes, skills: Mapping[int, Skill]) -> list[int]:
        """Samples, by id, on which people differ and whose label is not what these votes make of it."""
        given: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
        for sample_id, user_id, class_id in votes:
            given[sample_id].append((user_id, class_id))
        contested = sorted(one for one, answers in given.items() if len({vote for _, vote in answers}) > 1)
        with self._store.read() as tx:
            samples = tx.samples.get_many(contested)
        names = {info.id: info.name for info in project.classes}
        return [
            one for one in contested if names[weighted_vote(given[one], skills, names)[0]] != samples[one].class_name
        ]

    def _settle_anew(self, project_id: int, sample_ids: Sequence[int]) -> int:
        changed = 0
        for start in range(0, len(sample_ids), SETTLED_TOGETHER):
            with self._store.write() as tx:
                tx.projects.lock(project_id)
                rules = rules_of(tx, tx.projects.get(project_id))
                for sample_id in sample_ids[start : start + SETTLED_TOGETHER]:
                    changed += _settle(tx, sample_id, rules, self._clock())
        return changed


def _settle(tx: Transaction, sample_id: int, rules: Rules, now: datetime) -> bool:
    """Give a labelled sample the class that its answers now make; True when that is another."""
    sample = tx.samples.get(sample_id)
    if sample.state is not SampleState.LABELLED:
        return False
    answers = tx.annotations.active_of_sample(sample_id)
    belief = believe(answers, overlap=1, max_skips=1, rules=rules)
    if belief.state is not SampleState.LABELLED or belief.class_name == sample.class_name:
        return False
    # It rests on the newest answer, so that no round's trigger takes it for a new label.
    store_belief(tx, sample, belief, answers[-1].id, answers, now)
    return True
