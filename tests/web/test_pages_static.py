"""What holds for every page: weight, caching, security headers, names for screen readers, contrast, no overflow."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

import annotator_ui
from al_service.domain.states import Role
from al_service.errors import InvalidInputError
from annotator_ui.assets import STATIC_DIR, static_version
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
TEMPLATE_DIR = Path(annotator_ui.__file__).parent / "templates"
LABEL_PAGE_BYTES_MAX = 100_000
#: Text colour on ground, as the style sheets pair them.
CONTRASTS = [
    *((text, ground) for text in ("text", "quiet") for ground in ("bg", "surface", "sunken", "hover")),
    *((text, ground) for text in ("bad", "accent-text") for ground in ("bg", "surface")),
    ("text", "accent-soft"),
    ("quiet", "accent-soft"),
    ("accent-text", "accent-soft"),
    ("accent-ink", "accent"),
    ("warn-text", "warn-soft"),
    ("warn-text", "bg"),
    ("bad", "bad-soft"),
    ("bg", "text"),
]

NAMELESS = """() => {
    const name = (node) => (node.getAttribute("aria-label") || node.title || node.textContent || "").trim()
        || [...(node.labels || [])].map((label) => label.textContent).join(" ").trim();
    const ids = [...document.querySelectorAll("[id]")].map((node) => node.id);
    const pointers = ["aria-labelledby", "aria-describedby", "aria-controls"].flatMap((attribute) =>
        [...document.querySelectorAll(`[${attribute}]`)].flatMap((node) => node.getAttribute(attribute).split(" ")));
    return [
        ...[...document.querySelectorAll("button, a[href], input, textarea, select, [role=progressbar], [role=img]")]
            .filter((node) => !name(node) && !node.hasAttribute("aria-labelledby"))
            .map((node) => `no name: ${node.outerHTML}`),
        ...[...document.querySelectorAll("img:not([alt])")].map((node) => `no alt: ${node.outerHTML}`),
        ...ids.filter((id, at) => ids.indexOf(id) !== at).map((id) => `id twice: ${id}`),
        ...pointers.filter((id) => !document.getElementById(id)).map((id) => `points nowhere: ${id}`),
        ...(document.querySelectorAll("main").length === 1 ? [] : ["not exactly one main"]),
        ...(document.documentElement.lang ? [] : ["no language"]),
    ];
}"""


@pytest.fixture
def busy_site(site: Site) -> Site:
    """A project with work, an engineer, and more classes than keys."""
    site.person("eve", Role.ENGINEER)
    ids = site.project(
        "birds", [f"a rather long class name {number}" for number in range(40)], 12, guidelines="Look closely."
    )
    site.ask("birds", ids)
    return site


def test_the_label_page_is_light(busy_site: Site, visit: OpenVisit) -> None:
    one = visit()
    page = one.sign_in("eve", "/projects/birds/label")
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    page.wait_for_load_state("networkidle")
    urls = {url for url in one.requests if "/image" not in url and "/api/" not in url}
    client = busy_site.app.test_client()
    client.post("/api/v1/session", json={"name": "eve", "password": "a long password"})
    weight = {url: len(client.get(url.removeprefix(busy_site.url)).data) for url in urls}
    assert sum(weight.values()) < LABEL_PAGE_BYTES_MAX, weight
    assert not any("vendor" in url for url in urls)


@pytest.mark.parametrize("path", ["/", "/projects/birds/label", "/projects/birds/board", "/nothing-here"])
@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (2560, "dark")])
def test_every_page_fits_and_names_its_parts(
    busy_site: Site, visit: OpenVisit, path: str, width: int, scheme: str
) -> None:
    one = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = one.sign_in("eve", path)
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    assert page.evaluate(NAMELESS) == []
    one.expect_errors("404")


def test_every_text_colour_is_readable_on_its_ground() -> None:
    style = (STATIC_DIR / "base.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): light-dark\((#\w{6}), (?=#)", style))
    darks = dict(re.findall(r"--([\w-]+): light-dark\(#\w{6}, (#\w{6})\)", style))
    low = [
        (scheme, text, ground, round(contrast(palette[text], palette[ground]), 2))
        for scheme, palette in (("light", colours), ("dark", darks))
        for text, ground in CONTRASTS
        if contrast(palette[text], palette[ground]) < 4.5
    ]
    assert low == []


def contrast(one: str, other: str) -> float:
    """Contrast of two colours by WCAG 2."""
    first, second = sorted((luminance(one), luminance(other)), reverse=True)
    return (first + 0.05) / (second + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_are_written_in_one_place() -> None:
    for path in STATIC_DIR.glob("*.css"):
        text = path.read_text(encoding="utf-8")
        if path.name == "base.css":
            text = text.split("*, *::before", 1)[1]
        assert re.findall(r"#[0-9a-fA-F]{3,8}\b(?![^{]*\{)", text) in ([], ["#000"]), path.name


def test_texts_never_become_html() -> None:
    for path in STATIC_DIR.glob("*.js"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function", text), path


def test_templates_have_no_inline_scripts_and_no_foreign_addresses() -> None:
    for path in TEMPLATE_DIR.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|javascript:|https?://", text), path.name


def test_finding_classes_puts_the_best_match_first(site: Site, visit: OpenVisit) -> None:
    page = visit().page
    page.goto(f"{site.url}/login")
    found = page.evaluate(
        """async () => {
            const { findClasses } = await import("/static/finder.js");
            const classes = ["blue jay", "jay", "jaybird", "major", "jolly army", "crow"].map((name) => ({ name }));
            return ["jay", "ja", "(", ""].map((query) => findClasses(classes, query).map((found) => found.info.name));
        }"""
    )
    assert found[0] == ["jay", "jaybird", "blue jay", "jolly army"]
    assert found[1] == ["jay", "jaybird", "blue jay", "jolly army"]
    assert found[2] == []
    assert len(found[3]) == 6


def test_static_files_are_kept_for_good_under_their_version_only(site: Site) -> None:
    client = site.app.test_client()
    version = static_version()
    versioned = client.get(f"/static/v-{version}/label.js")
    assert versioned.mimetype == "text/javascript"
    assert "immutable" in versioned.headers["Cache-Control"]
    assert client.get("/static/label.js").headers["Cache-Control"] == "no-cache"
    assert client.get("/static/v-000000000000/label.js").headers["Cache-Control"] == "no-cache"
    again = client.get("/static/label.js", headers={"If-None-Match": client.get("/static/label.js").headers["ETag"]})
    assert again.status_code == 304
    packed = client.get("/static/label.js", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.data) < len(versioned.data) / 2


@pytest.mark.parametrize(
    "name",
    ["../views.py", "..%2fviews.py", "%2e%2e/views.py", "v-1/../../views.py", "", "no.js", "vendor/x", "a" * 400],
)
def test_only_static_files_are_served(site: Site, name: str) -> None:
    assert site.app.test_client().get(f"/static/{name}").status_code == 404


def test_plotly_comes_from_its_package(site: Site) -> None:
    answer = site.app.test_client().get("/static/vendor/plotly.min.js", headers={"Accept-Encoding": "gzip"})
    assert answer.status_code == 200
    assert answer.mimetype == "text/javascript"
    assert 500_000 < len(answer.data) < 2_500_000


def test_pages_for_errors(site: Site) -> None:
    client = site.app.test_client()
    assert b"Nothing here" in client.get("/no/such/page").data
    assert client.get("/api/v1/no/such/route").get_json()["error"]["code"] == "not_found"
    assert client.post("/login").status_code == 405
    site.person("mia")
    client.post("/api/v1/session", json={"name": "mia", "password": "a long password"})
    answer = client.get("/projects/%3Cscript%3E/board")
    assert answer.status_code == 404
    assert b"<script>/" not in answer.data
    assert "There is no project “&lt;script&gt;” here." in answer.get_data(as_text=True)


def test_pages_need_somebody_signed_in(site: Site) -> None:
    client = site.app.test_client()
    for path in ("/", "/projects/birds", "/projects/birds/label", "/projects/birds/board"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Location"].partition("?")[0]) == (302, "/login"), path


def test_pages_carry_the_security_headers(site: Site) -> None:
    policy = site.app.test_client().get("/login").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src" not in policy or "unsafe" not in policy.partition("script-src")[2].partition(";")[0]


def test_an_app_without_secret_key_is_refused(site: Site) -> None:
    with pytest.raises(InvalidInputError, match="secret key"):
        annotator_ui.create_app(site.services, site.settings)
