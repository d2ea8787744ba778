"""Bytes behind http and https addresses, for tables with a URL column. Nothing else is fetched.

A table is written by someone else and this process may stand inside a private network, so an address must lead to the
public internet: every address that the name resolves to is checked, and the connection goes to the very address that
was checked, on each redirect again. Proxies of the environment are used only with allow_private_hosts.
"""

import http.client
import ipaddress
import socket
import ssl
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote

from al_service.ingest.rows import Limits, RowUnreadableError

_CHUNK_BYTES = 2**16
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_AGENT = "al-service image import"


def fetch(url: str, limits: Limits) -> bytes:
    """Return the body behind an http(s) address.

    Raises:
        RowUnreadableError: no answer within url_timeout_s, an answer other than 200, more than file_max_bytes, or an
            address in a private network.
    """
    until = time.monotonic() + limits.url_timeout_s
    try:
        address = quote(url, safe="%/:=&?~#+!$,;'@()*[]")  # spaces and accents are not legal; what is quoted stays
        request = urllib.request.Request(address, headers={"User-Agent": _AGENT})  # noqa: S310 (the opener has no file scheme)
        with _opener(limits).open(request, timeout=limits.url_timeout_s) as answer:
            return _body(answer, limits, until)
    except urllib.error.HTTPError as error:
        error.close()
        raise RowUnreadableError(f"the server answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise RowUnreadableError(f"could not be fetched: {reason or type(error).__name__}") from error


def is_public(address: str) -> bool:
    """Return True if an IP address belongs to the public internet, also when it is wrapped for IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast


class _PublicHTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = _connect_public(self.host, self.port, self.timeout)


class _PublicHTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        plain = _connect_public(self.host, self.port, self.timeout)
        try:
            self.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class _PublicHTTPHandler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicHTTPConnection, req)


class _PublicHTTPSHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PublicHTTPSConnection, req)


def _opener(limits: Limits) -> urllib.request.OpenerDirector:
    """An opener without the file, ftp and data schemes that urllib brings by default."""
    opener = urllib.request.OpenerDirector()
    if limits.allow_private_hosts:
        handlers: list[Any] = [
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
        ]
    else:
        handlers = [_PublicHTTPHandler(), _PublicHTTPSHandler()]
    handlers += [
        urllib.request.UnknownHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _connect_public(host: str, port: int, timeout_s: float | None) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(entry[4][0]) for entry in found]
    if not all(is_public(address) for address in addresses):
        raise RowUnreadableError(f"{host} leads into a private network: only public addresses are fetched")
    last: OSError | None = None
    for address in addresses:
        try:
            return socket.create_connection((address, port), timeout_s)
        except OSError as error:
            last = error
    raise last or OSError(f"{host} has no address")


def _body(answer: Any, limits: Limits, until: float) -> bytes:
    """Read piece by piece: a server that drips one byte at a time never trips the socket's own timeout."""
    pieces, byte_count = [], 0
    declared = answer.headers.get("Content-Length", "")
    whole = int(declared) if declared.isdigit() else None
    while byte_count != whole and (piece := answer.read1(_CHUNK_BYTES)):
        pieces.append(piece)
        byte_count += len(piece)
        if byte_count > limits.file_max_bytes:
            raise RowUnreadableError(f"the answer has more than {limits.file_max_bytes:,} bytes")
        if time.monotonic() > until:
            raise RowUnreadableError(f"not complete after {limits.url_timeout_s:g} s")
    if whole is not None and byte_count < whole:
        raise RowUnreadableError(f"cut short: {byte_count:,} of {whole:,} bytes came")
    return b"".join(pieces)
