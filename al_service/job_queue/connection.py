"""How every process of ours talks to the broker: short time-outs, one silent reconnect, and an address without secrets.

Called by the RQ queue and by the worker process. Starting a broker is in `broker.py`.
"""

from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from al_service.errors import InvalidInputError

CONNECT_TIMEOUT_S = 2.0
ANSWER_TIMEOUT_S = 3.0


class InvalidBrokerUrlError(InvalidInputError):
    """An address that is neither redis://, rediss:// nor unix://."""

    code = "invalid_broker_url"


def connect(broker_url: str) -> redis.Redis:
    """A thread-safe client that connects at its first command.

    A connection that the broker closed meanwhile (it was restarted) is opened again once without an error. A command
    may therefore reach the broker twice; every command that we send bears that.

    Raises:
        InvalidBrokerUrlError: the address has another scheme or an impossible port.
    """
    try:
        return redis.Redis.from_url(
            broker_url,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            socket_timeout=ANSWER_TIMEOUT_S,
            retry=Retry(NoBackoff(), 1),
        )
    except ValueError as error:
        raise InvalidBrokerUrlError(
            f"broker address {describe_address(broker_url)}: {error}. "
            "Expected redis://host:port/0, rediss://… or unix:///path/to/socket."
        ) from error


def describe_address(broker_url: str) -> str:
    """The address without user, password and query, fit for logs and error messages.

    >>> describe_address("redis://al:secret@cache.example:6379/1?password=x")
    'redis://cache.example:6379/1'
    """
    parts = urlsplit(broker_url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
