"""No body of 1 MiB takes long, whatever its shape."""

from typing import Any

import pytest
from pmp import database
from pmp.http.messages import LARGEST_BODY_BYTES

from checks.gateway import Gateway
from tests.support.shapes import LARGEST, SHAPES, check_time


@pytest.fixture(autouse=True)
def fake_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer each statement at once."""

    class Connection:
        def run(self, *_: object, **__: object) -> Any:
            return [[[]]]

    monkeypatch.setattr(database, "connect", Connection)


@pytest.mark.parametrize("path", ["/v1/check", "/v1/events"])
@pytest.mark.parametrize("shape", SHAPES)
def test_processor_time_grows_no_faster_than_the_body(path: str, shape: str) -> None:
    assert LARGEST == LARGEST_BODY_BYTES

    def send(body: bytes) -> None:
        answer = Gateway().post(path, body)
        assert answer.status in {200, 400, 422}, answer.content

    check_time(send, shape)
