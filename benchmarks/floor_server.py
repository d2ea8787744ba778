"""The floor under the web service: the same gunicorn, a Flask app with one route that commits and one that does not.

Whatever Flask, gunicorn, HTTP, the database, the disk and the machine cost is in here; what our routes cost on top is
ours. The database is SQLite, or PostgreSQL where AL_DATABASE_URL names one.
"""

import sqlite3
import sys
import threading
from pathlib import Path

import psycopg
from flask import Flask, Response, jsonify, request

from al_service.settings import load_settings
from al_service.web_server import WebServer

SCHEMA_ON_SQLITE = "CREATE TABLE IF NOT EXISTS answers (id INTEGER PRIMARY KEY, body TEXT NOT NULL)"
SCHEMA_ON_POSTGRES = "CREATE TABLE IF NOT EXISTS answers (id BIGSERIAL PRIMARY KEY, body TEXT NOT NULL)"


def create_floor(answers: "SqliteAnswers | PostgresAnswers") -> Flask:
    """POST /commit stores its body durably, POST /constant answers the same without storing."""
    app = Flask("floor", static_folder=None)

    @app.post("/commit")
    def commit() -> tuple[Response, int]:
        return jsonify(id=answers.add(request.get_data(as_text=True))), 201

    @app.post("/constant")
    def constant() -> Response:
        return jsonify(id=0)

    @app.get("/health")
    def health() -> Response:
        return jsonify(ok=True)

    return app


class SqliteAnswers:
    """A table in a file: one INSERT in a transaction of its own, on disk when it returns. Threads take turns."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        self._turn = threading.Lock()
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", SCHEMA_ON_SQLITE):
            self._connection.execute(statement)

    def add(self, body: str) -> int:
        """Store; the new row's id."""
        with self._turn:
            self._connection.execute("BEGIN IMMEDIATE")
            made = self._connection.execute("INSERT INTO answers (body) VALUES (?)", (body,))
            self._connection.execute("COMMIT")
            return int(made.lastrowid or 0)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()


class PostgresAnswers:
    """As `SqliteAnswers`; each thread has its own connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._own = threading.local()
        self._all: list[psycopg.Connection] = []
        self._connect().execute(SCHEMA_ON_POSTGRES)

    def add(self, body: str) -> int:
        """As in `SqliteAnswers`."""
        if not hasattr(self._own, "connection"):
            self._own.connection = self._connect()
        insert = "INSERT INTO answers (body) VALUES (%s) RETURNING id"
        return int(self._own.connection.execute(insert, (body,)).fetchone()[0])

    def close(self) -> None:
        """Let go of every connection."""
        for connection in self._all:
            connection.close()

    def _connect(self) -> psycopg.Connection:
        connection = psycopg.connect(self._url, autocommit=True)
        self._all.append(connection)
        return connection


class FloorServer(WebServer):
    """Our web server with the floor instead of our app."""

    def load(self) -> Flask:
        """Called by gunicorn."""
        settings = self._settings
        url = settings.database_url
        return create_floor(PostgresAnswers(url) if url else SqliteAnswers(settings.data_dir / "floor.db"))


if __name__ == "__main__":
    sys.argv = sys.argv[:1]  # gunicorn would read it
    FloorServer(load_settings()).run()
