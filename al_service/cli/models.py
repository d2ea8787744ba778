"""`al model …`: the registry, files of others in, files for others out."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from al_service.cli.session import Session, json_option, print_json, print_table
from al_service.domain.model_kinds import ModelKind
from al_service.domain.records import ModelRecord
from al_service.errors import InvalidInputError
from al_service.loop.models import all_metrics

if TYPE_CHECKING:
    from al_service.learning.checkpoints import Checkpoint

#: Names of al_service.learning.export.FORMATS, and our own; a test compares. Reading them there would load torch.
FORMATS = ("onnx", "torchscript", "exported", "checkpoint")

model_argument = click.argument("word", metavar="MODEL")
reason_option = click.option("--reason", default="", help="Why, for the history.")


@click.group()
def model() -> None:
    """Models: which ones there are, which one is the project's. MODEL is an id, or the word promoted."""


@model.command("list")
@click.argument("project")
@json_option
@click.pass_obj
def model_list(session: Session, project: str, as_json: bool) -> None:
    """Models of a project, newest first; * marks the project's model."""
    records = session.services.models.all(project)
    promoted_id = _promoted_id(session, project)
    if as_json:
        print_json([model_facts(item, promoted_id) for item in records])
        return
    print_table(
        ["model", "", "kind", "name", "network", "px", "accuracy", "hash", "made"],
        [_row(item, promoted_id) for item in records],
        empty="no models yet; each round trains one",
    )


def _row(item: ModelRecord, promoted_id: int | None) -> Sequence[Any]:
    accuracy = item.metrics.get("accuracy")
    return [
        item.id,
        "*" if item.id == promoted_id else "",
        item.kind,
        item.name,
        item.network_name,
        item.image_px,
        None if accuracy is None else f"{accuracy:.4f}",
        item.model_hash[:12],
        item.created_at,
    ]


@model.command("show")
@click.argument("project")
@model_argument
@json_option
@click.pass_obj
def model_show(session: Session, project: str, word: str, as_json: bool) -> None:
    """Everything known of one model, and when it was the project's."""
    found = session.services.models.find(project, word)
    history = [item for item in session.services.models.history(project) if item.model_id == found.id]
    with session.services.store.read() as tx:
        metrics = all_metrics(tx, found)
    facts = model_facts(found, _promoted_id(session, project)) | {"metrics": metrics}
    if as_json:
        print_json({**facts, "promotions": [vars(item) for item in history]})
        return
    plain = {name: value for name, value in facts.items() if name not in ("metrics", "class_names")}
    print_table(["fact", "value"], [*plain.items(), ("classes", ", ".join(found.class_names))], empty="")
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    print_table(["metric", "value"], numbers.items(), empty="nothing was measured")
    print_table(
        ["when", "how", "why"], [(item.at, item.action, item.reason) for item in history], empty="never promoted"
    )


@model.command("promote")
@click.argument("project")
@model_argument
@reason_option
@json_option
@click.pass_obj
def model_promote(session: Session, project: str, word: str, reason: str, as_json: bool) -> None:
    """Make this the project's model."""
    found = session.services.models.find(project, word)
    _report(session.services.models.promote(found.id, reason=reason), project, as_json)


@model.command("rollback")
@click.argument("project")
@reason_option
@json_option
@click.pass_obj
def model_rollback(session: Session, project: str, reason: str, as_json: bool) -> None:
    """Go back to the model that was promoted before the current one."""
    _report(session.services.models.roll_back(project, reason=reason), project, as_json)


def _report(found: ModelRecord, project: str, as_json: bool) -> None:
    if as_json:
        print_json(model_facts(found, found.id))
    else:
        click.echo(f"model {found.id} ({found.name}) is the model of {project}")


@model.command("compare")
@click.argument("project")
@click.argument("a")
@click.argument("b")
@json_option
@click.pass_obj
def model_compare(session: Session, project: str, a: str, b: str, as_json: bool) -> None:
    """Two models side by side; differences are B - A."""
    found = session.services.models.compare(project, a, b)
    if as_json:
        promoted_id = _promoted_id(session, project)
        models = {"a": model_facts(found.a, promoted_id), "b": model_facts(found.b, promoted_id)}
        print_json({**vars(found), **models})
        return
    click.echo(f"A is model {found.a.id} ({found.a.name}), B is model {found.b.id} ({found.b.name}): {found.words}")
    rows = [(name, *pair.values()) for name, pair in found.metrics.items()]
    for class_name, pairs in found.per_class.items():
        rows += [(f"{class_name}: {name}", *pair.values()) for name, pair in pairs.items()]
    print_table(["metric", "A", "B", "B - A"], rows, empty="no number was measured of both")


