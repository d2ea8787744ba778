"""`al round …`."""

from typing import Any

import click

from al_service.bootstrap import replay_round
from al_service.cli.session import Session, json_option, print_json, print_table
from al_service.domain.reasons import reason_text
from al_service.domain.records import Round
from al_service.errors import ConflictError


@click.group("round")
def round_group() -> None:
    """Rounds: one pass of the loop each."""


@round_group.command("start")
@click.argument("project")
@click.option("--key", help="Idempotency key: the same key never starts a second round.")
@json_option
@click.pass_obj
def round_start(session: Session, project: str, key: str | None, as_json: bool) -> None:
    """Start a round now; says so when one is running already."""
    record, is_new = session.services.rounds.start(project, trigger="cli", idempotency_key=key)
    if as_json:
        print_json({"started": is_new, "round": round_facts(record)})
        return
    words = (
        f"round {record.number} starts with {record.label_count} labels"
        if is_new
        else f"round {record.number} is {record.state} already"
    )
    click.echo(words)


@round_group.command("list")
@click.argument("project")
@json_option
@click.pass_obj
def round_list(session: Session, project: str, as_json: bool) -> None:
    """Rounds with labels, accuracy and seconds per stage."""
    records = session.services.rounds.all(project)
    if as_json:
        print_json([round_facts(item) for item in records])
        return
    print_table(
        ["round", "state", "trigger", "labels", "accuracy", "train s", "score s", "select s", "asked", "answered"],
        [_row(item) for item in records],
        empty="no rounds yet; the first one starts when images are there, or with `al round start`",
    )


def _row(item: Round) -> list[Any]:
    seconds = {stage.stage.value: stage.seconds for stage in item.stages}
    accuracy = item.metrics.get("accuracy")
    return [
        item.number,
        item.state,
        item.trigger,
        item.label_count,
        None if accuracy is None else f"{accuracy:.3f}",
        *(seconds[name] for name in ("train", "score", "select")),
        item.selected_count,
        item.answered_count,
    ]


@round_group.command("show")
@click.argument("project")
@click.argument("number", type=int)
@json_option
@click.pass_obj
def round_show(session: Session, project: str, number: int, as_json: bool) -> None:
    """The whole record of a round: settings, stages, metrics, chosen ids with reasons."""
    record = session.services.rounds.get(project, number)
    with session.services.store.read() as tx:
        chosen = tx.queue.selections(record.id)
    if as_json:
        print_json({**round_facts(record), "selections": [vars(item) for item in chosen]})
        return
    click.echo(f"round {record.number} is {record.state} ({record.stage}), seed {record.seed}")
    click.echo(f"data  {record.data_fingerprint or '-'}\nmodel {record.model_hash or '-'}")
    print_table(
        ["stage", "state", "attempt", "seconds", "error"],
        [(item.stage, item.state, item.attempt, item.seconds, item.error) for item in record.stages],
        empty="",
    )
    print_table(
        ["rank", "sample", "score", "state", "why"],
        [
            (item.rank, item.sample_id, item.score, item.state, reason_text(item.reason, record.class_names))
            for item in chosen
        ],
        empty="nothing chosen",
    )


@round_group.command("cancel")
@click.argument("project")
@click.argument("number", type=int)
@click.pass_obj
def round_cancel(session: Session, project: str, number: int) -> None:
    """End an open round; its labels stay."""
    record = session.services.rounds.cancel(project, number)
    click.echo(f"round {record.number} is {record.state}")


@round_group.command("replay")
@click.argument("project")
@click.argument("number", type=int)
@json_option
@click.pass_obj
def round_replay(session: Session, project: str, number: int, as_json: bool) -> None:
    """Choose again from the round's stored scores and seed; exit code 5 if the ids differ."""
    replay = replay_round(session.services, project, number)
    if as_json:
        print_json(replay)
    else:
        same = "the same" if replay["identical"] else "other"
        click.echo(f"round {number}: {len(replay['replayed'])} samples chosen again, {same} ids in {same} order")
    if not replay["identical"]:
        raise ConflictError(
            f"round {number} chose other ids than its record says; was the code or the scores file changed?"
        )


def round_facts(record: Round) -> dict[str, Any]:
    """A round as plain data."""
    return {
        **{key: value for key, value in vars(record).items() if key not in ("config", "stages")},
        "config": record.config.to_json(),
        "stages": [vars(stage) for stage in record.stages],
    }


COMMANDS = (round_group,)
