"""What this process counts and times for /metrics. State of the database is not here: collector.py reads it at scrape.

Counters and histograms belong to one process. With several web processes each has its own; a scrape meets one of them.
"""

from prometheus_client import CollectorRegistry, Counter, Histogram

#: Seconds; the promise is a few milliseconds, so the buckets are fine there.
SECONDS_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


class Meters:
    """Counters and histograms in a registry of their own, so that two apps in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.annotations = Counter(
            "al_annotations", "Answers stored through this process, by kind", ["kind"], registry=self.registry
        )
        self.http_requests = Counter(
            "al_http_requests",
            "Requests answered by this process",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.timers = {
            "next_assignment": self._timer("al_next_assignment_seconds", "Seconds to lease the next samples"),
            "submit": self._timer("al_submit_seconds", "Seconds to store one answer"),
        }

    def _timer(self, name: str, help: str) -> Histogram:
        return Histogram(name, help, buckets=SECONDS_BUCKETS, registry=self.registry)
