"""What callers send, as models: JSON bodies are strict (no "5" for 5, no unknown keys), query strings are text."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from al_service.domain.review import ReviewKind
from al_service.domain.states import Role
from al_service.loop.studies import SEEDS

ID_MAX = 2**63 - 1
IDEMPOTENCY_KEY_LENGTH_MAX = 200
Id = Annotated[int, Field(ge=1, le=ID_MAX)]


class Body(BaseModel):
    """A JSON body. Text with the character NUL is refused everywhere: databases cannot store it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="after")
    def _without_nul(self) -> Self:
        if _has_nul(self.model_dump()):
            raise ValueError("text must not contain the character U+0000")
        return self


class Query(BaseModel):
    """A query string."""

    model_config = ConfigDict(extra="forbid")


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)


class SignInBody(Body):
    """Name and password of a person."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class LeaseBody(Body):
    """How many samples to hold, 1 to 100; look_alike: in groups of look-alikes instead of one by one."""

    count: int = 5
    look_alike: bool = False


class ReleaseBody(Body):
    """Leases to give back; csrf_token because a beacon cannot set headers."""

    ids: list[Id] = Field(max_length=1000)
    csrf_token: str | None = None


class AnnotationBody(Body):
    """Exactly one of class_name, skip and flag."""

    class_name: str | None = None
    skip: bool = False
    flag: bool = False
    client_key: str | None = None
    lead_time: float | None = Field(None, description="seconds the person looked at the image")


class ProjectBody(Body):
    """A new project; classes may be empty when an import with labels will bring them."""

    name: str
    classes: list[str] = []
    settings: dict[str, Any] = {}


class ProjectChangeBody(Body):
    """Settings to change; they count from the next round on. seen: as the caller saw them; 409 where that is over."""

    settings: dict[str, Any]
    seen: dict[str, Any] = {}


class UploadBody(Body):
    """A file that will come in parts; fingerprint: any text that is equal for equal content only."""

    name: str = Field(description="of the file or folder, for people")
    byte_count: int = Field(ge=1, le=ID_MAX)
    file_count: int | None = Field(None, ge=1, le=ID_MAX, description="null where it is not known (an archive)")
    fingerprint: str


class ImportBody(Body):
    """Where the images are, as the workers see it or `upload:ID`, and what to do with labels."""

    location: str = Field(min_length=1)
    labels: str = Field("auto", description="auto, column, folder or none")
    use_labels: str = Field("all", description="all, evaluation or none")
    split: str | None = Field(None, description="pool, train or test; null: as the source says")


class UserBody(Body):
    """A new person; without a password they can only use tokens."""

    name: str
    role: Role = Field(strict=False)
    password: str | None = None


class UserChangeBody(Body):
    """What to change of a person; a new password or is_active=false ends their sessions."""

    role: Role | None = Field(None, strict=False)
    password: str | None = None
    is_active: bool | None = None


class TokenBody(Body):
    """A new token; user: whose (default: the caller's), role: at most theirs."""

    user: str | None = None
    role: Role | None = Field(None, strict=False)
    name: str = Field("", max_length=200)
    days: float = 90


class InvitationBody(Body):
    """Whom to invite: the role, how long the link is good, for how many people, and a note for yourself."""

    role: Role = Field(strict=False)
    days: float = 7
    uses: int = 1
    note: str = Field("", max_length=200)


OwnKeys = Annotated[
    dict[Annotated[str, Field(max_length=40)], Annotated[str, Field(max_length=40)]], Field(max_length=3000)
]


class OwnKeysBody(Body):
    """Keys that differ from the standard: by action, and by the class's position; "" for none."""

    actions: OwnKeys = {}
    classes: OwnKeys = {}


class OwnSettingsBody(Body):
    """What to set; null leaves it as it is."""

    theme: Literal["system", "light", "dark"] | None = None
    keys: OwnKeysBody | None = None


class SecretBody(Body):
    """What stands behind the # of a link."""

    secret: str = Field(min_length=1, max_length=200)


class JoinBody(SecretBody):
    """A link with the name and password that its person has chosen."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000)


class ReasonBody(Body):
    """Why, in a few words, for the history."""

    reason: str = Field("", max_length=1000)


class ModelsQuery(Query):
    """How many of the newest models."""

    limit: int = Field(200, ge=1, le=1000)


class CompareQuery(Query):
    """Two models, each by its id or the word promoted."""

    a: str = Field(min_length=1)
    b: str = Field(min_length=1)


class StudyBody(Body):
    """What to compare; null is what the service chooses by the labels that are there."""

    strategies: list[str] | None = Field(None, max_length=100, description="beside random, which is always there")
    seeds: int = Field(SEEDS, description="repetitions of everything, 1 to 100")
    initial: int | None = Field(None, description="labels drawn at random to begin with; 0 is an empty start")
    batch: int | None = Field(None, description="labels chosen at a time")
    budget: int | None = Field(None, description="labels at the end")
    random_budget: int | None = Field(None, description="labels at the end of the random runs")


class StudiesQuery(Query):
    """How many of the newest studies."""

    limit: int = Field(100, ge=1, le=1000)


class LimitQuery(Query):
    """How many of the newest."""

    limit: int = Field(20, ge=1, le=200)


class VerdictBody(Body):
    """A reviewer's word on a sample; version: the label_version they saw, 0 for none."""

    class_name: str
    version: int = Field(ge=0, le=ID_MAX)
    client_key: str


class SampleVerdictBody(VerdictBody):
    """As VerdictBody, for one of many."""

    sample_id: Id


class VerdictsBody(Body):
    """Verdicts on many samples."""

    labels: list[SampleVerdictBody] = Field(min_length=1, max_length=200)


class TaskBody(Body):
    """Samples to ask for; user: one person (also if they answered before); priority -9 to 9, higher is sooner."""

    sample_ids: list[Id] = Field(min_length=1, max_length=1000)
    user: str | None = None
    answers: int | None = Field(None, description="people who answer each of them, 1 to 20; null: as many as before")
    priority: int = 0


class TasksQuery(Query):
    """A page of what was asked for by hand: those with an id above `after`."""

    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(0, ge=0, le=ID_MAX)


class GoldQuery(Query):
    """A page of gold: samples with an id above `after`."""

    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(0, ge=0, le=ID_MAX)


class ReviewQuery(Query):
    """Which samples to look through; filters narrow each other, and without any it is everything with an answer."""

    kind: ReviewKind = Field(
        ReviewKind.ANSWERED, description="answered, labelled, disputed, suspicious, reviewed, flagged, skipped or gold"
    )
    class_name: str | None = Field(None, description="what is believed")
    annotator: str | None = Field(None, description="who gave an answer")
    round: int | None = Field(None, ge=0, le=ID_MAX, description="which chose the sample")
    limit: int = Field(60, ge=1, le=200)
    after: str | None = Field(None, description="`next` of the page before")


class FlaggedQuery(Query):
    """A page of flagged samples: those with an id above `after`."""

    limit: int = Field(100, ge=1, le=1000)
    after: int = Field(0, ge=0, le=ID_MAX)


class AuditQuery(Query):
    """How many of the newest entries."""

    limit: int = Field(100, ge=1, le=1000)


class RoundsQuery(Query):
    """How many of the newest rounds."""

    limit: int = Field(200, ge=1, le=1000)


class PageQuery(Query):
    """Which part of a round's batch."""

    limit: int = Field(100, ge=0, le=1000)
    offset: int = Field(0, ge=0, le=ID_MAX)


class ImageQuery(Query):
    """Longest side in pixels (one of IMAGE_SIZES; absent: the original bytes); v only tells browsers versions apart."""

    size: int | None = Field(None, description="64, 128, 256, 512, 1024 or 2048; absent: the original bytes")
    v: str | None = None
