"""`al settings`: every setting with its help; docs/settings.md is what it prints (a test compares them)."""

from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any

import click

from al_service.domain.project_config import ProjectConfig
from al_service.settings import Settings

INTRODUCTION = """# Settings

Made by `al settings`; change the help texts in the code, not this page.

## Of a process

Flags beat `AL_*` environment variables, which beat `al.toml` in the working folder (`port = 8000`), which beats the
default. Unknown `AL_` names are refused. A secret can also come from a file named by `AL_…_FILE`.
"""

PROJECTS = """
## Of a project

`al project set NAME key=value …`, or `"settings"` in the API. They count from the next round on; each round keeps a
copy of its own.
"""


@click.command("settings")
def settings_command() -> None:
    """Every setting of a process and of a project, as Markdown."""
    click.echo(settings_page(), nl=False)


def settings_page() -> str:
    """The page as Markdown."""
    process = _rows(fields(Settings), lambda spec: f"`AL_{spec.name.upper()}`" + _file_word(spec))
    project = _rows(fields(ProjectConfig), lambda spec: f"`{spec.name}`")
    return "\n".join((INTRODUCTION, *process, PROJECTS, *project)) + "\n"


def _rows(specs: Iterable[Field[Any]], name: Any) -> list[str]:
    lines = ["| name | default | what it does |", "|---|---|---|"]
    for spec in specs:
        default = "" if spec.default == "" else f"`{spec.default}`"
        lines.append(f"| {name(spec)} | {default} | {spec.metadata['help']}{_limits(spec.metadata)} |")
    return lines


def _file_word(spec: Field[Any]) -> str:
    return ", `…_FILE`" if spec.metadata.get("secret") else ""


def _limits(metadata: Any) -> str:
    """What may be chosen, where the help does not say so already."""
    if "low" in metadata:
        return f" ({metadata['low']} to {metadata['high']})"
    choices = metadata.get("choices", ())
    if all(choice in metadata["help"] for choice in choices):
        return ""
    return f" ({', '.join(f'`{choice}`' for choice in choices)})"


COMMANDS = (settings_command,)
