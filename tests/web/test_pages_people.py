"""The page of a project's people: work, agreement, gold, suggestions; what it says before there is anything; files."""

import csv
import io
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from al_service.domain.states import AnnotationKind
from al_service.loop.annotations import Answer
from al_service.loop.reviews import Verdict
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit
from tests.web.labelling import CLASSES

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]
PEOPLE = "/projects/birds/people"


def work(site: Site) -> None:
    """mia and tom answer the same eight birds and disagree on two; mia meets gold, and tom asks for suggestions."""
    services = site.services
    people = {name: services.accounts.ensure_user(name, "labeler") for name in ("mia", "tom")}
    rita = services.accounts.get_user("rita")
    ids = site.project("birds", CLASSES, 12, overlap=2, blind_share=0.5, gold_share=0.5)
    site.ask("birds", ids[:8], likely=[("finch", 0.7), ("robin", 0.3)])
    for sample_id in ids[8:]:
        services.reviews.set_gold(Verdict(sample_id, "robin", 0, f"g-{sample_id}"), rita)
    for name, user in people.items():
        count = 0
        while leased := services.assignments.lease_next("birds", user, 4).assignments:
            for item in leased:
                is_gold = item.selection.lane == "gold"
                if name == "tom":
                    services.suggestions.ask(item.id, user)
                said = "robin" if is_gold else "finch" if name == "mia" or count % 4 else "sparrow"
                count += not is_gold
                answer = Answer(AnnotationKind.LABEL, said, f"{name}-{item.id}", 3.0)
                services.annotations.annotate(item.id, user, answer)


def cells(page: Page, name: str) -> list[str]:
    row = page.locator("#people tbody tr").filter(has=page.locator(f'th[title^="{name} "]'))
    return [text.strip() for text in row.locator("td").all_inner_texts()]


@pytest.fixture
def rita(site: Site) -> str:
    site.person("rita", "reviewer")
    return "rita"


def test_the_page_shows_what_each_person_did_and_how_they_agree(site: Site, visit: OpenVisit, rita: str) -> None:
    work(site)
    page = visit().sign_in(rita, PEOPLE)
    expect(page.locator("#people tbody tr")).to_have_count(3)
    mia = cells(page, "mia")
    assert mia[0] == str(8 + 4)
    assert mia[1] == "20.0"
    assert mia[7] == "100 % of 4"
    assert mia[6].endswith("of 12")
    tiles = page.locator(".tile")
    expect(tiles.nth(0)).to_contain_text("on 12 images that several people answered")
    expect(tiles.nth(1)).to_contain_text("100 %")
    expect(tiles.nth(1)).to_contain_text("8 of 8 answers")
    expect(tiles.nth(2)).to_contain_text("People agree with the model in")
    expect(page.locator("#mixed li")).to_have_text(["sparrow and finch2 images"])
    expect(page.locator("#class-agreement tbody tr")).to_have_count(3)


def test_the_tables_can_be_kept_as_files(site: Site, visit: OpenVisit, rita: str) -> None:
    work(site)
    page = visit(accept_downloads=True).sign_in(rita, PEOPLE)
    expect(page.locator("#people tbody tr")).to_have_count(3)
    with page.expect_download() as waiting:
        page.locator("#people-csv").click()
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text())))
    assert [row["name"] for row in rows] == ["mia", "rita", "tom"]
    assert (rows[0]["labels"], rows[0]["gold_answered"], rows[0]["gold_right"]) == ("12", "4", "4")
    assert int(rows[2]["told_answered"]) + int(rows[2]["blind_answered"]) == 8
    with page.expect_download() as waiting:
        page.locator("#classes-csv").click()
    classes = list(csv.DictReader(io.StringIO(waiting.value.path().read_text())))
    assert [row["class"] for row in classes] == CLASSES


def test_before_anybody_has_answered_it_says_what_is_missing(site: Site, visit: OpenVisit, rita: str) -> None:
    site.project("birds", CLASSES, 3)
    page = visit().sign_in(rita, PEOPLE)
    expect(page.locator("#people-empty")).to_have_text("Nobody has answered anything in this time.")
    expect(page.locator("#people")).to_be_hidden()
    expect(page.locator(".tile .figure")).to_have_text(["not known yet"] * 3)
    expect(page.locator("#mixed-empty")).to_have_text("It needs images that several people answered.")
    assert findings(page, "nobody has answered") == []


def test_another_time_asks_again(site: Site, visit: OpenVisit, rita: str) -> None:
    work(site)
    page = visit().sign_in(rita, PEOPLE)
    expect(page.locator("#people tbody tr")).to_have_count(3)
    with page.expect_response(lambda response: "people?days=7" in response.url):
        page.locator("#days").select_option("7")
    expect(page.locator("#people tbody tr")).to_have_count(3)


def test_without_a_server_the_numbers_say_how_old_they_are(site: Site, visit: OpenVisit, rita: str) -> None:
    work(site)
    one = visit()
    page = one.sign_in(rita, PEOPLE)
    expect(page.locator("#people tbody tr")).to_have_count(3)
    one.context.set_offline(True)
    page.locator("#days").select_option("7")
    expect(page.locator("#stale")).to_contain_text("The server does not answer. These numbers are")
    one.context.set_offline(False)
    expect(page.locator("#stale")).to_be_hidden(timeout=15_000)
    one.expect_errors("Failed to load resource", "net::ERR")


def test_the_page_is_accessible_at_every_width(site: Site, visit: OpenVisit, rita: str) -> None:
    work(site)
    page = visit().sign_in(rita, PEOPLE)
    expect(page.locator("#people tbody tr")).to_have_count(3)
    assert findings(page, "people at work") == []


def test_the_board_and_the_menu_lead_here_for_reviewers_only(site: Site, visit: OpenVisit, rita: str) -> None:
    site.person("mia")
    site.project("birds", CLASSES, 3)
    page = visit().sign_in(rita, "/projects/birds/board")
    page.get_by_role("link", name="Figures").click()
    expect(page.locator("h1")).to_have_text("People")
    other = visit()
    page = other.sign_in("mia", "/projects/birds/board")
    expect(page.locator("#people-title")).to_be_visible()
    expect(page.get_by_role("link", name="Figures")).to_have_count(0)
    page.locator("#switch").click()
    expect(page.locator("#switch-menu a").first).to_be_visible()
    expect(page.locator("#switch-menu a", has_text="People")).to_have_count(0)
