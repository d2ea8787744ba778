"""axe-core on a page as it stands, from phone to wall, light and dark; findings come back as lines to read.

axe-core comes inside `axe-playwright-python`. It is put into the page through the debugger, which the page's
Content-Security-Policy does not concern, and goes with the page.
"""

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

#: Every width, and both schemes where layouts differ most: whether a colour can be read hardly depends on the width.
LOOKS = ((320, "light"), (320, "dark"), (768, "dark"), (1280, "light"), (1280, "dark"), (2560, "light"))
#: Everything in WCAG 2.2 up to AA that a program can tell, and what its makers call good practice.
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

RUN = """async (options) => {
    const { violations } = await axe.run(document, { ...options, resultTypes: ["violations"] });
    return violations.flatMap((found) => found.nodes.map((node) =>
        `${found.id}: ${node.html.slice(0, 160)} (${node.failureSummary.split("\\n").slice(1).join("; ").trim()})`));
}"""
#: A chart follows the window a moment later; only what stays too wide is a finding.
SETTLE_MS = 3_000
FITS = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"


def findings(page: Page, state: str, *, height: int = 800) -> list[str]:
    """What axe finds on the page as it stands, by width and scheme; a page wider than its window counts as well.

    Args:
        page: left at the size and in the scheme that it had.
        state: what the page shows, in words, for the lines.
    """
    before = page.viewport_size
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: dict[str, list[str]] = {}
    for width, scheme in LOOKS:
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        lines = page.evaluate(RUN, {"runOnly": {"type": "tag", "values": TAGS}})
        try:
            page.wait_for_function(FITS, timeout=SETTLE_MS)
        except PlaywrightTimeoutError:
            lines.append("wider than its window")
        for line in dict.fromkeys(lines):
            found.setdefault(line, []).append(f"{width} {scheme}")
    page.emulate_media(color_scheme=None)
    if before is not None:
        page.set_viewport_size(before)
    return [f"{state} ({', '.join(looks)}): {line}" for line, looks in found.items()]
