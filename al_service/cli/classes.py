"""`al classes PROJECT …`: the classes of a project, and changes of them with their preview first."""

from dataclasses import asdict

import click

from al_service.cli.session import Session, json_option, print_json, print_table
from al_service.loop.class_change_kinds import AddClasses, Change, MergeClass, RenameClass, SplitClass
from al_service.loop.class_change_words import words_of
from al_service.loop.class_changes import ClassState, Overview

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what it would do, and change nothing.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.group()
@click.argument("project_name", metavar="PROJECT")
@click.pass_context
def classes(context: click.Context, project_name: str) -> None:
    """The classes of a project: list, add, rename, merge, split."""
    context.meta["project"] = project_name


@classes.command("list")
@json_option
@click.pass_context
def classes_list(context: click.Context, as_json: bool) -> None:
    """Every class, retired ones too, with its labelled images."""
    session: Session = context.obj
    overview = session.services.classes.overview(context.meta["project"])
    if as_json:
        print_json([_facts(state) for state in overview.classes])
        return
    print_table(
        ["position", "class", "labelled", "old names", "now"],
        [_row(overview, state) for state in overview.classes],
        empty="no classes yet; `al classes PROJECT add NAME…` adds some",
    )


def _facts(state: ClassState) -> dict[str, object]:
    labels = {split.value: count for split, count in state.labels.items()}
    return {**asdict(state.known), "labels": labels, "old_names": state.old_names}


def _row(overview: Overview, state: ClassState) -> tuple[object, ...]:
    known = state.known
    now = ""
    if known.merged_into_id is not None:
        now = f"merged into {overview.book.get(known.merged_into_id).name}"
    elif state.relabelling is not None:
        done = state.relabelling.asked - state.relabelling.waiting
        parts = ", ".join(part.name for part in state.parts)
        now = f"split into {parts}; {done} of {state.relabelling.asked} asked again"
    return known.position, known.name, sum(state.labels.values()), ", ".join(state.old_names), now


@classes.command("add")
@click.argument("names", nargs=-1, required=True)
@dry_run_option
@yes_option
@click.pass_context
def classes_add(context: click.Context, names: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Add classes, on the next keys."""
    _change(context, AddClasses(names), dry_run=dry_run, yes=yes)


@classes.command("rename")
@click.argument("name")
@click.argument("new_name")
@dry_run_option
@yes_option
@click.pass_context
def classes_rename(context: click.Context, name: str, new_name: str, dry_run: bool, yes: bool) -> None:
    """Call a class by another name; the old one goes on to mean it."""
    _change(context, RenameClass(name, new_name), dry_run=dry_run, yes=yes)


@classes.command("merge")
@click.argument("name")
@click.argument("into")
@dry_run_option
@yes_option
@click.pass_context
def classes_merge(context: click.Context, name: str, into: str, dry_run: bool, yes: bool) -> None:
    """Make a class part of another one."""
    _change(context, MergeClass(name, into), dry_run=dry_run, yes=yes)


@classes.command("split")
@click.argument("name")
@click.argument("parts", nargs=-1, required=True)
@dry_run_option
@yes_option
@click.pass_context
def classes_split(context: click.Context, name: str, parts: tuple[str, ...], dry_run: bool, yes: bool) -> None:
    """Split a class into two or more new ones; its images are asked again."""
    _change(context, SplitClass(name, parts), dry_run=dry_run, yes=yes)


def _change(context: click.Context, change: Change, *, dry_run: bool, yes: bool) -> None:
    session: Session = context.obj
    project = context.meta["project"]
    seen = session.services.classes.preview(project, change)
    for sentence in words_of(seen):
        click.echo(sentence)
    if dry_run:
        return
    if not yes:
        click.confirm("Do it?", abort=True)
    session.services.classes.apply(project, change, None, version=seen.version)
    click.echo("done")


COMMANDS = (classes,)