@model.command("export")
@click.argument("project")
@model_argument
@click.option("--format", "kind", type=click.Choice(FORMATS), required=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File to write.")
@json_option
@click.pass_obj
def model_export(session: Session, project: str, word: str, kind: str, out: Path, as_json: bool) -> None:
    """Write a model as one file for other programs; `checkpoint` is our own format, head and backbone together."""
    # torch is heavy, and only this command and import need it.
    from al_service.learning import checkpoints, export

    if not out.parent.is_dir():
        raise _unwritable(out, f"no folder {out.parent}")
    record = session.services.models.find(project, word)
    artifacts = session.services.artifacts
    found = checkpoints.from_bytes(artifacts.get(record.artifact), record.artifact, artifacts.get)
    try:
        if kind == "checkpoint":
            checkpoints.save(
                out, found.network, found.class_names, seed=found.seed, extra=found.extra, temperature=found.temperature
            )
        else:
            export.FORMATS[kind][0](found, out)
    except OSError as error:
        raise _unwritable(out, error.strerror) from error
    facts = {"path": str(out), "format": kind, "byte_count": out.stat().st_size, **export.facts_of(found)}
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{out}: model {record.id} ({record.name}) as {kind}, {facts['byte_count']} bytes")


def _unwritable(out: Path, reason: str | None) -> InvalidInputError:
    return InvalidInputError(
        f"--out {str(out)!r} cannot be written: {reason}; expected a file in a folder that exists and has room",
        path=str(out),
    )


@model.command("import")
@click.argument("project")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--network", help="Which network the file is of, e.g. resnet18; not needed for our own checkpoints.")
@click.option("--classes", default="", help="Class names in the order of its outputs (default: the project's).")
@click.option("--image-px", type=int, help="Side of the images it sees (default: the network's usual one).")
@click.option("--name", default="", help="What to call it (default: the file's name).")
@json_option
@click.pass_obj
def model_import(
    session: Session,
    project: str,
    file: Path,
    network: str | None,
    classes: str,
    image_px: int | None,
    name: str,
    as_json: bool,
) -> None:
    """Register a classifier from a .safetensors, .pt or .pth file. Pickled code is never run."""
    from al_service.learning import checkpoints

    class_names = [item.strip() for item in classes.split(",") if item.strip()]
    if network is None and (class_names or image_px is not None):
        raise InvalidInputError(
            "--classes and --image-px are for files of others and need --network, e.g. --network resnet18; "
            "our own checkpoints say both themselves: leave them out"
        )
    known = session.services.projects.get(project).class_names
    found = checkpoints.load(file) if network is None else _foreign(file, network, class_names or known, image_px)
    data = checkpoints.to_bytes(
        found.network, found.class_names, seed=found.seed, extra=found.extra, temperature=found.temperature
    )
    record = _imported(found, data, name or file.name, checkpoints.model_hash)
    # First, for a file that no record names would lie there for ever.
    session.services.models.check_registrable(project, record)
    session.services.artifacts.put(record.artifact, data)
    made = session.services.models.register(project, record)
    if as_json:
        print_json(model_facts(made, None))
    else:
        click.echo(f"model {made.id} ({made.name}) is there; next: `al model promote {project} {made.id}`")


def _foreign(file: Path, network: str, class_names: Sequence[str], image_px: int | None) -> "Checkpoint":
    from al_service.learning.foreign import load_foreign

    return load_foreign(file, network, class_names, image_px=image_px)


def _imported(found: "Checkpoint", data: bytes, name: str, model_hash: Callable[[Any], str]) -> ModelRecord:
    from al_service.bootstrap import utc_now

    return ModelRecord(
        id=0,
        project_id=0,
        round_id=None,
        artifact=f"models/imported/{hashlib.sha256(data).hexdigest()}.safetensors",
        model_hash=model_hash(found.network),
        data_fingerprint=None,
        metrics={},
        created_at=utc_now(),
        kind=ModelKind.IMPORTED,
        name=name,
        network_name=found.network_name,
        image_px=found.image_px,
        class_names=found.class_names,
        byte_count=len(data),
    )


def _promoted_id(session: Session, project: str) -> int | None:
    history = session.services.models.history(project)
    return history[-1].model_id if history else None


def model_facts(item: ModelRecord, promoted_id: int | None) -> dict[str, Any]:
    """A model as plain data."""
    return {**vars(item), "promoted": item.id == promoted_id}


COMMANDS = (model,)
