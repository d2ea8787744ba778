"""Fetching weights: from a server of our own, from the cache, and not at all."""

import hashlib
import http.server
import re
import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models

from al_service.learning import networks, pretrained
from al_service.learning.pretrained import WeightsUnavailableError
from al_service.learning.tensor_files import InvalidCheckpointError

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


# -- weights of torchvision whose names are not those of today's networks -------------------------------------------


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Put a state where torch looks for a network's default weights."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def put(name: str, state: dict[str, Tensor]) -> Path:
        path = tmp_path / "hub" / "checkpoints" / models.get_model_weights(name).DEFAULT.url.rsplit("/", 1)[-1]
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, path)
        return path

    return put


def told_apart(model: nn.Module) -> nn.Module:
    """With other values in every tensor than fresh ones have."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(5)
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5)
    return model


def old_densenet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the files of 2017 are: dots in names of layers, and no counters."""
    pattern = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
    kept = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    return {pattern.sub(r"\1.\2.", key): tensor for key, tensor in kept.items()}


def old_vit(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.replace("mlp.0.", "mlp.linear_1.").replace("mlp.3.", "mlp.linear_2."): state[key] for key in state}


def small_vit() -> models.VisionTransformer:
    return models.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=3)


def assert_holds(network: nn.Module, state: dict[str, Tensor]) -> None:
    for key, tensor in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(tensor, state[key]), key


def test_default_weights_of_densenet_are_all_loaded_under_their_old_names(keep):
    state = told_apart(models.densenet121(weights=None)).state_dict()
    old = old_densenet(state)
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    keep("densenet121", old)
    assert_holds(networks.build("densenet121", 4, 32, weights="default", seed=3).backbone, state)


def test_default_weights_of_vit_are_all_loaded_under_their_old_names(keep):
    state = told_apart(small_vit()).state_dict()
    old = old_vit(state)
    assert "encoder.layers.encoder_layer_0.mlp.linear_1.weight" in old
    keep("vit_b_32", old)
    model = small_vit()
    pretrained.load_default(model, "vit_b_32")
    assert_holds(model, state)


@pytest.mark.parametrize("old", [old_vit, dict])
def test_files_of_others_may_have_the_old_names_too(tmp_path, old):
    state = told_apart(small_vit()).state_dict()
    torch.save({"model": old(state)}, tmp_path / "w.pt")
    model = small_vit()
    pretrained.load_file(model, tmp_path / "w.pt", "heads.head")
    assert_holds(model, state)


def test_a_name_of_a_network_s_own_is_never_changed():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.mlp = nn.ModuleDict({"linear_1": nn.Linear(2, 2), "0": nn.Linear(2, 2)})

    state = told_apart(Odd()).state_dict()
    assert pretrained.renamed_legacy(state, Odd()).keys() == state.keys()


def test_auxiliary_classifiers_in_default_weights_are_left_out(keep):
    full = told_apart(models.googlenet(weights=None, num_classes=1000, aux_logits=True, init_weights=False))
    keep("googlenet", full.state_dict())
    assert_holds(networks.build("googlenet", 4, 32, weights="default").backbone, full.state_dict())


@pytest.mark.parametrize(("changes", "words"), [("missing", "holds nothing for"), ("more", "for 'features.99.weight'")])
def test_default_weights_with_a_tensor_missing_or_too_many_are_refused_by_name(keep, changes, words):
    state = models.squeezenet1_1(weights=None).state_dict()
    if changes == "missing":
        del state["features.3.squeeze.bias"]
        words += " 'features.3.squeeze.bias'"
    else:
        state["features.99.weight"] = torch.zeros(1)
    keep("squeezenet1_1", state)
    with pytest.raises(InvalidCheckpointError, match=words):
        networks.build("squeezenet1_1", 4, 32, weights="default")
