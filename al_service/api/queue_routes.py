"""The labeler's routes: lease, renew, give back, answer, take back. The hot path of the service."""

import uuid

from flask import request

from al_service.api.answers import (
    AnnotationAnswer,
    AssignmentAnswer,
    AssignmentFields,
    LeaseAnswer,
    OwnAnnotationFields,
    OwnAnnotationsAnswer,
    RoundProgressFields,
    UndoAnswer,
)
from al_service.api.requests import AnnotationBody, LeaseBody, LimitQuery, ReleaseBody
from al_service.api.routing import Call, Reply, Routes
from al_service.api.shapes import (
    annotation_fields,
    annotation_values,
    assignment_fields,
    image_url,
    why_empty_fields,
)
from al_service.domain.records import Assignment, RoundProgress
from al_service.domain.states import AnnotationKind, Role
from al_service.errors import InvalidInputError, NotFoundError
from al_service.loop.annotations import Answer
from al_service.loop.gold import asked_by

ROUTES = Routes()


@ROUTES.add(
    "POST",
    "/projects/<project>/assignments",
    role=Role.LABELER,
    body=LeaseBody,
    answers={200: LeaseAnswer},
    timer="next_assignment",
    admits_itself=True,
)
def lease_next(call: Call, project: str, body: LeaseBody) -> Reply:
    """Hold the next samples: what the caller holds already (renewed), then free ones in the selector's order.

    Asking again without answering gives the same samples. When there are none, why_empty says why in words. With
    look_alike, the rest of the groups that the caller holds some of comes first, then the next sample with its group.
    """
    lease = call.services.assignments.lease_next(
        project, call.user, body.count, look_alike=body.look_alike, admission=call.admission
    )
    why = None if lease.why_empty is None else why_empty_fields(lease.why_empty)
    fields = _all_fields(call, *lease.assignments)
    version = lease.project.classes_version
    answer = LeaseAnswer(
        assignments=fields, why_empty=why, classes_version=version, groups_waiting=lease.groups_waiting
    )
    return Reply(answer)


@ROUTES.add("POST", "/assignments/<int:assignment_id>/renew", role=Role.LABELER, answers={200: AssignmentAnswer})
def renew(call: Call, assignment_id: int) -> Reply:
    """Extend a lease by the full time (the page's heartbeat); 409 when it is over."""
    assignment = call.services.assignments.renew(assignment_id, call.user)
    return Reply(AssignmentAnswer(assignment=_all_fields(call, assignment)[0]))


@ROUTES.add("DELETE", "/assignments/<int:assignment_id>", role=Role.LABELER, answers={204: None})
def release(call: Call, assignment_id: int) -> Reply:
    """Give a lease back; one that is over already is left as it is."""
    call.services.assignments.release(assignment_id, call.user)
    return Reply(None, 204)


@ROUTES.add("POST", "/assignments/release", role=Role.LABELER, body=ReleaseBody, answers={204: None}, is_beacon=True)
def release_many(call: Call, body: ReleaseBody) -> Reply:
    """Give leases back when a page closes (navigator.sendBeacon): text/plain or a form will do, csrf_token in the body.

    Leases that are not the caller's are passed over: nobody reads the answer of a beacon.
    """
    for assignment_id in dict.fromkeys(body.ids):
        try:
            call.services.assignments.release(assignment_id, call.user)
        except NotFoundError:
            continue
    return Reply(None, 204)


@ROUTES.add(
    "POST",
    "/assignments/<int:assignment_id>/annotation",
    role=Role.LABELER,
    body=AnnotationBody,
    answers={201: AnnotationAnswer, 200: AnnotationAnswer},
    timer="submit",
    admits_itself=True,
)
def annotate(call: Call, assignment_id: int, body: AnnotationBody) -> Reply:
    """Store an answer: 201; the same client_key again: 200 and the same annotation; after the lease: an extra vote.

    Without client_key the header Idempotency-Key counts; without both every call is a new answer.
    """
    stored = call.services.annotations.annotate(assignment_id, call.user, _answer(body), admission=call.admission)
    if stored.is_new:
        call.context.meters.annotations.labels(stored.annotation.kind).inc()
    answer = AnnotationAnswer(
        annotation=annotation_fields(stored.annotation, call.user.name), progress=_progress_fields(stored.progress)
    )
    return Reply(answer, 201 if stored.is_new else 200)


@ROUTES.add("DELETE", "/annotations/<int:annotation_id>", role=Role.LABELER, answers={200: UndoAnswer})
def undo(call: Call, annotation_id: int) -> Reply:
    """Take an answer back (one's own; reviewers anyone's); it stays in the log, its author gets the sample again."""
    row, assignment = call.services.annotations.undo(annotation_id, call.user)
    call.context.meters.annotations.labels(row.kind).inc()
    fresh = None if assignment is None else _all_fields(call, assignment)[0]
    return Reply(UndoAnswer(annotation=annotation_fields(row, call.user.name), assignment=fresh))


@ROUTES.add(
    "GET",
    "/projects/<project>/annotations/mine",
    role=Role.VIEWER,
    query=LimitQuery,
    answers={200: OwnAnnotationsAnswer},
)
def own_annotations(call: Call, project: str, query: LimitQuery) -> Reply:
    """The caller's last answers that are not undone, newest first."""
    recent = call.services.annotations.recent(project, call.user, query.limit)
    with call.services.store.read() as tx:
        samples = tx.samples.get_many(row.sample_id for row in recent)
    fields = [
        OwnAnnotationFields(
            **annotation_values(row, call.user.name), image_url=image_url(row.sample_id, samples[row.sample_id].sha256)
        )
        for row in recent
    ]
    return Reply(OwnAnnotationsAnswer(annotations=fields))


def _all_fields(call: Call, *assignments: Assignment) -> list[AssignmentFields]:
    rounds = [asked_by(item.selection) for item in assignments]
    names = call.context.round_classes.of(round_id for round_id in rounds if round_id is not None)
    return [
        assignment_fields(item, names.get(round_id or 0, ()))
        for item, round_id in zip(assignments, rounds, strict=True)
    ]


def _answer(body: AnnotationBody) -> Answer:
    given = [
        kind
        for kind, is_given in (
            (AnnotationKind.LABEL, body.class_name is not None),
            (AnnotationKind.SKIP, body.skip),
            (AnnotationKind.FLAG, body.flag),
        )
        if is_given
    ]
    if len(given) != 1:
        raise InvalidInputError("an answer is exactly one of class_name, skip or flag", given=given)
    # An empty key is refused, not replaced: a client that sends one means to be safe when it repeats itself.
    key = request.headers.get("Idempotency-Key") if body.client_key is None else body.client_key
    if key is None:
        key = f"server-{uuid.uuid4().hex}"
    return Answer(given[0], body.class_name, key, body.lead_time)


def _progress_fields(progress: RoundProgress | None) -> RoundProgressFields | None:
    if progress is None:
        return None
    return RoundProgressFields(
        answered=progress.answered,
        asked=progress.asked,
        answered_ahead=progress.answered_ahead,
        round=progress.number,
    )
