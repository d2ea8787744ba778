"""The digits of scikit-learn as PNG files."""

import hashlib

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from al_service import images
from al_service.ingest.digits import write_digits


def hashes(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.png")
    }


def test_all_digits_in_class_folders_and_the_same_bytes_again(tmp_path, opened, taken):
    assert write_digits(tmp_path / "a") == 1797
    assert write_digits(tmp_path / "b") == 1797
    first = hashes(tmp_path / "a")
    assert len(first) == 1797
    assert first == hashes(tmp_path / "b")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.png")}
    write_digits(tmp_path / "a")
    assert times == {path: path.stat().st_mtime_ns for path in times}
    source = opened(tmp_path / "a")
    assert source.classes == tuple("0123456789")
    assert taken(source)[0] == ("0/0000.png", "0", None)
    facts = images.verify((tmp_path / "a/0/0000.png").read_bytes())
    assert (facts.width, facts.height, facts.mode) == (8, 8, "L")


def test_known_hash_of_the_first(tmp_path):
    write_digits(tmp_path)
    assert hashes(tmp_path)["0/0000.png"] == "d79b74a84660260fea78c0b6384a0ffa2d88bef62d035c7a70a4a233c4ae194a"


def test_grey_values_and_scale(tmp_path):
    write_digits(tmp_path, scale=3)
    digits = load_digits()
    nines = digits.images[digits.target == 9]
    shown = np.asarray(Image.open(tmp_path / "9/0001.png"))
    assert np.array_equal(shown[::3, ::3], np.rint(nines[1] * 255 / 16))
    assert np.array_equal(shown, np.kron(shown[::3, ::3], np.ones((3, 3))))
