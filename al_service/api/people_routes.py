"""What each person of a project did, and how fast: numbers for whoever answers for the labels."""

from datetime import datetime

from pydantic import Field

from al_service.api.answers import Answer
from al_service.api.requests import Query
from al_service.api.routing import Call, Reply, Routes
from al_service.api.suggestion_routes import ShareFields
from al_service.domain.pull import Pull, Share
from al_service.domain.records import PersonWork
from al_service.domain.states import Role

ROUTES = Routes()
NOBODY = Share(0, 0)


class TeamQuery(Query):
    """How many days back."""

    days: int = Field(30, ge=1, le=3650)


class PersonFields(Answer):
    """One person's work. Answers that they took back themselves count only in taken_back; what a reviewer or the split
    of a class took back is work that was done. Extra votes are also labels.

    Attributes:
        seconds_per_answer, answers_per_minute: of the time that images were on the screen, pauses left out; null where
            no answer brought its time.
        told, kept_blind: how often they agreed with the model where they saw its suggestion, and where they asked and
            were not told; of all time.
    """

    name: str
    role: Role
    labels: int
    verdicts: int
    skips: int
    flags: int
    taken_back: int
    extra_votes: int
    seconds_per_answer: float | None
    answers_per_minute: float | None
    active_s: float
    first_at: datetime
    last_at: datetime
    told: ShareFields
    kept_blind: ShareFields


class TeamAnswer(Answer):
    """Who answered something in these days, by name."""

    days: int
    people: list[PersonFields]


@ROUTES.add(
    "GET", "/projects/<project>/people", role=Role.REVIEWER, query=TeamQuery, answers={200: TeamAnswer}, etag=True
)
def show_team(call: Call, project: str, query: TeamQuery) -> Reply:
    """What each person of the project did in the last days, and how fast. How well they agree: `…/agreement`."""
    team = call.services.people.team(project, query.days)
    people = [_person(person, team.pulls.get(person.user_id)) for person in team.people]
    return Reply(TeamAnswer(days=team.days, people=people))


def _person(person: PersonWork, pull: Pull | None) -> PersonFields:
    per_answer = person.seconds_per_answer
    return PersonFields(
        name=person.name,
        role=person.role,
        labels=person.labels,
        verdicts=person.verdicts,
        skips=person.skips,
        flags=person.flags,
        taken_back=person.taken_back,
        extra_votes=person.extra_votes,
        seconds_per_answer=per_answer,
        answers_per_minute=60 / per_answer if per_answer else None,
        active_s=person.active_s,
        first_at=person.first_at,
        last_at=person.last_at,
        told=_share(NOBODY if pull is None else pull.told),
        kept_blind=_share(NOBODY if pull is None else pull.kept_blind),
    )


def _share(share: Share) -> ShareFields:
    return ShareFields(answered=share.answered, agreed=share.agreed)
