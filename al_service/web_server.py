"""gunicorn around the web app: threads for labelers who mostly wait, a fixed set of processes, plain settings."""

from typing import TYPE_CHECKING, Any

from gunicorn.app.base import BaseApplication

from al_service.bootstrap import create_web_app
from al_service.settings import Settings

if TYPE_CHECKING:
    from flask import Flask


class WebServer(BaseApplication):  # type: ignore[misc]
    """gunicorn configured by our settings instead of its own files and flags."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Called by gunicorn."""
        for key, value in self._options().items():
            self.cfg.set(key, value)

    def load(self) -> "Flask":
        """The app, made in each process after the fork: connections are never shared across it."""
        return create_web_app(self._settings)

    def _options(self) -> dict[str, Any]:
        settings = self._settings
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return {
            "bind": f"{host}:{settings.port}",
            "worker_class": "gthread",
            "workers": settings.web_processes,
            "threads": settings.web_threads,
            "keepalive": 75,
            "graceful_timeout": 5,
            "timeout": 120,
            "loglevel": settings.log_level,
            "umask": 0o077,
            "proc_name": "al-web",
            "control_socket_disable": True,
        }


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    WebServer(settings).run()
