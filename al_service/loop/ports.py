"""What the loop needs from the outside: storage (one SQL store on SQLite or PostgreSQL) and a job queue (RQ or inline).

`Store.write()` opens one short transaction: everything inside is committed together when the block ends, or nothing is.
Reads inside it see its own writes. Keep it short: no image, no network, no mathematics inside a transaction.

Contract tests: tests/contract/test_store.py (both databases), tests/contract/test_job_queue.py (both queues).
"""

from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from al_service.domain.records import (
    Job,
)
from al_service.loop.project_ports import AccountRows, ClassRows, InvitationRows, OwnSettingRows, ProjectRows
from al_service.loop.queue_ports import LaneRows, PeopleRows, QueueRows, SkillRows
from al_service.loop.round_ports import JobRows, ModelRows, RoundRows
from al_service.loop.sample_ports import AnnotationRows, ExampleRows, ReviewListRows, SampleRows

T = TypeVar("T")


class Transaction(Protocol):
    """All rows, seen through one transaction."""

    @property
    def projects(self) -> ProjectRows: ...
    @property
    def classes(self) -> ClassRows: ...
    @property
    def samples(self) -> SampleRows: ...
    @property
    def annotations(self) -> AnnotationRows: ...
    @property
    def queue(self) -> QueueRows: ...
    @property
    def lanes(self) -> LaneRows: ...
    @property
    def people(self) -> PeopleRows: ...
    @property
    def examples(self) -> ExampleRows: ...
    @property
    def skills(self) -> SkillRows: ...
    @property
    def review_list(self) -> ReviewListRows: ...
    @property
    def rounds(self) -> RoundRows: ...
    @property
    def models(self) -> ModelRows: ...
    @property
    def jobs(self) -> JobRows: ...
    @property
    def accounts(self) -> AccountRows: ...
    @property
    def own_settings(self) -> OwnSettingRows: ...
    @property
    def invitations(self) -> InvitationRows: ...


class Store(Protocol):
    """The only truth."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A snapshot for reading; writes through it are refused or rolled back."""

    def look(self, ask: Callable[[Transaction], Callable[[], T]]) -> T:
        """What one look-up gives that every request makes: cheaper than `read`, because it may share its message with
        others'. `ask` asks and gives the way to fetch the answer; it may be asked again."""

    def write(self) -> AbstractContextManager[Transaction]:
        """A short write transaction: committed and on disk when the block ends without an exception.

        Raises:
            UnavailableError: the database does not answer or stays locked."""

    def write_together(self, begin: Callable[[Transaction], Callable[[], T]], *, about: Hashable) -> T:
        """Do short work in a write transaction that it may share with that of other threads; what it gives, once it is
        committed and on disk. The work has two halves: `begin` asks what has to be known first and gives the rest.
        Others' halves may come in between, but none that is about the same. Both only read and write through the
        transaction: they may be taken back and done again."""

    def check(self) -> str:
        """A word about the database (dialect, version, migration); raises UnavailableError when it does not answer."""


#: Asks, along with what a piece of work asks first, whether it may be done; the second half raises if not.
Admission = Callable[[Transaction], Callable[[], None]]


class JobQueue(Protocol):
    """The doorbell: tells some worker that an attempt of a job is due. May lose everything at any moment."""

    def announce(self, job: Job) -> None:
        """Tell the workers. Announcing the same attempt twice is harmless.

        Raises:
            UnavailableError: the broker does not answer (the scheduler will announce again)."""

    def knows(self, job: Job) -> bool:
        """True when this attempt is waiting or running at the broker, so that telling again would change nothing."""

    def check(self) -> str:
        """A word about the broker; raises UnavailableError when it does not answer."""

    def workers(self) -> list[dict[str, Any]]:
        """Live workers: {name, state, queues, current_job, heartbeat_at}."""

    def depths(self) -> dict[str, int]:
        """Jobs waiting at the broker by queue."""


class Artifacts(Protocol):
    """Files by name: images by content hash, checkpoints, arrays."""

    def put(self, name: str, data: bytes) -> None:
        """Store durably and atomically; an existing one is replaced."""

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """As `put` for each, durable together; much faster than one by one."""

    def get(self, name: str) -> bytes:
        """The bytes, or NotFoundError."""

    def has(self, name: str) -> bool:
        """True when there."""

    def names(self, prefix: str) -> list[str]:
        """All names that begin so, sorted; "" for all. Fastest where the prefix ends with "/"."""

    def size(self, name: str) -> int:
        """Bytes, or NotFoundError."""

    def check(self) -> str:
        """A word about the place, asked when files should be there: before any is called missing.

        Raises:
            UnavailableError: no answer, not there, or nothing at all in it: then no single file is missing."""

    def delete(self, name: str) -> None:
        """Remove; one that is not there is fine."""

    def room(self) -> int | None:
        """Bytes that could still be stored; None where nobody knows (a bucket)."""


def image_name(sha256: str) -> str:
    """The artifact name of an image's bytes.

    >>> image_name("ab" * 32)[:12]
    'images/ab/ab'
    """
    return f"images/{sha256[:2]}/{sha256}"
