"""The usual mix of requests, on a record of ``checks.bench.growth.record``."""

import hashlib
import json
import random
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from checks.gateway import payload, token
from checks.load.traffic import Call

WEIGHTS = {"get_user": 60, "check of 10": 15, "event": 17, "by email": 5, "page of 50": 3}
"""Percent of the requests."""

CONSENTS = ("email_notifications", "sms_notifications", *(f"topic_{number}" for number in range(9)))
HOST = "api.local.pmp.localhost"
"""Name of the API."""

_HEADERS = {
    "Content-Type": "application/json",
    "Host": HOST,
    "User-Agent": "load/1",
}


def user_id(number: int) -> str:
    """Id of a user of the record, by the number of its key."""
    return str(uuid.UUID(hashlib.md5(str(number).encode(), usedforsecurity=False).hexdigest()))


def email(number: int) -> str:
    """Address of a user of the record, by the number of its key."""
    return f"user{number}@example.com"


class Mix:
    """Makes requests of a client, about users of whom some are asked for much more often than others.

    Args:
        users: how many there are, with keys from 1.
        seed: of everything random, the ids of new events included.
        client: the client's name; each recorded event has it as its source.
        places: cursors of pages of users.
        bearer: the client's token; by default one that ``checks.gateway`` accepts.
    """

    def __init__(
        self, users: int, seed: int, *, client: str = "load", places: list[str] | None = None, bearer: str = ""
    ) -> None:
        self.users, self.client, self._places = users, client, places or []
        self._random = random.Random(seed)
        bearer = bearer or token("pmp/check pmp/read pmp/write", client)
        self._headers = {**_HEADERS, "Authorization": f"Bearer {bearer}"}
        self._get, self._post = self._template("GET"), self._template("POST")

    def __iter__(self) -> Iterator[Call]:
        kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
        while True:
            yield from map(self.call, self._random.choices(kinds, weights, k=1000))

    def ready(self, count: int) -> Iterator[Call]:
        """Return the next requests, made now, so that making them takes no time later; more are made when needed."""
        made = [call for call, _ in zip(self, range(count), strict=False)]

        def calls() -> Iterator[Call]:
            yield from made
            yield from self

        return calls()

    def user(self) -> int:
        """The number of a random user: a tenth of the users gets almost a third of the requests."""
        return 2 + int((self.users - 1) * self._random.random() ** 2)

    def call(self, kind: str, number: int | None = None) -> Call:
        """Make a request of a kind of ``WEIGHTS``.

        Args:
            kind: of the request.
            number: of the user, where the kind is about one; None for a random one.
        """
        number = self.user() if number is None else number
        if kind == "get_user":
            return self.read(kind, f"/v1/users/{user_id(number)}")
        if kind == "event":
            return self.event(number)
        if kind == "by email":
            return self.read(kind, "/v1/users", f"email={quote(email(number))}")
        if kind == "page of 50":
            place = f"&cursor={self._random.choice(self._places)}" if self._places else ""
            return self.read(kind, "/v1/users", f"limit=50{place}")
        checks = [{"user": {"id": user_id(self.user())}, "consent": self._random.choice(CONSENTS)} for _ in range(10)]
        return Call(kind, self._event(self._post, "/v1/check", "", {"checks": checks}))

    def read(self, kind: str, path: str, query: str = "") -> Call:
        """Make a GET request that is answered with 200."""
        return Call(kind, self._event(self._get, path, query, None))

    def event(self, number: int, kind: str = "event") -> Call:
        """Make a request that records an event of a user, with two choices."""
        event_id = str(uuid.UUID(int=self._random.getrandbits(128), version=4))
        choices = [
            {"id": consent, "enabled": self._random.random() < 0.6} for consent in self._random.sample(CONSENTS, 2)
        ]
        body = {"id": event_id, "user": {"id": user_id(number)}, "consents": choices}
        return Call(kind, self._event(self._post, "/v1/events", "", body), 201, event_id)

    def _template(self, method: str) -> str:
        """The payload of a request, with marks for path, query and body."""
        return json.dumps(payload(method, "/@path?@query", self._headers, b"@body" if method == "POST" else None))

    def _event(self, template: str, path: str, query: str, body: Any) -> bytes:
        text = template.replace("/@path", path).replace("@query", query)
        return (text if body is None else text.replace('"@body"', json.dumps(json.dumps(body)))).encode()
