"""Artifacts in any place that fsspec reaches: s3://bucket/folder, gs://…, memory://…, file://….

Names and promises are those of `loop.ports.Artifacts`. Credentials and endpoints come from the driver's usual places
(for S3 the AWS_* environment variables, AWS_ENDPOINT_URL among them), never from our settings.
Files whose content never changes under their name are kept on local disk as well (kept_copies).
"""

import logging
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]

from al_service.errors import InvalidInputError, NotFoundError, UnavailableError
from al_service.storage.artifacts import TEMPORARY_SUFFIX, check_prefix, checked_parts, is_unfinished
from al_service.storage.kept_copies import KeptCopies

logger = logging.getLogger(__name__)

#: Names under which content never changes: images by content hash, checkpoints by job and attempt.
IMMUTABLE = ("images/", "models/")
KEPT_BYTES_MAX = 4 * 2**30
PUT_THREADS = 16
#: Stores where an object appears whole or not at all; elsewhere a file is written aside and renamed.
_WHOLE_PUT = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
#: Drivers that remember no listings, and pass options they do not know on to the connection.
_NO_LISTINGS = frozenset({"sftp", "ssh"})
_EXTRAS = {"s3": "'al-service[s3]'", "s3a": "'al-service[s3]'", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs"}
#: Packages of drivers whose own errors mean "the store does not answer or refuses".
_DRIVERS = frozenset(
    {
        "botocore",
        "aiobotocore",
        "aiohttp",
        "s3fs",
        "gcsfs",
        "google",
        "adlfs",
        "azure",
        "fsspec",
        "requests",
        "paramiko",
        "ftplib",
        "smbclient",
        "smbprotocol",
    }
)
#: Secret keys may hold "/" and "@" themselves, so everything up to the last "@" goes.
_PASSWORD = re.compile(r"//.*@")


class StorageUrlError(InvalidInputError):
    """A storage address that cannot be used: malformed, of an unknown kind, or without its driver."""

    code = "storage_url"


class RemoteStorageError(UnavailableError):
    """The store does not answer, refuses, or has no such bucket."""

    code = "remote_storage"


class RemoteArtifacts:
    """As in `loop.ports.Artifacts`, in a folder of a remote store. Safe to share between threads, and after a fork.

    Args:
        url: scheme://bucket/folder. The bucket must exist.
        cache_dir: local folder for copies of immutable files; None keeps none.
        cache_max_bytes: of all copies there.

    Raises:
        StorageUrlError: malformed, unknown scheme, or its driver is not installed.
    """

    def __init__(self, url: str, cache_dir: Path | None = None, *, cache_max_bytes: int = KEPT_BYTES_MAX) -> None:
        self._url = url
        self._shown = _PASSWORD.sub("//", url)
        self._scheme = url.partition("://")[0]
        self._driver_of: tuple[int, Any] | None = None
        self._kept = None if cache_dir is None else KeptCopies(cache_dir, cache_max_bytes)
        self._root = self._checked_root()

    def put(self, name: str, data: bytes) -> None:
        """As in `Artifacts`: stored when the store has confirmed it.

        Raises:
            InvalidInputError: not a name as in `FileArtifacts.path`.
            RemoteStorageError: the store does not answer or refuses.
        """
        path = self._path(name)
        with self._translated(name, absent_is_found=False):
            self._put(path, data)
        self._forget(name)

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """As `put` for each, side by side; after an error some may be there, each of them whole."""
        paths = {self._path(name): data for name, data in items.items()}
        with self._translated(next(iter(items), ""), absent_is_found=False), ThreadPoolExecutor(PUT_THREADS) as pool:
            for _ in pool.map(lambda item: self._put(*item), paths.items()):
                pass
        for name in items:
            self._forget(name)

    def get(self, name: str) -> bytes:
        """The bytes, or NotFoundError; of immutable files a copy is kept on local disk.

        Raises:
            RemoteStorageError: the store does not answer or refuses.
        """
        path = self._path(name)
        keeps = self._kept is not None and name.startswith(IMMUTABLE)
        held = self._kept.find(name) if self._kept is not None and keeps else None
        if held is not None:
            return held
        with self._translated(name):
            data = bytes(self._driver().cat_file(path, **self._how_to_read(name)))
        if self._kept is not None and keeps:
            self._kept.keep(name, data)
        return data

    def has(self, name: str) -> bool:
        """True when there: the store is asked, not the local copies."""
        path = self._path(name)
        with self._translated(name):
            return self._find(path) is not None

    def names(self, prefix: str) -> list[str]:
        """As in `Artifacts`. Lists everything in the prefix's folder."""
        folder, begin = check_prefix(prefix)
        with self._translated(prefix):
            found = self._driver().find(f"{self._root}/{folder}".rstrip("/") if folder else self._root)
        names = (path.lstrip("/").removeprefix(self._root.lstrip("/")).lstrip("/") for path in found)
        return sorted(
            name for name in names if name.startswith(begin) and not name.endswith("/") and not is_unfinished(name)
        )

    def size(self, name: str) -> int:
        """As in `Artifacts`."""
        path = self._path(name)
        with self._translated(name):
            facts = self._find(path)
        if facts is None:
            raise NotFoundError(f"no artifact {name!r}", artifact=name)
        return int(facts["size"])

    def check(self) -> str:
        """As in `Artifacts`.

        Raises:
            RemoteStorageError: no answer, or the bucket or folder is not there or empty.
        """
        with self._translated("", absent_is_found=False):
            found = self._driver().ls(self._root or "/", detail=False)
        if not found:
            raise RemoteStorageError(
                f"{self._shown} is empty, expected the artifacts stored so far; is it the right place?"
            )
        return self._shown

    def delete(self, name: str) -> None:
        """As in `Artifacts`; the local copy goes too."""
        path = self._path(name)
        self._forget(name)
        with self._translated(name):
            if self._find(path) is not None:
                with suppress(FileNotFoundError):
                    self._driver().rm_file(path)

    def room(self) -> int | None:
        """As in `Artifacts`: nobody knows."""
        return None

    def _find(self, path: str) -> dict[str, Any] | None:
        """What the store says of a file, or None. (fsspec's own isfile and exists say False when nobody answers.)"""
        try:
            facts: dict[str, Any] = self._driver().info(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        return facts if facts.get("type") == "file" else None

    def _put(self, path: str, data: bytes) -> None:
        driver = self._driver()
        if self._scheme in _WHOLE_PUT:
            driver.pipe_file(path, data)
            return
        folder = path.rpartition("/")[0]
        aside = f"{folder}/.{uuid.uuid4().hex}{TEMPORARY_SUFFIX}"
        driver.makedirs(folder, exist_ok=True)
        try:
            driver.pipe_file(aside, data)
            driver.mv(aside, path)
        finally:
            if self._find(aside) is not None:
                driver.rm_file(aside)

    def _how_to_read(self, name: str) -> dict[str, Any]:
        """For S3: images in one request. Large files come in parts side by side, after a request for their size."""
        return {"max_concurrency": 1} if self._scheme in ("s3", "s3a") and name.startswith("images/") else {}

    def _forget(self, name: str) -> None:
        if self._kept is not None and name.startswith(IMMUTABLE):
            self._kept.drop(name)

    def _path(self, name: str) -> str:
        return f"{self._root}/{'/'.join(checked_parts(name))}"

    def _driver(self) -> Any:
        """The file system of this process: its connections must not be shared with a parent."""
        if self._driver_of is None or self._driver_of[0] != os.getpid():
            # Listings are never remembered: other hosts write to the same store.
            options = {} if self._scheme in _NO_LISTINGS else {"use_listings_cache": False}
            try:
                driver = fsspec.filesystem(self._scheme, **self._options, **options)
            except (TypeError, ValueError) as error:
                raise StorageUrlError(
                    f"storage_url {self._shown!r}: the driver of {self._scheme!r} cannot be opened with it: "
                    f"{self._without_secrets(error)}"
                ) from error
            self._driver_of = os.getpid(), driver
        return self._driver_of[1]

    def _without_secrets(self, error: Exception) -> str:
        """The words of an error without the login of the address, which some drivers repeat."""
        words = str(error).replace(self._url, self._shown)
        for secret in self._secrets:
            words = words.replace(secret, "***")
        return words

    def _checked_root(self) -> str:
        self._refuse_keys()
        try:
            kind: Any = fsspec.get_filesystem_class(self._scheme)
        except ImportError as error:
            extra = _EXTRAS.get(self._scheme)
            advice = f"pip install {extra}" if extra else str(error)
            raise StorageUrlError(f"storage_url {self._shown!r}: the driver is not installed: {advice}") from error
        except ValueError as error:
            raise StorageUrlError(
                f"storage_url {self._shown!r}: unknown kind {self._scheme!r}; expected a local folder, "
                "s3://bucket/folder, gs://bucket/folder or another kind that fsspec knows"
            ) from error
        try:
            root = str(kind._strip_protocol(self._url)).rstrip("/")
            # Host, port and login of ftp://, sftp:// and smb:// addresses; nothing for buckets.
            self._options: dict[str, Any] = dict(kind._get_kwargs_from_urls(self._url))
        except (TypeError, ValueError) as error:
            raise StorageUrlError(
                f"storage_url {self._shown!r}: not an address of the kind {self._scheme!r}; "
                "expected scheme://host:port/folder"
            ) from error
        login = self._url.partition("://")[2].rpartition("@")[0]
        passwords = (login.partition(":")[2], str(self._options.get("password") or ""))
        self._secrets = [secret for secret in passwords if secret]
        if not root.strip("/") and self._scheme != "memory":
            raise StorageUrlError(f"storage_url {self._shown!r} names no bucket or folder; expected s3://bucket/folder")
        return root

    def _refuse_keys(self) -> None:
        """S3 drivers take no login from an address: they would ask for a bucket of that name, and log it."""
        rest = self._url.partition("://")[2]
        bucket = rest.partition("/")[0]
        if self._scheme in ("s3", "s3a") and "@" in rest and ("@" in bucket or ":" in bucket.removeprefix("arn:")):
            raise StorageUrlError(
                f"storage_url {self._shown!r}: keys inside an {self._scheme}:// address are not taken; set "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (AWS_ENDPOINT_URL for another server) instead"
            )

    @contextmanager
    def _translated(self, name: str, *, absent_is_found: bool = True) -> Iterator[None]:
        """Own errors for the drivers'. They share no base class, so they are told by the package they come from."""
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            if absent_is_found:
                raise NotFoundError(f"no artifact {name!r}", artifact=name) from error
            raise RemoteStorageError(
                f"{self._shown} has no place for {name!r}; does it exist? ({self._without_secrets(error)})"
            ) from error
        except PermissionError as error:
            raise RemoteStorageError(
                f"{self._shown} refuses access to {name!r}; check the credentials and rights "
                f"({self._without_secrets(error)})"
            ) from error
        except OSError as error:
            raise RemoteStorageError(f"{self._shown}, {name!r}: {self._without_secrets(error)}") from error
        except Exception as error:
            if not _is_of_a_driver(error):
                raise
            raise RemoteStorageError(
                f"{self._shown} does not answer for {name!r}: {self._without_secrets(error)}"
            ) from error


def _is_of_a_driver(error: Exception) -> bool:
    return any(kind.__module__.partition(".")[0] in _DRIVERS for kind in type(error).__mro__)
