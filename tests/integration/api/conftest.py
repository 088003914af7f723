"""Fixtures: PostgreSQL with the schema, PgBouncer and a fake vendor server, once per run; the function in-process."""

import os
import threading
import uuid
from collections.abc import Callable, Iterator

import pytest
from pmp import database

from checks.gateway import Gateway
from checks.stack import CALM, Stack, forget, missing
from checks.stack import stack as started
from local.vendor_list.server import PATH, Server


@pytest.fixture(scope="session")
def third_party() -> Iterator[Server]:
    with Server(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def stack(third_party: Server) -> Iterator[Stack]:
    if lacking := missing():
        pytest.skip(lacking)
    with started(settings=CALM) as running:
        address = f"http://127.0.0.1:{third_party.server_port}{PATH}"
        os.environ.update(running.environment | {"PMP_VENDOR_LIST_URL": address})
        yield running


@pytest.fixture(autouse=True)
def fresh(stack: Stack) -> Iterator[None]:
    """Give each test a new database connection."""
    forget()
    yield
    database.disconnect()


@pytest.fixture
def api() -> Gateway:
    return Gateway()


@pytest.fixture
def new_user(api: Gateway) -> Callable[[], str]:
    """Return a function that registers a user and returns the id."""

    def register() -> str:
        answer = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"})
        assert answer.status == 201, answer.content
        identifier: str = answer.json["id"]
        return identifier

    return register
