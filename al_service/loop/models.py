"""The model registry: which models a project has, which one is the project's model, and how that changes.

A project's model is the one that the newest promotion names. Promotions are only ever appended; rolling back appends
one more. A round that fails, or whose model is worse, changes nothing: the last good model stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from al_service.domain.model_kinds import ModelKind, PromotionAction
from al_service.domain.records import ModelRecord, Promotion, Round
from al_service.errors import ConflictError, InvalidInputError, NotFoundError
from al_service.loop.assignments import active_project, locked_project
from al_service.loop.ports import Store, Transaction

#: What one may say instead of the id of the project's model.
PROMOTED = "promoted"
#: Metrics that are not about quality.
_SECONDS_SUFFIX = "_seconds"


class NoPromotedModelError(NotFoundError):
    """The project has no model yet."""

    code = "no_promoted_model"


class NothingToRollBackError(ConflictError):
    """No other model was the project's before this one."""

    code = "nothing_to_roll_back"


@dataclass(frozen=True)
class Comparison:
    """Two models side by side; differences are b - a.

    Attributes:
        same_evaluation: True when both were measured on the very same images and labels, False when surely not, None
            when nobody knows.
        words: what to make of that, for people.
        metrics: name -> {"a", "b", "difference"}, for every number that both have.
        per_class: class name -> measure -> the same.
    """

    a: ModelRecord
    b: ModelRecord
    same_evaluation: bool | None
    same_data: bool | None
    words: str
    metrics: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, dict[str, float]]]


