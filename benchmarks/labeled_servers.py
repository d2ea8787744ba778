"""What a labeling client says to each kind of server: ours and the peer, as requests and readings of their replies.

Only the standard library: `load` runs it in the process of the crowd.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class Request:
    """One HTTP request; the route is the name under which its time is counted."""

    route: str
    method: str
    path: str
    body: dict[str, Any] | None = None


@dataclass(frozen=True)
class Held:
    """A sample in a person's hands, and the number by which it is answered."""

    sample_id: int
    answer_to: int


class Queue(Protocol):
    """One project of a server, as its own page speaks to it."""

    csrf_header: str

    def lease(self, count: int) -> Request:
        """Ask for the next samples."""

    def held(self, reply: dict[str, Any]) -> list[Held]:
        """What the reply gave; empty when there is no work."""

    def answer(self, held: Held, class_name: str, key: str) -> Request:
        """Say which class it is."""

    def stored_key(self, reply: dict[str, Any], key: str) -> str:
        """Under which key the acknowledged answer is found again: the one that was sent, or the server's own."""


class OurQueue:
    """`/api/v1/projects/NAME/assignments` and `/api/v1/assignments/ID/annotation`."""

    csrf_header = "X-CSRF-Token"

    def __init__(self, project: str) -> None:
        self._project = project

    def lease(self, count: int) -> Request:
        """As in `Queue`."""
        return Request("next_assignment", "POST", f"/api/v1/projects/{self._project}/assignments", {"count": count})

    def held(self, reply: dict[str, Any]) -> list[Held]:
        """As in `Queue`."""
        return [Held(item["sample_id"], item["id"]) for item in reply["assignments"]]

    def answer(self, held: Held, class_name: str, key: str) -> Request:
        """As in `Queue`."""
        body = {"class_name": class_name, "client_key": key, "lead_time": 1.5}
        return Request("submit", "POST", f"/api/v1/assignments/{held.answer_to}/annotation", body)

    def stored_key(self, reply: dict[str, Any], key: str) -> str:
        """The key that the client made."""
        return key


class LabelStudioQueue:
    """`/api/projects/ID/next` and `/api/tasks/ID/annotations/`; one task at a time."""

    csrf_header = "X-CSRFToken"

    def __init__(self, project: str) -> None:
        self._project = project

    def lease(self, count: int) -> Request:
        """As in `Queue`; what is asked for together comes one by one there, so this is always one."""
        return Request("next_assignment", "GET", f"/api/projects/{self._project}/next")

    def held(self, reply: dict[str, Any]) -> list[Held]:
        """As in `Queue`."""
        return [Held(reply["id"], reply["id"])]

    def answer(self, held: Held, class_name: str, key: str) -> Request:
        """As in `Queue`."""
        choice = {"from_name": "class", "to_name": "image", "type": "choices", "value": {"choices": [class_name]}}
        body = {"result": [choice], "lead_time": 1.5, "project": int(self._project)}
        return Request("submit", "POST", f"/api/tasks/{held.answer_to}/annotations/", body)

    def stored_key(self, reply: dict[str, Any], key: str) -> str:
        """The annotation's id: the server takes no key."""
        return str(reply["id"])


QUEUES: dict[str, Callable[[str], Queue]] = {"label": OurQueue, "label_studio": LabelStudioQueue}
