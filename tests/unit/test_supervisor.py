"""The supervisor with real processes: restarts, orderly and disorderly ends, one per data folder, no orphans."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from al_service.errors import ConflictError, InvalidInputError
from al_service.supervisor import ChildSpec, Supervisor, find_supervisor, next_delay
from tests.valkey_server import is_alive, wait_for

ROOT = Path(__file__).parents[2]

# python -c HOST data_dir grace_s name=code…: a supervisor in a process of its own
HOST = """
import pathlib, sys
from al_service.supervisor import ChildSpec, Supervisor
children = []
for word in sys.argv[3:]:
    name, _, code = word.partition("=")
    children.append(ChildSpec(name, [sys.executable, "-c", code], {"GREETING": "hello"}, ends_last=name == "broker"))
raise SystemExit(Supervisor(children, pathlib.Path(sys.argv[1]), grace_s=float(sys.argv[2])).run())
"""
SLEEP = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


class Host:
    def __init__(self, data_dir):
        self.data_dir = data_dir
        self.processes = []

    def start(self, *children, grace_s=20):
        process = subprocess.Popen(
            [sys.executable, "-c", HOST, str(self.data_dir), str(grace_s), *children], cwd=ROOT, stderr=subprocess.PIPE
        )
        self.processes.append(process)
        return process

    def find_pid(self, name):
        try:
            pid = int((self.data_dir / "run" / f"{name}.pid").read_text() or 0)
        except FileNotFoundError:
            return None
        return pid if pid and is_alive(pid) else None

    def wait_up(self, name, times=1):
        """The child's process id once it has printed `up` so many times in all."""
        wait_for(lambda: self.log(name).count("up") >= times, f"{name} is up {times} times")
        return wait_for(lambda: self.find_pid(name), f"{name} has a process id")

    def log(self, name):
        path = self.data_dir / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path / "data")
    yield host
    for process in host.processes:
        process.kill()
        process.wait()
        process.stderr.close()


def wait_end(*pids):
    wait_for(lambda: not any(is_alive(pid) for pid in pids), f"processes {pids} have ended")


def test_a_killed_child_is_started_again(host):
    supervisor = host.start(f"worker={SLEEP}")
    first = host.wait_up("worker")
    os.kill(first, signal.SIGKILL)
    second = host.wait_up("worker", times=2)
    assert second != first
    assert supervisor.poll() is None
    line = supervisor.stderr.readline().decode()
    assert "worker ended (killed by SIGKILL)" in line and str(host.data_dir / "logs" / "worker.log") in line


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_signal_ends_all(host, signum):
    supervisor = host.start(f"web={SLEEP}", f"worker={SLEEP}")
    pids = [host.wait_up("web"), host.wait_up("worker")]
    supervisor.send_signal(signum)
    assert supervisor.wait(30) == 0
    assert not any(is_alive(pid) for pid in pids)
    assert not list((host.data_dir / "run").glob("*.pid"))


def test_a_child_that_ignores_the_signal_is_killed_after_the_grace(host):
    supervisor = host.start(f"worker={STUBBORN}", grace_s=0.3)
    pid = host.wait_up("worker")
    supervisor.terminate()
    assert supervisor.wait(30) == 0
    assert not is_alive(pid)
    assert b"is killed" in supervisor.stderr.read()


def test_the_broker_outlives_the_others(host):
    witness = host.data_dir / "witness"
    last_words = (
        "import os, pathlib, signal, sys, time\n"
        "def end(*_):\n"
        f"    pid = int(pathlib.Path({str(host.data_dir / 'run' / 'broker.pid')!r}).read_text())\n"
        "    time.sleep(0.2)\n"
        "    os.kill(pid, 0)\n"
        f"    pathlib.Path({str(witness)!r}).write_text('the broker was there')\n"
        "    sys.exit(0)\n"
        "signal.signal(15, end)\n"
        "print('up', flush=True)\n"
        "time.sleep(600)\n"
    )
    supervisor = host.start(f"broker={SLEEP}", f"worker={last_words}")
    host.wait_up("broker")
    host.wait_up("worker")
    supervisor.terminate()
    assert supervisor.wait(30) == 0
    assert witness.read_text() == "the broker was there"


def test_kill_9_of_the_supervisor_leaves_no_child(host):
    supervisor = host.start(f"web={SLEEP}", f"worker={SLEEP}")
    pids = [host.wait_up("web"), host.wait_up("worker")]
    supervisor.kill()
    supervisor.wait()
    wait_end(*pids)
    assert find_supervisor(host.data_dir) is None


def test_what_a_dead_child_leaves_behind_is_ended_too(host):
    fork = "import os, time; os.fork(); print('up', os.getpid(), flush=True); time.sleep(600)"
    host.start(f"worker={fork}")
    host.wait_up("worker", times=2)
    pids = [int(line.split()[1]) for line in host.log("worker").splitlines()]
    os.kill(host.find_pid("worker"), signal.SIGKILL)
    wait_end(*pids)


def test_a_second_supervisor_is_refused_and_named_the_first(host):
    first = host.start(f"worker={SLEEP}")
    host.wait_up("worker")
    assert find_supervisor(host.data_dir) == first.pid
    with pytest.raises(ConflictError, match=f"process {first.pid}"):
        Supervisor([], host.data_dir).run()
    assert find_supervisor(host.data_dir) == first.pid


def test_children_get_their_environment_and_the_supervisors_id(host):
    words = "os.environ['GREETING'], os.environ['SUPERVISOR_PID'], 'up'"
    code = f"import os, time; print({words}, flush=True); time.sleep(600)"
    supervisor = host.start(f"worker={code}")
    host.wait_up("worker")
    assert host.log("worker") == f"hello {supervisor.pid} up\n"


def test_request_stop_ends_run_and_gives_the_signals_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    supervisor = Supervisor([ChildSpec("worker", [sys.executable, "-c", SLEEP])], tmp_path)
    started = []

    def on_started():
        started.append(int((tmp_path / "run" / "worker.pid").read_text()))
        threading.Timer(0.1, supervisor.request_stop).start()

    assert supervisor.run(on_started) == 0
    assert not is_alive(started[0])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("names", [["../x"], ["a b"], ["web", "web"], ["supervisor"], [""]])
def test_names_that_cannot_be_files_are_refused(tmp_path, names):
    with pytest.raises(InvalidInputError):
        Supervisor([ChildSpec(name, ["true"]) for name in names], tmp_path)


def test_a_long_log_is_moved_aside(host, monkeypatch):
    code = "import sys, time; sys.stdout.write('x' * 10_000_001); print('up', flush=True); time.sleep(600)"
    host.data_dir.joinpath("logs").mkdir(parents=True)
    log = host.data_dir / "logs" / "worker.log"
    log.write_text("y" * 10_000_001)
    host.start(f"worker={code}")
    wait_for(lambda: (host.data_dir / "logs" / "worker.log.1").exists(), "the old log is aside")


def test_the_wait_doubles_to_a_limit_and_starts_over_after_a_good_while():
    delays, delay = [], 0.0
    for _ in range(7):
        delay = next_delay(delay, uptime_s=0.1)
        delays.append(delay)
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    assert next_delay(30, uptime_s=60) == 1