class Models:
    """List, register, promote, roll back, compare. Thread-safe: holds no state but its collaborators."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    def all(self, project_name: str, *, limit: int = 200) -> list[ModelRecord]:
        """Models of a project, newest first."""
        with self._store.read() as tx:
            return tx.models.all(active_project(tx, project_name).id, limit=limit)

    def history(self, project_name: str) -> list[Promotion]:
        """Promotions of a project, oldest first."""
        with self._store.read() as tx:
            return tx.models.promotions(active_project(tx, project_name).id)

    def find(self, project_name: str, word: str) -> ModelRecord:
        """The model with that id, or the project's model for the word "promoted".

        Raises:
            NotFoundError: the project has no such model.
            InvalidInputError: the word is neither.
        """
        with self._store.read() as tx:
            return find_model(tx, active_project(tx, project_name).id, word)

    def check_registrable(self, project_name: str, model: ModelRecord) -> None:
        """Raise what `register` would, before the model's file is stored.

        Raises:
            NotFoundError: no such project.
            InvalidInputError: as `register`.
        """
        _check_registrable(model)
        with self._store.read() as tx:
            active_project(tx, project_name)

    def register(self, project_name: str, model: ModelRecord, *, user_id: int | None = None) -> ModelRecord:
        """Store the record of an imported model or a backbone, whose file is stored already.

        Args:
            model: its project_id and created_at are ignored.

        Raises:
            InvalidInputError: it is of a round (these come with the round), or its kind and classes do not fit.
        """
        _check_registrable(model)
        now = self._clock()
        with self._store.write() as tx:
            project = locked_project(tx, project_name)
            stored = tx.models.add(replace(model, project_id=project.id, created_at=now))
            _audit(tx, "model.register", project.name, stored, user_id, now)
        return stored

    def promote(self, model_id: int, *, reason: str = "", user_id: int | None = None) -> ModelRecord:
        """Make this the project's model; nothing changes when it is that already.

        Raises:
            InvalidInputError: a backbone, or a model of classes that the project does not have.
        """
        now = self._clock()
        with self._store.write() as tx:
            model = tx.models.get(model_id)
            project = locked_project(tx, tx.projects.get(model.project_id).name)
            book = tx.projects.class_book(project.id)
            # One that was renamed since the model was trained is the same class.
            known = [name for name in model.class_names if (found := book.named(name)) and not found.retired_at]
            check_promotable(model, known)
            current = tx.models.find_promoted(project.id)
            if current is None or current.id != model.id:
                tx.models.add_promotion(model, PromotionAction.PROMOTE, user_id=user_id, reason=reason, now=now)
                _audit(tx, "model.promote", project.name, model, user_id, now)
        return model

    def roll_back(self, project_name: str, *, reason: str = "", user_id: int | None = None) -> ModelRecord:
        """Make the model that was promoted before the current one the project's model again.

        Rolling back twice goes two promotions back.

        Raises:
            NothingToRollBackError: there was none before.
        """
        now = self._clock()
        with self._store.write() as tx:
            project = locked_project(tx, project_name)
            before = promotion_stack(tx.models.promotions(project.id))
            if len(before) < 2:
                which = f"before model {before[0]}" if before else "yet"
                raise NothingToRollBackError(f"no model was promoted in {project.name} {which}; promote one instead")
            model = tx.models.get(before[-2])
            tx.models.add_promotion(model, PromotionAction.ROLLBACK, user_id=user_id, reason=reason, now=now)
            _audit(tx, "model.rollback", project.name, model, user_id, now)
        return model

    def compare(self, project_name: str, a: str, b: str) -> Comparison:
        """Two models of a project side by side; each by its id or the word "promoted".

        Raises:
            NotFoundError, InvalidInputError: as `find`.
        """
        with self._store.read() as tx:
            project_id = active_project(tx, project_name).id
            first, second = find_model(tx, project_id, a), find_model(tx, project_id, b)
            return compare(first, second, all_metrics(tx, first), all_metrics(tx, second))


def _check_registrable(model: ModelRecord) -> None:
    if model.kind is ModelKind.ROUND:
        raise InvalidInputError("models of rounds are registered by their round, not by hand")
    if (model.kind is ModelKind.BACKBONE) != (not model.class_names):
        raise InvalidInputError(f"a model of kind {model.kind} has {len(model.class_names)} classes")
    if not model.name or len(model.name) > 200 or not model.name.isprintable():
        raise InvalidInputError(f"model name {model.name!r}: use 1 to 200 printable characters")


def find_model(tx: Transaction, project_id: int, word: str) -> ModelRecord:
    """As `Models.find`."""
    if word == PROMOTED:
        promoted = tx.models.find_promoted(project_id)
        if promoted is None:
            raise NoPromotedModelError("the project has no promoted model yet")
        return promoted
    if not (word.isascii() and word.isdecimal() and len(word) < 19):
        raise InvalidInputError(f"model {word!r} is neither an id nor the word {PROMOTED!r}")
    model = tx.models.get(int(word))
    if model.project_id != project_id:
        raise NotFoundError(f"no model {word} in this project", model=int(word))
    return model


def keep_round_model(tx: Transaction, record: Round, model: ModelRecord, now: datetime) -> ModelRecord:
    """Register the model that a round trained, and make it the project's if the round's settings say so.

    Called inside the transaction that stores the round's result; what the model's record leaves open is the round's.
    """
    stored = tx.models.add(
        replace(
            model,
            kind=ModelKind.ROUND,
            round_id=record.id,
            name=model.name or f"round {record.number}",
            network_name=model.network_name or record.config.network,
            class_names=model.class_names or record.class_names,
        )
    )
    promote_if_due(tx, record, stored, now)
    return stored


def promote_if_due(tx: Transaction, record: Round, model: ModelRecord, now: datetime) -> Promotion | None:
    """Make a round's model the project's if the round's setting `promote` says so; the promotion, or None."""
    promoted = tx.models.find_promoted(record.project_id)
    history = tx.models.promotions(record.project_id)
    by_person = bool(history) and history[-1].action is not PromotionAction.AUTO
    reason = why_promote(record.config.promote, model, promoted, chosen_by_person=by_person)
    if reason is None:
        return None
    return tx.models.add_promotion(model, PromotionAction.AUTO, user_id=None, reason=reason, now=now)


