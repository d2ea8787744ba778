"""Settings of a process: flags > AL_* environment > al.toml > default, read once (by bootstrap) into a frozen
dataclass.

Unknown AL_ names are refused, so that a typing mistake is not silently a default. Any secret can come from a file
named by `<NAME>_FILE`.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from al_service.errors import InvalidInputError

#: AL_ names that belong to `make demo`, not to a process's settings.
DEMO_NAMES = frozenset({"AL_DEMO_ROUNDS", "AL_DEMO_EXIT"})
DATA_DIR = Path("al-data")
LOG_LEVELS = ("debug", "info", "warning", "error")
DEVICES = re.compile(r"auto|cpu|cuda(:[0-9]+)?")


class InvalidSettingError(InvalidInputError):
    """A setting that is unknown or has an impossible value; names it, where it came from and what is expected."""

    code = "invalid_setting"


def _setting(default: Any, help: str, **more: Any) -> Any:
    # A secret is not in the dataclass's repr either, so that no log or traceback shows it.
    return field(default=default, repr=not more.get("secret", False), metadata={"help": help, **more})


@dataclass(frozen=True)
class Settings:
    """Everything a process may be told. docs/settings.md is made from the help texts here."""

    data_dir: Path = _setting(DATA_DIR, "folder for everything the embedded default writes")
    database_url: str = _setting("", "postgresql://… ; empty: SQLite in the data folder", secret=True)
    redis_url: str = _setting(
        "", "redis:// or unix:// address; empty: the embedded Valkey in the data folder", secret=True
    )
    storage_url: str = _setting(
        "",
        "where images and checkpoints lie: a local folder, s3://bucket/folder or another fsspec address; "
        "empty: inside the data folder",
        secret=True,
    )
    host: str = _setting("127.0.0.1", "address the web server binds to")
    port: int = _setting(
        8000, "port of the web server; the next free one is taken, with a message, when it is in use", low=0, high=65535
    )
    secret_key: str = _setting("", "signs sessions; empty: made once and kept in the data folder", secret=True)
    session_cookie_secure: bool = _setting(False, "send the session cookie over https only; set it behind a TLS proxy")
    trusted_proxies: int = _setting(
        0,
        "proxies in front, in a row, whose X-Forwarded-For says who asks; 0: none, the header is ignored",
        low=0,
        high=10,
    )
    lease_ttl_s: float = _setting(
        300.0, "seconds a sample stays leased to a person without a heartbeat", low=1, high=86_400
    )
    workers: int = _setting(1, "worker processes started by `al up`", low=0, high=256)
    web_processes: int = _setting(1, "web server processes", low=1, high=64)
    web_threads: int = _setting(32, "threads per web server process", low=1, high=256)
    device: str = _setting(
        "auto",
        "auto, cpu, cuda, or one of several GPUs: cuda:1",
        pattern=DEVICES,
        words="auto, cpu, cuda, cuda:N (N is a number from 0)",
    )
    train_processes: int = _setting(
        1,
        "processes that train one model together, one per GPU (or CPU processes on a machine without)",
        low=1,
        high=64,
    )
    training_state_every_s: float = _setting(
        30.0, "a training under way is saved so often; a killed one goes on from there", low=0, high=86_400
    )
    pixel_cache_max_bytes: int = _setting(
        20 * 2**30,
        "disk for decoded images; a pool that needs more is kept as small JPEG files instead, decoded when read",
        low=0,
        high=2**60,
    )
    job_timeout_s: int = _setting(7200, "a job that runs longer is stopped and retried", low=1, high=604_800)
    job_attempts_max: int = _setting(3, "attempts before a job is shown as failed", low=1, high=20)
    job_retry_delay_s: float = _setting(
        2.0, "wait before the second attempt; doubles with each further one", low=0, high=3600
    )
    heartbeat_s: float = _setting(2.0, "seconds between heartbeats of a working worker", low=0.05, high=60)
    lost_after_s: float = _setting(
        20.0, "a running job without heartbeat for so long is given to another worker", low=0.2, high=3600
    )
    tick_s: float = _setting(0.5, "pause between two looks of the scheduler", low=0.01, high=60)
    worker_memory_max_bytes: int = _setting(
        0, "a worker above this resident memory stops its job and starts anew; 0 = no limit", low=0, high=2**50
    )
    upload_max_bytes: int = _setting(
        20 * 2**30, "the largest archive or folder that a browser may send for one import", low=1, high=2**50
    )
    upload_files_max: int = _setting(
        1_000_000, "files in an uploaded folder, and images read from an uploaded archive", low=1, high=5_000_000
    )
    image_pixels_max: int = _setting(64_000_000, "images with more pixels are rejected", low=1, high=2**40)
    log_level: str = _setting("info", "debug, info, warning or error", choices=LOG_LEVELS)

    @property
    def url(self) -> str:
        """Address of the web server for people on this machine."""
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    @property
    def database(self) -> str:
        """The database URL that is used."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'al.db'}"

    @property
    def broker_socket(self) -> Path:
        """Where the embedded broker would like its Unix socket; `job_queue.broker.resolve_broker_url` knows the real
        address.
        """
        return self.data_dir.resolve() / "broker" / "valkey.sock"

    @property
    def remote_storage_url(self) -> str:
        """The storage address where it is not a folder of this machine, else empty."""
        return "" if self.storage_url.startswith("file://") or "://" not in self.storage_url else self.storage_url

    @property
    def artifact_dir(self) -> Path:
        """Folder of images and checkpoints; of local copies of them where the storage is remote."""
        if self.remote_storage_url:
            return self.data_dir.resolve() / "artifact-copies"
        if self.storage_url:
            return Path(self.storage_url.removeprefix("file://"))
        return self.data_dir.resolve() / "artifacts"


