"""What people see of all this in a browser: words for a refused sign-in, nothing after signing out or injected."""

from collections.abc import Callable

from playwright.sync_api import expect

from al_service.api.sign_in_limit import NAME
from al_service.domain.states import Role
from tests.web.browser import PASSWORD, Site, Visit, chromium, migrated_database, site, visit

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]

#: Tries to run a script and to set a style as text, as an injected piece of a page would. What got through?
INJECTED = """() => new Promise((resolve) => {
    const blocked = [];
    document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "window.injected = true";
    document.body.append(script);
    const box = document.createElement("div");
    box.innerHTML = '<p style="position: fixed" onclick="window.injected = true">x</p>' +
        '<style>main { display: none }</style>';
    document.body.append(box);
    const link = document.createElement("script");
    link.src = "https://evil.example/x.js";
    document.body.append(link);
    box.firstChild.click();
    setTimeout(() => resolve({
        blocked: [...new Set(blocked)].sort(),
        ran: window.injected === true,
        fixed: getComputedStyle(box.firstChild).position === "fixed",
    }), 200);
})"""


def test_somebody_whose_name_is_under_attack_reads_why_and_what_to_do(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    one = visit()
    one.page.goto(f"{site.url}/login")
    for number in range(NAME.failures_max):
        answer = site.app.test_client().post(
            "/api/v1/session",
            json={"name": "mia", "password": "wrong"},
            environ_base={"REMOTE_ADDR": f"203.0.113.{number}"},
        )
        assert answer.status_code == 401
    one.page.get_by_label("Name").fill("mia")
    one.page.get_by_label("Password").fill(PASSWORD)
    one.page.keyboard.press("Enter")
    alert = one.page.get_by_role("alert")
    expect(alert).to_contain_text("Somebody keeps trying to sign in with this name. Try again in ")
    expect(alert).to_contain_text("or use a browser that signed in before.")
    one.expect_errors("429")


def test_a_browser_that_signed_in_before_gets_in_while_others_guess(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    page = visit().sign_in("mia")
    page.get_by_role("button", name="mia").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page).to_have_title("Sign in")
    for number in range(NAME.failures_max):
        site.app.test_client().post(
            "/api/v1/session",
            json={"name": "mia", "password": "wrong"},
            environ_base={"REMOTE_ADDR": f"203.0.113.{number}"},
        )
    page.get_by_label("Name").fill("mia")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/")


def test_after_signing_out_the_way_back_leads_to_signing_in(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.project("birds", ["sparrow"], 1)
    page = visit().sign_in("mia", "/projects/birds/board")
    page.get_by_role("button", name="mia").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page).to_have_title("Sign in")
    page.go_back()
    expect(page).to_have_title("Sign in")


def test_what_is_injected_into_a_page_neither_runs_nor_changes_its_look(site: Site, visit: OpenVisit) -> None:
    site.person("mia", Role.LABELER)
    site.ask("birds", site.project("birds", ["sparrow", "wren"], 2))
    one = visit()
    page = one.sign_in("mia", "/projects/birds/label")
    expect(page.locator("#stage[data-state=image]")).to_be_visible()
    found = page.evaluate(INJECTED)
    assert (found["ran"], found["fixed"]) == (False, False)
    assert found["blocked"] == ["script-src-attr", "script-src-elem", "style-src-attr", "style-src-elem"]
    assert page.locator("main").is_visible()
    one.expect_errors("Content Security Policy")
    one.requests = [url for url in one.requests if "evil.example" not in url]


def test_where_plots_need_inline_styles_scripts_stay_blocked(site: Site, visit: OpenVisit) -> None:
    site.person("mia")
    site.project("birds", ["sparrow", "wren"], 2)
    one = visit()
    page = one.sign_in("mia", "/projects/birds/board")
    found = page.evaluate(INJECTED)
    assert found["ran"] is False
    assert found["blocked"] == ["script-src-attr", "script-src-elem"]
    one.expect_errors("Content Security Policy")
    one.requests = [url for url in one.requests if "evil.example" not in url]
