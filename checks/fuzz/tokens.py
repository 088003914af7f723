"""Send forged tokens, and tokens for another audience, to a running platform: it must refuse each and write nothing."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3

import checks.fuzz.loopback  # noqa: F401 - for its effect
from ops import http
from ops.api import Api
from ops.http import fetch_token


def _part(document: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def _decode(part: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return document


def forged(genuine: str) -> dict[str, str]:
    """Return tokens derived from a genuine one without the issuer's key, by the fault of each."""
    first, second, signature = genuine.split(".")
    header, claims = _decode(first), _decode(second)
    widened = _part(claims | {"scope": "pmp/read pmp/write pmp/admin pmp/everything"})
    confused = f"{_part(header | {'alg': 'HS256'})}.{second}"
    mac = hmac.digest(b"", confused.encode(), hashlib.sha256)
    return {
        "none at all": "",
        "no JWT": "x",
        "empty parts": "..",
        "alg none": f"{_part({'alg': 'none', 'typ': 'JWT'})}.{second}.",
        "alg None": f"{_part({'alg': 'None', 'typ': 'JWT'})}.{second}.",
        "HS256 instead of RS256": f"{confused}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}",
        "more scopes, old signature": f"{first}.{widened}.{signature}",
        "another audience, old signature": f"{first}.{_part(claims | {'client_id': 'x', 'aud': 'x'})}.{signature}",
        "another issuer, old signature": f"{first}.{_part(claims | {'iss': 'https://example.com'})}.{signature}",
        "expired, old signature": f"{first}.{_part(claims | {'exp': int(time.time()) - 1})}.{signature}",
        "another key's signature": f"{first}.{second}.{base64.urlsafe_b64encode(bytes(256)).decode()}",
        "unknown key": f"{_part(header | {'kid': 'unknown'})}.{second}.{signature}",
        "signature cut off": f"{first}.{second}",
    }


@contextmanager
def of_another_audience(genuine: str, token_url: str, bundle: Path) -> Iterator[str]:
    """Yield a token of the same issuer and scopes for a new client, which the API does not know.

    Args:
        genuine: a token that names the issuer, a Cognito user pool.
        token_url: the pool's OAuth2 endpoint.
        bundle: certificate authorities to trust (PEM).
    """
    claims = _decode(genuine.split(".")[1])
    pool = claims["iss"].rsplit("/", 1)[1]
    cognito = boto3.Session().client("cognito-idp")
    client = cognito.create_user_pool_client(
        UserPoolId=pool,
        ClientName=f"stranger-{uuid.uuid4().hex[:8]}",
        GenerateSecret=True,
        AllowedOAuthFlows=["client_credentials"],
        AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthScopes=claims["scope"].split(),
    )["UserPoolClient"]
    try:
        yield fetch_token(token_url, client["ClientId"], client["ClientSecret"], authority=bundle)
    finally:
        cognito.delete_user_pool_client(UserPoolId=pool, ClientId=client["ClientId"])


def expired(genuine: str, token_url: str, bundle: Path) -> str:
    """Return an expired token that the issuer created for the same client.

    For a moment the client's tokens are valid for one second. Only an emulator allows that: Cognito's minimum is five
    minutes (https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_UpdateUserPoolClient.html).

    Args:
        genuine: a token that names the issuer and the client.
        token_url: the pool's OAuth2 endpoint.
        bundle: certificate authorities to trust (PEM).
    """
    claims = _decode(genuine.split(".")[1])
    address = {"UserPoolId": claims["iss"].rsplit("/", 1)[1], "ClientId": claims["client_id"]}
    cognito = boto3.Session().client("cognito-idp")
    client = cognito.describe_user_pool_client(**address)["UserPoolClient"]
    settings = address | {
        name: client[name]
        for name in ("ClientName", "AllowedOAuthFlows", "AllowedOAuthFlowsUserPoolClient", "AllowedOAuthScopes")
    }
    units = {"AccessToken": "seconds"}
    cognito.update_user_pool_client(**settings, AccessTokenValidity=1, TokenValidityUnits=units)
    try:
        token = fetch_token(token_url, client["ClientId"], client["ClientSecret"], authority=bundle)
    finally:
        cognito.update_user_pool_client(**settings, AccessTokenValidity=3600, TokenValidityUnits=units)
    time.sleep(max(0, _decode(token.split(".")[1])["exp"] + 1 - time.time()))
    return token


def accepted(url: str, genuine: str, refusable: dict[str, str], bundle: Path | None) -> list[str]:
    """Try to create a user with each token; return one sentence per token that was not refused or wrote something.

    Args:
        url: base URL of the API.
        genuine: a token with which users can be read.
        refusable: tokens by the fault of each.
        bundle: certificate authorities to trust (PEM); None for the system's.
    """

    def ask(method: str, path: str, bearer: str, document: Any = None) -> http.Answer:
        return Api(url, bearer, bundle).ask(method, path, document)

    wrong = []
    for name, bearer in refusable.items():
        address = f"{uuid.uuid4().hex}@example.com"
        status = ask("POST", "/v1/users", bearer, {"email": address}).status
        found = ask("GET", f"/v1/users?email={address}", genuine)
        if status not in {401, 403} or found.json().get("items") != []:
            wrong.append(f"{name}: status {status}, then found {found.body.decode()}")
    return wrong
