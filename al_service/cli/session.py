"""What every command shares: settings and services opened once when first needed, and printing."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from al_service.bootstrap import configure_logging, open_services
from al_service.loop.services import Services
from al_service.settings import Settings, load_settings

json_option = click.option("--json", "as_json", is_flag=True, help="Print facts as JSON, for programs.")


@dataclass
class Session:
    """One run of the command line."""

    flags: dict[str, Any] = field(default_factory=dict)
    toml_path: Path | None = None

    @cached_property
    def settings(self) -> Settings:
        """Merged settings. Commands for people log warnings only; processes call `configure_logging` for all of it."""
        settings = load_settings(self.flags, toml_path=self.toml_path)
        configure_logging(settings if self.flags.get("log_level") else replace(settings, log_level="warning"))
        return settings

    @cached_property
    def services(self) -> Services:
        """Use cases over the real database."""
        return open_services(self.settings)


def print_json(value: Any) -> None:
    """One JSON document on stdout; times as ISO 8601."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False, indent=2))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """A table, or the sentence `empty`."""
    listed = [[_word(cell) for cell in row] for row in rows]
    if not listed:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in listed:
        table.add_row(*(escape(cell) for cell in row))
    Console(soft_wrap=True).print(table)


def _word(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.3g}" if abs(cell) < 1000 else f"{cell:.0f}"
    if isinstance(cell, datetime):
        return cell.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return str(cell)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")
