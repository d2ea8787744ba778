"""What the caller has set for themselves. The pages keep it in the browser too, and send later what changed offline."""

from typing import Any

from al_service.api.answers import OwnKeysFields, OwnSettingsAnswer
from al_service.api.requests import OwnSettingsBody
from al_service.api.routing import Call, Reply, Routes
from al_service.domain.states import Role

ROUTES = Routes()


@ROUTES.add("GET", "/me/settings", role=Role.VIEWER, answers={200: OwnSettingsAnswer})
def show_own_settings(call: Call) -> Reply:
    """Theme and keys of the caller; null for what was never set."""
    return Reply(_answer(call.services.own_settings.get(call.user.id)))


@ROUTES.add("PATCH", "/me/settings", role=Role.VIEWER, body=OwnSettingsBody, answers={200: OwnSettingsAnswer})
def change_own_settings(call: Call, body: OwnSettingsBody) -> Reply:
    """Set what is given; null leaves it as it is."""
    return Reply(_answer(call.services.own_settings.change(call.user.id, body.model_dump(exclude_none=True))))


def _answer(values: dict[str, Any]) -> OwnSettingsAnswer:
    keys = values.get("keys")
    return OwnSettingsAnswer(theme=values.get("theme"), keys=None if keys is None else OwnKeysFields(**keys))
