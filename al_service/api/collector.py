"""What /metrics says of the database and the broker, read at each scrape, so that every web process says the same."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from al_service.api.kept import BrokerFacts, Kept
from al_service.domain.records import PoolCounts, Project, Round
from al_service.domain.states import JobState
from al_service.errors import UnavailableError
from al_service.loop.ports import Transaction
from al_service.loop.services import Services

POOL_STATES = ("free", "leased", "labelled", "skipped", "flagged", "not_queued")
#: How far back an accuracy is looked for: whole rounds are large.
ROUNDS_MAX = 10
JOBS_MAX = 10_000
#: Jobs that are over and well are history, not state; they only grow.
JOB_STATES = (JobState.QUEUED, JobState.RUNNING, JobState.FAILED)


class StateCollector(Collector):
    """Gauges over the database and the broker. A part that does not answer has al_up 0 and no other numbers."""

    def __init__(self, services: Services, broker: Kept[BrokerFacts]) -> None:
        self._services = services
        self._broker = broker

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Nothing beforehand: registering must not touch the database."""
        return iter(())

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All families, in one read transaction and one look at the broker."""
        up = GaugeMetricFamily("al_up", "1 when the part answers", labels=["part"])
        for part, read in (("database", self._of_database), ("broker", self._of_broker)):
            try:
                yield from read()
                up.add_metric([part], 1)
            except UnavailableError:
                up.add_metric([part], 0)
        yield up

    def _of_database(self) -> list[GaugeMetricFamily]:
        families = _Families()
        with self._services.store.read() as tx:
            for project in tx.projects.all():
                families.add_project(tx, project)
            found = tx.jobs.all(states=JOB_STATES, limit=JOBS_MAX)
        for (state, kind), count in Counter((job.state, job.kind) for job in found).items():
            families.jobs.add_metric([state, kind], count)
        return families.all()

    def _of_broker(self) -> list[GaugeMetricFamily]:
        jobs = GaugeMetricFamily("rq_jobs", "Jobs waiting at the broker", labels=["queue", "status"])
        facts = self._broker.get()
        for queue, count in facts.depths.items():
            jobs.add_metric([queue, "queued"], count)
        workers = GaugeMetricFamily("rq_workers", "Live workers by state", labels=["state"])
        states = Counter(str(worker["state"]) for worker in facts.workers)
        for state, count in {"busy": 0, "idle": 0, **states}.items():
            workers.add_metric([state], count)
        return [jobs, workers]


class _Families:
    """The families that rows of the database fill."""

    def __init__(self) -> None:
        gauge = GaugeMetricFamily
        self.samples = gauge("al_queue_samples", "Pool samples by state", labels=["project", "state"])
        self.leases = gauge("al_leases_active", "Samples leased to people", labels=["project"])
        self.stages = gauge(
            "al_round_stage_seconds", "Seconds of each stage of the newest round", labels=["project", "stage"]
        )
        self.accuracy = gauge(
            "al_model_accuracy", "Accuracy of the newest evaluated model, 0 to 1", labels=["project", "split"]
        )
        self.rounds = gauge("al_rounds_total", "Rounds by state", labels=["state"])
        self.jobs = gauge("al_jobs", "Jobs that are queued, running or failed", labels=["state", "kind"])
        self._round_states: Counter[str] = Counter()

    def add_project(self, tx: Transaction, project: Project) -> None:
        """Everything of one project."""
        self._add_counts(project, tx.samples.counts(project.id))
        self.leases.add_metric([project.name], sum(tx.queue.holders(project.id).values()))
        rounds = tx.rounds.all(project.id, limit=ROUNDS_MAX)
        self._round_states.update(tx.rounds.count_by_state(project.id))
        if rounds:
            self._add_round(project, rounds[-1])
        measured = next((record for record in reversed(rounds) if "accuracy" in record.metrics), None)
        if measured is not None and measured.metrics["accuracy"] is not None:
            self.accuracy.add_metric([project.name, "evaluation"], measured.metrics["accuracy"])

    def _add_counts(self, project: Project, counts: PoolCounts) -> None:
        for state in POOL_STATES:
            self.samples.add_metric([project.name, state], getattr(counts, state))

    def _add_round(self, project: Project, record: Round) -> None:
        for stage in record.stages:
            if stage.seconds is not None:
                self.stages.add_metric([project.name, stage.stage], stage.seconds)

    def all(self) -> list[GaugeMetricFamily]:
        """The families, complete."""
        for state, count in self._round_states.items():
            self.rounds.add_metric([state], count)
        return [self.samples, self.leases, self.stages, self.accuracy, self.rounds, self.jobs]
