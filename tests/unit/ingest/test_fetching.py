"""Web addresses: what comes back, what is refused, and that private networks stay out of reach."""

import http.server
import threading
import time

import pytest

from al_service.ingest.fetching import fetch, is_public
from al_service.ingest.rows import Limits, RowUnreadableError

HERE = Limits(allow_private_hosts=True, file_max_bytes=10_000, url_timeout_s=5.0)


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/a%20b.png":
            self._answer(200, b"pixels")
        elif self.path == "/moved":
            self._answer(302, b"", Location="/a%20b.png")
        elif self.path == "/to-file":
            self._answer(302, b"", Location="file:///etc/passwd")
        elif self.path == "/round":
            self._answer(302, b"", Location="/round")
        elif self.path == "/big":
            self._answer(200, bytes(20_000))
        elif self.path == "/short":
            self._answer(200, b"half", **{"Content-Length": "100"})
        elif self.path == "/drip":
            self._drip()
        else:
            self._answer(404, b"no")

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        until = time.monotonic() + 5
        try:
            while time.monotonic() < until:
                self.wfile.write(b"x")
                self.server.dripping.wait(0.02)  # a slow server, at the other end of the line
        except OSError:
            pass

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as found:
        found.dripping = threading.Event()
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["/a b.png", "/a%20b.png", "/moved"])
def test_the_body_comes_back(server, path):
    assert fetch(server + path, HERE) == b"pixels"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none", "the server answered 404"),
        ("/to-file", "the server answered 302"),
        ("/round", "the server answered 302"),
        ("/big", "more than 10,000 bytes"),
        ("/short", "cut short: 4 of 100 bytes came"),
    ],
)
def test_refused_with_a_reason(server, path, reason):
    with pytest.raises(RowUnreadableError, match=reason):
        fetch(server + path, HERE)


def test_a_server_that_drips_is_left(server):
    with pytest.raises(RowUnreadableError, match=r"not complete after 0.3 s"):
        fetch(f"{server}/drip", Limits(allow_private_hosts=True, url_timeout_s=0.3))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "169.254.169.254", "10.1.2.3", "127.1", "0x7f.1"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_private_networks_are_out_of_reach(host, scheme):
    with pytest.raises(RowUnreadableError, match=r"private network|could not be fetched"):
        fetch(f"{scheme}://{host}:9/x.png", Limits(url_timeout_s=2.0))


def test_this_machine_is_out_of_reach_though_it_would_answer(server):
    with pytest.raises(RowUnreadableError, match="leads into a private network"):
        fetch(f"{server}/a%20b.png", Limits())


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "http://x:y/", "http://exa mple/", "http:///x", "http://\udcff/x"]
)
def test_broken_addresses_are_refused_with_a_reason(url):
    with pytest.raises(RowUnreadableError):
        fetch(url, HERE)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "2002:7f00:1::", "64:ff9b::7f00:1",
    ],
)  # fmt: skip
def test_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public(address):
    assert is_public(address)


def test_rows_with_addresses_are_fetched_when_read(server, write, opened):
    root = write({"t.csv": f"url,label\n{server}/moved,cat\n{server}/none,dog\n"})
    good, bad = opened(root / "t.csv", limits=HERE)
    assert (good.external_id, good.label, good.read()) == (f"{server}/moved", "cat", b"pixels")
    with pytest.raises(RowUnreadableError, match="404"):
        bad.read()
