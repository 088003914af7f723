"""A small HTTP client that verifies TLS, and finds ``*.localhost`` where the system's resolver does not."""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import urllib3

from ci.errors import CommandError

_TIMEOUT = urllib3.Timeout(connect=5, read=60)


@dataclass(frozen=True)
class Answer:
    """What a server said. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.body)


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """Send one request; redirects are not followed and nothing is retried.

    Raises:
        CommandError: the server cannot be reached, or its certificate is not trusted.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise CommandError(f"{url!r} is no address of the web")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    pool = _pool(parts.scheme, parts.hostname, parts.port)
    try:
        answer = pool.request(
            method,
            target,
            headers={"Host": parts.netloc, **(headers or {})},
            body=body,
            redirect=False,
            retries=False,
            # Of another host than the pool's, as it is seen by urllib3.
            assert_same_host=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise CommandError(f"{method} {parts.scheme}://{parts.netloc}{parts.path}: {_reason(error)}") from error
    return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)


def _reason(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"its certificate is not trusted: set SSL_CERT_FILE to the authority's ({error})"
    return f"no answer ({error})"


@cache
def _pool(scheme: str, host: str, port: int | None) -> urllib3.HTTPConnectionPool:
    # RFC 6761 gives every name under localhost to loopback, but glibc asks the DNS for them.
    address = "127.0.0.1" if host.endswith(".localhost") else host
    if scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, timeout=_TIMEOUT, maxsize=8)
    return urllib3.HTTPSConnectionPool(
        address,
        port,
        timeout=_TIMEOUT,
        maxsize=8,
        ssl_context=_trust(),
        server_hostname=host,
        assert_hostname=host,
    )


@cache
def _trust() -> ssl.SSLContext:
    context = ssl.create_default_context()  # honors SSL_CERT_FILE
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        context.load_verify_locations(bundle)
    return context
