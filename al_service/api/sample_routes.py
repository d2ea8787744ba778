"""One sample: its facts and its image. Nothing here gives a label away to the people who are asked for it."""

from flask import Response, request

from al_service import images
from al_service.api.answers import SampleAnswer
from al_service.api.requests import ImageQuery
from al_service.api.routing import Call, ImageBytes, Reply, Routes
from al_service.api.shapes import sample_detail, sample_fields
from al_service.domain.records import Sample
from al_service.domain.states import Role, Split
from al_service.errors import InvalidInputError, NotFoundError
from al_service.loop.ports import Transaction, image_name

IMAGE_SIZES = (64, 128, 256, 512, 1024, 2048)
KEPT_FOR_S = 31_536_000
CONTENT_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "PPM": "image/x-portable-anymap",
    "JPEG2000": "image/jp2",
    "AVIF": "image/avif",
}

ROUTES = Routes()


@ROUTES.add("GET", "/samples/<int:sample_id>", role=Role.VIEWER, answers={200: SampleAnswer})
def show_sample(call: Call, sample_id: int) -> Reply:
    """Facts of a sample; project, external_id, split, state, class_name and metadata only for reviewers and above."""
    with call.services.store.read() as tx:
        sample = visible(tx, call, sample_id)
        project = tx.projects.get(sample.project_id)
    if call.covers(Role.REVIEWER):
        return Reply(SampleAnswer(sample=sample_detail(sample, project)))
    return Reply(SampleAnswer(sample=sample_fields(sample)))


@ROUTES.add(
    "GET", "/samples/<int:sample_id>/image", role=Role.VIEWER, query=ImageQuery, answers={200: ImageBytes}, etag=True
)
def show_image(call: Call, sample_id: int, query: ImageQuery) -> Response:
    """The original bytes, or with `size` a copy with at most that long a side; X-Content-SHA256 is the original's."""
    if query.size is not None and query.size not in IMAGE_SIZES:
        raise InvalidInputError(f"size={query.size} is not one of {', '.join(map(str, IMAGE_SIZES))}", size=query.size)
    with call.services.store.read() as tx:
        sample = visible(tx, call, sample_id)
    response = Response()
    response.set_etag(sample.sha256 if query.size is None else f"{sample.sha256}-{query.size}")
    if not request.if_none_match.contains_weak(response.get_etag()[0] or ""):
        response.data, response.content_type = _bytes(call, sample, query.size)
    response.headers["Cache-Control"] = f"private, max-age={KEPT_FOR_S}, immutable"
    response.headers["X-Content-SHA256"] = sample.sha256
    response.make_conditional(request)
    return response


def _bytes(call: Call, sample: Sample, size: int | None) -> tuple[bytes, str]:
    data = call.services.artifacts.get(image_name(sample.sha256))
    if size is None:
        return data, CONTENT_TYPES.get(sample.format, "application/octet-stream")
    return images.thumbnail(data, size, pixels_max=call.context.settings.image_pixels_max)


def visible(tx: Transaction, call: Call, sample_id: int) -> Sample:
    """The sample, unless it is kept for evaluation and the caller was not asked for it: then it counts as not there."""
    sample = tx.samples.get(sample_id)
    if sample.split is not Split.EVALUATION or call.covers(Role.ENGINEER):
        return sample
    user_id = call.user.id
    held = tx.queue.open_assignments_of_user(sample.project_id, user_id)
    if any(item.sample.id == sample_id for item in held):
        return sample
    if any(item.user_id == user_id for item in tx.annotations.active_of_sample(sample_id)):
        return sample
    raise NotFoundError(f"no sample with id {sample_id}", sample=sample_id)
