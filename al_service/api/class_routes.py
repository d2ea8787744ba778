"""The classes of a project: which there are, what a change would do, and the change."""

from collections.abc import Mapping

from al_service.api.class_answers import (
    ClassChangeAnswer,
    ClassesAnswer,
    ClassStateFields,
    RelabellingFields,
    SplitCounts,
)
from al_service.api.class_requests import ClassChangeBody
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.states import Role, Split
from al_service.loop.class_change_words import words_of
from al_service.loop.class_changes import ClassState, Overview
from al_service.loop.class_previews import Preview

ROUTES = Routes()


@ROUTES.add("GET", "/projects/<project>/classes", role=Role.VIEWER, answers={200: ClassesAnswer}, etag=True)
def list_classes(call: Call, project: str) -> Reply:
    """Every class that the project has or had, by position, with its labelled images."""
    overview = call.services.classes.overview(project)
    fields = [_state_fields(overview, state) for state in overview.classes]
    return Reply(ClassesAnswer(version=overview.project.classes_version, classes=fields))


@ROUTES.add(
    "POST",
    "/projects/<project>/classes/preview",
    role=Role.ENGINEER,
    body=ClassChangeBody,
    answers={200: ClassChangeAnswer},
)
def preview_class_change(call: Call, project: str, body: ClassChangeBody) -> Reply:
    """What a change of classes would do; changes nothing."""
    return Reply(_change_answer(call.services.classes.preview(project, body.root.change())))


@ROUTES.add(
    "POST", "/projects/<project>/classes", role=Role.ENGINEER, body=ClassChangeBody, answers={200: ClassChangeAnswer}
)
def change_classes(call: Call, project: str, body: ClassChangeBody) -> Reply:
    """Add, rename, merge or split classes, all or nothing.

    409 `classes_changed` where they are not those of the preview's version, `class_name_taken` where a name means
    another class.
    """
    change = body.root.change()
    return Reply(_change_answer(call.services.classes.apply(project, change, call.user, version=body.root.version)))


def _state_fields(overview: Overview, state: ClassState) -> ClassStateFields:
    known, book = state.known, overview.book
    return ClassStateFields(
        id=known.id,
        name=known.name,
        position=known.position,
        labels=_counts(state.labels),
        old_names=list(state.old_names),
        merged=[one.name for one in state.merged],
        retired_at=known.retired_at,
        merged_into=None if known.merged_into_id is None else book.get(known.merged_into_id).name,
        split_into=[part.name for part in state.parts],
        relabelling=None
        if state.relabelling is None
        else RelabellingFields(asked=state.relabelling.asked, waiting=state.relabelling.waiting),
    )


def _change_answer(preview: Preview) -> ClassChangeAnswer:
    return ClassChangeAnswer(
        op=preview.change.op,
        version=preview.version,
        words=words_of(preview),
        labels=_counts(preview.labels),
        into_labels=_counts(preview.into_labels),
        votes=preview.votes,
        gold=preview.gold,
        recounted=preview.recounted,
        asked_again=preview.asked_again,
        holders=preview.holders,
        running_round=preview.running_round,
        models=preview.models,
        is_promoted=preview.is_promoted,
        positions=list(preview.positions),
    )


def _counts(labels: Mapping[Split, int]) -> SplitCounts:
    return SplitCounts(**{split.value: labels.get(split, 0) for split in Split})