def why_promote(
    setting: str, model: ModelRecord, promoted: ModelRecord | None, *, chosen_by_person: bool
) -> str | None:
    """Why a round's model becomes the project's, or None when the promoted one stays.

    `if_better`: its accuracy on the evaluation set is not lower; the newer one has seen more labels, so ties are its.
    Where one of the two was not measured it becomes the project's too, unless a person chose the promoted one.
    """
    if setting == "never":
        return None
    if setting == "always":
        return "always (project setting)"
    if promoted is None:
        return "first model"
    accuracy, before = model.metrics.get("accuracy"), promoted.metrics.get("accuracy")
    if accuracy is None or before is None:
        return None if chosen_by_person else "newer, and nothing to compare accuracy on"
    if accuracy < before:
        return None
    where = {
        True: "the same evaluation set",
        False: "other evaluation sets",
        None: "the evaluation set",
    }[_same_evaluation(model.metrics, promoted.metrics)]
    return f"accuracy {accuracy:.4f}, before {before:.4f}, on {where}"


def promotion_stack(history: Sequence[Promotion]) -> list[int]:
    """Model ids that rolling back would go through, the current one last.

    A promotion puts one on top, a rollback takes the top away; models that come again directly are one.
    """
    stack: list[int] = []
    for promotion in history:
        if promotion.action is PromotionAction.ROLLBACK:
            stack.pop()
        elif not stack or stack[-1] != promotion.model_id:
            stack.append(promotion.model_id)
    return stack


def check_promotable(model: ModelRecord, class_names: Sequence[str]) -> None:
    """Raises InvalidInputError unless the model can classify for a project of these classes."""
    if model.kind is ModelKind.BACKBONE:
        raise InvalidInputError(f"model {model.id} is a backbone without head; it cannot classify", model=model.id)
    unknown = [name for name in model.class_names if name not in class_names]
    if unknown:
        raise InvalidInputError(
            f"model {model.id} tells {unknown[0]!r} apart, which is no class of the project; a project's model has "
            "only classes of the project",
            model=model.id,
        )


def all_metrics(tx: Transaction, model: ModelRecord) -> dict[str, Any]:
    """Everything measured of a model: what its record has, and its round's metrics if they are of this very model."""
    if model.round_id is None:
        return model.metrics
    record = tx.rounds.get(model.round_id)
    return record.metrics | model.metrics if record.model_hash == model.model_hash else model.metrics


def compare(a: ModelRecord, b: ModelRecord, a_metrics: dict[str, Any], b_metrics: dict[str, Any]) -> Comparison:
    """Two models side by side, by what was measured of each. Pure."""
    same = _same_evaluation(a_metrics, b_metrics)
    words = {
        True: "measured on the same images and labels",
        False: "measured on different evaluation sets: differences also show how these differ",
        None: "nobody knows whether both were measured on the same evaluation set",
    }[same]
    if "accuracy" not in a_metrics or "accuracy" not in b_metrics:
        missing = [str(one.id) for one, found in ((a, a_metrics), (b, b_metrics)) if "accuracy" not in found]
        words = f"not measured on an evaluation set: model {' and '.join(missing)}"
    both = None not in (a.data_fingerprint, b.data_fingerprint)
    a_classes, b_classes = a_metrics.get("per_class", {}), b_metrics.get("per_class", {})
    return Comparison(
        a,
        b,
        same,
        a.data_fingerprint == b.data_fingerprint if both else None,
        words,
        _side_by_side(a_metrics, b_metrics),
        {name: _side_by_side(a_classes[name], b_classes[name]) for name in a_classes if name in b_classes},
    )


def _same_evaluation(a: dict[str, Any], b: dict[str, Any]) -> bool | None:
    prints = a.get("evaluation_fingerprint"), b.get("evaluation_fingerprint")
    if None not in prints:
        return prints[0] == prints[1]
    return False if a.get("evaluation_samples") != b.get("evaluation_samples") else None


def _side_by_side(a: dict[str, Any], b: dict[str, Any]) -> dict[str, dict[str, float]]:
    names = [
        name for name in a if _is_number(a[name]) and _is_number(b.get(name)) and not name.endswith(_SECONDS_SUFFIX)
    ]
    return {name: {"a": a[name], "b": b[name], "difference": b[name] - a[name]} for name in names}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _audit(
    tx: Transaction, action: str, project_name: str, model: ModelRecord, user_id: int | None, now: datetime
) -> None:
    subject = f"{project_name}/model {model.id}"
    tx.accounts.add_audit(user_id=user_id, action=action, subject=subject, details={"name": model.name}, now=now)
