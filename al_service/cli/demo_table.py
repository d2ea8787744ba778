"""The demo's table of rounds: live on a terminal, plain lines elsewhere."""

import sys
from typing import Any

import click
from rich.table import Table

HEADINGS = ("round", "state", "labels", "accuracy", "95 %", "train s", "score s", "select s", "labels/min")


def round_cells(item: dict[str, Any]) -> tuple[str, ...]:
    """One round of the API as the cells of a row."""
    metrics, seconds = item["metrics"], item["seconds"]
    accuracy, interval, rate = metrics.get("accuracy"), metrics.get("accuracy_ci95"), metrics.get("labels_per_minute")
    state = item["state"] if item["state"] != "running" else item["stage"]
    return (
        str(item["number"]),
        f"{state} {item['answered']}/{item['selected']}" if item["state"] == "annotating" else state,
        str(item["labels"]),
        "-" if accuracy is None else f"{accuracy:.3f}",
        "-" if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}",
        *("-" if seconds.get(stage) is None else f"{seconds[stage]:.1f}" for stage in ("train", "score", "select")),
        "-" if rate is None else f"{rate:.0f}",
    )


def round_table(rounds: list[dict[str, Any]]) -> Table:
    """All rounds as a table."""
    table = Table(*HEADINGS, box=None, header_style="bold")
    for item in rounds:
        table.add_row(*round_cells(item))
    return table


def print_line(cells: tuple[str, ...]) -> None:
    """One row in columns of fixed width, at once, for logs and pipes."""
    click.echo("".join(cell.ljust(14 if place == 1 else 11) for place, cell in enumerate(cells)))
    sys.stdout.flush()
