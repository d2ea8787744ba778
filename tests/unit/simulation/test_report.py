"""The page and the picture from a result's data: pure, escaped, readable by programs and people."""

import io
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from al_service.domain.project_config import ProjectConfig
from al_service.simulation.curves_picture import draw_curves
from al_service.simulation.image_set import ImageSet
from al_service.simulation.plan import Plan
from al_service.simulation.report import render_report
from al_service.simulation.report_chart import label_ticks, nice_steps
from al_service.simulation.result import headline, jpeg_base64, result_of
from al_service.simulation.run import Point, RunResult
from al_service.simulation.words import comparison_words, headline_words, lead_words, regime_words

HOSTILE = '<script>alert("1")</script>'


def a_result(
    strategies: tuple[str, ...] = ("random", "margin"),
    seeds: tuple[int, ...] = (0, 1, 2),
    classes: tuple[str, ...] = ("cat", "dog"),
    labels: tuple[int, ...] = (10, 20, 30),
    bonus: float = 0.1,
    name: str = "/home/somebody/pets",
) -> dict[str, Any]:
    """A result as a study makes it, with made-up curves: the other strategies are above random by the bonus."""
    count = 4 * len(classes)
    data = ImageSet(
        name=name,
        pixels=np.zeros((count, 8, 8, 3), np.uint8),
        class_indices=np.arange(count) % len(classes),
        class_names=classes,
        hashes=tuple(f"{number:064x}" for number in range(count)),
        sample_ids=tuple(f"{name}/{number}.png" for number in range(count)),
        is_test=np.zeros(count, bool),
        left_out={"duplicate": 1},
    )
    uncertain = (
        {
            "row": 0,
            "sample_id": data.sample_ids[0],
            "class_name": classes[0],
            "guesses": [{"class_name": classes[at], "probability": 0.5} for at in (0, 1)],
        },
    )
    runs = [
        RunResult(
            strategy,
            seed,
            tuple(
                Point(
                    count,
                    0.4 + count / 100 + seed / 100 + (bonus if strategy != "random" and place else 0.0),
                    0.5,
                    {"train": 1.0, "score": 0.5, "select": 0.25},
                    dict.fromkeys(classes, count),
                    dict.fromkeys(classes[:-1], 0.5 + place / 10) | {classes[-1]: None},
                )
                for place, count in enumerate(labels)
            ),
            80,
            20,
            (),
            () if strategy == "random" else uncertain,
        )
        for strategy in strategies
        for seed in seeds
    ]
    plan = Plan(labels[0], 10, labels[-1], labels[-1], ProjectConfig())
    return result_of(data, plan, strategies, seeds, runs)


class Page(HTMLParser):
    """Tags that are opened and closed, ids, and all text."""

    VOID = {"meta", "img", "br"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "result",
    [
        a_result(),
        a_result(strategies=("random",)),
        a_result(seeds=(0,), labels=(10,)),
        a_result(strategies=("random", *(f"s{number}" for number in range(9)))),
        a_result(classes=tuple(f"class {number}" for number in range(60))),
        a_result(bonus=-0.1),
        a_result(classes=(HOSTILE, "'\"&"), name=f"/data/{HOSTILE}"),
    ],
    ids=["usual", "random alone", "one point", "ten strategies", "sixty classes", "worse", "hostile"],
)
def test_pages_are_whole_and_ask_nobody_for_anything(result: dict[str, Any]) -> None:
    html = render_report(result)
    page = Page(html)
    assert page.open == []
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "form"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    assert "http" not in html.replace("http-equiv", "")
    assert "default-src 'none'" in html
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert sum(tag == "h1" for tag, _ in page.tags) == 1
    assert all(attributes.get("alt") for tag, attributes in page.tags if tag == "img")


def test_hostile_names_are_shown_and_not_run() -> None:
    result = a_result(classes=(HOSTILE, "dog"), name=f"/data/{HOSTILE}")
    html = render_report(result)
    assert HOSTILE not in html
    assert HOSTILE in Page(html).text


def test_every_class_and_every_point_is_on_the_page() -> None:
    classes = tuple(f"class {number}" for number in range(60))
    text = Page(render_report(a_result(classes=classes))).text
    assert all(text.count(f"{name}random") or name in text for name in classes)
    assert "36 classes in between" in text
    assert text.count("margin, 20 labels: 71.0 % (68.5 to") == 0  # in percent on both ends
    assert text.count("margin, 20 labels: 71.0 % (68.5 % to 73.5 %)") == 3  # for wide, middle and narrow pages


def test_the_picture_is_a_picture() -> None:
    for result in (a_result(name="/data/$x^2"), a_result(seeds=(0,), labels=(10,))):
        image = Image.open(io.BytesIO(draw_curves(result)))
        assert image.format == "PNG"
        assert image.width > 1000


def test_words_are_as_strong_as_the_interval() -> None:
    assert headline_words(a_result()) == "margin needs 20 labels for what random reaches with 30."
    assert headline_words(a_result(bonus=-0.1)).startswith("Random does better here: it needs 20 labels")
    assert headline_words(a_result(bonus=0.0)).startswith("No difference between margin and random")
    assert headline_words(a_result(seeds=(0,))).startswith("In one run, margin needed 20 labels")
    assert headline_words(a_result(strategies=("random",))) == "Random reaches 71.0 % with 30 labels."
    assert "choosing helps" in lead_words(a_result())
    assert "choosing hurts" in lead_words(a_result(bonus=-0.1))
    assert "chance alone" in lead_words(a_result(bonus=0.0))
    assert "a look and no proof" in lead_words(a_result(seeds=(0,)))
    unsure = {"strategy": "margin", "same_accuracy": {"labels": 20.2, "random_labels": 25.0}}
    assert comparison_words({**unsure, "label_savings_ci95": [0.9, 1.6]}, 5) == (
        "No clear difference here: margin needs about 20 labels for what random reaches with 25."
    )


def test_a_strategy_that_changes_its_ways_says_when() -> None:
    result = a_result()
    assert regime_words(result, "margin") == ""
    for point, regime in zip(result["runs"][3]["points"][1:], ("cover", HOSTILE), strict=True):
        point["choice"] = {"regime": regime, "why": "for once"}
    assert regime_words(result, "margin") == (
        "margin asked for typical images that no label covered yet up to 20 labels, "
        f"then for {HOSTILE} up to 30 labels."
    )
    assert HOSTILE not in render_report(result)


def test_the_page_speaks_of_the_default_first_else_of_the_largest_area() -> None:
    entries = [{"strategy": name, "aubc": area} for name, area in (("random", 0.9), ("margin", 0.6), ("bald", 0.7))]
    assert headline(entries) == "bald"
    assert headline([*entries, {"strategy": "auto", "aubc": 0.1}]) == "auto"
    assert headline(entries[:1]) == "random"


def test_tiny_images_are_enlarged_without_blur(tmp_path: Path) -> None:
    import base64

    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 255
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(jpeg_base64(pixels)))))
    assert shown.shape == (96, 96, 3)
    assert shown[:, :46].max() < 40
    assert shown[:, 50:].min() > 215


def test_ticks_are_round_and_inside() -> None:
    assert nice_steps(0.981, 0.996, 6) == pytest.approx([0.98, 0.9825, 0.985, 0.9875, 0.99, 0.9925, 0.995, 0.9975])
    assert nice_steps(0.5, 0.5, 6)[0] <= 0.5
    assert label_ticks(200, 1600, 6) == [500, 1000, 1500]
