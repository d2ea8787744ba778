"""Keeps a handful of child processes running: starts them, starts them again when they die, ends them together.

`al up` runs everything of one data folder under it. Files it writes there:

- `run/supervisor.lock`: held while it runs, so that there is one supervisor per data folder; holds its process id
- `run/<name>.pid`: process id of each running child
- `logs/<name>.log`: what the child prints (the terminal stays quiet); above 10 MB it moves to `<name>.log.1`

No child outlives its supervisor: on Linux the kernel sends SIGTERM to each when the supervisor dies, even by SIGKILL; a
child of ours that cannot rely on that (macOS) watches for itself whether its parent is still the process named in the
environment variable `SUPERVISOR_PID`.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from al_service.errors import ConflictError, InvalidInputError

#: Names the supervisor's process id to its children. Not an AL_ name: those are settings.
PARENT_VARIABLE = "SUPERVISOR_PID"
DELAY_MIN_S = 1.0
DELAY_MAX_S = 30.0
STEADY_AFTER_S = 60.0
LOG_MAX_BYTES = 10_000_000
_LOOK_EVERY_S = 0.1
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

# Becomes the child by exec, after asking the kernel (PR_SET_PDEATHSIG) for SIGTERM when the parent dies. A launcher and
# not a preexec_fn, because Python code between fork and exec may deadlock in a process that has threads.
_LAUNCHER = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"
    "if os.getppid() != int(sys.argv[1]): sys.exit(0)\n"
    "os.execvp(sys.argv[2], sys.argv[2:])\n"
)


class SupervisorRunningError(ConflictError):
    """Another supervisor holds this data folder; names its process id."""

    code = "supervisor_running"


@dataclass(frozen=True)
class ChildSpec:
    """One process to keep running.

    Attributes:
        name: letters, digits, - and _; names its files.
        env: added to this process's environment.
        ends_last: ended after all others are gone (the broker).
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ends_last: bool = False


