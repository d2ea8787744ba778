"""From folders and tables to image sets: each content once, test images apart, nothing measured on what was learned."""

from pathlib import Path

import numpy as np
import pytest

from al_service import images
from al_service.domain.project_config import ProjectConfig
from al_service.errors import InvalidInputError
from al_service.ingest.split import in_evaluation
from al_service.simulation.image_set import FACTS, PIXELS, ImageSet, InvalidImageSetError, find_set
from al_service.simulation.reading import read_images
from tests.unit.simulation.conftest import grey_png, write_greys


def read(location: Path, cache: Path, **options: str) -> ImageSet:
    return read_images(str(location), cache, ProjectConfig(), **options)


def test_a_folder_becomes_pixels_and_classes(greys: Path, tmp_path: Path) -> None:
    data = read(greys, tmp_path / "cache")
    assert data.class_names == ("dark", "light")
    assert data.per_class(range(60)) == {"dark": 30, "light": 30}
    assert data.pixels.shape == (60, 8, 8, 3)
    for row in (0, 29, 30, 59):
        file = greys / data.sample_ids[row]
        assert np.array_equal(data.pixels[row], images.square_pixels(file.read_bytes(), 8))
        assert data.class_names[data.class_indices[row]] == file.parent.name


def test_what_is_kept_is_what_was_read(greys: Path, tmp_path: Path) -> None:
    data, kept = read(greys, tmp_path / "cache"), find_set(tmp_path / "cache")
    assert kept is not None
    assert np.array_equal(kept.pixels, data.pixels)
    assert (kept.hashes, kept.class_names, kept.sample_ids) == (data.hashes, data.class_names, data.sample_ids)
    assert kept.fingerprint() == data.fingerprint()


