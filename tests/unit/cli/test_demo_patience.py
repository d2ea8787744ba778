"""The demo beside a service that dies and comes back, as `al up` brings it back."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rich.console import Console

from al_service.cli import demo
from al_service.errors import UnavailableError
from al_service.settings import Settings


class _Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"rounds": []}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def a_demo(port: int, data_dir: Path) -> demo.Demo:
    options = demo.Options(None, 1, 0, 0.0, 0.0, "auto", "small_cnn", None, True)
    return demo.Demo(options, Settings(data_dir=data_dir, port=port), "digits", Console(quiet=True))


def test_a_question_waits_for_a_service_that_comes_back(port, tmp_path, monkeypatch):
    asked = threading.Event()
    started = []

    def comes_back(seconds: float) -> None:
        if not asked.is_set():
            asked.set()
            started.append(HTTPServer(("127.0.0.1", port), _Answers))
            threading.Thread(target=started[0].serve_forever, daemon=True).start()

    monkeypatch.setattr(demo.time, "sleep", comes_back)
    try:
        assert a_demo(port, tmp_path)._call("GET", "/projects/demo/rounds") == {"rounds": []}
    finally:
        for server in started:
            server.shutdown()
            server.server_close()
    assert asked.is_set()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_service_that_stays_away_is_said_in_words(method, port, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PATIENCE_S", 0.01)
    with pytest.raises(UnavailableError, match=r"stopped answering; its last words are in .*up\.log"):
        a_demo(port, tmp_path)._call(method, "/projects/demo/rounds")


def test_a_change_is_not_asked_for_twice(port, tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(demo.time, "sleep", slept.append)
    with pytest.raises(UnavailableError):
        a_demo(port, tmp_path)._call("POST", "/projects", json={})
    assert slept == []
