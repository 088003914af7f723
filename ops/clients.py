"""API clients: an app client in the user pool, its secret in Secrets Manager, its id in SSM for Terraform."""

import json
from typing import Any

from ops import aws
from ops.errors import UserError
from ops.output import say

ALL_SCOPES = ("pmp/check", "pmp/read", "pmp/write", "pmp/admin")
SMOKE = "smoke"
MOST_CLIENTS = 50
"""Audiences of one authorizer; AWS does not raise it (ADR 0407).

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
"""


def ensure_for_smoke(environment: str) -> None:
    """Create the smoke test's client, which has all scopes, unless it exists.

    A plan-only identity may check that the client exists, but may not create it.
    """
    if aws.parameter_or_none(_parameter_name(environment, SMOKE)) is None:
        ensure(environment, SMOKE, ALL_SCOPES)


def ensure(environment: str, name: str, scopes: tuple[str, ...]) -> str:
    """Create the client ``name`` with exactly these scopes, or set its scopes to them; return its id.

    The secret is never printed.

    Raises:
        UserError: a scope is not known, the foundation is missing, or there are as many clients as an authorizer takes.
    """
    unknown = set(scopes) - set(ALL_SCOPES)
    if unknown or not scopes:
        raise UserError(
            f"scope {' '.join(sorted(unknown)) or '(none)'} is not known: use some of {' '.join(ALL_SCOPES)}"
        )
    pool = aws.parameter(f"/pmp/{environment}/foundation/user_pool_id")
    cognito = aws.client("cognito-idp")
    settings = {
        "UserPoolId": pool,
        "ClientName": name,
        "AllowedOAuthFlows": ["client_credentials"],
        "AllowedOAuthFlowsUserPoolClient": True,
        "AllowedOAuthScopes": sorted(scopes),
    }
    client = _find(cognito, pool, name)
    if client is None:
        _refuse_more_than_fit(environment)
        client = cognito.create_user_pool_client(**settings, GenerateSecret=True)["UserPoolClient"]
        outcome = "created"
    elif sorted(client.get("AllowedOAuthScopes", [])) != sorted(scopes):
        cognito.update_user_pool_client(**settings, ClientId=client["ClientId"])
        outcome = "updated"
    else:
        outcome = "unchanged"
    identifier = str(client["ClientId"])
    _store(environment, name, {"client_id": identifier, "client_secret": client["ClientSecret"]})
    # Last, so that a reader that finds the id also finds the secret.
    parameter = _parameter_name(environment, name)
    if aws.parameter_or_none(parameter) != identifier:
        aws.client("ssm").put_parameter(Name=parameter, Value=identifier, Type="String", Overwrite=True)
    say(f"client {name} of {environment} ({identifier}): {outcome}, scopes {' '.join(sorted(scopes))}")
    return identifier


def credentials(environment: str, name: str) -> tuple[str, str]:
    """Return a client's id and secret.

    Raises:
        UserError: there is no such client.
    """
    stored = aws.secret(_secret_name(environment, name))
    return stored["client_id"], stored["client_secret"]


def _parameter_name(environment: str, name: str) -> str:
    return f"/pmp/{environment}/clients/{name}"


def _secret_name(environment: str, name: str) -> str:
    return f"pmp/{environment}/clients/{name}"


def _refuse_more_than_fit(environment: str) -> None:
    prefix = f"/pmp/{environment}/clients/"
    pages = aws.client("ssm").get_paginator("get_parameters_by_path").paginate(Path=prefix)
    names = sorted(one["Name"].removeprefix(prefix) for page in pages for one in page["Parameters"])
    if len(names) >= MOST_CLIENTS:
        raise UserError(
            f"{environment} has {len(names)} API clients, as many as an authorizer of API Gateway takes: delete one "
            f"that nobody uses (user pool client, secret pmp/{environment}/clients/<name>, parameter {prefix}<name>), "
            f"or use an issuer with one audience for all clients (ADR 0407); there are {', '.join(names)}"
        )


def _find(cognito: Any, pool: str, name: str) -> dict[str, Any] | None:
    for page in cognito.get_paginator("list_user_pool_clients").paginate(UserPoolId=pool):
        for entry in page["UserPoolClients"]:
            if entry["ClientName"] == name:
                described = cognito.describe_user_pool_client(UserPoolId=pool, ClientId=entry["ClientId"])
                found: dict[str, Any] = described["UserPoolClient"]
                return found
    return None


def _store(environment: str, name: str, value: dict[str, str]) -> None:
    manager, identifier = aws.client("secretsmanager"), _secret_name(environment, name)
    try:
        if json.loads(manager.get_secret_value(SecretId=identifier)["SecretString"]) != value:
            manager.put_secret_value(SecretId=identifier, SecretString=json.dumps(value))
    except manager.exceptions.ResourceNotFoundException:
        manager.create_secret(
            Name=identifier,
            SecretString=json.dumps(value),
            KmsKeyId=aws.parameter(f"/pmp/{environment}/foundation/kms_key_arn"),
            Description=f"OAuth client {name} of PMP's API in {environment}",
            Tags=[{"Key": "Project", "Value": "pmp"}, {"Key": "Environment", "Value": environment}],
        )
