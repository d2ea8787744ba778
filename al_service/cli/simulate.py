"""`al simulate`: what each strategy would have saved on images that have their labels already."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from al_service.cli.projects import parse_pairs
from al_service.cli.session import json_option, print_json, print_table
from al_service.domain.strategy_names import STRATEGIES
from al_service.errors import InvalidInputError

_NAMES = ", ".join(STRATEGIES)


@click.command()
@click.argument("location", metavar="PATH|ARCHIVE|CSV|JSONL|torchvision:NAME")
@click.option("--test", "test_location", metavar="PATH", help="Labelled images to measure on and nothing else.")
@click.option("--strategies", metavar="A,B,C", help=f"Beside random, which always runs. Known: {_NAMES}.")
@click.option(
    "--initial",
    type=click.IntRange(0),
    help="Labels drawn at random to begin with; 0 is an empty start.  [default: 2 per class]",
)
@click.option("--budget", type=click.IntRange(1), help="Labels at the end.  [default: initial and 10 batches]")
@click.option("--batch", type=click.IntRange(1), help="Labels chosen at a time.  [default: 2 per class]")
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Repetitions of everything; 10 or more for a figure to quote.",
)
@click.option(
    "--random-budget",
    type=click.IntRange(1),
    help="Labels at the end of the random runs, to see how many they need for what others reach.  [default: budget]",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Gets result.json, curves.png and report.html; runs are kept there, and the same command goes on with them.",
)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="A project setting (network, training_mode, weights, image_px, holdout_fraction, …), as `al project set`.",
)
@click.option("--processes", type=click.IntRange(1, 256), help="Runs side by side, a thread each.  [default: cores]")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def simulate(
    location: str,
    test_location: str | None,
    strategies: str | None,
    out: Path,
    pairs: tuple[str, ...],
    processes: int | None,
    device: str,
    as_json: bool,
    seeds: int,
    **sizes: int | None,
) -> None:
    """Try strategies against random on images whose labels are known.

    Nobody is asked anything and no server is needed. Images are measured on that the source calls test images, else a
    share of each seed's own (--set holdout_fraction=0.2). A killed or stopped command goes on where it was.
    """
    # Seconds to load, and no other command needs it.
    from al_service.simulation import whole

    asked = whole.Asked(
        location=_absolute(location),
        test_location=None if test_location is None else _absolute(test_location),
        strategies=None if strategies is None else tuple(one.strip() for one in strategies.split(",") if one.strip()),
        seeds=seeds,
        settings=parse_pairs(pairs),
        folder=out,
        device=device,
        processes=processes or cores(),
        **sizes,
    )
    try:
        with _shown() as show:
            outcome = whole.simulate(asked, show)
    except KeyboardInterrupt:
        click.echo(
            f"stopped; finished runs are kept in {out}, and the same command goes on with what is missing", err=True
        )
        raise click.Abort from None
    for words in outcome.remarks:
        click.echo(f"note: {words}", err=True)
    if as_json:
        print_json(outcome.result)
    else:
        _print(outcome.result, out)


def _absolute(location: str) -> str:
    """A path that still holds when something else changes the directory."""
    if "://" in location or location.startswith("torchvision:"):
        return location
    if not location:
        raise InvalidInputError("no location given")
    return str(Path(location).resolve())


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _print(result: dict[str, Any], out: Path) -> None:
    from al_service.simulation.words import headline_words, lead_words

    click.echo(headline_words(result))
    click.echo(lead_words(result))
    rows = [
        (
            one["strategy"],
            _with_half(one["aubc"], one["aubc_ci95"]),
            _with_half(one["aubc_minus_random"], one["aubc_minus_random_ci95"]),
            _with_half(one["final_accuracy"], one["final_accuracy_ci95"]),
            "{:.2f} ({:.2f} to {:.2f})".format(one["label_savings_vs_random"], *one["label_savings_ci95"]),
        )
        for one in result["summary"]
    ]
    print_table(["strategy", "AUBC", "minus random", "at the end", "label savings"], rows, empty="")
    click.echo(f"± and ranges: 95 % over {len(result['config']['seeds'])} seeds; look at {out / 'report.html'}")


def _with_half(value: float, ends: list[float]) -> str:
    return f"{value:.3f} ±{(ends[1] - ends[0]) / 2:.3f}"


@contextmanager
def _shown() -> Iterator[Any]:
    """What is told on the way: a bar on a terminal, else a line per step and finished run, both on stderr."""
    console = Console(stderr=True)
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("looking at images", total=1, left="")

        def show(progress: Any) -> None:
            left = duration_words(progress.seconds_left)
            bar.update(
                task, completed=progress.done, total=max(1, progress.total), description=progress.words, left=left
            )

        yield show


class _Lines:
    """For logs and pipes."""

    def __init__(self) -> None:
        self._step = ""

    def __call__(self, progress: Any) -> None:
        if progress.finished is not None:
            strategy, seed, point = progress.finished
            left = duration_words(progress.seconds_left)
            words = f"{strategy}, seed {seed}: accuracy {point.accuracy:.3f} with {point.labels} labels"
            click.echo(f"{progress.done}/{progress.total} {words}{left and f'; {left}'}", err=True)
        elif progress.seconds_left is None and progress.words != self._step:
            click.echo(f"{progress.words} ({progress.total})", err=True)
        self._step = progress.words


def duration_words(seconds: float | None) -> str:
    """What is left, in the unit that people would use.

    >>> duration_words(40), duration_words(600), duration_words(9000), duration_words(None)
    ('about 40 s left', 'about 10 min left', 'about 2 h 30 min left', '')
    """
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"about {minutes} min left"
    return f"about {minutes // 60} h {minutes % 60} min left"


COMMANDS = (simulate,)
