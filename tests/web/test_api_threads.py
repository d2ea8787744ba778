"""Many people at once against a real HTTP server on this machine."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from werkzeug.serving import make_server

LABELERS = 16
STARTS = 20


@pytest.fixture
def address(world) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, world.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/api/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_sixteen_labelers_at_once_never_share_a_sample(world, address):
    ids = world.project(count=96)
    world.round(ids)
    tokens = [world.token("labeler", f"mia-{number}") for number in range(LABELERS)]
    ready = threading.Barrier(LABELERS)

    def label(token: str) -> list[int]:
        seen = []
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {token}"
            ready.wait()
            for _ in range(2):
                held = session.post(f"{address}/projects/birds/assignments", json={"count": 3}).json()["assignments"]
                for item in held:
                    path = f"{address}/assignments/{item['id']}/annotation"
                    body = {"class_name": "cat", "client_key": f"{token[:9]}-{item['id']}"}
                    codes = [session.post(path, json=body).status_code for _ in range(2)]
                    assert codes == [201, 200]
                    seen.append(item["sample_id"])
        return seen

    with ThreadPoolExecutor(LABELERS) as pool:
        found = [sample_id for seen in pool.map(label, tokens) for sample_id in seen]
    assert sorted(found) == ids
    summary = requests.get(f"{address}/projects/birds/summary", headers={"Authorization": f"Bearer {tokens[0]}"}).json()
    assert (summary["counts"]["labelled"], summary["progress"]["answered"]) == (96, 96)


def test_twenty_starts_at_once_make_one_round(world, address):
    world.project()
    token = world.token("engineer")
    ready = threading.Barrier(STARTS)

    def start(number: int) -> tuple[int, int]:
        ready.wait()
        answer = requests.post(
            f"{address}/projects/birds/rounds",
            headers={"Authorization": f"Bearer {token}", "Idempotency-Key": f"click-{number % 7}"},
        )
        return answer.status_code, answer.json()["round"]["number"]

    with ThreadPoolExecutor(STARTS) as pool:
        answers = list(pool.map(start, range(STARTS)))
    assert sorted(answers) == [(200, 1)] * (STARTS - 1) + [(202, 1)]
    assert len(world.services.rounds.all("birds")) == 1
    assert [job["id"] for job in world.api("viewer").get("/projects/birds/summary").json["jobs"]] == [1]
