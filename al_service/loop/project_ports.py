"""Rows of projects, their classes, and accounts, as the loop needs them; each is a part of `ports.Transaction`."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

from al_service.domain.class_book import ClassBook
from al_service.domain.invitations import Invitation
from al_service.domain.project_config import ProjectConfig
from al_service.domain.records import (
    AskedAgain,
    Project,
    Relabelling,
    Token,
    User,
)
from al_service.domain.states import (
    Role,
    Split,
)


class ProjectRows(Protocol):
    """Projects and their classes."""

    def add(self, name: str, class_names: Sequence[str], config: ProjectConfig, now: datetime) -> Project:
        """Store a new project. Raises ConflictError when the name is taken."""

    def find(self, name: str) -> Project | None:
        """The project of that name (archived ones too), or None."""

    def get(self, project_id: int) -> Project:
        """The project, or NotFoundError."""

    def all(self, *, archived: bool = False) -> list[Project]:
        """Projects by name; archived ones only when asked."""

    def find_locked(self, name: str) -> Project | None:
        """As `find`, read after taking the project's lock."""

    def lock(self, project_id: int) -> None:
        """Make other writers of this project wait until this transaction ends (SQLite: they already do)."""

    def add_classes(self, project_id: int, class_names: Sequence[str], *, split_from_id: int | None = None) -> None:
        """Append classes whose name no class has or had, in the given order; positions never change."""

    def class_book(self, project_id: int) -> ClassBook:
        """Every class that the project has or had, with all names."""

    def set_config(self, project_id: int, config: ProjectConfig) -> None:
        """Replace the settings; running rounds keep their own copy."""

    def set_archived(self, project_id: int, now: datetime | None) -> None:
        """Archive (a time) or bring back (None)."""


class ClassRows(Protocol):
    """What a class holds, and the changes of classes. `ProjectRows.class_book` says which there are."""

    def label_counts(self, project_id: int) -> dict[int, dict[Split, int]]:
        """Labelled samples by class and split; classes and splits without any are left out."""

    def vote_count(self, project_id: int, class_ids: Collection[int]) -> int:
        """Votes for one of these classes that nobody took back."""

    def gold_count(self, class_id: int) -> int:
        """Samples that are gold of this class."""

    def relabelling(self, project_id: int) -> dict[int, Relabelling]:
        """Of each class that was split: how many images were asked again, and how many of them still wait."""

    def rename(self, project_id: int, class_id: int, old_name: str, new_name: str) -> None:
        """Give a class a name that none has, that it had itself before, or that one merged into it has; the old name
        goes on to mean it.
        """

    def retire(self, class_id: int, now: datetime, *, into_id: int | None = None) -> None:
        """The class is none of today's any more. into_id: what it and all that was merged into it means from now on."""

    def move_labels(self, project_id: int, class_id: int, into_id: int, now: datetime) -> None:
        """Labels, gold and examples of one class become those of another; each label is a version further."""

    def settled_with_votes_of_both(self, project_id: int, first: Collection[int], second: Collection[int]) -> list[int]:
        """Labelled and flagged samples with votes for a class of the first and of the second kind, by id."""

    def forget_skills(self, project_id: int) -> None:
        """How well people label was estimated with other classes; it is estimated anew."""

    def settled_by(self, project_id: int, class_ids: Collection[int]) -> list[AskedAgain]:
        """Samples that are labelled, or flagged as votes disagree, with votes for one of these classes, by content
        hash.
        """

    def take_back_votes(self, project_id: int, class_ids: Collection[int], user_id: int, now: datetime) -> None:
        """Append an undo, in this person's name, for every vote for these classes."""

    def unlabel(self, sample_ids: Sequence[int]) -> None:
        """These labelled samples have no label any more."""

    def ask_again(self, project_id: int, rows: Sequence[dict[str, Any]]) -> int:
        """Put these samples into the queue, in this order, behind other wishes and before the batch; how many. One that
        an open selection asks for already is passed over; leases of before that ask nobody any more are given back.

        Args:
            rows: sample_id, reason, overlap (answers that are missing), max_skips."""

    def drop_gold(self, project_id: int, class_id: int) -> int:
        """Gold of this class is none any more, and nobody is asked for it as such; how many. Examples of it are none
        any more either."""


