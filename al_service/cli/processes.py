"""`al up` and its parts: web, worker, scheduler."""

import errno
import secrets
import socket
import sys
from dataclasses import replace
from pathlib import Path

import click

from al_service.bootstrap import configure_logging
from al_service.cli.session import Session
from al_service.domain.states import QUEUES, Role
from al_service.errors import ConflictError, UnavailableError
from al_service.job_queue.broker import EmbeddedBroker
from al_service.settings import Settings, environment_of
from al_service.supervisor import ChildSpec, Supervisor, find_supervisor

PORTS_TRIED = 50


@click.command()
@click.option(
    "--data", "data_dir", type=click.Path(path_type=Path, file_okay=False), help="Data folder (default: al-data)."
)
@click.option("--host", help="Address to bind to (default: 127.0.0.1).")
@click.option("--port", type=int, help="Port (default: 8000, or the next free one).")
@click.option("--workers", type=int, help="Worker processes (default: 1).")
@click.pass_obj
def up(session: Session, data_dir: Path | None, host: str | None, port: int | None, workers: int | None) -> None:
    """Everything on this machine: broker, database, workers, scheduler, web."""
    session.flags.update(
        {
            key: value
            for key, value in {"data_dir": data_dir, "host": host, "port": port, "workers": workers}.items()
            if value is not None
        }
    )
    settings = session.settings
    chosen = free_port(settings.host, settings.port)
    if settings.port and chosen != settings.port:
        click.echo(f"port {settings.port} is taken; using {chosen}")
    settings = replace(settings, port=chosen, data_dir=settings.data_dir.resolve())
    session.flags.update({"port": chosen})
    if (running := find_supervisor(settings.data_dir)) is not None:
        raise ConflictError(
            f"{settings.data_dir} is already served by process {running}; stop it first or choose another --data"
        )
    broker = None if settings.redis_url else EmbeddedBroker(settings.broker_socket.parent)
    supervisor = Supervisor(children(settings, broker), settings.data_dir, say=lambda line: click.echo(line, err=True))
    password = _first_admin(session)
    sys.exit(supervisor.run(on_started=lambda: _greet(settings, password)))


def _greet(settings: Settings, password: str | None) -> None:
    click.echo(f"al is up at {settings.url}")
    click.echo(f"data in {settings.data_dir}, logs in {settings.data_dir / 'logs'}")
    if password is not None:
        click.echo(f"sign in as admin with the password {password} (shown once; `al user add` makes more people)")
    click.echo("Ctrl-C stops everything; nothing is lost.")
    sys.stdout.flush()


def children(settings: Settings, broker: EmbeddedBroker | None) -> list[ChildSpec]:
    """The processes of `al up`: broker (ended last), web, scheduler and workers, all with the same settings."""
    # Threads that wait for each other sleep instead of spinning: web and scheduler share the cores with the workers.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **environment_of(settings)}
    specs = []
    if broker is not None and (command := broker.command()) is not None:
        specs.append(ChildSpec("broker", command, ends_last=True))
    names = ["web", "scheduler", *(f"worker-{number}" for number in range(1, settings.workers + 1))]
    return specs + [
        ChildSpec(name, [sys.executable, "-m", "al_service", name.split("-")[0]], environment) for name in names
    ]


def _first_admin(session: Session) -> str | None:
    accounts = session.services.accounts
    if accounts.users():
        return None
    password = secrets.token_urlsafe(12)
    try:
        accounts.add_user("admin", Role.ADMIN, password)
    except ConflictError:
        return None
    return password


def free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next free one after it; 0 gives any free one.

    Raises:
        UnavailableError: none of the next 50 is free, or the address is not this machine's.
    """
    for port in range(wanted, wanted + PORTS_TRIED if wanted else 1):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except PermissionError as error:
                raise UnavailableError(f"port {port} may not be used by this user; choose one above 1023") from error
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}") from error
                continue
            return int(probe.getsockname()[1])
    raise UnavailableError(
        f"ports {wanted} to {wanted + PORTS_TRIED - 1} on {host} are all taken; choose one with --port"
    )


@click.command()
@click.option("--host", help="Address to bind to.")
@click.option("--port", type=int, help="Port.")
@click.pass_obj
def web(session: Session, host: str | None, port: int | None) -> None:
    """The web server alone."""
    session.flags.update({key: value for key, value in {"host": host, "port": port}.items() if value is not None})
    # gunicorn is only wanted here, and importing it costs every other command time.
    from al_service.web_server import serve

    settings = session.settings
    configure_logging(settings)
    session.services.store.check()
    serve(settings)


@click.command()
@click.option(
    "--queue",
    "queues",
    multiple=True,
    type=click.Choice(QUEUES),
    help="Only these queues, in this order (default: all).",
)
@click.pass_obj
def worker(session: Session, queues: tuple[str, ...]) -> None:
    """A worker: takes jobs until it is stopped; as many as wanted, on as many machines."""
    # Loads torch: only for this command.
    from workers.process import main

    configure_logging(session.settings)
    sys.exit(main(session.settings, queues or QUEUES))


@click.command()
@click.pass_obj
def scheduler(session: Session) -> None:
    """The scheduler alone; several may run, they agree through the database."""
    from al_service.scheduler import serve

    configure_logging(session.settings)
    sys.exit(serve(session.services, session.settings.tick_s))


COMMANDS = (up, web, worker, scheduler)
