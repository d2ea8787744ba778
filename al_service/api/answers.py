"""What callers get, as models: the document is made of them and every answer passes through them.

Here: sessions, the people's queue, samples, accounts, the audit log. Rounds, jobs and projects are in loop_answers.py.
"""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, RootModel

from al_service.domain.states import AnnotationKind, Role


class Answer(BaseModel):
    """A JSON answer with exactly these keys."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Document(RootModel[dict[str, Any]]):
    """An OpenAPI document."""


class ErrorFields(Answer):
    """What went wrong; `code` is stable, `message` is for people."""

    code: str
    message: str
    details: dict[str, Any]
    request_id: str


class ErrorAnswer(Answer):
    """The one error body."""

    error: ErrorFields


class UserFields(Answer):
    """A person."""

    id: int
    name: str
    role: Role


class SessionAnswer(Answer):
    """Who asks; csrf_token goes into X-CSRF-Token with every change (null for bearer tokens, which need none)."""

    user: UserFields
    csrf_token: str | None


class AssignmentFields(Answer):
    """A sample leased to the caller; round is null where somebody asked for it before the first round.

    look_alike: samples of a round that look alike share a number; copy_group: near-copies of each other do. Null: none.
    """

    id: int
    sample_id: int
    image_url: str
    width: int
    height: int
    lease_expires_at: datetime
    reason: str
    reason_code: str
    suggestion: None = None
    round: int | None
    look_alike: int | None
    copy_group: int | None


class WhyEmptyFields(Answer):
    """Why there is nothing to do right now, and when to ask again."""

    code: str
    text: str
    counts: dict[str, int]
    retry_after_s: float


class LeaseAnswer(Answer):
    """The samples the caller holds now, in the selector's order.

    classes_version: changes whenever the project's classes do, so that a page sees that its buttons are old.
    groups_waiting: groups of look-alikes that wait for answers, those in people's hands included; null unless the
    request asked for look_alike.
    """

    assignments: list[AssignmentFields]
    why_empty: WhyEmptyFields | None
    classes_version: str
    groups_waiting: int | None


class AssignmentAnswer(Answer):
    """One lease."""

    assignment: AssignmentFields


class AnnotationFields(Answer):
    """One row of the log of answers; was_cancelled means skipped."""

    id: int
    sample_id: int
    kind: AnnotationKind
    class_name: str | None
    was_cancelled: bool
    completed_by: str
    lead_time: float | None
    client_key: str
    created_at: datetime
    is_extra_vote: bool
    model_version: str | None
    undone: bool


class RoundProgressFields(Answer):
    """How far people are with a round; answered_ahead: labels beyond its batch, given while the next one is at work."""

    answered: int
    asked: int
    answered_ahead: int
    round: int


class AnnotationAnswer(Answer):
    """The stored answer, and how far the current round is."""

    annotation: AnnotationFields
    progress: RoundProgressFields | None


class UndoAnswer(Answer):
    """The row that took the answer back, and a fresh lease on the sample where there is one."""

    annotation: AnnotationFields
    assignment: AssignmentFields | None


class OwnAnnotationFields(AnnotationFields):
    """As AnnotationFields, with the image."""

    image_url: str


class OwnAnnotationsAnswer(Answer):
    """The caller's answers that are not undone, newest first."""

    annotations: list[OwnAnnotationFields]


class SampleFields(Answer):
    """What anybody may know of a sample: nothing that gives the label away."""

    id: int
    width: int
    height: int
    format: str
    byte_count: int
    sha256: str
    created_at: datetime
    image_url: str


class SampleDetailFields(SampleFields):
    """As SampleFields, with what only reviewers see: folder names leak labels."""

    project: str
    external_id: str
    split: str
    state: str
    class_name: str | None
    label_version: int | None
    metadata: dict[str, Any]


class SampleAnswer(Answer):
    """One sample."""

    sample: SampleDetailFields | SampleFields


class OwnKeysFields(Answer):
    """Keys that differ from the standard: by action, and by the class's position; "" for none."""

    actions: dict[str, str]
    classes: dict[str, str]


class OwnSettingsAnswer(Answer):
    """What the caller has set for themselves; null for what was never set."""

    theme: str | None
    keys: OwnKeysFields | None


class AccountFields(UserFields):
    """A person, for admins."""

    is_active: bool
    created_at: datetime


class AccountAnswer(Answer):
    """One person."""

    user: AccountFields


class AccountsAnswer(Answer):
    """All people by name."""

    users: list[AccountFields]


class TokenFields(Answer):
    """An API token, without its secret."""

    id: int
    name: str
    user: str
    role: Role
    expires_at: datetime
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None


class TokensAnswer(Answer):
    """Tokens, newest first."""

    tokens: list[TokenFields]


class NewTokenAnswer(Answer):
    """A new token; the secret is shown this once."""

    token: TokenFields
    secret: str


class AuditFields(Answer):
    """One entry of the audit log; user: who did it, null when nobody was signed in (the command line, the loop)."""

    id: int
    user: str | None
    action: str
    subject: str
    details: dict[str, Any]
    at: datetime


class AuditAnswer(Answer):
    """Entries of the audit log, newest first."""

    entries: list[AuditFields]