class AccountRows(Protocol):
    """Users, tokens, the audit log."""

    def add_user(self, name: str, role: Role, password_hash: str | None, now: datetime) -> User:
        """Store a user. Raises ConflictError when the name is taken."""

    def find_user_locked(self, name: str) -> User | None:
        """As `find_user`; nobody changes the person until this transaction ends."""

    def find_user(self, name: str) -> User | None:
        """The user of that name, or None."""

    def get_user(self, user_id: int) -> User:
        """The user, or NotFoundError."""

    def find_signed_in(self, user_id: int, session_id: str = "") -> Callable[[], tuple[User, str | None] | None]:
        """The user of that id with the stored password hash; None when unknown, or when that session was ended. One
        statement, because every request asks; asked at once, it may be fetched later."""

    def end_session(self, session_id: str, now: datetime, *, forget_before: datetime) -> bool:
        """End a session of a browser, once, and forget those that ended so long ago; True when it was open."""

    def lock_admins(self) -> None:
        """Make others that call this wait until this transaction ends, so that the last admin cannot be lost."""

    def users(self) -> list[User]:
        """All users by name."""

    def password_hash(self, user_id: int) -> str | None:
        """The stored hash, or None for users who cannot sign in with a password."""

    def set_user(
        self, user_id: int, *, role: Role | None = None, password_hash: str | None = None, is_active: bool | None = None
    ) -> None:
        """Change the given fields."""

    def add_token(
        self, *, user_id: int, name: str, role: Role, token_hash: str, expires_at: datetime, now: datetime
    ) -> Token:
        """Store a token's hash."""

    def find_token(self, token_hash: str) -> tuple[Token, User] | None:
        """The token with that hash (also expired or revoked ones) and whose it is, or None."""

    def tokens(self, user_id: int | None = None) -> list[Token]:
        """Tokens, newest first."""

    def touch_token(self, token_id: int, now: datetime) -> None:
        """Note the last use."""

    def revoke_token(self, token_id: int, now: datetime) -> None:
        """End a token."""

    def add_audit(
        self, *, user_id: int | None, action: str, subject: str, details: dict[str, Any], now: datetime
    ) -> None:
        """Append to the audit log."""

    def audit(self, limit: int = 100) -> list[dict[str, Any]]:
        """Newest entries of the audit log first: {id, user, action, subject, details, at}."""


class InvitationRows(Protocol):
    """Links by which people join or choose a new password; see `loop.invitations`."""

    def add(
        self,
        *,
        role: Role,
        user_id: int | None,
        made_by_id: int,
        note: str,
        secret_hash: str,
        uses_max: int,
        expires_at: datetime,
        now: datetime,
    ) -> Invitation:
        """Store a link's hash."""

    def get(self, invitation_id: int) -> Invitation:
        """The link, or NotFoundError."""

    def find_by_hash(self, secret_hash: str) -> Invitation | None:
        """The link with that hash (also used, expired and revoked ones), or None."""

    def all(self, made_by_id: int | None = None) -> list[Invitation]:
        """Links, newest first."""

    def use(self, invitation_id: int, now: datetime) -> bool:
        """Count one use; False when it is used up, expired or revoked. Of several at once no more win than may."""

    def revoke(self, now: datetime, *, invitation_id: int | None = None, user_id: int | None = None) -> None:
        """End this link, or every link that sets this person's password; one that was ended before keeps its time."""


class OwnSettingRows(Protocol):
    """What people have set for themselves: theme, keys."""

    def get(self, user_id: int) -> dict[str, Any]:
        """What this person has set; empty when nothing."""

    def put(self, user_id: int, values: dict[str, Any], now: datetime) -> None:
        """Replace it."""
