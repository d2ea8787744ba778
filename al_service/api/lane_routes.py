"""The flag lane for reviewers: what was set aside, back into the queue, or out of it for good."""

from al_service.api.lane_answers import AsideAnswer, AsideFields, FlaggedAnswer, FlaggedFields
from al_service.api.requests import FlaggedQuery
from al_service.api.routing import Call, Reply, Routes
from al_service.api.shapes import image_url
from al_service.domain.records import Sample
from al_service.domain.states import Role

ROUTES = Routes()


@ROUTES.add("GET", "/projects/<project>/flagged", role=Role.REVIEWER, query=FlaggedQuery, answers={200: FlaggedAnswer})
def list_flagged(call: Call, project: str, query: FlaggedQuery) -> Reply:
    """Flagged samples, by id, with who flagged them and when; evaluation ones only for engineers and above."""
    found, names = call.services.lanes.flagged(
        project, after=query.after, limit=query.limit, evaluation=call.covers(Role.ENGINEER)
    )
    fields = [
        FlaggedFields(
            sample_id=item.sample.id,
            image_url=image_url(item.sample.id, item.sample.sha256),
            width=item.sample.width,
            height=item.sample.height,
            reason=item.reason,
            flagged_by=None if item.flag is None else names[item.flag.user_id],
            flagged_at=None if item.flag is None else item.flag.created_at,
        )
        for item in found
    ]
    is_full = len(fields) == query.limit
    return Reply(FlaggedAnswer(flagged=fields, next_after=fields[-1].sample_id if is_full else None))


@ROUTES.add("POST", "/samples/<int:sample_id>/put-back", role=Role.REVIEWER, answers={200: AsideAnswer})
def put_back(call: Call, sample_id: int) -> Reply:
    """Ask people for a flagged or skipped sample again; its flags and skips are taken back; 409 `not_set_aside`.

    409 `people_differ` where people gave it different classes and a verdict is needed (PUT /samples/{id}/label).
    """
    evaluation = call.covers(Role.ENGINEER)
    return _reply(call.services.lanes.put_back(sample_id, call.user, evaluation=evaluation))


@ROUTES.add("POST", "/samples/<int:sample_id>/exclude", role=Role.REVIEWER, answers={200: AsideAnswer})
def exclude(call: Call, sample_id: int) -> Reply:
    """Never ask for a flagged or skipped sample again: it counts as skipped; 409 `not_set_aside`."""
    evaluation = call.covers(Role.ENGINEER)
    return _reply(call.services.lanes.exclude(sample_id, call.user, evaluation=evaluation))


def _reply(sample: Sample) -> Reply:
    return Reply(AsideAnswer(sample=AsideFields(sample_id=sample.id, state=sample.state)))
