"""The service as a newcomer starts it, `al up` on a folder of its own, with handles to kill and restart its parts.

Linux only: it reads /proc. Nothing here knows rounds or labels; that is `rehearsed_project.py`.
"""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import redis
import requests

from al_service.bootstrap import open_services
from al_service.job_queue.broker import resolve_broker_url
from al_service.loop.services import Services
from al_service.settings import Settings
from al_service.supervisor import tied_to_parent
from tests.valkey_server import is_alive

ROOT = Path(__file__).parents[2]
#: A worker that is compiled, busy and starved must not look dead; a dead one must not be missed for long.
FAST = {"AL_HEARTBEAT_S": "0.2", "AL_LOST_AFTER_S": "4", "AL_TICK_S": "0.1", "AL_JOB_RETRY_DELAY_S": "0.2"}
PATIENCE_S = 180.0
LOOK_S = 0.02
T = TypeVar("T")


class RunningService:
    """`al up` on one data folder: started, stopped, killed and started again, always at the same address."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.settings = Settings(data_dir=self.data_dir)
        self._port = 0
        self._starts = 0
        self._up: subprocess.Popen[bytes] | None = None
        self._database: sqlite3.Connection | None = None
        self._services: Services | None = None

    # -- from start to end ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start everything and wait until broker, database, storage and worker answer."""
        argv = tied_to_parent([sys.executable, "-m", "al_service", "up"])
        self._starts += 1
        with self._up_log.open("wb") as log_file:
            self._up = subprocess.Popen(argv, cwd=ROOT, env=self.environment(), stdout=log_file, stderr=log_file)
        line = self.wait_for(self._greeting, "`al up` says where it is")
        port = int(line.rpartition(":")[2])
        assert self._port in (0, port), f"port {self._port} was taken by somebody else meanwhile; got {port}"
        self._port = port
        self.wait_for(self._is_ready, "every part is ready")

    def stop(self) -> None:
        """Ctrl-C, as far as the service can tell; returns when `al up` has ended."""
        self.up.send_signal(signal.SIGTERM)
        self.wait_until_gone()

    def wait_until_gone(self) -> None:
        """Wait for the end of `al up` and of everything that it had started."""
        self.up.wait(PATIENCE_S)
        self._up = None
        self.wait_for(lambda: not self.pids(), "no process is left")

    def end(self) -> None:
        """End what is left, politely or not, and close what this object has opened."""
        if self._up is not None and self._up.poll() is None:
            self._up.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._up.wait(60)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._database is not None:
            self._database.close()
        if self._services is not None:
            self._services.store.close()

    def environment(self) -> dict[str, str]:
        """What a newcomer's shell would hold, for more processes of this service."""
        own = {key: value for key, value in os.environ.items() if not key.startswith("AL_")}
        return own | FAST | {"AL_DATA_DIR": str(self.data_dir), "AL_PORT": str(self._port), "AL_WORKERS": "1"}

    @contextmanager
    def another(self, command: str, ready: str) -> Iterator[int]:
        """One more process of the service for the block, started by hand; ready when its log has that word."""
        argv = tied_to_parent([sys.executable, "-m", "al_service", command])
        log_path = self.data_dir / "logs" / f"another-{command}.log"
        with log_path.open("wb") as log_file:
            process = subprocess.Popen(argv, cwd=ROOT, env=self.environment(), stdout=log_file, stderr=log_file)
        try:
            self.wait_for(lambda: ready in log_path.read_text(encoding="utf-8"), f"the other {command} is {ready}")
            yield process.pid
            assert process.poll() is None, f"the other {command} ended by itself"
        finally:
            process.terminate()
            process.wait(PATIENCE_S)

    # -- processes -----------------------------------------------------------------------------------------------

    @property
    def up(self) -> "subprocess.Popen[bytes]":
        """The supervisor that was started last."""
        assert self._up is not None, "the service is not running"
        return self._up

    def pid(self, name: str) -> int:
        """Process id of a living child of `al up`: web, scheduler, worker-1 or broker."""

        def look() -> int:
            with suppress(FileNotFoundError, ValueError):
                pid = int((self.data_dir / "run" / f"{name}.pid").read_text(encoding="ascii"))
                return pid if is_alive(pid) else 0
            return 0

        return self.wait_for(look, f"{name} runs")

    def web_child(self) -> int:
        """The gunicorn worker, which answers requests; its parent only keeps it alive."""

        def look() -> int:
            master = self.pid("web")
            with suppress(FileNotFoundError, IndexError):
                return int(Path(f"/proc/{master}/task/{master}/children").read_text(encoding="ascii").split()[0])
            return 0

        return self.wait_for(look, "gunicorn has a worker")

    def pids(self) -> list[int]:
        """Every living process that was started for this data folder, adopted orphans included."""
        own, named = f"AL_DATA_DIR={self.data_dir}".encode(), str(self.data_dir).encode()
        found = []
        for folder in Path("/proc").iterdir():
            with suppress(OSError):
                if not folder.name.isdigit() or int(folder.name) == os.getpid():
                    continue
                # Valkey writes its title over its environment; the title names its socket.
                is_ours = own in (folder / "environ").read_bytes().split(b"\0")
                if (is_ours or named in (folder / "cmdline").read_bytes()) and is_alive(int(folder.name)):
                    found.append(int(folder.name))
        return sorted(found)

    def kill(self, pid: int) -> None:
        """`kill -9`, and wait until the process is gone."""
        os.kill(pid, signal.SIGKILL)
        self.wait_for(lambda: not is_alive(pid), f"process {pid} is gone")

    # -- looking and asking --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Address of the web server."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def services(self) -> Services:
        """The use cases on the same folder, as the command line opens them."""
        self._services = self._services or open_services(self.settings)
        return self._services

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Rows straight from the database file, past all code of the service."""
        if self._database is None:
            self._database = sqlite3.connect(self.data_dir / "al.db", isolation_level=None)
            self._database.row_factory = sqlite3.Row
            self._database.execute("PRAGMA query_only=ON")
        return self._database.execute(sql, values).fetchall()

    def can_be_written(self) -> bool:
        """True when nobody keeps the database's write lock."""
        with closing(sqlite3.connect(self.data_dir / "al.db", isolation_level=None, timeout=1)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
            return True

    def flush_broker(self) -> None:
        """FLUSHALL, as an operator would do it."""
        with self.broker() as client:
            assert client.flushall()

    @contextmanager
    def broker(self) -> Iterator[redis.Redis]:
        """A client on the broker's socket."""
        with closing(redis.Redis.from_url(resolve_broker_url(self.settings))) as client:
            yield client

    def wait_for(self, look: Callable[[], T], what: str, *, every_s: float = LOOK_S) -> T:
        """The first true result of `look`; fails with the ends of all logs when there is none in time."""
        deadline = time.monotonic() + PATIENCE_S
        while not (found := look()):
            assert time.monotonic() < deadline, f"waited in vain until {what}\n{self.last_words()}"
            time.sleep(every_s)
        return found

    def last_words(self) -> str:
        """The ends of all logs."""
        ends = []
        for path in sorted([self._up_log, *(self.data_dir / "logs").glob("*.log")]):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-12:]
            ends.append("\n".join([f"== {path.name}", *lines]))
        return "\n".join(ends)

    @property
    def _up_log(self) -> Path:
        return self.data_dir.with_name(f"up-{self._starts}.log")

    def _greeting(self) -> str:
        assert self.up.poll() is None, f"`al up` ended at once\n{self.last_words()}"
        lines = self._up_log.read_text(encoding="utf-8").splitlines()
        return next((line for line in lines if line.startswith("al is up at ")), "")

    def _is_ready(self) -> bool:
        with suppress(requests.RequestException):
            return bool(requests.get(f"{self.url}/health/ready", timeout=30).json()["status"] == "ok")
        return False
