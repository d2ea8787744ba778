"""Images like the one in hand: what the round that chose it found nearest. Classes only for who asks for them."""

from typing import Any

from pydantic import Field

from al_service.api.answers import Answer
from al_service.api.requests import Query
from al_service.api.routing import Call, Reply, Routes
from al_service.api.sample_routes import visible
from al_service.api.shapes import image_url
from al_service.domain.records import Sample
from al_service.domain.states import Role, Split, Stage
from al_service.errors import NotFoundError
from al_service.loop.ports import Transaction

#: One text whatever the reason, because a reason of its own would tell hidden gold from the other images.
NONE_KNOWN = (
    "No similar images are known of this one: a round finds them by what a model sees, and not for every image."
)

ROUTES = Routes()


class SimilarQuery(Query):
    """What to tell of the images that are found."""

    classes: bool = Field(False, description="also their classes, where they are labelled and nobody is asked for them")


class SimilarFields(Answer):
    """An image that resembles another; distance: 1 - cosine of the model's embeddings, 0 to 2."""

    sample_id: int
    image_url: str
    width: int
    height: int
    distance: float
    class_name: str | None


class SimilarAnswer(Answer):
    """The most similar first; why_none says in words why there are none, null where there are."""

    similar: list[SimilarFields]
    why_none: str | None


@ROUTES.add(
    "GET", "/samples/<int:sample_id>/similar", role=Role.LABELER, query=SimilarQuery, answers={200: SimilarAnswer}
)
def show_similar(call: Call, sample_id: int, query: SimilarQuery) -> Reply:
    """Images that the newest round which chose the sample found nearest to it, at most 20; never evaluation ones.

    With classes=true their labels come along, except of gold and of samples that people are asked for now.
    """
    with call.services.store.read() as tx:
        visible(tx, call, sample_id)
        artifact = _artifact(tx, sample_id)
    if artifact is None:
        return Reply(SimilarAnswer(similar=[], why_none=NONE_KNOWN))
    try:
        near = call.context.similar_files.of(artifact).get(sample_id, [])
    except NotFoundError:
        return Reply(SimilarAnswer(similar=[], why_none=NONE_KNOWN))
    ids = [found for found, _ in near]
    with call.services.store.read() as tx:
        samples = tx.samples.get_many(ids)
        secret = tx.lanes.with_secret_class(ids) if query.classes else set(ids)
    fields = [
        _fields(samples[found], distance, found not in secret)
        for found, distance in near
        if found in samples and samples[found].split is not Split.EVALUATION
    ]
    return Reply(SimilarAnswer(similar=fields, why_none=None if fields else NONE_KNOWN))


def _artifact(tx: Transaction, sample_id: int) -> str | None:
    """The file of the round that people were asked by last, if it has one."""
    selection = tx.queue.find_standing_selection(sample_id)
    if selection is None or selection.round_id is None:
        return None
    facts: dict[str, Any] = tx.rounds.get(selection.round_id).stage_record(Stage.SELECT).result
    name: str | None = facts.get("similar_artifact")
    return name


def _fields(sample: Sample, distance: float, with_class: bool) -> SimilarFields:
    return SimilarFields(
        sample_id=sample.id,
        image_url=image_url(sample.id, sample.sha256),
        width=sample.width,
        height=sample.height,
        distance=distance,
        class_name=sample.class_name if with_class else None,
    )
