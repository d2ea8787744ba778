"""Example images of classes, which the guidelines show to everybody who labels."""

from pydantic import Field

from al_service.api.answers import Answer
from al_service.api.requests import Body
from al_service.api.routing import Call, Reply, Routes
from al_service.api.shapes import image_url
from al_service.domain.states import Role
from al_service.loop.examples import Wanted

ROUTES = Routes()


class ExampleBody(Body):
    """An example of which class, and one line on what to look at."""

    class_name: str
    note: str = Field("", max_length=300)


class ExampleFields(Answer):
    """An example image of a class."""

    sample_id: int
    class_name: str
    note: str
    image_url: str
    width: int
    height: int


class ExamplesAnswer(Answer):
    """A project's examples, in class order."""

    examples: list[ExampleFields]


@ROUTES.add("GET", "/projects/<project>/examples", role=Role.VIEWER, answers={200: ExamplesAnswer}, etag=True)
def list_examples(call: Call, project: str) -> Reply:
    """Example images of the project's classes, in class order."""
    fields = [
        ExampleFields(
            sample_id=one.sample.id,
            class_name=one.class_name,
            note=one.note,
            image_url=image_url(one.sample.id, one.sample.sha256),
            width=one.sample.width,
            height=one.sample.height,
        )
        for one in call.services.examples.all(project)
    ]
    return Reply(ExamplesAnswer(examples=fields))


@ROUTES.add("PUT", "/samples/<int:sample_id>/example", role=Role.REVIEWER, body=ExampleBody, answers={204: None})
def set_example(call: Call, sample_id: int, body: ExampleBody) -> Reply:
    """Show a sample to everybody as an example of a class; again: change class and note. Not gold, nor evaluation."""
    call.services.examples.set(Wanted(sample_id, body.class_name, body.note), call.user)
    return Reply(None, 204)


@ROUTES.add("DELETE", "/samples/<int:sample_id>/example", role=Role.REVIEWER, answers={204: None})
def remove_example(call: Call, sample_id: int) -> Reply:
    """Show it no more."""
    call.services.examples.remove(sample_id, call.user)
    return Reply(None, 204)
