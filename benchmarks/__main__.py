"""`python -m benchmarks [NAMES] [--quick] [--out FOLDER]`: JSON lines, a file per benchmark; see docs/benchmarks.md."""

import time
from collections.abc import Callable
from pathlib import Path

import click

from benchmarks import labelers, rounds, strategies
from benchmarks.figures import Lines

BENCHMARKS: dict[str, Callable[..., None]] = {
    "labelers": labelers.run,
    "rounds": rounds.run,
    "strategies": strategies.run,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(tuple(BENCHMARKS)))
@click.option("--quick", is_flag=True, help="A look at everything in about two minutes: fewer runs, figures are rough.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("bench-results"), show_default=True
)
def main(names: tuple[str, ...], quick: bool, out: Path) -> None:
    """Measure the service beside its floors (all of NAMES, or everything)."""
    for name in names or tuple(BENCHMARKS):
        started = time.monotonic()
        lines = Lines(name, out)
        BENCHMARKS[name](lines, quick=quick)
        click.echo(f"{name}: {time.monotonic() - started:.0f} s, figures in {lines.path}")


if __name__ == "__main__":
    main()
