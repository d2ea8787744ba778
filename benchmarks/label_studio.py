"""Label Studio, the peer of the queue, as `label-studio start` has it: SQLite, one process.

Never a dependency: BENCH_PEER_VENV names a folder with a virtual environment that has it, or that gets one. It is told
to send nothing home and bound to the loopback.
"""

import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from al_service.cli.processes import free_port
from benchmarks.load import Order, Person
from benchmarks.service import started

VARIABLE = "BENCH_PEER_VENV"
REQUIREMENT = "label-studio>=1.23,<2"
HOST = "127.0.0.1"
PASSWORD = "a long enough password"
TIMEOUT_S = 300.0
CSRF_FIELD = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
QUIET = {
    "COLLECT_ANALYTICS": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
    "LATEST_VERSION_CHECK": "false",
    "LOG_LEVEL": "ERROR",
}


@dataclass(frozen=True)
class Peer:
    """A running Label Studio with one project: what the crowd is told, and how to ask what was stored."""

    order: Order
    process_id: int
    version: str
    _owner: "Account"

    def stored_answers(self) -> set[tuple[int, str]]:
        """(task, annotation id) of every annotation in the project's export."""
        tasks = self._owner.get(f"/api/projects/{self.order.project}/export?exportType=JSON_MIN")
        return {(task["id"], str(task["annotation_id"])) for task in tasks}


def installed() -> Path | None:
    """The folder with the programs of the peer's virtual environment, made and filled when it is empty; None when no
    folder is named.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return None
    folder = Path(name).resolve()
    programs = folder / "bin"
    if not (programs / "label-studio").exists():
        print(f"installing {REQUIREMENT} in {folder}", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True)
        subprocess.run([programs / "pip", "install", "--quiet", REQUIREMENT], check=True)
    return programs


@contextmanager
def running(programs: Path, folder: Path, *, people: int, tasks: int, class_names: Sequence[str]) -> Iterator[Peer]:
    """Label Studio on an empty folder with that many tasks and signed-in people."""
    port = free_port(HOST, 0)
    folder.mkdir()
    command = [str(programs / "label-studio"), "start", "--no-browser", "--internal-host", HOST, "-p", str(port)]
    environment = {**QUIET, "LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
    url = f"http://{HOST}:{port}"
    with started(command, folder / "log", environment, f"{url}/health") as child:
        owner = Account.sign_up(url, "owner@bench.invalid")
        project = str(owner.post("/api/projects/", {"title": "bench", "label_config": _config(class_names)})["id"])
        imported = owner.post(f"/api/projects/{project}/import", [_task(number) for number in range(tasks)])
        if imported["task_count"] != tasks:
            raise RuntimeError(f"Label Studio imported {imported['task_count']} of {tasks} tasks")
        crowd = [Account.sign_up(url, f"labeler-{number}@bench.invalid").person() for number in range(people)]
        order = Order(HOST, port, "label_studio", crowd, 0.0, project=project, class_name=class_names[0])
        yield Peer(order, child.pid, _version(programs), owner)


class Account:
    """Somebody who signed up, with the session that a browser would have."""

    def __init__(self, url: str, http: requests.Session) -> None:
        self._url = url
        self._http = http

    @classmethod
    def sign_up(cls, url: str, email: str) -> "Account":
        """Make an account through the sign-up page; whoever signs up later joins the first one's organisation."""
        http = requests.Session()
        page = f"{url}/user/signup/"
        found = CSRF_FIELD.search(http.get(page, timeout=TIMEOUT_S).text)
        if found is None:
            raise RuntimeError("Label Studio's sign-up page has no CSRF token; has it changed?")
        fields = {"csrfmiddlewaretoken": found[1], "email": email, "password": PASSWORD, "allow_newsletters": "false"}
        reply = http.post(page, fields, headers={"Referer": page}, allow_redirects=False, timeout=TIMEOUT_S)
        if reply.status_code != 302 or "sessionid" not in http.cookies:
            raise RuntimeError(f"Label Studio did not sign {email} up: {reply.status_code} {reply.text[:300]}")
        return cls(url, http)

    def person(self) -> Person:
        """What the crowd needs of the session."""
        cookie = "; ".join(f"{key}={value}" for key, value in self._http.cookies.items())
        return Person(cookie, self._http.cookies["csrftoken"])

    def get(self, path: str) -> dict[str, Any]:
        """The fields of a JSON answer."""
        return self._fields(self._http.get(f"{self._url}{path}", timeout=TIMEOUT_S))

    def post(self, path: str, body: object) -> dict[str, Any]:
        """Send JSON; the fields of the answer."""
        headers = {"X-CSRFToken": self._http.cookies["csrftoken"]}
        return self._fields(self._http.post(f"{self._url}{path}", json=body, headers=headers, timeout=TIMEOUT_S))

    @staticmethod
    def _fields(reply: requests.Response) -> dict[str, Any]:
        reply.raise_for_status()
        fields: dict[str, Any] = reply.json()
        return fields


def _version(programs: Path) -> str:
    ask = "from importlib.metadata import version; print(version('label-studio'))"
    return subprocess.run([programs / "python", "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def _config(class_names: Sequence[str]) -> str:
    choices = "".join(f'<Choice value="{name}"/>' for name in class_names)
    return (
        '<View><Image name="image" value="$image"/>'
        f'<Choices name="class" toName="image" choice="single">{choices}</Choices></View>'
    )


def _task(number: int) -> dict[str, str]:
    return {"image": f"http://{HOST}/images/{number}.png"}