def tied_to_parent(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` so that it gets SIGTERM when the parent dies (Linux; elsewhere `argv` itself).

    The kernel means the thread that started the child, not the process: start it from a thread that lives as long as
    the process does, best the main thread.
    """
    if sys.platform != "linux":
        return list(argv)
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *argv]


def next_delay(delay_s: float, uptime_s: float) -> float:
    """Seconds to wait before the next restart, given the last wait and how long the child lived.

    >>> next_delay(0.0, 3.0), next_delay(1.0, 3.0), next_delay(30.0, 3.0), next_delay(30.0, 61.0)
    (1.0, 2.0, 30.0, 1.0)
    """
    if uptime_s >= STEADY_AFTER_S:
        return DELAY_MIN_S
    return min(max(delay_s * 2, DELAY_MIN_S), DELAY_MAX_S)


def find_supervisor(data_dir: Path) -> int | None:
    """Process id of the supervisor that holds this data folder, or None."""
    try:
        with (data_dir / "run" / "supervisor.lock").open(encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read() or 0)
    except FileNotFoundError:
        pass
    return None


class _Child:
    """One child and its files."""

    def __init__(self, spec: ChildSpec, run_dir: Path, log_dir: Path) -> None:
        self.spec = spec
        self.log_path = log_dir / f"{spec.name}.log"
        self.due_at: float | None = None
        self._pid_path = run_dir / f"{spec.name}.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._delay_s = 0.0

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        self.due_at = None
        env = {**os.environ, **self.spec.env, PARENT_VARIABLE: str(os.getpid())}
        with self.log_path.open("ab") as log_file:
            # Its own process group: Ctrl-C in the terminal reaches the supervisor only, which ends all in good order.
            self._process = subprocess.Popen(
                tied_to_parent(self.spec.argv),
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env=env,
                process_group=0,
            )
        self._started_at = time.monotonic()
        self._pid_path.write_text(f"{self._process.pid}\n", encoding="ascii")

    def find_end(self) -> int | None:
        """The exit code if the child has ended since the last look (negative: a signal), else None."""
        process = self._process
        if process is None or os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.send(signal.SIGKILL)  # what is left of its group; its id cannot be reused before we collect it
        self._process = None
        self._pid_path.unlink(missing_ok=True)
        return process.wait()

    def plan_restart(self) -> float:
        """Note when to start again; in how many seconds."""
        now = time.monotonic()
        self._delay_s = next_delay(self._delay_s, now - self._started_at)
        self.due_at = now + self._delay_s
        return self._delay_s

    def send(self, signum: int) -> None:
        """Signal the child; SIGKILL goes to its whole group."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies may not be signalled
            if signum == signal.SIGKILL:
                os.killpg(self._process.pid, signum)
            else:
                os.kill(self._process.pid, signum)

    def rotate_log(self) -> None:
        """Copy and cut: the child keeps its file open for appending, so renaming would not free anything."""
        with suppress(FileNotFoundError):
            if self.log_path.stat().st_size > LOG_MAX_BYTES:
                shutil.copyfile(self.log_path, self.log_path.with_suffix(".log.1"))
                os.truncate(self.log_path, 0)


class Supervisor:
    """Runs the children of one data folder until it is told to stop.

    Args:
        children: started in this order, ended together (`ends_last` after the others).
        grace_s: from SIGTERM to SIGKILL.
        say: gets one line when a child died or had to be killed.
    """

    def __init__(
        self,
        children: Sequence[ChildSpec],
        data_dir: Path,
        *,
        grace_s: float = 15.0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._run_dir, self._log_dir = data_dir / "run", data_dir / "logs"
        self._children = [_Child(spec, self._run_dir, self._log_dir) for spec in children]
        self._grace_s = grace_s
        self._say = say or _print_to_stderr
        self._stopping = False  # a plain flag: a lock taken in a signal handler may be held by what it interrupts
        names = [spec.name for spec in children]
        bad = [name for name in names if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or names.count(name) > 1]
        if bad or "supervisor" in names:
            raise InvalidInputError(f"child names {names}: each must be unique, of letters, digits, - and _")

    def run(self, on_started: Callable[[], None] | None = None) -> int:
        """Start the children and stay until SIGTERM, SIGINT, SIGHUP or `request_stop`; 0 after an orderly end.

        Call it in the main thread: signals arrive there, and the kernel ties the children to it.

        Raises:
            SupervisorRunningError: another one holds the data folder; nothing was started.
        """
        with self._lock(), self._signals():
            try:
                for child in self._children:
                    child.start()
                if on_started is not None:
                    on_started()
                self._watch()
            finally:
                self._end_all()
        return 0

    def request_stop(self) -> None:
        """Make `run` end the children and return. From any thread."""
        self._stopping = True

    def _watch(self) -> None:
        look_at_logs = time.monotonic()
        while not self._stopping:
            for child in self._children:
                self._look_after(child)
            if time.monotonic() >= look_at_logs:
                look_at_logs = time.monotonic() + 30
                for child in self._children:
                    child.rotate_log()
            time.sleep(_LOOK_EVERY_S)

    def _look_after(self, child: _Child) -> None:
        if (code := child.find_end()) is not None:
            delay = child.plan_restart()
            self._say(f"{child.spec.name} ended ({_in_words(code)}); again in {delay:.0f} s; its log: {child.log_path}")
        if child.due_at is not None and time.monotonic() >= child.due_at:
            child.start()

    def _end_all(self) -> None:
        self._end([child for child in self._children if not child.spec.ends_last])
        self._end([child for child in self._children if child.spec.ends_last])

    def _end(self, children: Sequence[_Child]) -> None:
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s
        while _running(children) and time.monotonic() < deadline:
            time.sleep(_LOOK_EVERY_S / 4)
        for child in _running(children):
            self._say(f"{child.spec.name} did not end within {self._grace_s:.0f} s and is killed")
            child.send(signal.SIGKILL)
        while _running(children):
            time.sleep(_LOOK_EVERY_S / 4)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        before = {signum: signal.signal(signum, self._on_signal) for signum in _STOP_SIGNALS}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        self._stopping = True

    @contextmanager
    def _lock(self) -> Iterator[None]:
        for folder in (self._run_dir, self._log_dir):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._run_dir / "supervisor.lock").open("a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                pid = file.read().strip() or "?"
                raise SupervisorRunningError(
                    f"{self._data_dir} is already run by process {pid}. Stop that one first (kill {pid}), "
                    "or choose another AL_DATA_DIR.",
                    pid=pid,
                ) from error
            file.truncate(0)
            file.write(f"{os.getpid()}\n")
            file.flush()
            yield


def _running(children: Sequence[_Child]) -> list[_Child]:
    return [child for child in children if child.find_end() is None and child.is_running]


def _in_words(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _print_to_stderr(line: str) -> None:
    sys.stderr.write(line + "\n")
