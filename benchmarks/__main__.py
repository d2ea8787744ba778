"""`python -m benchmarks [NAMES] [--quick] [--out FOLDER]`: JSON lines, a file per benchmark; see docs/benchmarks.md."""

import importlib
import os
import time
from pathlib import Path

import click

from benchmarks.figures import Lines

NAMES = (
    "batch_selectors",
    "early_batches",
    "label_efficiency",
    "labelers",
    "learning_modes",
    "page",
    "pretraining",
    "queue_load",
    "rounds",
    "scoring",
    "selectors_bayesian",
    "selectors_geometry",
    "strategies",
    "training",
)


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(NAMES))
@click.option("--quick", is_flag=True, help="A look at everything in about two minutes: fewer runs, figures are rough.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("bench-results"), show_default=True
)
def main(names: tuple[str, ...], quick: bool, out: Path) -> None:
    """Measure the service beside its floors (all of NAMES, or everything)."""
    # As `al up` has it for its workers. OpenMP reads it when torch is loaded, so the benchmarks come after it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for name in names or NAMES:
        started = time.monotonic()
        lines = Lines(name, out)
        importlib.import_module(f"benchmarks.{name}").run(lines, quick=quick)
        click.echo(f"{name}: {time.monotonic() - started:.0f} s, figures in {lines.path}")


if __name__ == "__main__":
    main()
