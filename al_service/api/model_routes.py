"""The model registry: list, show, promote, roll back, compare, download."""

from collections.abc import Iterable
from typing import Any

from flask import Response, request

from al_service.api.model_answers import (
    ComparisonAnswer,
    ModelAnswer,
    ModelDetailFields,
    ModelFields,
    ModelsAnswer,
    PairFields,
    PromotionFields,
)
from al_service.api.requests import CompareQuery, ModelsQuery, ReasonBody
from al_service.api.routing import Call, FileBytes, Reply, Routes
from al_service.api.shapes import CLASS_METRICS
from al_service.domain.records import ModelRecord, Project, Promotion
from al_service.domain.states import Role
from al_service.loop.assignments import active_project
from al_service.loop.models import all_metrics
from al_service.loop.ports import Transaction

PROMOTIONS_SHOWN = 100

ROUTES = Routes()


@ROUTES.add(
    "GET", "/projects/<project>/models", role=Role.VIEWER, query=ModelsQuery, answers={200: ModelsAnswer}, etag=True
)
def list_models(call: Call, project: str, query: ModelsQuery) -> Reply:
    """Models of a project, the newest `limit`, at a glance, and which one is the project's model since when."""
    with call.services.store.read() as tx:
        project_id = active_project(tx, project).id
        promoted = tx.models.find_promoted(project_id)
        promoted_id = promoted.id if promoted else None
        history = tx.models.promotions(project_id)[-PROMOTIONS_SHOWN:]
        answer = ModelsAnswer(
            models=[_fields(model, promoted_id) for model in tx.models.all(project_id, limit=query.limit)],
            promoted=promoted_id,
            promotions=_promotions(tx, reversed(history)),
        )
    return Reply(answer)


@ROUTES.add("GET", "/models/<int:model_id>", role=Role.VIEWER, answers={200: ModelAnswer}, etag=True)
def show_model(call: Call, model_id: int) -> Reply:
    """One model with all its metrics and when it was the project's."""
    with call.services.store.read() as tx:
        return Reply(_detail(tx, tx.models.get(model_id)))


@ROUTES.add("GET", "/models/<int:model_id>/file", role=Role.VIEWER, answers={200: FileBytes}, etag=True)
def download_model(call: Call, model_id: int) -> Response:
    """The checkpoint as it is stored (safetensors); for a head alone, `backbone` says which model's file it needs."""
    with call.services.store.read() as tx:
        model = tx.models.get(model_id)
        project = tx.projects.get(model.project_id)
    response = Response(mimetype="application/octet-stream")
    # What lies under a model's name never changes.
    response.set_etag(f"model-{model.id}-{model.model_hash[:16]}")
    if not request.if_none_match.contains_weak(response.get_etag()[0] or ""):
        response.data = call.services.artifacts.get(model.artifact)
    response.headers["Content-Disposition"] = f'attachment; filename="{_file_name(project, model)}"'
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


@ROUTES.add("POST", "/models/<int:model_id>/promote", role=Role.ENGINEER, body=ReasonBody, answers={200: ModelAnswer})
def promote_model(call: Call, model_id: int, body: ReasonBody) -> Reply:
    """Make this the project's model; nothing changes when it is that already."""
    call.services.models.promote(model_id, reason=body.reason, user_id=call.user.id)
    with call.services.store.read() as tx:
        return Reply(_detail(tx, tx.models.get(model_id)))


@ROUTES.add(
    "POST", "/projects/<project>/models/rollback", role=Role.ENGINEER, body=ReasonBody, answers={200: ModelAnswer}
)
def roll_back_model(call: Call, project: str, body: ReasonBody) -> Reply:
    """Go back to the model that was promoted before the current one. 409 when there was none."""
    model = call.services.models.roll_back(project, reason=body.reason, user_id=call.user.id)
    with call.services.store.read() as tx:
        return Reply(_detail(tx, model))


@ROUTES.add(
    "GET",
    "/projects/<project>/models/compare",
    role=Role.VIEWER,
    query=CompareQuery,
    answers={200: ComparisonAnswer},
    etag=True,
)
def compare_models(call: Call, project: str, query: CompareQuery) -> Reply:
    """Two models side by side, in numbers and class by class; `words` says whether these may be compared at all."""
    found = call.services.models.compare(project, query.a, query.b)
    with call.services.store.read() as tx:
        promoted = tx.models.find_promoted(found.a.project_id)
    promoted_id = promoted.id if promoted else None
    answer = ComparisonAnswer(
        a=_fields(found.a, promoted_id),
        b=_fields(found.b, promoted_id),
        same_evaluation=found.same_evaluation,
        same_data=found.same_data,
        words=found.words,
        metrics={name: PairFields(**pair) for name, pair in found.metrics.items()},
        per_class={
            class_name: {name: PairFields(**pair) for name, pair in pairs.items()}
            for class_name, pairs in found.per_class.items()
        },
    )
    return Reply(answer)


def _values(model: ModelRecord, promoted_id: int | None) -> dict[str, Any]:
    return {
        "id": model.id,
        "name": model.name,
        "kind": model.kind,
        "promoted": model.id == promoted_id,
        "round": model.round_number,
        "network": model.network_name,
        "image_px": model.image_px,
        "classes": list(model.class_names),
        "model_hash": model.model_hash,
        "data_fingerprint": model.data_fingerprint,
        "byte_count": model.byte_count,
        "backbone": model.backbone_id,
        "created_at": model.created_at,
    }


def _fields(model: ModelRecord, promoted_id: int | None) -> ModelFields:
    metrics = {name: value for name, value in model.metrics.items() if name not in CLASS_METRICS}
    return ModelFields(**_values(model, promoted_id), metrics=metrics)


def _detail(tx: Transaction, model: ModelRecord) -> ModelAnswer:
    promoted = tx.models.find_promoted(model.project_id)
    own = [item for item in tx.models.promotions(model.project_id) if item.model_id == model.id]
    fields = ModelDetailFields(
        **_values(model, promoted.id if promoted else None),
        metrics=all_metrics(tx, model),
        project=tx.projects.get(model.project_id).name,
        promotions=_promotions(tx, own),
    )
    return ModelAnswer(model=fields)


def _promotions(tx: Transaction, history: Iterable[Promotion]) -> list[PromotionFields]:
    names: dict[int, str] = {}
    found = []
    for item in history:
        if item.user_id is not None and item.user_id not in names:
            names[item.user_id] = tx.accounts.get_user(item.user_id).name
        user = names[item.user_id] if item.user_id is not None else None
        found.append(
            PromotionFields(model=item.model_id, action=item.action, user=user, reason=item.reason, at=item.at)
        )
    return found


def _file_name(project: Project, model: ModelRecord) -> str:
    # Project names are letters, digits and a few signs that need no quoting.
    return f"{project.name}-model-{model.id}.safetensors"
