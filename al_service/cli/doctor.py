"""`al doctor`: what is reachable, which device, which versions, and what to do about it."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version

import click

from al_service.cli.session import Session, json_option, print_json
from al_service.errors import AlServiceError, UnavailableError

PACKAGES = (
    "al-service",
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "pillow",
    "redis",
    "rq",
    "flask",
    "sqlalchemy",
)
FREE_BYTES_MIN = 2 * 2**30


@dataclass(frozen=True)
class Finding:
    """One thing looked at: ok, and what to do when it is not."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


@click.command()
@json_option
@click.pass_obj
def doctor(session: Session, as_json: bool) -> None:
    """Look at everything the service needs; exit code 6 if something does not answer."""
    findings = [
        _python(),
        *(_package(name) for name in PACKAGES),
        _device(session),
        _disk(session),
        _check(
            "database",
            session,
            lambda: session.services.store.check(),
            "see AL_DATABASE_URL, or the data folder's rights",
        ),
        _check("broker", session, lambda: session.services.queue.check(), "start it with `al up`, or set AL_REDIS_URL"),
        _check("workers", session, lambda: _workers(session), "start one with `al worker` (or `al up`)"),
    ]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.ok else click.style("look", fg="yellow")
            click.echo(f"{mark} {finding.name:13} {finding.detail}")
            if not finding.ok and finding.advice:
                click.echo(f"     {'':13} {finding.advice}")
    missing = [finding.name for finding in findings if not finding.ok]
    if missing:
        raise UnavailableError(f"needs a look: {', '.join(missing)}")


def _python() -> Finding:
    return Finding("python", sys.version_info >= (3, 11), sys.version.split()[0], "install Python 3.11 or newer")


def _package(name: str) -> Finding:
    try:
        return Finding(name, True, version(name))
    except PackageNotFoundError:
        return Finding(name, False, "not installed", "run `make setup`, or pip install it into this environment")


def _device(session: Session) -> Finding:
    # torch takes seconds to load; only the commands that need it do.
    import torch

    from al_service.learning import device

    try:
        chosen = device.choose(session.settings.device)
    except AlServiceError as error:
        return Finding("device", False, error.message, "set AL_DEVICE=cpu, or mend the driver")
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else f"{torch.get_num_threads()} threads"
    return Finding("device", True, f"{chosen} ({name})")


def _disk(session: Session) -> Finding:
    folder = session.settings.data_dir.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    return Finding(
        "disk",
        free > FREE_BYTES_MIN,
        f"{free / 2**30:.1f} GiB free at {folder}",
        "free some space or choose another --data",
    )


def _workers(session: Session) -> str:
    alive = session.services.queue.workers()
    if not alive:
        raise UnavailableError("none alive")
    return f"{len(alive)} alive: {', '.join(str(worker['name']) for worker in alive)}"


def _check(name: str, session: Session, look: Callable[[], str], advice: str) -> Finding:
    try:
        return Finding(name, True, look())
    except AlServiceError as error:
        return Finding(name, False, error.message, advice)


COMMANDS = (doctor,)
