"""New project and more images in a real browser: drop a folder, see what was found, send it, watch the import, label.

The import runs as in a worker, in this process, when the test says so.
"""

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect

from al_service.domain.records import Job
from al_service.domain.states import JobState, Role
from al_service.loop.uploads import FOLDER
from tests.web.axe import findings
from tests.web.browser import Site, Visit, chromium, migrated_database, site, visit, wait_until
from workers import context, jobs
from workers.running import Interrupts

__all__ = ["chromium", "migrated_database", "site", "visit"]

OpenVisit = Callable[..., Visit]


def png(number: int, side: int = 24) -> bytes:
    """A noisy image that differs for every number, of about 3 * side * side bytes."""
    out = io.BytesIO()
    Image.effect_noise((side, side), 90 + number).convert("RGB").save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """A folder as people have them: class folders, and what lies about beside the images."""
    root = tmp_path / "birds 2026"
    for name, count in (("robin", 7), ("wren", 5)):
        (root / name).mkdir(parents=True)
        for number in range(count):
            (root / name / f"{number}.png").write_bytes(png(number + len(name), 60))
    (root / "robin" / "no ending").write_bytes(png(90))
    long_name = f"fläche, {'ein langer Name, den kein altes Tar fasst, ' * 4}.png"
    (root / "wren" / long_name).write_bytes(png(91))
    (root / "wren" / "notes.txt").write_text("no image")
    (root / "wren" / "phone.heic").write_bytes(b"not read")
    (root / "robin" / ".DS_Store").write_bytes(b"left behind")
    return root


@pytest.fixture
def worker(site: Site) -> Iterator[Callable[[], Job]]:
    """Runs the newest import as a worker would."""
    context.install(context.WorkerContext(site.settings, site.services, "worker-1", interrupts=Interrupts()))

    def run() -> Job:
        wait_until(lambda: any(job.state is JobState.QUEUED for job in all_jobs(site)))
        job = all_jobs(site)[0]
        jobs.ingest(job.id, job.attempt)
        return site.services.jobs.get(job.id)

    yield run


def all_jobs(site: Site) -> list[Job]:
    with site.store.read() as tx:
        return tx.jobs.all()


def drop(page: Page, *paths: Path) -> None:
    """Drop files or folders of this machine onto the page, as a person does; its script has run by then."""
    page.wait_for_load_state("load")
    box = page.locator("#drop").bounding_box()
    assert box is not None
    at = {"x": box["x"] + box["width"] / 2, "y": box["y"] + 20}
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for step in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": step, **at, "data": data})
    session.detach()


def start_import(page: Page) -> None:
    """Press the button once the page has seen what was dropped; before that it only asks for a moment."""
    expect(page.locator("#found-words")).to_contain_text(re.compile(r"\d images?"))
    page.get_by_role("button", name="Import", exact=True).click()


def test_a_dropped_folder_becomes_a_project_to_label(
    site: Site, visit: OpenVisit, birds: Path, worker: Callable[[], Job]
) -> None:
    site.person("eve", Role.ENGINEER)
    page = visit().sign_in("eve")
    page.get_by_role("link", name="New project").first.click()
    expect(page).to_have_url(f"{site.url}/new")
    drop(page, birds)
    expect(page.locator("#found-words")).to_contain_text("14 images in 2 folders that look like classes")
    expect(page.locator("#found-classes li")).to_have_text(["robin8", "wren6"])
    expect(page.locator("#found-notes")).to_contain_text("1 HEIC file cannot be read: convert to JPEG or PNG.")
    page.get_by_text("1 file that is no image").click()
    expect(page.locator("#found-others li")).to_have_text(["birds 2026/wren/notes.txt"])
    expect(page.locator("[name=name]")).to_have_value("birds-2026")
    expect(page.locator("[name=classes]")).to_have_value("robin\nwren")
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("heading", name="Importing")).to_be_visible()
    job = worker()
    assert (job.state, job.result["added"], job.result["labels_added"]) == (JobState.DONE, 14, 14), job.error
    expect(page.locator("#work-words")).to_contain_text("14 images imported: 14 labels taken over")
    assert site.services.projects.get("birds-2026").class_names == ("robin", "wren")
    assert site.artifacts.names(FOLDER) == []
    page.get_by_role("link", name="Start labelling").click()
    expect(page).to_have_url(f"{site.url}/projects/birds-2026/label")


