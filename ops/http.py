"""A small HTTP client that verifies TLS, and resolves ``*.localhost`` even where the system's resolver does not."""

import json
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3

from ops.errors import UserError

_TIMEOUT = urllib3.Timeout(connect=5, read=60)


@dataclass(frozen=True)
class Answer:
    """A server's response. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Parse the body as JSON.

        Raises:
            ValueError: the body is not JSON.
        """
        return json.loads(self.body)


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    authority: Path | None = None,
) -> Answer:
    """Send one request; redirects are not followed and nothing is retried.

    Args:
        method: the HTTP method.
        url: an absolute http or https URL.
        headers: request headers.
        body: the request's content; a file-like object is streamed.
        authority: PEM file of the only certificate authority to trust; by default those of the system,
            ``SSL_CERT_FILE`` and ``AWS_CA_BUNDLE``.

    Raises:
        UserError: the server cannot be reached, or its certificate is not trusted.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UserError(f"{url!r} is not an http(s) URL")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    pool = _pool(parts.scheme, parts.hostname, parts.port, authority)
    try:
        answer = pool.request(
            method,
            target,
            headers={"Host": parts.netloc, **(headers or {})},
            body=body,
            redirect=False,
            retries=False,
            # urllib3 compares the Host header with the address that the pool dials, which may be 127.0.0.1.
            assert_same_host=False,
        )
    except urllib3.exceptions.HTTPError as error:
        raise UserError(f"{method} {parts.scheme}://{parts.netloc}{parts.path}: {_reason(error)}") from error
    return Answer(answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data)


def _reason(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return f"its certificate is not trusted: set SSL_CERT_FILE to its authority's PEM file ({error})"
    return f"no answer ({error})"


@cache
def _pool(scheme: str, host: str, port: int | None, authority: Path | None) -> urllib3.HTTPConnectionPool:
    # RFC 6761 maps every name under localhost to loopback, but glibc asks DNS for such names.
    address = "127.0.0.1" if host.endswith(".localhost") else host
    if scheme == "http":
        return urllib3.HTTPConnectionPool(address, port, timeout=_TIMEOUT, maxsize=8)
    return urllib3.HTTPSConnectionPool(
        address,
        port,
        timeout=_TIMEOUT,
        maxsize=8,
        ssl_context=_trust(authority),
        server_hostname=host,
        assert_hostname=host,
    )


@cache
def _trust(authority: Path | None) -> ssl.SSLContext:
    if authority:
        return ssl.create_default_context(cafile=authority)
    context = ssl.create_default_context()  # honors SSL_CERT_FILE
    if bundle := os.environ.get("AWS_CA_BUNDLE"):
        context.load_verify_locations(bundle)
    return context


def fetch_token(
    token_url: str, client_id: str, client_secret: str, *, scope: str = "", authority: Path | None = None
) -> str:
    """Fetch a bearer token by client credentials (RFC 6749, section 4.4).

    Args:
        token_url: the issuer's token endpoint.
        client_id: the OAuth client's id.
        client_secret: the OAuth client's secret.
        scope: space-separated scopes; empty for all scopes of the client.
        authority: as in `request`.

    Raises:
        UserError: the server refused or cannot be reached; the message quotes the server's reason, never the secret.
    """
    headers = urllib3.make_headers(basic_auth=f"{client_id}:{client_secret}")
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    answer = request("POST", token_url, headers=headers, body=urlencode(form).encode(), authority=authority)
    if answer.status != 200:
        reason = answer.body.decode(errors="replace").strip()[:200]
        raise UserError(f"no token for scope {scope or '(all)'!r} from {token_url}: {answer.status} {reason}")
    return str(answer.json()["access_token"])
