"""Projects: create, read, change, archive; and imports, which are jobs."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from al_service.domain.class_book import plain_name
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import Job, Project
from al_service.domain.states import JobKind, JobState, Split
from al_service.errors import ConflictError, InvalidInputError
from al_service.loop import batches
from al_service.loop.assignments import active_project, locked_project
from al_service.loop.jobs import Jobs
from al_service.loop.ports import Store
from al_service.loop.progress import Summary, summarise

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
CLASS_NAME_LENGTH_MAX = 100
CLASSES_MAX = 2000
LABEL_SOURCES = ("auto", "column", "folder", "none")
LABEL_USES = ("all", "evaluation", "none")
SPLIT_WORDS = {"pool": Split.POOL, "train": Split.TRAIN, "test": Split.EVALUATION, "evaluation": Split.EVALUATION}


class SettingsChangedError(ConflictError):
    """Somebody changed a setting since this person saw it; the details say what it is now."""

    code = "settings_changed"


class Projects:
    """Use cases around a project as a whole."""

    def __init__(self, store: Store, jobs: Jobs, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._jobs = jobs
        self._clock = clock

    def create(
        self, name: str, class_names: Sequence[str], values: dict[str, Any] | None = None, *, user_id: int | None = None
    ) -> Project:
        """Create a project. Classes may be empty when an import with labels will bring them.

        Raises:
            InvalidInputError: bad name, bad or repeated class names, bad settings.
            ConflictError: the name is taken.
        """
        if not NAME_PATTERN.fullmatch(name):
            raise InvalidInputError(
                f"project name {name!r}: use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or digit"
            )
        names = check_class_names(class_names)
        config = ProjectConfig().with_values(values or {})
        now = self._clock()
        with self._store.write() as tx:
            project = tx.projects.add(name, names, config, now)
            tx.accounts.add_audit(user_id=user_id, action="project.create", subject=name, details={}, now=now)
            return project

    def get(self, name: str) -> Project:
        """The project, or NotFoundError (archived ones count as gone)."""
        with self._store.read() as tx:
            return active_project(tx, name)

    def all(self, *, archived: bool = False) -> list[Project]:
        """Projects by name."""
        with self._store.read() as tx:
            return tx.projects.all(archived=archived)

    def change(
        self, name: str, values: dict[str, Any], *, seen: dict[str, Any] | None = None, user_id: int | None = None
    ) -> Project:
        """Change settings; they count from the next round on.

        Args:
            seen: settings as the caller saw them before; empty: changed whatever they are now.

        Raises:
            InvalidConfigError: unknown key or value out of range; nothing was changed.
            SettingsChangedError: one of those seen is neither as it was nor as it is to be; nothing was changed.
        """
        now = self._clock()
        with self._store.write() as tx:
            project = locked_project(tx, name)
            wanted = project.config.with_values(values)
            _check_seen(project.config, wanted, seen or {})
            tx.projects.set_config(project.id, wanted)
            tx.accounts.add_audit(user_id=user_id, action="project.set", subject=name, details=values, now=now)
            return tx.projects.get(project.id)

    def archive(self, name: str, *, user_id: int | None = None) -> None:
        """Hide a project and stop its loop: its open round is cancelled, its jobs are stopped; nothing is deleted."""
        now = self._clock()
        with self._store.write() as tx:
            project = locked_project(tx, name)
            record = tx.rounds.find_open(project.id)
            if record is not None:
                batches.cancel(tx, record, now)
            for job in tx.jobs.all(project_id=project.id, states=[JobState.QUEUED, JobState.RUNNING]):
                tx.jobs.cancel(job.id, now)
            tx.projects.set_archived(project.id, now)
            tx.accounts.add_audit(user_id=user_id, action="project.archive", subject=name, details={}, now=now)

    def summary(self, name: str) -> Summary:
        """One project at a glance."""
        with self._store.read() as tx:
            return summarise(tx, active_project(tx, name), self._clock())

    def import_images(
        self,
        name: str,
        location: str,
        *,
        labels: str = "auto",
        use_labels: str = "all",
        split: str | None = None,
        user_id: int | None = None,
    ) -> Job:
        """Queue an import.

        Args:
            location: folder, archive, CSV, JSONL or torchvision:NAME, as the workers see it.
            labels: where labels come from: auto, column, folder or none.
            use_labels: `all`; `evaluation`: only the protected evaluation samples get theirs (a rehearsal, where
                people or simulated labelers answer the rest); `none`.
            split: put every row into pool, train or evaluation (`test` means evaluation); None: as the source says,
                the rest drawn at random by the project's holdout_fraction.

        Raises:
            InvalidInputError: a word that is not one of these.
        """
        if split is not None and split not in SPLIT_WORDS:
            raise InvalidInputError(f"split={split!r} is not one of {', '.join(SPLIT_WORDS)}")
        for key, value, allowed in (("labels", labels, LABEL_SOURCES), ("use_labels", use_labels, LABEL_USES)):
            if value not in allowed:
                raise InvalidInputError(f"{key}={value!r} is not one of {', '.join(allowed)}")
        payload = {
            "location": location,
            "labels": labels,
            "use_labels": use_labels,
            "split": SPLIT_WORDS[split] if split else None,
        }
        now = self._clock()
        with self._store.write() as tx:
            project = active_project(tx, name)
            job = self._jobs.submit(tx, project_id=project.id, kind=JobKind.INGEST, payload=payload)
            tx.accounts.add_audit(
                user_id=user_id, action="import", subject=name, details={"location": location}, now=now
            )
        self._jobs.ring(job)
        return job

    def pretrain(self, name: str, *, user_id: int | None = None) -> tuple[Job, bool]:
        """Queue the training of a backbone on the pool's images, without labels: (job, True); (the one under way,
        False) when there is one already.

        Rounds use the newest such backbone once the project's setting `weights` is `pretrained`.

        Raises:
            NotFoundError: no such project, or it is archived.
        """
        with self._store.write() as tx:
            project = locked_project(tx, name)
            alive = [JobState.QUEUED, JobState.RUNNING]
            if running := tx.jobs.all(project_id=project.id, states=alive, kind=JobKind.PRETRAIN, limit=1):
                return running[0], False
            payload = {"epochs": project.config.pretrain_epochs}
            job = self._jobs.submit(tx, project_id=project.id, kind=JobKind.PRETRAIN, payload=payload)
            tx.accounts.add_audit(user_id=user_id, action="pretrain", subject=name, details=payload, now=self._clock())
        self._jobs.ring(job)
        return job, True


def _check_seen(config: ProjectConfig, wanted: ProjectConfig, seen: dict[str, Any]) -> None:
    """As in `Projects.change`; what is as wanted already was stored by a call whose answer was lost."""
    before = config.with_values(seen)
    now = {name: getattr(config, name) for name in seen}
    changed = [name for name in seen if now[name] not in (getattr(before, name), getattr(wanted, name))]
    if changed:
        raise SettingsChangedError(
            f"{', '.join(changed)} changed since you looked; look again and decide anew",
            **{name: now[name] for name in changed},
        )


def check_class_names(names: Sequence[str]) -> list[str]:
    """The names, stripped, each in its plain form.

    Raises:
        InvalidInputError: empty, too long, repeated, with control characters, or too many.
    """
    stripped = [plain_name(name.strip()) for name in names]
    if len(stripped) > CLASSES_MAX:
        raise InvalidInputError(f"{len(stripped)} classes; at most {CLASSES_MAX} are supported")
    for name in stripped:
        if not name or len(name) > CLASS_NAME_LENGTH_MAX or not name.isprintable():
            shown = name if len(name) <= CLASS_NAME_LENGTH_MAX else f"{name[:CLASS_NAME_LENGTH_MAX]}…"
            raise InvalidInputError(f"class name {shown!r}: use 1 to {CLASS_NAME_LENGTH_MAX} printable characters")
    repeated = sorted({name for name in stripped if stripped.count(name) > 1})
    if repeated:
        raise InvalidInputError(f"class {repeated[0]!r} is named twice")
    return stripped
