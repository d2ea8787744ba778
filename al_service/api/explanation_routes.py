"""What the model looks at in an image, for the person who asks: as a picture to lay over it."""

from zlib import crc32

from flask import Response, request
from pydantic import Field

from al_service.api.answers import Answer
from al_service.api.requests import Query
from al_service.api.routing import Call, ImageBytes, Reply, Routes
from al_service.api.sample_routes import IMAGE_SIZES, visible
from al_service.domain.states import Role
from al_service.errors import InvalidInputError
from al_service.loop.heat_maps import NoHeatMapError
from al_service.overlay import heat_overlay

SIZE = 512

ROUTES = Routes()


class HeatMapQuery(Query):
    """Which class, and how large a picture."""

    class_name: str | None = Field(None, alias="class", description="absent: the likeliest one")
    size: int = Field(SIZE, description="the longest side: 64, 128, 256, 512, 1024 or 2048")


class HeatMapAnswer(Answer):
    """Classes that there are heat maps for, likeliest first. Empty where (blind) the person is told nothing."""

    class_names: list[str]
    blind: bool


@ROUTES.add("POST", "/assignments/<int:assignment_id>/heat-map", role=Role.LABELER, answers={200: HeatMapAnswer})
def ask_for_heat_map(call: Call, assignment_id: int) -> Reply:
    """Whether the image that the caller holds has heat maps, and of which classes; as asking for a suggestion.

    From here on the caller knows what the model thinks, and the answer remembers it. 404 no_heat_map: there are none.
    """
    found = call.services.heat_maps.ask(assignment_id, call.user)
    return Reply(HeatMapAnswer(class_names=[name for name, _ in found.maps], blind=found.is_blind))


@ROUTES.add(
    "GET",
    "/samples/<int:sample_id>/explanations/cam",
    role=Role.LABELER,
    query=HeatMapQuery,
    answers={200: ImageBytes},
    etag=True,
)
def show_heat_map(call: Call, sample_id: int, query: HeatMapQuery) -> Response:
    """A heat map of the newest round that asked for the sample, as a see-through PNG in the shape of the image.

    Labelers: of what they hold or have answered, else 403 not_in_hand; seeing it counts as being told a suggestion. 409
    kept_blind: this image says nothing to the caller. 404 no_heat_map: there is none, or none of that class.
    """
    if query.size not in IMAGE_SIZES:
        raise InvalidInputError(f"size={query.size} is not one of {', '.join(map(str, IMAGE_SIZES))}", size=query.size)
    with call.services.store.read() as tx:
        sample = visible(tx, call, sample_id)
    found = call.services.heat_maps.of_sample(sample_id, call.user, may_see_all=call.covers(Role.REVIEWER))
    wanted = query.class_name or found.maps[0][0]
    heat_map = dict(found.maps).get(wanted)
    if heat_map is None:
        names = ", ".join(name for name, _ in found.maps)
        raise NoHeatMapError(f"no heat map of {wanted!r}; there are: {names}", sample=sample_id)
    response = Response(content_type="image/png")
    # A merge of classes makes another map of the same round.
    response.set_etag(f"cam-{found.round_id}-{heat_map.class_id}-{crc32(heat_map.cells):08x}-{query.size}")
    if not request.if_none_match.contains_weak(response.get_etag()[0] or ""):
        cells_size, image_size = (heat_map.width, heat_map.height), (sample.width, sample.height)
        response.data = heat_overlay(heat_map.cells, cells_size, image_size, query.size)
    # The next round's model looks elsewhere, and whether the caller may see it is asked each time.
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response