def wait_while_the_page_works(page: Page, is_so: Callable[[], bool]) -> None:
    """As `wait_until`, while routes of the page are handled: that happens inside calls to playwright only."""
    wait_until(lambda: page.evaluate("true") and is_so())


def choose(page: Page, button: str, *paths: Path) -> None:
    """Choose files or a folder by keyboard."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name=button).press("Enter")
    chooser.value.set_files([str(path) for path in paths])


def zip_of(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.fixture
def page_of_birds(site: Site, visit: OpenVisit) -> Iterator[tuple[Visit, Page]]:
    """An engineer at the page that adds images to a project with two classes."""
    site.person("eve", Role.ENGINEER)
    site.services.projects.create("birds", ["robin", "wren"], {"auto_start": False})
    one = visit()
    yield one, one.sign_in("eve", "/projects/birds/images")


def test_everything_works_by_keyboard_and_a_second_time_nothing_is_doubled(
    site: Site, page_of_birds: tuple[Visit, Page], birds: Path, worker: Callable[[], Job]
) -> None:
    _, page = page_of_birds
    choose(page, "Choose a folder", birds)
    expect(page.locator("#found-words")).to_contain_text("14 images in 2 folders")
    page.get_by_role("radio", name="ignore them").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Importing")).to_be_focused()
    assert (worker().result["added"], all_jobs(site)[0].result["labels_added"]) == (14, 0)
    expect(page.get_by_role("link", name="Start labelling")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Choose a folder")).to_be_focused()
    same = {f"birds 2026/robin/{number}.png": (birds / "robin" / f"{number}.png").read_bytes() for number in range(3)}
    choose(page, "Choose files", zip_of(birds.parent / "again.zip", same))
    expect(page.locator("#found-words")).to_contain_text("3 images")
    page.get_by_role("button", name="Import", exact=True).press("Enter")
    assert (worker().result["added"], all_jobs(site)[0].result["already_there"]) == (0, 3)
    expect(page.locator("#work-words")).to_contain_text("0 images imported: 3 were there already")


def test_a_lost_connection_loses_nothing_and_only_what_is_missing_is_sent_again(
    page_of_birds: tuple[Visit, Page], birds: Path, worker: Callable[[], Job]
) -> None:
    one, page = page_of_birds
    sent: list[str] = []
    refuses = True

    def at_part(route: Route) -> None:
        if refuses and len(sent) >= 3:
            return route.abort("connectionreset")
        sent.append(route.request.url.rpartition("/")[2])
        return route.continue_()

    page.route("**/parts/*", at_part)
    drop(page, birds)
    start_import(page)
    expect(page.locator("#import[data-state=waiting]")).to_be_visible()
    expect(page.locator("#work-words")).to_contain_text("The server does not answer; this goes on by itself")
    refuses = False
    page.evaluate("() => dispatchEvent(new Event('online'))")
    expect(page.locator("#work-words")).to_have_text("Waiting for a worker")
    assert worker().result["added"] == 14
    assert len(sent) > 4
    assert sorted(sent, key=int) == [str(number) for number in range(len(sent))]
    one.expect_errors("net::ERR_CONNECTION_RESET")


def test_a_closed_tab_goes_on_where_it_stopped(
    site: Site, page_of_birds: tuple[Visit, Page], birds: Path, worker: Callable[[], Job]
) -> None:
    one, page = page_of_birds
    page.route("**/parts/*", lambda route: route.abort() if not route.request.url.endswith("/2") else route.continue_())
    drop(page, birds)
    start_import(page)
    expect(page.locator("#import[data-state=waiting]")).to_be_visible()
    wait_until(lambda: any(name.endswith("-000002") for name in site.artifacts.names(FOLDER)))
    page.on("dialog", lambda dialog: dialog.accept())
    page.close(run_before_unload=False)
    second = one.watch(one.context.new_page())
    second.goto(f"{site.url}/projects/birds/images")
    expect(second.get_by_role("region", name="Half sent")).to_contain_text("birds 2026")
    expect(second.get_by_role("region", name="Half sent")).to_contain_text(
        "begun by eve. Choose the same again to go on"
    )
    drop(second, birds)
    start_import(second)
    assert worker().result["added"] == 14
    puts = [url.rpartition("/")[2] for url in one.requests if "/parts/" in url]
    assert puts.count("2") == 1
    expect(second.get_by_role("heading", name="Imported", exact=True)).to_be_visible()
    one.expect_errors("net::ERR_FAILED")


def test_half_sent_uploads_can_be_removed(site: Site, page_of_birds: tuple[Visit, Page]) -> None:
    _, page = page_of_birds
    upload, _ = site.services.uploads.begin("birds", "a.zip", 50_000, file_count=3, fingerprint="f", by="eve")
    site.services.uploads.put_part("birds", upload.id, 1, bytes(20_000))
    page.reload()
    expect(page.get_by_role("region", name="Half sent")).to_contain_text("a.zip (3 files, 50.0 kB): 33 % is here")
    page.get_by_role("button", name="Remove a.zip").click()
    expect(page.get_by_role("region", name="Half sent")).to_be_hidden()
    assert site.artifacts.names(FOLDER) == []


def test_sending_pauses_goes_on_and_is_cancelled(site: Site, page_of_birds: tuple[Visit, Page], birds: Path) -> None:
    one, page = page_of_birds
    held: list[Route] = []
    page.route("**/parts/*", lambda route: held.append(route))
    drop(page, birds)
    start_import(page)
    wait_while_the_page_works(page, lambda: len(held) == 3)
    page.get_by_role("button", name="Pause").click()
    for route in held:
        route.continue_()
    expect(page.locator("#work-words")).to_contain_text("Paused.")
    assert len(held) == 3
    page.get_by_role("button", name="Go on").click()
    wait_while_the_page_works(page, lambda: len(held) == 6)
    page.get_by_role("button", name="Cancel").click()
    for route in held[3:]:
        route.fulfill(status=404, json={"error": {"code": "not_found", "message": "no upload", "details": {}}})
    expect(page.locator("#found-words")).to_contain_text("14 images")
    wait_until(lambda: site.artifacts.names(FOLDER) == [])
    assert all_jobs(site) == []
    # The browser writes down the three refused parts in its own time.
    wait_while_the_page_works(page, lambda: len([text for text in one.errors if "404" in text]) >= 3)
    one.expect_errors("404")


def test_a_full_server_says_so_and_sending_goes_on_when_there_is_room(
    page_of_birds: tuple[Visit, Page], birds: Path, worker: Callable[[], Job]
) -> None:
    one, page = page_of_birds
    body = {"error": {"code": "artifact_storage", "message": "no room for 20000 bytes", "details": {}}}
    page.route("**/parts/*", lambda route: route.fulfill(status=503, json=body))
    drop(page, birds)
    start_import(page)
    expect(page.locator("#work-words")).to_contain_text("The server has no room left. What was sent is kept")
    page.unroute("**/parts/*")
    page.get_by_role("button", name="Go on").click()
    assert worker().result["added"] == 14
    one.expect_errors("503")


def test_too_much_is_refused_before_a_byte_is_sent(page_of_birds: tuple[Visit, Page], tmp_path: Path) -> None:
    one, page = page_of_birds
    drop(page, zip_of(tmp_path / "large.zip", {f"{n}.png": png(n, 400) for n in range(4)}))
    start_import(page)
    expect(page.locator("#work-words")).to_contain_text("at most 0.0 GiB are taken at once")
    assert not any("/parts/" in url for url in one.requests)
    one.expect_errors("400")


def test_who_is_signed_out_meanwhile_signs_in_again_and_goes_on(
    site: Site, page_of_birds: tuple[Visit, Page], birds: Path, worker: Callable[[], Job]
) -> None:
    one, page = page_of_birds
    drop(page, birds)
    expect(page.locator("#found-words")).to_contain_text("14 images")
    one.context.clear_cookies()
    start_import(page)
    expect(page.locator("#work-words")).to_contain_text("You are signed out. Sign in in another tab")
    one.context.request.post(f"{site.url}/api/v1/session", data={"name": "eve", "password": "a long password"})
    page.get_by_role("button", name="Go on").click()
    assert worker().result["added"] == 14
    one.expect_errors("401")


def test_refused_files_are_listed_with_their_reasons(
    page_of_birds: tuple[Visit, Page], tmp_path: Path, worker: Callable[[], Job]
) -> None:
    _, page = page_of_birds
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed" / "good.png").write_bytes(png(1))
    (tmp_path / "mixed" / "bad.png").write_bytes(png(2)[:60])
    (tmp_path / "mixed" / "<b>web.jpg").write_bytes(b"<!DOCTYPE html>")
    drop(page, tmp_path / "mixed")
    start_import(page)
    assert worker().result["rejected"] == 2
    expect(page.get_by_role("heading", name="2 files refused")).to_be_visible()
    rows = page.locator("#refused-rows tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.filter(has_text="mixed/<b>web.jpg")).to_contain_text("web page")
    expect(rows.filter(has_text="mixed/bad.png")).to_contain_text("copy")


def test_folders_that_are_no_classes_of_the_project_are_named_before_the_start(
    page_of_birds: tuple[Visit, Page], birds: Path
) -> None:
    _, page = page_of_birds
    (birds / "owl").mkdir()
    (birds / "owl" / "1.png").write_bytes(png(77))
    drop(page, birds)
    expect(page.locator("#found-notes")).to_contain_text("1 image will be refused: owl is no class of this project.")
    page.get_by_role("radio", name="ignore them").check()
    expect(page.locator("#found-notes")).not_to_contain_text("owl")


def test_a_table_is_sent_along_and_names_the_labels(
    page_of_birds: tuple[Visit, Page], tmp_path: Path, worker: Callable[[], Job]
) -> None:
    _, page = page_of_birds
    root = tmp_path / "set"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.png").write_bytes(png(number))
    (root / "labels.csv").write_text("image,label\n0.png,robin\n1.png,wren\n")
    drop(page, root)
    expect(page.locator("#found-notes")).to_contain_text(
        "set/labels.csv may name images, their labels and their split."
    )
    start_import(page)
    assert worker().result["labels_added"] == 2


def test_what_is_wrong_is_said_where_it_is_and_can_be_mended(
    site: Site, visit: OpenVisit, tmp_path: Path, worker: Callable[[], Job]
) -> None:
    site.person("eve", Role.ENGINEER)
    site.project("trees", ["oak"], 1)
    one = visit()
    page = one.sign_in("eve", "/new")
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("alert")).to_have_text("Give the project a name.")
    expect(page.locator("[name=name]")).to_be_focused()
    drop(page, zip_of(tmp_path / "trees.zip", {"a.png": png(1), "b.png": png(2)}))
    expect(page.locator("[name=name]")).to_have_value("trees")
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("alert")).to_have_text("Name the classes: nothing in what you chose says them.")
    page.locator("[name=classes]").fill("oak, elm\nash\n\nelm")
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("alert")).to_contain_text("trees")
    page.locator("[name=name]").fill("more-trees")
    page.get_by_role("button", name="Create project").click()
    assert worker().result["added"] == 2
    assert site.services.projects.get("more-trees").class_names == ("oak", "elm", "ash")
    one.expect_errors("409")


def test_a_damaged_archive_makes_no_project(site: Site, visit: OpenVisit, tmp_path: Path) -> None:
    site.person("eve", Role.ENGINEER)
    page = visit().sign_in("eve", "/new")
    whole = zip_of(tmp_path / "trees.zip", {f"{number}.png": png(number) for number in range(9)})
    (tmp_path / "cut.zip").write_bytes(whole.read_bytes()[:-40])
    drop(page, tmp_path / "cut.zip")
    expect(page.locator("#found-words")).to_contain_text("The names inside cannot be read")
    page.locator("[name=classes]").fill("oak")
    page.get_by_role("button", name="Create project").click()
    expect(page.get_by_role("alert")).to_contain_text("What you chose cannot be used: it is damaged or cut short")
    assert site.services.projects.all() == []


def test_images_on_the_server_are_imported_from_there_and_a_failure_is_shown(
    site: Site, page_of_birds: tuple[Visit, Page], birds: Path
) -> None:
    _, page = page_of_birds
    page.get_by_text("The images lie on the server already").click()
    page.locator("[name=location]").fill("/data/birds")
    page.get_by_role("radio", name="only to measure the model").check()
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.locator("#work-words")).to_have_text("Waiting for a worker")
    [job] = all_jobs(site)
    assert job.payload == {"location": "/data/birds", "labels": "auto", "use_labels": "evaluation", "split": None}
    job = site.claim(job)
    site.services.jobs.beat(job.id, job.attempt, 30, 40, "")
    expect(page.locator("#work-words")).to_have_text("30 of 40 images read")
    page.reload()
    expect(page.locator("#work-words")).to_have_text("30 of 40 images read")
    site.services.jobs.fail(job.id, job.attempt, "/data/birds is not there", retryable=False)
    expect(page.get_by_role("heading", name="The import failed")).to_be_visible()
    expect(page.locator("#work-words")).to_have_text("/data/birds is not there")
    page.get_by_role("button", name="Add more images").click()
    expect(page.get_by_role("button", name="Choose a folder")).to_be_visible()


def test_only_engineers_come_here(site: Site, visit: OpenVisit) -> None:
    site.person("mia", Role.REVIEWER)
    site.services.projects.create("birds", ["robin"], {})
    one = visit()
    for path in ("/new", "/projects/birds/images"):
        page = one.sign_in("mia", path)
        expect(page.get_by_role("heading", name="This page is not for your role")).to_be_visible()
    page.goto(f"{site.url}/projects/birds/board")
    expect(page.get_by_role("link", name="Add images")).to_have_count(0)
    one.expect_errors("403")


def test_every_state_of_the_page_is_accessible_and_fits(
    site: Site, page_of_birds: tuple[Visit, Page], birds: Path, worker: Callable[[], Job]
) -> None:
    one, page = page_of_birds
    site.services.uploads.begin("birds", "a.zip", 50_000, file_count=3, fingerprint="f", by="eve")
    page.reload()
    expect(page.get_by_role("region", name="Half sent")).to_be_visible()
    found = findings(page, "nothing chosen")
    page.evaluate("() => { document.querySelector('#import').dataset.dragging = '' }")
    found += findings(page, "dragging")
    (birds / "owl").mkdir()
    (birds / "owl" / "1.png").write_bytes(png(77)[:50])
    drop(page, birds)
    expect(page.locator("#found-words")).to_contain_text("15 images")
    found += findings(page, "found")
    page.route("**/parts/*", lambda route: route.abort())
    start_import(page)
    expect(page.locator("#import[data-state=waiting]")).to_be_visible()
    found += findings(page, "waiting")
    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#import[data-state=paused]")).to_be_visible()
    found += findings(page, "paused")
    page.unroute("**/parts/*")
    page.get_by_role("button", name="Go on").click()
    expect(page.locator("#work-words")).to_have_text("Waiting for a worker")
    found += findings(page, "importing")
    worker()
    expect(page.locator("#refused-rows")).to_be_visible()
    found += findings(page, "done")
    page.goto(f"{site.url}/new")
    found += findings(page, "new project")
    one.expect_errors("net::ERR_FAILED")
    assert not found, "\n".join(found)
