"""The settings page in docs/ is what the code says."""

from pathlib import Path

from al_service.cli.settings_page import settings_page


def test_the_page_in_docs_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "settings.md"
    assert page.read_text(encoding="utf-8") == settings_page(), "run `al settings > docs/settings.md`"
