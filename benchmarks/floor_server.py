"""The floor under the web service: the same gunicorn, a Flask app with one route that commits and one that does not.

Whatever Flask, gunicorn, HTTP, the disk and the machine cost is in here; what our routes cost on top is ours.
"""

import sqlite3
import sys
import threading
from pathlib import Path

from flask import Flask, Response, jsonify, request

from al_service.settings import load_settings
from al_service.web_server import WebServer

SCHEMA = "CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"


def create_floor(database: Path) -> Flask:
    """POST /commit stores its body durably, POST /constant answers the same without storing."""
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", SCHEMA):
        connection.execute(statement)
    turn = threading.Lock()
    app = Flask("floor", static_folder=None)

    @app.post("/commit")
    def commit() -> tuple[Response, int]:
        body = request.get_data(as_text=True)
        with turn:
            connection.execute("BEGIN IMMEDIATE")
            made = connection.execute("INSERT INTO answers (body) VALUES (?)", (body,))
            connection.execute("COMMIT")
            new_id = made.lastrowid
        return jsonify(id=new_id), 201

    @app.post("/constant")
    def constant() -> Response:
        return jsonify(id=0)

    @app.get("/health")
    def health() -> Response:
        return jsonify(ok=True)

    return app


class FloorServer(WebServer):
    """Our web server with the floor instead of our app."""

    def load(self) -> Flask:
        """Called by gunicorn."""
        return create_floor(self._settings.data_dir / "floor.db")


if __name__ == "__main__":
    sys.argv = sys.argv[:1]  # gunicorn would read it
    FloorServer(load_settings()).run()