def test_copies_and_broken_images_are_left_out_and_counted(greys: Path, tmp_path: Path) -> None:
    (greys / "dark" / "copy.png").write_bytes(grey_png(0, 0))
    (greys / "dark" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno image")
    (greys / "light" / "empty.png").write_bytes(b"")
    data = read(greys, tmp_path / "cache")
    assert len(data.hashes) == 60 == len(set(data.hashes))
    assert data.left_out == {"duplicate": 1, "unreadable": 2}


def test_a_second_start_decodes_nothing_and_sees_what_has_changed(greys: Path, tmp_path: Path) -> None:
    (greys / "dark" / "broken.png").write_bytes(b"no image")
    cache = tmp_path / "cache"
    first = read(greys, cache)
    written = (cache / PIXELS).stat().st_mtime_ns
    again = read(greys, cache)
    assert (cache / PIXELS).stat().st_mtime_ns == written
    assert (again.fingerprint(), again.left_out) == (first.fingerprint(), first.left_out)
    (greys / "dark" / "broken.png").write_bytes(grey_png(0, 77))
    changed = read(greys, cache)
    assert len(changed.hashes) == 61
    assert changed.fingerprint() != first.fingerprint()


def test_another_label_is_another_set(greys: Path, tmp_path: Path) -> None:
    first = read(greys, tmp_path / "cache").fingerprint()
    (greys / "dark" / "000.png").rename(greys / "light" / "zzz.png")
    second = read(greys, tmp_path / "cache")
    assert second.per_class(range(60)) == {"dark": 29, "light": 31}
    assert second.fingerprint() != first


def test_a_cache_that_lost_pixels_is_made_again(greys: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = read(greys, cache)
    expected = np.array(first.pixels)
    (cache / PIXELS).write_bytes(b"short")
    assert find_set(cache) is None
    assert np.array_equal(read(greys, cache).pixels, expected)
    (cache / FACTS).write_text("{")
    assert find_set(cache) is None


def test_test_folders_are_measured_on_by_every_seed(tmp_path: Path) -> None:
    write_greys(tmp_path / "set" / "train", 10)
    for name, level in (("dark", 0), ("light", 150)):
        (tmp_path / "set" / "test" / name).mkdir(parents=True)
        for number in range(10, 15):
            (tmp_path / "set" / "test" / name / f"{number}.png").write_bytes(grey_png(level, number))
    data = read(tmp_path / "set", tmp_path / "cache")
    pool, test = data.split(0, 0.2)
    assert (len(pool), len(test)) == (20, 10)
    assert all(data.sample_ids[row].startswith("test/") for row in test)
    assert [rows.tolist() for rows in data.split(7, 0.9)] == [pool.tolist(), test.tolist()]


def test_an_image_in_both_parts_is_a_test_image(tmp_path: Path) -> None:
    write_greys(tmp_path / "set" / "train", 10)
    (tmp_path / "set" / "test" / "dark").mkdir(parents=True)
    (tmp_path / "set" / "test" / "dark" / "leak.png").write_bytes(grey_png(0, 3))
    data = read(tmp_path / "set", tmp_path / "cache")
    pool, test = data.split(0, 0.2)
    assert (len(pool), len(test)) == (19, 1)
    assert data.left_out == {"duplicate": 1}


def test_images_of_the_option_are_measured_on_and_no_others(tmp_path: Path) -> None:
    write_greys(tmp_path / "set" / "train", 10)
    write_greys(tmp_path / "other", 2)
    (tmp_path / "set" / "test" / "dark").mkdir(parents=True)
    (tmp_path / "set" / "test" / "dark" / "99.png").write_bytes(grey_png(0, 99))
    (tmp_path / "other" / "purple").mkdir()
    (tmp_path / "other" / "purple" / "1.png").write_bytes(grey_png(90, 1))
    data = read(tmp_path / "set", tmp_path / "cache", test_location=str(tmp_path / "other"))
    pool, test = data.split(0, 0.2)
    assert (len(pool), len(test)) == (16, 4)
    assert data.left_out == {
        "duplicate": 4,
        "test image beside --test": 1,
        "class that only the test images have": 1,
    }


def test_the_share_is_drawn_as_an_import_draws_it(greys: Path, tmp_path: Path) -> None:
    data = read(greys, tmp_path / "cache")
    for seed in (0, 1):
        _, test = data.split(seed, 0.3)
        drawn = [row for row, sha256 in enumerate(data.hashes) if in_evaluation(sha256, fraction=0.3, seed=seed)]
        assert test.tolist() == drawn
    with pytest.raises(InvalidImageSetError, match="0 measured on"):
        data.split(0, 0.0)


def test_one_class_is_refused_in_words(tmp_path: Path) -> None:
    folder = write_greys(tmp_path / "greys", 3)
    for file in (folder / "light").iterdir():
        file.unlink()
    with pytest.raises(InvalidInputError, match=r"no labelled image|1 class \(dark\)"):
        read(folder, tmp_path / "cache")


def test_test_images_of_other_classes_are_refused_in_words(greys: Path, tmp_path: Path) -> None:
    for name in ("Dark", "Light"):
        (tmp_path / "test" / name).mkdir(parents=True)
        (tmp_path / "test" / name / "1.png").write_bytes(grey_png(90, len(name)))
    with pytest.raises(InvalidImageSetError, match="give both the same class names"):
        read(greys, tmp_path / "cache", test_location=str(tmp_path / "test"))


def test_a_table_with_labels(greys: Path, tmp_path: Path) -> None:
    lines = ["path,label,split"]
    lines += [f"dark/{number:03}.png,cat,{'test' if number < 5 else 'train'}" for number in range(10)]
    lines += [f"light/{number:03}.png,,train" for number in range(2)]
    lines += [f"light/{number:03}.png,dog,train" for number in range(2, 10)]
    (greys / "labels.csv").write_text("\n".join(lines))
    data = read(greys / "labels.csv", tmp_path / "cache")
    assert data.class_names == ("cat", "dog")
    assert data.left_out == {"no label": 2}
    assert data.split(0, 0.5)[1].tolist() == [0, 1, 2, 3, 4]
