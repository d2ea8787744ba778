"""`al`: everything from the command line. Commands act on the data folder or database directly, except `al demo`.

Exit codes: 0 fine; 1 a bug; 2 bad input; 3 not allowed; 4 not found; 5 the state has moved on; 6 something does not
answer.
"""

import os
import sys
from pathlib import Path

import click

from al_service import __version__
from al_service.cli import (
    accounts,
    classes,
    demo,
    doctor,
    jobs,
    models,
    processes,
    projects,
    rounds,
    settings_page,
    simulate,
    status,
    studies,
)
from al_service.cli.session import Session
from al_service.errors import AlServiceError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, "-V", "--version", message="al %(version)s")
@click.option(
    "--data", "data_dir", type=click.Path(path_type=Path, file_okay=False), help="Data folder (default: al-data)."
)
@click.option(
    "--config", type=click.Path(path_type=Path, dir_okay=False), help="Settings file (default: al.toml, if there)."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much to tell on stderr."
)
@click.pass_context
def cli(context: click.Context, data_dir: Path | None, config: Path | None, log_level: str | None) -> None:
    """Active learning for image classification: from a folder of images to a running loop."""
    context.obj = Session(flags={"data_dir": data_dir, "log_level": log_level}, toml_path=config)


for module in (
    processes,
    demo,
    doctor,
    accounts,
    projects,
    classes,
    status,
    rounds,
    models,
    studies,
    simulate,
    jobs,
    settings_page,
):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """Run the command line; own errors become one line on stderr and their exit code."""
    # What we write (database, key, images, logs) is this user's business.
    os.umask(0o077)
    try:
        cli(prog_name="al", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except AlServiceError as error:
        click.echo(f"al: {error.message}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of our output went away (`al status | head`): not an error.
        sys.stderr.close()
        sys.exit(0)
