"""Rounds: start, cancel, read. Dashboards poll these, so every GET has an ETag."""

from flask import request

from al_service.api.loop_answers import (
    MetricsAnswer,
    RoundAnswer,
    RoundDetailAnswer,
    RoundFields,
    RoundsAnswer,
)
from al_service.api.requests import IDEMPOTENCY_KEY_LENGTH_MAX, PageQuery, RoundsQuery
from al_service.api.round_cards import list_etag
from al_service.api.routing import Call, Reply, Routes
from al_service.api.shapes import round_detail, round_fields
from al_service.domain.records import Round
from al_service.domain.states import Role
from al_service.errors import InvalidInputError
from al_service.loop.assignments import active_project
from al_service.loop.progress import stage_progress
from al_service.loop.rounds import get_round

ROUTES = Routes()


@ROUTES.add("POST", "/projects/<project>/rounds", role=Role.ENGINEER, answers={202: RoundAnswer, 200: RoundAnswer})
def start_round(call: Call, project: str) -> Reply:
    """Start a round: 202 and the round; 200 and the running one if there is one.

    With the header Idempotency-Key the same key always gives the round that it started, also when that is over.
    """
    key = request.headers.get("Idempotency-Key") or None
    if key is not None and not (len(key) <= IDEMPOTENCY_KEY_LENGTH_MAX and key.isprintable()):
        raise InvalidInputError(f"Idempotency-Key needs 1 to {IDEMPOTENCY_KEY_LENGTH_MAX} printable characters")
    record, is_new = call.services.rounds.start(project, idempotency_key=key, user_id=call.user.id)
    return Reply(RoundAnswer(round=_with_progress(call, record)), 202 if is_new else 200)


@ROUTES.add(
    "GET", "/projects/<project>/rounds", role=Role.VIEWER, query=RoundsQuery, answers={200: RoundsAnswer}, etag=True
)
def list_rounds(call: Call, project: str, query: RoundsQuery) -> Reply:
    """Rounds by number, the newest `limit`, at a glance: no settings, stage results or metrics of single classes."""
    with call.services.store.read() as tx:
        project_id = active_project(tx, project).id
        versions = tx.rounds.versions(project_id, query.limit)
        current = tx.rounds.find_open(project_id)
        progress = stage_progress(tx, current)
        etag = list_etag(versions, progress)
        if request.if_none_match.contains_weak(etag):
            return Reply(None, 304, etag=etag)
        of_current = {current.id: round_fields(current, progress)} if current is not None else {}
        others = {round_id: version for round_id, version in versions.items() if round_id not in of_current}
        cards = call.context.round_cards.of(tx, project_id, others) | of_current
    return Reply(RoundsAnswer(rounds=[cards[round_id] for round_id in versions]), etag=etag)


@ROUTES.add(
    "GET",
    "/projects/<project>/rounds/<int:number>",
    role=Role.VIEWER,
    query=PageQuery,
    answers={200: RoundDetailAnswer},
    etag=True,
)
def show_round(call: Call, project: str, number: int, query: PageQuery) -> Reply:
    """One round as a full record; for reviewers and above with a part of its batch and reserve, by rank.

    Who labels does not see them: what is missing there is gold. `selected` is the batch's size.
    """
    may_see = call.covers(Role.REVIEWER)
    with call.services.store.read() as tx:
        record = get_round(tx, active_project(tx, project), number)
        progress = stage_progress(tx, record)
        page = slice(query.offset, query.offset + query.limit)
        batch = tx.queue.selections(record.id)[page] if may_see else []
        reserve = tx.queue.reserve_selections(record.id)[page] if may_see else []
    return Reply(RoundDetailAnswer(round=round_detail(record, progress, batch, reserve)))


@ROUTES.add(
    "GET",
    "/projects/<project>/rounds/<int:number>/metrics",
    role=Role.VIEWER,
    answers={200: MetricsAnswer},
    etag=True,
)
def round_metrics(call: Call, project: str, number: int) -> Reply:
    """All metrics of one round alone, per_class and confusion included."""
    record = call.services.rounds.get(project, number)
    answer = MetricsAnswer(round=record.number, state=record.state, labels=record.label_count, metrics=record.metrics)
    return Reply(answer)


@ROUTES.add("POST", "/projects/<project>/rounds/<int:number>/cancel", role=Role.ENGINEER, answers={200: RoundAnswer})
def cancel_round(call: Call, project: str, number: int) -> Reply:
    """End an open round: its jobs stop, unanswered samples leave the queue, labels stay. 409 when it is over."""
    record = call.services.rounds.cancel(project, number, user_id=call.user.id)
    return Reply(RoundAnswer(round=round_fields(record, None)))


def _with_progress(call: Call, record: Round) -> RoundFields:
    with call.services.store.read() as tx:
        return round_fields(record, stage_progress(tx, record))
