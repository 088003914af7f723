"""A bearer token by OAuth2 client credentials (RFC 6749, section 4.4)."""

import json
from pathlib import Path

import urllib3

from local.instance import PlatformError


def bearer_token(token_url: str, client_id: str, client_secret: str, scope: str, ca_file: Path) -> str:
    """Ask ``token_url`` for a token; an empty ``scope`` asks for all scopes of the client.

    Raises:
        PlatformError: the server refused or cannot be reached; the message carries its reason.
    """
    form = {"grant_type": "client_credentials"} | ({"scope": scope} if scope else {})
    headers = urllib3.make_headers(basic_auth=f"{client_id}:{client_secret}")
    try:
        with urllib3.PoolManager(ca_certs=str(ca_file), retries=False, timeout=30) as pool:
            answer = pool.request("POST", token_url, fields=form, headers=headers, encode_multipart=False)
    except urllib3.exceptions.HTTPError as error:
        raise PlatformError(f"no token from {token_url}: {error}") from error
    if answer.status != 200:
        reason = answer.data.decode(errors="replace").strip()
        raise PlatformError(f"no token for the scope {scope or '(all)'!r}: {answer.status} {reason}")
    return str(json.loads(answer.data)["access_token"])
