"""Data sets of torchvision by name, on small files in the same format, without a network."""

import inspect
import io
import struct

import numpy as np
import pytest
import torchvision
from PIL import Image

from al_service.errors import UnavailableError
from al_service.ingest.rows import InvalidSourceError
from al_service.ingest.sources import open_source
from al_service.ingest.torchvision_sets import TORCHVISION_SETS


def write_mnist(root, name: str, images: np.ndarray, labels: np.ndarray) -> None:
    raw = root / "torchvision" / name / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, *images.shape) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + labels.tobytes())


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    # urllib keeps the opener it made first, with the proxies of that moment: ours must not outlive this test.
    monkeypatch.setattr("urllib.request._opener", None)
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # a port where nobody answers


def test_files_that_are_there_work_offline(tmp_path):
    images = np.arange(3 * 28 * 28, dtype=np.uint8).reshape(3, 28, 28)
    write_mnist(tmp_path, "FashionMNIST", images, np.array([9, 0, 9], dtype=np.uint8))
    with open_source("torchvision:FashionMNIST", scratch=tmp_path) as source:
        rows = list(source)
        assert (source.kind, source.count, source.classes) == ("torchvision", 6, ("Ankle boot", "T-shirt/top"))
    assert [(row.external_id, row.label, row.split) for row in rows[2:5]] == [
        ("train/000002", "Ankle boot", "train"),
        ("test/000000", "Ankle boot", "test"),
        ("test/000001", "T-shirt/top", "test"),
    ]
    shown = Image.open(io.BytesIO(rows[4].read()))
    assert (shown.format, shown.mode) == ("PNG", "L")
    assert np.array_equal(np.asarray(shown), images[1])
    assert rows[4].read() == rows[4].read()


def test_labels_none(tmp_path):
    write_mnist(tmp_path, "MNIST", np.zeros((2, 28, 28), np.uint8), np.array([1, 2], dtype=np.uint8))
    source = open_source("torchvision:MNIST", labels="none", scratch=tmp_path)
    assert ({row.label for row in source}, source.classes) == ({None}, ())


@pytest.mark.parametrize("name", ["MNIST", "CIFAR10", "SVHN"])
def test_no_files_and_no_network_is_said_clearly(name, tmp_path):
    with pytest.raises(UnavailableError, match=f"torchvision:{name} .*could not be downloaded.*copy its files there"):
        open_source(f"torchvision:{name}", scratch=tmp_path)


@pytest.mark.parametrize("name", ["Nope", "FakeData", "", "os.system"])
def test_unknown_names_list_the_known_ones(name, tmp_path):
    with pytest.raises(InvalidSourceError, match="can be imported: CIFAR10, CIFAR100"):
        open_source(f"torchvision:{name}", scratch=tmp_path)


@pytest.mark.parametrize("name", sorted(TORCHVISION_SETS))
def test_the_list_fits_the_torchvision_that_is_installed(name):
    owner = getattr(torchvision.datasets, name)
    taken = {key for one in owner.__mro__[:2] for key in inspect.signature(one.__init__).parameters}
    for arguments in TORCHVISION_SETS[name].values():
        assert {"root", "download", *arguments} <= taken
