"""API clients are as many as one authorizer takes, and no more."""

from collections.abc import Iterator
from typing import Any

import pytest

from ops import aws, clients
from ops.errors import UserError


class Account:
    """Cognito, SSM and Secrets Manager of an environment with some clients; ``made`` are those that were created."""

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.made: list[str] = []

    def get_paginator(self, operation: str) -> "Account":
        assert operation in {"get_parameters_by_path", "list_user_pool_clients"}
        return self

    def paginate(self, **request: Any) -> Iterator[dict[str, Any]]:
        if "UserPoolId" in request:
            yield {"UserPoolClients": [{"ClientName": name, "ClientId": name} for name in self.names]}
        else:
            yield {"Parameters": [{"Name": request["Path"] + name} for name in self.names]}

    def create_user_pool_client(self, **request: Any) -> dict[str, Any]:
        self.made.append(request["ClientName"])
        return {"UserPoolClient": {"ClientId": "id", "ClientSecret": "secret"}}

    def describe_user_pool_client(self, **request: Any) -> dict[str, Any]:
        return {
            "UserPoolClient": {
                "ClientId": request["ClientId"],
                "ClientSecret": "secret",
                "AllowedOAuthScopes": ["pmp/read"],
            }
        }

    def put_parameter(self, **request: Any) -> None: ...


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Account:
    found = Account([f"client{number:02}" for number in range(clients.MOST_CLIENTS - 1)])
    monkeypatch.setattr(aws, "client", lambda _service: found)
    monkeypatch.setattr(aws, "parameter", lambda _name: "pool")
    monkeypatch.setattr(aws, "parameter_or_none", lambda _name: None)
    monkeypatch.setattr(clients, "_store", lambda *_arguments: None)
    return found


def test_the_fiftieth_client_is_made(account: Account) -> None:
    assert clients.ensure("dev", "shop", ("pmp/read",)) == "id"
    assert account.made == ["shop"]


def test_client_51_is_refused(account: Account) -> None:
    account.names.append("crm")
    with pytest.raises(UserError, match=r"dev has 50 API clients, as many as .* delete one that nobody uses"):
        clients.ensure("dev", "shop", ("pmp/read",))
    assert account.made == []


def test_existing_client_may_change_when_there_are_fifty(account: Account) -> None:
    account.names.append("crm")
    assert clients.ensure("dev", "crm", ("pmp/read",)) == "crm"
