"""The embedded broker: starting, adopting, healing, ending, and paths that are too long for a socket."""

import os
import signal
import socket
import stat
import subprocess
import sys

import pytest

from al_service.errors import ConflictError
from al_service.job_queue import broker as broker_module
from al_service.job_queue.broker import EmbeddedBroker, resolve_broker_url
from al_service.settings import Settings
from tests.valkey_server import client_of, is_alive, running_broker, wait_for


def test_a_started_broker_answers_on_a_private_socket_and_on_no_port(tmp_path):
    folder = tmp_path / "bro ker#1%"
    with running_broker(folder) as broker:
        assert broker.answers()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(broker.socket_path.stat().st_mode) == 0o700
        with client_of(broker.url) as client:
            assert client.info("server")["tcp_port"] == 0
            settings = client.config_get("*")
        assert settings["save"] == ""
        assert (settings["appendonly"], settings["maxmemory-policy"]) == ("no", "noeviction")
        assert settings["dir"] == str(folder)
        pid = broker.pid
        assert pid is not None and is_alive(pid)
    assert not is_alive(pid)
    assert not broker.answers()


def test_a_running_broker_is_adopted_and_left_alone(tmp_path):
    with running_broker(tmp_path) as first:
        second = EmbeddedBroker(tmp_path)
        assert second.command() is None
        second.start()
        second.stop()
        assert first.answers()


def test_a_killed_broker_is_replaced_on_the_same_socket(tmp_path):
    with running_broker(tmp_path) as first:
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: not first.answers(), "the killed broker is silent")
        assert first.socket_path.exists(), "a killed server leaves its socket file"
        with running_broker(tmp_path) as second:
            assert second.url == first.url
            assert second.answers()


def test_somebody_who_holds_the_socket_without_answering_is_not_pushed_away(tmp_path, monkeypatch):
    broker = EmbeddedBroker(tmp_path)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(broker.socket_path))
        deaf.listen()
        with pytest.raises(ConflictError, match="does not answer"):
            broker.start()
        assert broker.socket_path.exists()


def test_a_data_folder_with_a_very_long_path_gets_a_short_private_socket(tmp_path):
    data_dir = tmp_path / ("long-" * 25)
    settings = Settings(data_dir=data_dir)
    url = resolve_broker_url(settings)
    with running_broker(settings.broker_socket.parent) as broker:
        assert broker.url == url == resolve_broker_url(settings)
        assert len(os.fsencode(broker.socket_path)) <= 100
        runtime = broker.socket_path.parent
        assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    broker.socket_path.unlink(missing_ok=True)
    runtime.rmdir()  # as a cleaner of /tmp does
    with running_broker(settings.broker_socket.parent) as broker:
        assert broker.url == url
    broker.socket_path.unlink(missing_ok=True)
    runtime.rmdir()


def test_a_runtime_folder_that_others_can_enter_is_not_used(tmp_path):
    settings = Settings(data_dir=tmp_path / ("long-" * 25))
    first = EmbeddedBroker(settings.broker_socket.parent).socket_path.parent
    first.chmod(0o755)
    second = EmbeddedBroker(settings.broker_socket.parent).socket_path.parent
    assert second != first
    first.rmdir()
    second.rmdir()


def test_an_address_from_the_settings_wins(tmp_path):
    url = "redis://cache.example:6379/1"
    assert resolve_broker_url(Settings(data_dir=tmp_path, redis_url=url)) == url


def test_a_server_that_ends_at_once_is_an_error_with_its_last_words(tmp_path):
    with pytest.raises(broker_module.BrokerStartError, match="sorry") as caught:
        EmbeddedBroker(tmp_path).start(lambda argv: [sys.executable, "-c", "print('sorry'); raise SystemExit(3)"])
    assert "code 3" in str(caught.value)


def test_a_binary_that_cannot_run_tells_what_to_do(tmp_path):
    with pytest.raises(broker_module.BrokerStartError, match="AL_REDIS_URL"):
        EmbeddedBroker(tmp_path).start(lambda argv: ["/nonexistent/valkey-server"])


def test_the_broker_ends_when_its_starter_is_killed(tmp_path):
    code = (
        "import sys, time, pathlib\n"
        "from tests.valkey_server import running_broker\n"
        "with running_broker(pathlib.Path(sys.argv[1])):\n"
        "    print('up', flush=True); time.sleep(600)\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert starter.stdout.readline() == b"up\n"
        pid = EmbeddedBroker(tmp_path).pid
    finally:
        starter.kill()
        starter.wait()
        starter.stdout.close()
    wait_for(lambda: not is_alive(pid), "the broker has ended")