def load_settings(
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    toml_path: Path | None = None,
) -> Settings:
    """Merge the four sources.

    Args:
        flags: field name -> value; None values are "not given".
        environ: the process environment by default.
        toml_path: `al.toml` in the working folder by default; a missing file is fine unless it was named here.

    Raises:
        InvalidSettingError: unknown name, wrong type, out of range, or an unreadable file.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    values.update(_from_toml(toml_path))
    values.update(_from_environment(environ))
    values.update({key: value for key, value in (flags or {}).items() if value is not None})
    known = {spec.name: spec for spec in fields(Settings)}
    converted = {key: _convert(key, value, known[key]) for key, value in values.items()}
    settings = Settings(**converted)
    _check_storage_url(settings.storage_url)
    return settings


def _check_storage_url(url: str) -> None:
    """Refuse what looks like an address and is none: it would silently become a folder of that name."""
    scheme, colon, rest = url.partition(":")
    looks_like_address = bool(colon) and len(scheme) > 1 and "/" not in scheme
    if looks_like_address and not (scheme.replace("+", "").isalnum() and rest.startswith("//") and rest.strip("/")):
        raise InvalidSettingError(
            f"storage_url={_without_login(url)!r}: expected a folder or an address like s3://bucket/folder "
            "or file:///folder"
        )


def _without_login(url: str) -> str:
    """The address without user and password. Keys may hold "/" and "@" themselves, so all up to the last "@" goes.

    >>> _without_login("s3:/KEY:ab/cd@ef@bucket")
    's3:bucket'
    """
    head, at, rest = url.rpartition("@")
    return f"{head.partition(':')[0]}:{rest}" if at else url


def environment_of(settings: Settings) -> dict[str, str]:
    """The AL_* variables that make a child process see the same settings."""
    return {f"AL_{spec.name.upper()}": str(getattr(settings, spec.name)) for spec in fields(Settings)}


def _from_toml(path: Path | None) -> dict[str, Any]:
    chosen = path or Path("al.toml")
    if path is None and not chosen.exists():
        return {}
    try:
        data = tomllib.loads(chosen.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettingError(f"{chosen}: cannot be read as TOML: {error}") from error
    known = {spec.name for spec in fields(Settings)}
    for key in data:
        if key not in known:
            raise InvalidSettingError(f"{chosen}: unknown setting {key!r}; known: {', '.join(sorted(known))}")
    return data


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {f"AL_{spec.name.upper()}": spec for spec in fields(Settings)}
    values: dict[str, Any] = {}
    for name, value in environ.items():
        if not name.startswith("AL_") or name in DEMO_NAMES:
            continue
        if name in known:
            values[known[name].name] = value
        elif (
            name.endswith("_FILE")
            and known.get(name[: -len("_FILE")])
            and known[name[: -len("_FILE")]].metadata.get("secret")
        ):
            values[known[name[: -len("_FILE")]].name] = _read_secret(name, value)
        else:
            raise InvalidSettingError(
                f"unknown environment variable {name}; known: {', '.join(sorted(known))}. "
                "Unset it if it is a typing mistake or belongs to another program."
            )
    return values


def _read_secret(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingError(f"{name}={path}: cannot be read: {error}") from error


def _convert(key: str, value: Any, spec: Any) -> Any:
    kind, limits = spec.type, spec.metadata
    try:
        if kind is bool and isinstance(value, str):
            value = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
                value.strip().lower()
            ]
        elif kind is bool and not isinstance(value, bool):
            raise ValueError
        else:
            value = kind(value)
    except (KeyError, TypeError, ValueError):
        raise InvalidSettingError(f"{key}={value!r} is not a {kind.__name__}") from None
    if limits.get("choices") and value not in limits["choices"]:
        raise InvalidSettingError(f"{key}={value!r} is not one of {', '.join(limits['choices'])}")
    if limits.get("pattern") and not limits["pattern"].fullmatch(value):
        raise InvalidSettingError(f"{key}={value!r} is not one of {limits['words']}")
    if "low" in limits and not limits["low"] <= value <= limits["high"]:
        raise InvalidSettingError(f"{key}={value} is outside {limits['low']}..{limits['high']}")
    return value
