"""A real PostgreSQL for benchmarks and tests: a cluster of its own in a temporary folder, reachable through a Unix
socket only.
"""

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import psycopg

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
SUPERUSER = "tester"
MEMORY_NEEDED_BYTES = 2**30
PR_SET_PDEATHSIG = 1
FOR_TESTS = {"wal_level": "minimal", "max_wal_senders": "0", "autovacuum": "off", "deadlock_timeout": "100ms"}


@dataclass(frozen=True)
class PostgresServer:
    """A running server: the folder of its socket and the id of its process."""

    socket_folder: Path
    process_id: int

    def url(self, database: str) -> str:
        """SQLAlchemy's URL of a database."""
        return f"postgresql://{SUPERUSER}@/{database}?host={self.socket_folder}"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database, as a copy of `template` (to which nobody may be connected); its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, whoever is still connected."""
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Run one statement as superuser, outside a transaction."""
        with psycopg.connect(
            host=str(self.socket_folder), user=SUPERUSER, dbname=database, autocommit=True
        ) as connection:
            connection.execute(statement)


@contextmanager
def running_postgres(*, on_disk: bool = False) -> Iterator[PostgresServer]:
    """A server for the block, stopped at its end. Fails with what to install when there is no PostgreSQL.

    PostgreSQL refuses to run as root: then it runs as the user `postgres` or `nobody`, who gets the folder.

    Args:
        on_disk: as people run it, on a disk and with autovacuum, to be measured; otherwise in memory where there is
            enough.
    """
    account = _account()
    # A short path: a Unix socket's name holds 107 bytes.
    parent = gettempdir() if on_disk else _roomy_folder()
    with TemporaryDirectory(prefix="al-pg-", dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        _run(
            [_binary("initdb"), "-D", str(folder / "data"), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8"],
            account,
            folder,
        )
        process = _start(folder, account, FOR_TESTS if not on_disk else {})
        try:
            _wait_until_ready(folder, process)
            yield PostgresServer(folder, process.pid)
        finally:
            process.send_signal(signal.SIGQUIT)  # "immediate" shutdown: nothing here is worth a checkpoint
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _roomy_folder() -> str:
    """Memory where there is enough (a container's is often tiny): copying databases is then several times faster."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > MEMORY_NEEDED_BYTES else "/tmp"


def _start(
    folder: Path, account: pwd.struct_passwd | None, more_settings: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(folder),
        "fsync": "on",
        "max_connections": "200",
        **more_settings,
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [_binary("postgres"), "-D", str(folder / "data"), *options],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=_environment(folder),
            preexec_fn=_die_with_parent,
            **_identity(account),
        )


def _die_with_parent() -> None:
    """A test run that is killed leaves no server behind (Linux; elsewhere it would)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


def _wait_until_ready(folder: Path, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            psycopg.connect(host=str(folder), user=SUPERUSER, dbname="postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start: {(folder / 'log').read_text()[-2000:]}") from None
            time.sleep(0.02)


def _run(command: list[str], account: pwd.struct_passwd | None, folder: Path) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=_environment(folder), check=False, **_identity(account)
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {done.stdout[-1000:]}{done.stderr[-1000:]}")


def _environment(folder: Path) -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC", "HOME": str(folder)}


def _identity(account: pwd.struct_passwd | None) -> dict[str, object]:
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _account() -> pwd.struct_passwd | None:
    """Whom to run as: None for the current user, somebody harmless when that is root."""
    if os.geteuid() != 0:
        return None
    accounts = {entry.pw_name: entry for entry in pwd.getpwall()}
    return accounts.get("postgres") or accounts["nobody"]


def is_installed() -> bool:
    """Whether `running_postgres` finds a PostgreSQL on this machine."""
    return _find_binary("initdb") is not None and _find_binary("postgres") is not None


def _find_binary(name: str) -> str | None:
    found = shutil.which(name)
    if found is not None:
        return found
    candidates = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version)
    return str(candidates[-1]) if candidates else None


def _binary(name: str) -> str:
    found = _find_binary(name)
    if found is None:
        raise RuntimeError(f"{name} is not installed; on Debian and Ubuntu: apt-get install postgresql")
    return found


def _version(path: Path) -> float:
    part = path.parent.parent.name
    return float(part) if part.replace(".", "", 1).isdigit() else 0.0
