"""What holds for the whole web surface: the document, error bodies, headers, health, metrics."""

import logging
import re
import subprocess
import sys

import pytest
from flask import Flask, abort
from prometheus_client.parser import text_string_to_metric_families

from al_service.api.errors import API_PREFIX
from al_service.api.install import all_routes, install
from al_service.errors import InvalidInputError, UnavailableError
from al_service.settings import Settings


def sample_of(text: str, name: str, **labels: str) -> float | None:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return sample.value
    return None


def test_the_document_lists_exactly_the_rules_that_are_served(world):
    document = world.api(None).get("/openapi.json").json
    assert document["openapi"] == "3.1.0"
    listed = {(method.upper(), path) for path, item in document["paths"].items() for method in item}
    served = {
        (method, re.sub(r"<(?:int:)?(\w+)>", r"{\1}", rule.rule))
        for rule in world.app.url_map.iter_rules()
        if rule.rule.startswith(API_PREFIX)
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert listed == served


def test_every_operation_is_described_and_every_reference_leads_somewhere(world):
    document = world.api(None).get("/openapi.json")
    operations = [(path, one) for path, item in document.json["paths"].items() for one in item.values()]
    assert len({one["operationId"] for _, one in operations}) == len(operations) == len(all_routes())
    for path, one in operations:
        assert one["summary"].endswith(".") or one["summary"].endswith(":"), path
        names = {found["name"] for found in one["parameters"] if found["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path))
        assert "default" in one["responses"]
    known = set(document.json["components"]["schemas"])
    assert set(re.findall(r"#/components/schemas/(\w+)", document.text)) <= known


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/nothing", 404, "not_found"),
        ("GET", "/api/nothing", 404, "not_found"),
        ("PUT", "/api/v1/projects", 405, "method_not_allowed"),
        ("POST", "/health", 405, "method_not_allowed"),
        ("GET", "/api/v1/jobs/99999999999999999999", 404, "not_found"),
        ("GET", "/api/v1/projects/a%00b", 404, "not_found"),
    ],
)
def test_errors_of_flask_have_the_same_body(world, method, path, status, code):
    headers = {**world.api("viewer").headers, "X-Request-Id": "trace-7"}
    answer = world.app.test_client().open(path, method=method, headers=headers)
    assert answer.status_code == status
    assert set(answer.json) == {"error"}
    assert set(answer.json["error"]) == {"code", "message", "details", "request_id"}
    assert (answer.json["error"]["code"], answer.json["error"]["request_id"]) == (code, "trace-7")
    assert answer.headers["X-Request-Id"] == "trace-7"
    if status == 405:
        assert "Allow" in answer.headers


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        (b"[]", ""),
        (b'{"count": "5"}', "count"),
        (b'{"count": 1.5}', "count"),
        (b'{"count": true}', "count"),
        (b'{"cuont": 5}', "cuont"),
        (b"\xff\xfe", ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_bad_body_is_a_400_that_names_the_field(world, body, field):
    answer = world.api("labeler")("POST", "/projects/birds/assignments", data=body, content_type="application/json")
    error = answer.json["error"]
    assert (answer.status_code, error["code"]) == (400, "invalid_body")
    assert [item["field"] for item in error["details"]["fields"]] == [field]
    assert field in error["message"]


def test_a_body_that_is_not_json_is_refused_and_passwords_never_come_back(world):
    api = world.api(None)
    form = api("POST", "/session", data={"name": "mia", "password": "s3cret-words"})
    assert (form.status_code, form.json["error"]["code"]) == (400, "invalid_body")
    wrong = api.post("/session", {"name": "mia", "password": ["s3cret-words"]})
    assert wrong.status_code == 400
    assert "s3cret-words" not in form.text + wrong.text


def test_a_body_that_is_too_large_is_a_413(world):
    answer = world.api("labeler").post("/projects/birds/assignments", {"count": 1, "more": "x" * 2**20})
    assert (answer.status_code, answer.json["error"]["code"]) == (413, "too_large")


def test_a_bug_is_a_500_without_traceback_and_logged_with_one(world, caplog):
    world.app.view_functions["api.me"] = lambda: 1 / 0
    with caplog.at_level(logging.ERROR):
        answer = world.api("viewer").get("/me")
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "internal_error")
    assert "ZeroDivisionError" not in answer.text
    assert answer.json["error"]["request_id"] in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_paths_and_messages_cannot_forge_lines_of_the_log(world, caplog):
    for position, error in enumerate((ZeroDivisionError(), UnavailableError("no\nbroker"))):

        def fail(error=error, **path):
            raise error

        world.app.view_functions["api.show_project"] = fail
        path = "/projects/birds%0a2026-01-01%20ERROR%20made%20up%0d%1b[2J%e2%80%a8caf%c3%a9"
        with caplog.at_level(logging.WARNING):
            assert world.api("viewer").get(path).status_code == (500, 503)[position]
    lines = [record.getMessage() for record in caplog.records if record.name == "al_service.api.errors"]
    assert len(lines) == 2
    assert all(line.isprintable() and r"birds\n2026-01-01 ERROR made up\r\x1b[2J\u2028café" in line for line in lines)
    assert lines[1].endswith(r"no\nbroker")


def test_unavailable_says_when_to_come_back(world):
    def unavailable():
        raise UnavailableError("the database is locked")

    world.app.view_functions["api.me"] = unavailable
    answer = world.api("viewer").get("/me")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")


def test_a_strange_request_id_is_replaced(world):
    answer = world.api(None).get("/me", headers={"X-Request-Id": "<script>"})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_pages_keep_their_own_errors_and_the_api_has_json(world):
    app = Flask("pages", static_folder=None)
    app.register_error_handler(404, lambda error: ("<p>page 404</p>", 404))
    app.register_error_handler(500, lambda error: ("<p>page 500</p>", 500))

    @app.get("/gone")
    def gone():
        abort(404)

    @app.get("/bug")
    def bug():
        raise ZeroDivisionError

    @app.get("/own")
    def own():
        raise InvalidInputError("words")

    install(app, world.services, world.settings)
    client = app.test_client()
    assert (client.get("/gone").text, client.get("/nowhere").text) == ("<p>page 404</p>", "<p>page 404</p>")
    assert (client.get("/bug").text, client.get("/bug").status_code) == ("<p>page 500</p>", 500)
    assert client.get("/own").status_code == 400
    assert client.get("/api/v1/nowhere").json["error"]["code"] == "not_found"


def test_every_response_carries_the_security_headers(world):
    client = world.app.test_client()
    for path in ("/health", "/api/v1/me", "/nowhere", "/api/v1/openapi.json"):
        headers = client.get(path).headers
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert "script-src" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"


def test_without_a_secret_key_nothing_is_served(world, tmp_path):
    with pytest.raises(InvalidInputError):
        install(Flask("keyless"), world.services, Settings(data_dir=tmp_path))


def test_health_and_version_need_nobody(world):
    client = world.app.test_client()
    assert client.get("/health").json == {"status": "ok"}
    version = client.get("/version").json
    assert (version["name"], version["api"]) == ("al-service", "v1")


def test_readiness_tells_the_parts_apart(world):
    client = world.app.test_client()
    good = client.get("/health/ready")
    assert (good.status_code, good.json["status"]) == (200, "ok")
    assert set(good.json["parts"]) == {"database", "broker", "storage", "workers"}
    assert "sqlite" in good.json["parts"]["database"]["detail"]

    def silent():
        raise UnavailableError("the broker is silent")

    world.queue.workers = list
    world.clock.advance(2)
    idle = client.get("/health/ready")
    assert (idle.status_code, idle.json["status"]) == (200, "degraded")
    assert idle.json["parts"]["workers"]["ok"] is False
    world.queue.check = silent
    world.clock.advance(2)
    bad = client.get("/health/ready")
    assert (bad.status_code, bad.json["status"]) == (503, "unavailable")
    assert bad.json["parts"]["broker"] == {"ok": False, "detail": "the broker is silent"}
    assert bad.json["parts"]["database"]["ok"] is True
    afar = client.get("/health/ready", environ_base={"REMOTE_ADDR": "203.0.113.9"})
    assert {part["detail"] for part in afar.json["parts"].values()} == {""}


def test_readiness_finds_a_disk_that_cannot_be_written(world, tmp_path):
    (tmp_path / "artifacts").mkdir(exist_ok=True)
    (tmp_path / "artifacts" / "health").write_text("a file where a folder should be")
    answer = world.app.test_client().get("/health/ready")
    assert (answer.status_code, answer.json["parts"]["storage"]["ok"]) == (503, False)


def test_metrics_are_for_this_machine_and_signed_in_callers(world):
    client = world.app.test_client()
    afar = {"environ_base": {"REMOTE_ADDR": "203.0.113.9"}}
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", **afar).status_code == 401
    assert client.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 401
    assert client.get("/metrics", headers=world.api("viewer").headers, **afar).status_code == 200
    assert client.get("/metrics", headers={"Authorization": "Bearer nonsense"}, **afar).status_code == 401


def test_metrics_say_what_happened(world):
    ids = world.project(count=5)
    world.round(ids[:4])
    api = world.api("labeler")
    for position, held in enumerate(world.lease(api, 3)[:2]):
        answer = {"class_name": "cat"} if position else {"flag": True}
        api.post(f"/assignments/{held['id']}/annotation", answer)
    text = world.app.test_client().get("/metrics").text
    assert sample_of(text, "al_annotations_total", kind="label") == 1
    assert sample_of(text, "al_annotations_total", kind="flag") == 1
    assert sample_of(text, "al_queue_samples", project="birds", state="labelled") == 1
    assert sample_of(text, "al_queue_samples", project="birds", state="leased") == 1
    assert sample_of(text, "al_leases_active", project="birds") == 1
    assert sample_of(text, "al_next_assignment_seconds_count") == 1
    assert sample_of(text, "al_submit_seconds_count") == 2
    assert sample_of(text, "al_round_stage_seconds", project="birds", stage="select") == 1.5
    assert sample_of(text, "al_model_accuracy", project="birds", split="evaluation") == 0.5
    assert sample_of(text, "al_rounds_total", state="annotating") == 1
    assert sample_of(text, "rq_jobs", queue="gpu", status="queued") is not None
    assert sample_of(text, "rq_workers", state="idle") == 1
    assert sample_of(text, "al_up", part="database") == 1
    assert (
        sample_of(
            text,
            "al_http_requests_total",
            route="/api/v1/assignments/<int:assignment_id>/annotation",
            method="POST",
            status="201",
        )
        == 2
    )


def test_labels_of_metrics_stay_bounded(world):
    client = world.app.test_client()
    for number in range(3):
        client.get(f"/scan/{number}")
        client.open("/health", method=f"ODD{number}")
    text = client.get("/metrics").text
    assert "/scan/" not in text
    assert "ODD" not in text
    assert sample_of(text, "al_http_requests_total", route="unmatched", method="GET", status="404") == 3


def test_metrics_survive_a_silent_broker(world):
    def silent():
        raise UnavailableError("the broker is silent")

    world.queue.depths = silent
    text = world.app.test_client().get("/metrics").text
    assert sample_of(text, "al_up", part="broker") == 0
    assert sample_of(text, "rq_workers") is None


def test_the_api_loads_neither_torch_nor_redis_nor_sql():
    code = (
        "import sys; from al_service.api.install import install; "
        "print([name for name in ('torch', 'redis', 'rq', 'sqlalchemy', 'numpy') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
