"""Lists of samples for reviewers, and everything that was said of one."""

from al_service.api.requests import ReviewQuery
from al_service.api.review_list_answers import (
    FacetFields,
    LogAnswer,
    LogFields,
    OpinionFields,
    ReviewAnswer,
    ReviewFields,
    VoteFields,
)
from al_service.api.routing import Call, Reply, Routes
from al_service.api.shapes import annotation_values, image_url
from al_service.domain.reasons import reason_text
from al_service.domain.review import COUNT_MAX, ReviewFacets, ReviewRow, Said, place_of_text, text_of_place
from al_service.domain.states import Role
from al_service.loop.review_list import ReviewQuestion

ROUTES = Routes()


@ROUTES.add("GET", "/projects/<project>/review", role=Role.REVIEWER, query=ReviewQuery, answers={200: ReviewAnswer})
def list_for_review(call: Call, project: str, query: ReviewQuery) -> Reply:
    """Samples with what people said of them: the most disputed first, or what changed last.

    Filters narrow each other. A page looks at a bounded number of samples, so one with rare things may be short: go on
    while `next` is not null. Samples kept aside to measure the model are for engineers and above.
    """
    question = ReviewQuestion(query.kind, query.class_name, query.annotator, query.round)
    after = None if query.after is None else place_of_text(query.after, question.place_length)
    evaluation = call.covers(Role.ENGINEER)
    page = call.services.review_list.page(project, question, after=after, limit=query.limit, evaluation=evaluation)
    facets = None if after is not None else call.services.review_list.facets(project, evaluation=evaluation)
    class_names = call.context.round_classes.of(row.round_id for row in page.rows if row.round_id is not None)
    answer = ReviewAnswer(
        samples=[_fields(row, class_names.get(row.round_id or 0, ())) for row in page.rows],
        next=None if page.next_after is None else text_of_place(page.next_after),
        facets=None if facets is None else _facets(facets),
    )
    return Reply(answer)


@ROUTES.add("GET", "/samples/<int:sample_id>/log", role=Role.REVIEWER, answers={200: LogAnswer})
def show_log(call: Call, sample_id: int) -> Reply:
    """Everything that was ever said of a sample, what was taken back included, oldest first."""
    found = call.services.review_list.log(sample_id, evaluation=call.covers(Role.ENGINEER))
    return Reply(LogAnswer(log=[_log_fields(item) for item in found]))


def _fields(row: ReviewRow, class_names: tuple[str, ...]) -> ReviewFields:
    sample = row.sample
    return ReviewFields(
        sample_id=sample.id,
        external_id=sample.external_id,
        image_url=image_url(sample.id, sample.sha256),
        width=sample.width,
        height=sample.height,
        state=sample.state,
        split=sample.split,
        class_name=sample.class_name,
        label_version=sample.label_version or 0,
        dissent=sample.dissent,
        is_reviewed=row.is_reviewed,
        gold_class=row.gold_class,
        is_asked=row.is_asked,
        round=row.round_number,
        rank=row.rank,
        reason=None if row.reason is None else reason_text(row.reason, class_names),
        votes=[_vote_fields(vote) for vote in row.votes],
        opinion=None if row.opinion is None else OpinionFields(class_name=row.opinion[0], chance=row.opinion[1]),
    )


def _vote_fields(vote: Said) -> VoteFields:
    annotation = vote.annotation
    return VoteFields(
        annotation_id=annotation.id,
        by=vote.by,
        kind=annotation.kind,
        class_name=annotation.class_name,
        at=annotation.created_at,
        lead_time=annotation.lead_time_s,
        is_extra_vote=annotation.is_extra_vote,
        is_review=annotation.is_review,
        is_import=vote.is_import,
    )


def _log_fields(item: Said) -> LogFields:
    annotation = item.annotation
    return LogFields(
        **annotation_values(annotation, item.by),
        is_review=annotation.is_review,
        is_import=item.is_import,
        undoes=annotation.undoes_id,
    )


def _facets(facets: ReviewFacets) -> FacetFields:
    return FacetFields(
        counts={kind.value: number for kind, number in facets.counts.items()},
        count_max=COUNT_MAX,
        people=list(facets.people),
        last_round=facets.last_round,
    )
