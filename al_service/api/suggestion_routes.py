"""What the model thinks, for the person who asks; and how much that sways people."""

from al_service.api.answers import Answer
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.pull import Share
from al_service.domain.states import Role

ROUTES = Routes()


class LikelyFields(Answer):
    """A class and how likely the model finds it, 0 to 1."""

    class_name: str
    probability: float


class SuggestionAnswer(Answer):
    """The likeliest classes, likeliest first. Empty where the model has no opinion, or (blind) nobody is told."""

    likely: list[LikelyFields]
    blind: bool


class ShareFields(Answer):
    """How many labels there are, and how many of them named the model's likeliest class."""

    answered: int
    agreed: int


class PullAnswer(Answer):
    """How much suggestions sway people: agreement of who was told minus of who asked and was not, -1 to 1, with its
    95 % interval; null while there are too few of either.
    """

    told: ShareFields
    kept_blind: ShareFields
    never_asked: ShareFields
    difference: float | None
    interval: tuple[float, float] | None


@ROUTES.add("POST", "/assignments/<int:assignment_id>/suggestion", role=Role.LABELER, answers={200: SuggestionAnswer})
def ask_for_suggestion(call: Call, assignment_id: int) -> Reply:
    """What the model thinks of the image that the caller holds; the answer to it remembers that they know.

    A share of the images (the setting `blind_share`) is kept blind: nobody is told anything there.
    """
    found = call.services.suggestions.ask(assignment_id, call.user)
    likely = [LikelyFields(class_name=name, probability=chance) for name, chance in found.likely]
    return Reply(SuggestionAnswer(likely=likely, blind=found.is_blind))


@ROUTES.add("GET", "/projects/<project>/suggestions/pull", role=Role.VIEWER, answers={200: PullAnswer}, etag=True)
def show_pull(call: Call, project: str) -> Reply:
    """How much the model's suggestions sway the people who see them."""
    pull = call.services.suggestions.pull(project)
    return Reply(
        PullAnswer(
            told=_share(pull.told),
            kept_blind=_share(pull.kept_blind),
            never_asked=_share(pull.never_asked),
            difference=pull.difference,
            interval=pull.interval,
        )
    )


def _share(share: Share) -> ShareFields:
    return ShareFields(answered=share.answered, agreed=share.agreed)
