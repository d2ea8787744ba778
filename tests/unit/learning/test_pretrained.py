"""Fetching weights: from a server of our own, from the cache, and not at all."""

import hashlib
import http.server
import threading

import pytest
import torch
from torchvision import models

from al_service.learning import networks, pretrained
from al_service.learning.pretrained import WeightsUnavailableError

CONTENT = b"weights" * 1000


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = "missing" not in self.path
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT) + (10 if "short" in self.path else 0)))
        self.end_headers()
        if found:
            self.wfile.write(CONTENT)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def name(prefix: str = "net") -> str:
    return f"{prefix}-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


def test_a_fetched_file_is_whole_and_nothing_else_is_left(server, tmp_path):
    pretrained.fetch(f"{server}/{name()}", tmp_path / "deep" / name())
    assert [one.name for one in (tmp_path / "deep").iterdir()] == [name()]
    assert (tmp_path / "deep" / name()).read_bytes() == CONTENT


@pytest.mark.parametrize("path", ["missing-0badc0de.pth", "wrong-0badc0de.pth", "short.pth"])
def test_a_missing_file_a_wrong_hash_and_a_cut_answer_leave_nothing(server, tmp_path, path):
    with pytest.raises(WeightsUnavailableError, match="by hand"):
        pretrained.fetch(f"{server}/{path}", tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_listening_is_an_error_at_once(tmp_path):
    with pytest.raises(WeightsUnavailableError, match="cannot be fetched"):
        pretrained.fetch("http://127.0.0.1:9/net.pth", tmp_path / "net.pth")


def test_default_weights_are_read_from_torchs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = models.squeezenet1_1(weights=None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(model.state_dict(), folder / models.SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/", 1)[-1])
    network = networks.build("squeezenet1_1", 4, 32, weights="default", seed=3)
    assert torch.equal(network.backbone.state_dict()["features.0.weight"], model.features[0].weight)


def test_a_damaged_file_in_the_cache_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / models.SqueezeNet1_1_Weights.DEFAULT.url.rsplit("/", 1)[-1]).write_bytes(b"not weights")
    with pytest.raises(WeightsUnavailableError, match="delete it"):
        networks.build("squeezenet1_1", 4, 32, weights="default")
