"""Where settings become objects: reads them once and chooses every implementation. Nothing else does.

Rooms with torch are imported only inside the functions that need them, so that the web process never loads it.
"""

import logging
import os
import secrets
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from al_service.domain.states import Stage
from al_service.errors import ConflictError, UnavailableError
from al_service.job_queue.broker import resolve_broker_url
from al_service.job_queue.rq_queue import RqJobQueue
from al_service.loop.jobs import JobLimits
from al_service.loop.ports import Artifacts
from al_service.loop.services import Services, assemble
from al_service.loop.uploads import UploadLimits
from al_service.settings import Settings
from al_service.storage.artifacts import FileArtifacts
from al_service.storage.store import SqlStore

if TYPE_CHECKING:
    from flask import Flask


def utc_now() -> datetime:
    """The clock of a real process."""
    return datetime.now(UTC)


def prepare_data_dir(settings: Settings) -> None:
    """Make the data folder (mode 700: it holds the database, the key and the broker's socket).

    Raises:
        UnavailableError: it cannot be made or written.
    """
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UnavailableError(
            f"data folder {settings.data_dir}: {error}. Choose another with --data or AL_DATA_DIR."
        ) from error


def open_services(settings: Settings) -> Services:
    """Database (migrated to the newest schema), broker and artifacts, wired to the use cases.

    Raises:
        UnavailableError: the data folder or the database cannot be used. The broker is only met when it is needed.
    """
    prepare_data_dir(settings)
    store = SqlStore(settings.database)
    store.migrate()
    limits = JobLimits(
        attempts_max=settings.job_attempts_max,
        retry_delay_s=settings.job_retry_delay_s,
        lost_after_s=settings.lost_after_s,
    )
    return assemble(
        store,
        RqJobQueue(resolve_broker_url(settings), job_timeout_s=settings.job_timeout_s),
        open_artifacts(settings),
        utc_now,
        lease_ttl_s=settings.lease_ttl_s,
        limits=limits,
        upload_limits=UploadLimits(bytes_max=settings.upload_max_bytes, files_max=settings.upload_files_max),
    )


def open_artifacts(settings: Settings) -> Artifacts:
    """Where images and checkpoints lie: a folder of this machine, or a remote store with local copies.

    Raises:
        StorageUrlError: an address of an unknown kind, or its driver is not installed.
    """
    if not settings.remote_storage_url:
        return FileArtifacts(settings.artifact_dir)
    # fsspec is only loaded where it is used.
    from al_service.storage.remote_artifacts import RemoteArtifacts

    return RemoteArtifacts(settings.remote_storage_url, settings.artifact_dir)


def secret_key(settings: Settings) -> str:
    """The key that signs sessions: from the settings, or made once and kept in the data folder (mode 600)."""
    if settings.secret_key:
        return settings.secret_key
    prepare_data_dir(settings)
    path = settings.data_dir / "secret_key"
    if not path.exists():
        # Written aside and linked into place: of two processes that start at once, the first one's key counts for both.
        draft = path.with_name(f"secret_key.{os.getpid()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(48))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text(encoding="utf-8")


def create_web_app(settings: Settings) -> "Flask":
    """The web application: pages and JSON API over the same services."""
    from al_service.api.install import install
    from annotator_ui import create_app

    services = open_services(settings)
    app = create_app(services, settings, secret_key=secret_key(settings))
    install(app, services, settings)
    return app


def configure_logging(settings: Settings) -> None:
    """Plain lines on stderr with time, level and logger."""
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        force=True,
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    for name in ("rq", "rq.worker"):
        logging.getLogger(name).setLevel(logging.WARNING)


def replay_round(services: Services, project_name: str, number: int) -> dict[str, Any]:
    """Choose again from a round's stored scores, candidates and seed.

    Returns:
        {"identical": bool, "recorded": [sample ids in order], "replayed": [sample ids in order]}; evaluation samples,
        which are not chosen by the strategy, are left out of both.

    Raises:
        NotFoundError: no such round, or its files are gone.
        ConflictError: the round has not chosen yet.
    """
    # numpy and torch are heavy, and only this command needs them.
    from al_service.acquisition.scored_pool import ScoredPool

    record = services.rounds.get(project_name, number)
    facts = record.stage_record(Stage.SELECT).result
    if "candidates_artifact" not in facts:
        raise ConflictError(f"round {number} has not chosen samples yet (it is {record.state}, stage {record.stage})")
    read = services.artifacts.get
    candidates = ScoredPool.from_bytes(read(facts["candidates_artifact"]))
    # Rounds of before shards have one file, under another name.
    names = facts.get("scores_artifacts") or [name for name in [facts.get("scores_artifact")] if name]
    pool = replace(ScoredPool.read(read, names, candidates.sample_ids), other_ids=candidates.other_ids)
    again = pool.choose(record.config.strategy, facts["budget"], seed=record.seed, **record.config.selection_options)
    with services.store.read() as tx:
        recorded = [
            item.sample_id for item in tx.queue.selections(record.id) if item.reason.get("code") != "evaluation"
        ]
    replayed = [int(sample_id) for sample_id in again.sample_ids]
    return {"identical": recorded == replayed, "recorded": recorded, "replayed": replayed}
