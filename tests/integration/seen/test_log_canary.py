"""A thousand requests, and jobs, with marked personal data in every place that a client can use.

No log has a mark, no metric but those of the log's filters is made, and nothing is added to Lambda's traces. What a
running platform's states, plans and logs hold is searched in ``tests/e2e``, what the filters may read in
``tests/infra``.
"""

import base64
import itertools
import json
import os
import random
import re
import select
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
from pmp import database, handler
from pmp.deliveries import dispatcher
from pmp.http import disclosures

from checks.gateway import Answer, Context, Gateway, invoke, token
from checks.receiver import Handler, Message, Receiver
from ops.settings import ROOT
from tests.integration.seen.conftest import Seen

REQUESTS = 1000
MARK = "zqcanary"
EMAIL = "email_notifications"
PATHS = (
    "/v1/users/{}", "/v1/users/{}/events", "/v1/events/{}", "/v1/consents/{}", "/v1/vendors/{}", "/v1/{}", "/{}",
    "/v1/imports/{}/rejects", "/docs/{}", "/v1/unsubscribe/{}",
)  # fmt: skip


@dataclass
class Person:
    """A user and their marked identifiers."""

    number: int
    id: str = ""
    token: str = ""

    @property
    def email(self) -> str:
        """The address."""
        return f"Ada.{MARK}{self.number}@{MARK}.example"

    @property
    def phone(self) -> str:
        """The number, which cannot hold a mark of letters."""
        return f"+491520{self.number:08d}"

    @property
    def external_id(self) -> str:
        """The id in the namespace ``crm``."""
        return f"{MARK}-{self.number}"

    def names(self) -> Iterator[dict[str, Any]]:
        """Yield how a request can name the user without an id."""
        yield {"email": self.email}
        yield {"phone": self.phone}
        yield {"external_id": {"namespace": "crm", "id": self.external_id}}


@dataclass
class World:
    """Sends the requests, and knows what must not be logged."""

    seen: Seen
    source: random.Random
    api: Gateway = field(default_factory=lambda: Gateway(client="canary-client"))
    people: list[Person] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)
    """Tokens, in full."""
    statuses: dict[int, int] = field(default_factory=dict)
    disclosed: int = 0
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def send(self, method: str, target: str, document: Any = None, **headers: str) -> Answer:
        """Send a request, and check that its line names all whose data the answer holds."""
        answer = self.api.request(method, target, document, **headers)
        self.secrets.add(self.api.headers["Authorization"].removeprefix("Bearer "))
        self._note(method, answer)
        return answer

    def invoke(self, method: str, target: str, headers: dict[str, str], body: bytes | None = None) -> Answer:
        """Send a request with exactly these headers."""
        self.secrets.add(headers.get("Authorization", "").removeprefix("Bearer "))
        answer = invoke(method, target, headers, body)
        self._note(method, answer)
        return answer

    def _note(self, method: str, answer: Answer) -> None:
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        line = self.seen.last()
        assert (line["message"], line["status"]) == ("request", answer.status) or line["status"] >= 200, line
        if answer.status >= 400:
            assert "discloses" not in line
            return
        text = answer.content.decode("utf-8", "replace").lower()
        about = [
            person
            for person in self.people
            if person.id and any(name in text for name in (person.id, person.email.lower(), f'"{person.external_id}"'))
        ]
        told = line.get("discloses", "").split()
        missing = [person.number for person in about if person.id[-disclosures.TAIL :] not in told]
        assert not missing or method == "DELETE", (line, missing)
        self.disclosed += len(about)

    def register(self) -> Person:
        """Register a user with all identifiers."""
        person = Person(next(self.numbers))
        self.people.append(person)
        body = {"email": person.email, "phone": person.phone, "external_ids": {"crm": person.external_id}}
        answer = self.api.post("/v1/users", body)
        assert answer.status == 201, answer.content
        person.id = answer.json["id"]
        return person

    def some(self) -> Person:
        """Return a user who exists."""
        return self.source.choice(self.people)

    def context(self) -> dict[str, Any]:
        """Return a context of proof full of marks."""
        return {
            "channel": "web",
            "url": f"https://example.com/?who={MARK}",
            "form": f"form of {MARK}",
            "notice": f"Dear {MARK}",
        }


Request = Callable[[World], object]


def _event(world: World, **more: Any) -> dict[str, Any]:
    return {"consents": [{"id": EMAIL, "enabled": world.source.random() < 0.5}], "context": world.context(), **more}


def _tokens(world: World) -> None:
    person = world.some()
    for purpose in ("preferences", "unsubscribe", "confirm"):
        consents = {} if purpose == "preferences" else {"consents": ["sms_notifications"]}
        answer = world.send("POST", "/v1/tokens", {"user": {"id": person.id}, "purpose": purpose, **consents})
        assert answer.status == 201, answer.content
        made = answer.json["token"]
        world.secrets.add(made)
        own = {"Authorization": f"Bearer {made}", "Content-Type": "application/json", "User-Agent": f"browser {MARK}"}
        if purpose == "preferences":
            for path in ("/v1/me", "/v1/me/events", "/v1/me/export"):
                assert world.invoke("GET", path, own).status == 200
            choice = {"consents": [{"id": EMAIL, "enabled": True}]}
            assert world.invoke("POST", "/v1/me/events", own, json.dumps(choice).encode()).status == 201
            assert world.invoke("POST", "/v1/me/events", own, f'{{"{MARK}": 1}}'.encode()).status == 422
        elif purpose == "confirm":
            assert world.invoke("POST", "/v1/me/confirm", own).status == 200
        else:
            assert world.invoke("GET", f"/v1/unsubscribe/{made}", {}).status == 200
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            assert world.invoke("POST", f"/v1/unsubscribe/{made}", form, b"List-Unsubscribe=One-Click").status == 200
            assert world.invoke("GET", f"/v1/unsubscribe/{made[:-2]}", {}).status == 404


def _changed(world: World) -> None:
    person = world.register()
    world.send("PATCH", f"/v1/users/{person.id}", {"email": f"new.{person.email}", "phone": None})
    world.send("PATCH", f"/v1/users/{person.id}", {"email": world.people[0].email})  # taken
    world.send("POST", f"/v1/users/{world.people[0].id}/merge", {"from": person.id})
    world.people.remove(person)
    world.send("GET", f"/v1/users/{person.id}")


def _erased(world: World) -> None:
    person = world.register()
    world.send("DELETE", f"/v1/users/{person.id}")
    world.people.remove(person)
    world.send("POST", "/v1/users/lookup", {"email": person.email})
    world.send("POST", "/v1/events", _event(world, user={"id": person.id}))


def _looked_up(world: World) -> None:
    for name in world.some().names():
        assert world.send("POST", "/v1/users/lookup", name).status == 200


def _told(world: World) -> None:
    for name in world.some().names():
        assert world.send("POST", "/v1/events", _event(world, user=name)).status == 201
        world.send("POST", "/v1/signals", {"user": name, "gpc": True, "context": world.context()})


def _checked(world: World) -> None:
    checks = [{"user": name, "consent": EMAIL} for _ in range(3) for name in world.some().names()]
    answer = world.send(
        "POST", "/v1/check", {"checks": [*checks, {"user": {"email": f"no.{MARK}@{MARK}.example"}, "consent": EMAIL}]}
    )
    assert answer.status == 200
    tails = {person.id[-disclosures.TAIL :] for person in world.people}
    told = world.seen.last()["discloses"].split()
    assert 1 <= len(told) <= 3
    assert set(told) <= tails


def _batch(world: World) -> None:
    events = [
        _event(world, user={"email": f"batch.{MARK}.{uuid.uuid4().hex}@{MARK}.example"}, upsert=True),
        _event(world, user={"email": MARK}, upsert=True),
        {MARK: MARK},
        _event(world, user={"id": world.some().id}),
    ]
    assert (
        world.send("POST", "/v1/events:batch", {"events": events}, Idempotency_Key=f"{MARK}{uuid.uuid4()}").status
        == 200
    )


def _kept(world: World) -> None:
    body, key = _event(world, user={"id": world.some().id}), f"{MARK}-{uuid.uuid4()}"
    assert world.send("POST", "/v1/events", body, Idempotency_Key=key).status == 201
    assert world.send("POST", "/v1/events", body, Idempotency_Key=key).status == 201
    assert world.send("POST", "/v1/events", {**body, "consents": []}, Idempotency_Key=key).status == 422
    one = {**body, "id": str(uuid.uuid4())}
    assert world.send("POST", "/v1/events", one).status == 201
    assert world.send("POST", "/v1/events", {**one, "occurred_at": "2026-01-01T00:00:00Z"}).status == 409


def _read(world: World) -> None:
    person = world.some()
    for path in ("", "/events", "/consents", "/export", "/deliveries"):
        assert world.send("GET", f"/v1/users/{person.id}{path}").status == 200
    assert world.send("HEAD", f"/v1/users/{person.id}").status == 200
    assert world.send("GET", f"/v1/users?email={quote(person.email)}").json["items"]


def _listed(world: World) -> None:
    for path in ("/v1/users?limit=500", f"/v1/users?consent={EMAIL}&enabled=true", "/v1/events?limit=200"):
        assert world.send("GET", path).status == 200
    (event,) = world.send("GET", "/v1/events?limit=1").json["items"]
    assert world.send("GET", f"/v1/events/{event['id']}").status == 200


def _paths(world: World) -> None:
    person = world.some()
    for part in (person.email, person.phone, MARK, f"{MARK} Lovelace", quote(person.email), "x" * 70 + MARK):
        for path in PATHS:
            world.send("GET", path.format(quote(part)))
    world.send("PUT", f"/v1/consents/{MARK}", {"description": 1})
    world.send("PUT", f"/v1/mappings/{MARK}", {"description": MARK})
    world.send("DELETE", f"/v1/users/{MARK}")


def _queries(world: World) -> None:
    for query in (f"email={MARK}", f"cursor={MARK}", f"limit={MARK}", f"consent={MARK}&enabled=true", f"as_of={MARK}",
                  f"{MARK}=1", f"known_at={MARK}&as_of={MARK}"):  # fmt: skip
        for path in ("/v1/users", "/v1/events", f"/v1/users/{world.some().id}/events", "/v1/imports", "/v1/health"):
            world.send("GET", f"{path}?{query}")


def _headers(world: World) -> None:
    person = world.some()
    for name in ("If_Match", "If_None_Match", "Accept", "User_Agent", "X_Forwarded_For", "Referer", "Idempotency_Key"):
        world.send("GET", f"/v1/users/{person.id}", **{name: f'"{MARK}"'})
        world.send("PATCH", f"/v1/users/{person.id}", {"phone": person.phone}, **{name: f'"{MARK}"'})
    for authorization in (f"Bearer {MARK}", f"Basic {base64.b64encode(MARK.encode()).decode()}", MARK):
        world.invoke("GET", "/v1/users", {"Authorization": authorization})
        world.invoke("GET", "/v1/me", {"Authorization": authorization})
    for scope, seconds in (("pmp/check", 3600), (MARK, 3600), ("pmp/read", -5)):
        made = token(scope, "canary-client", seconds)
        world.invoke("GET", f"/v1/users?email={quote(person.email)}", {"Authorization": f"Bearer {made}"})


def _bodies(world: World) -> None:
    person = world.some()
    huge = json.dumps({"email": f"{MARK}{'a' * 1_100_000}@example.com"}).encode()
    for body in (f'{{"email": "{person.email}"'.encode(), f'["{MARK}"]'.encode(), f'"{MARK}"'.encode(), MARK.encode(),
                 MARK.encode("utf-16"), b"\xff" + MARK.encode(), b"[" * 5000 + MARK.encode(), huge):  # fmt: skip
        for path in ("/v1/users", "/v1/events", "/v1/check"):
            world.send("POST", path, body)
    fresh = f"{uuid.uuid4().hex}@example.com"
    documents: tuple[Any, ...] = (
        {"email": [MARK]}, {"email": MARK}, {"email": person.email}, {MARK: MARK}, {"email": f"{MARK}\x00@example.com"},
        {"email": f"ok.{MARK}@example.com", "phone": MARK}, {"email": f"{MARK}\ud800@example.com"},
        {"email": fresh, "external_ids": {"crm": person.external_id}},
        {"email": fresh, "external_ids": {"crm": f"{MARK}\x00"}},
    )  # fmt: skip
    for document in documents:
        world.send("POST", "/v1/users", document)
    for more in ({"user": {"email": MARK}}, {"user": {"id": MARK}}, {"consents": [{"id": MARK, "enabled": True}]},
                 {"occurred_at": MARK}, {"context": {"form": f"{MARK}\x00"}}, {"context": {MARK: 1}}, {"id": MARK},
                 {"context": {"form": f"\ud800{MARK}"}}, {"consents": [{"id": EMAIL, "enabled": True, "value": MARK}]},
                 {"occurred_at": "2999-01-01T00:00:00Z"}):  # fmt: skip
        world.send("POST", "/v1/events", _event(world, user={"id": person.id}) | more)
    world.send("POST", "/v1/tokens", {"user": {"id": MARK}, "purpose": MARK})
    world.send("POST", "/v1/signals", {"user": {"email": person.email}, "gpp_string": MARK})
    world.send("POST", "/v1/imports", {"format": MARK, "mapping": MARK})
    world.send("POST", "/v1/exports", {"consent": MARK})
    world.send("POST", "/v1/subscriptions", {"url": f"https://{MARK}/{MARK}", "description": MARK})


KINDS: tuple[Request, ...] = (
    World.register, _tokens, _changed, _erased, _looked_up, _told, _checked, _batch, _kept, _read, _listed, _paths,
    _queries, _headers, _bodies,
)  # fmt: skip


def _uploaded(world: World, key: str, body: bytes) -> None:
    """Work on an upload as S3 announces it; a file that cannot be read may fail the invocation."""
    with suppress(Exception):
        _work(world.seen.stack.store.put(key, body))


def _work(body: dict[str, Any]) -> None:
    """Give the function a message of the jobs queue."""
    record = {
        "eventSourceARN": "arn:aws:sqs:eu-west-1:000000000000:pmp-local-jobs",
        "messageId": "1",
        "receiptHandle": "1",
        "attributes": {"ApproximateReceiveCount": "1"},
        "body": json.dumps(body),
    }
    handler.handler({"Records": [record]}, Context(900))


def _jobs(world: World) -> None:
    """Import, export and deliver marked people, among them lines and files that are refused."""
    person = world.some()
    line = _event(world, occurred_at="2026-02-01T00:00:00Z")
    good = [{**line, "user": {"email": f"import.{MARK}{number}@{MARK}.example"}} for number in range(20)]
    bad: list[Any] = [MARK, {MARK: MARK}]
    bad += [
        {**good[0], "user": user} for user in ({"email": MARK}, {"email": f"{MARK}\x00@a.example"}, {"phone": MARK})
    ]
    bad += [
        {**good[0], "consents": [{"id": MARK, "enabled": 1}]},
        {**good[0], "occurred_at": MARK},
        {**good[0], "id": MARK},
    ]
    bad.append({**good[0], "user": {"id": person.id}, "context": {"form": f"{MARK}\x00"}})
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in [*good, *bad]) + MARK.encode() + b"\n"
    _uploaded(world, f"imports/{MARK} of {person.email}.ndjson", lines)
    ended = world.seen.last()
    assert (ended["message"], ended["accepted"], ended["rejected"]) == ("import ended", 20, len(bad) + 1), ended
    _uploaded(world, f"imports/{uuid.uuid4()}.ndjson", lines + b"\xff" + MARK.encode())
    for name in (f"{MARK}.txt", f"{MARK}.pdf", f".{MARK}", "_SUCCESS", f"{MARK}/_SUCCESS"):
        _uploaded(world, f"imports/{MARK}/{name}", MARK.encode())
    _uploaded(world, f"imports/{uuid.uuid4()}.csv", f"email,{MARK}\n{person.email},{MARK}\n".encode())
    _uploaded(world, f"imports/{uuid.uuid4()}.csv.gz", MARK.encode())
    _uploaded(world, f"imports/{uuid.uuid4()}.ndjson", b"PAR1" + MARK.encode())
    for request in ({}, {"contents": "events"}, {"contents": "choices", "format": "csv"}):
        made = world.send("POST", "/v1/exports", request).json
        _work({"task": "export", "job": made["id"]})
        done = world.send("GET", f"/v1/exports/{made['id']}").json
        assert (done["state"], world.seen.last()["discloses_file"]) == ("succeeded", f"export {made['id']}")

    def refuse(receiver: Handler, _message: Message) -> int:
        receiver.send_error(500, MARK, f"{MARK} {person.email}")
        return 500

    receiver = Receiver()
    made = world.send("POST", "/v1/subscriptions", {"url": f"{receiver.url}/{MARK}", "description": MARK})
    assert made.status == 201, made.content
    world.send("POST", "/v1/events", _event(world, user={"id": person.id}))
    _deliver(lambda: bool(receiver.messages))
    receiver.behaviour = refuse
    world.send("POST", "/v1/events", _event(world, user={"id": person.id}))
    _deliver(lambda: bool(receiver.refused))
    dispatcher.tick(database.connect())
    receiver.close()
    world.send("PATCH", f"/v1/subscriptions/{made.json['id']}", {"enabled": False})


def _deliver(is_done: Callable[[], bool]) -> None:
    """Tell receivers what is new, until they were told.

    A transaction of another one, such as autovacuum's, keeps an event from the feed until it ends.
    """
    end = time.monotonic() + 60
    while not is_done():
        assert time.monotonic() < end
        dispatcher.Dispatcher(database.connect()).work(5)


def found(world: World) -> list[str]:
    """Return the lines of the logs that have personal data or a token in them."""
    phones = "|".join(str(person.number).rjust(8, "0") for person in world.people)
    hidden = re.compile(f"{MARK}|491520(?:{phones})", re.IGNORECASE)
    secrets = [secret for secret in world.secrets if len(secret) > 20]
    return [
        f"{name}: {line[:500]}"
        for name, text in world.seen.texts().items()
        for line in text.splitlines()
        if hidden.search(line) or any(secret in line for secret in secrets)
    ]


def embedded_metrics(seen: Seen) -> list[dict[str, Any]]:
    """Return the lines that CloudWatch would make metrics of, with dimensions of the line's own.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    return [line for line in seen.lines() if "_aws" in line]


@pytest.fixture
def world(seen: Seen) -> World:
    world = World(seen, random.Random(16))
    for _ in range(5):
        world.register()
    return world


def test_no_log_metric_or_trace_has_personal_data(world: World) -> None:
    _jobs(world)
    for kind in itertools.cycle(KINDS):
        if sum(world.statuses.values()) >= REQUESTS:
            break
        kind(world)
    assert found(world) == []
    assert world.seen.segments() == []
    assert embedded_metrics(world.seen) == []
    # The requests did what they were meant to do, and the logs are those of all of them.
    assert {200, 201, 400, 401, 403, 404, 409, 410, 412, 413, 422} <= world.statuses.keys()
    assert world.statuses.keys().isdisjoint({500, 502, 503}), world.statuses
    assert world.disclosed > 250
    logged = [line for line in world.seen.lines() if line["message"] == "request"]
    assert len(logged) >= REQUESTS
    statements = world.seen.texts()["postgres.log"]
    assert sum(f"/*{line['request_id']}*/" in statements for line in logged) > REQUESTS / 4


def test_canary_would_find_what_is_logged(seen: Seen) -> None:
    person, secret = Person(99), token(client="somebody")
    world = World(seen, random.Random(0), people=[person], secrets={secret})
    for text in (person.email.upper(), quote(person.email), person.phone, f"Bearer {secret}"):
        seen.output.truncate(0)
        seen.output.write(json.dumps({"message": text}) + "\n")
        assert len([line for line in found(world) if line.startswith("function: ")]) == 1, text


def test_canary_would_find_a_segment_and_a_metric(seen: Seen) -> None:
    host, _, port = os.environ["AWS_XRAY_DAEMON_ADDRESS"].partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(b'{"format": "json", "version": 1}\n{"annotations": {"user": "1"}}', (host, int(port)))
    # On a busy machine the kernel delivers it later.
    select.select([seen.daemon], [], [], 60)
    assert len(seen.segments()) == 1
    assert seen.segments() == []
    seen.output.write(json.dumps({"message": "request", "user": "1", "_aws": {"CloudWatchMetrics": []}}) + "\n")
    assert len(embedded_metrics(seen)) == 1


def test_access_log_has_no_field_that_a_client_fills_freely() -> None:
    """The gateway writes it: neither path, query nor any header but the agent's is in its format."""
    block = (ROOT / "modules/api/main.tf").read_text().partition("access_log = {")[2].partition("}")[0]
    assert set(re.findall(r'"\$context\.([\w.]+)"', block)) == {
        "requestTime", "requestId", "identity.sourceIp", "identity.userAgent", "authorizer.claims.client_id",
        "httpMethod", "routeKey", "protocol", "domainName", "status", "responseLength", "responseLatency",
        "integration.status", "integration.latency", "integration.error", "integration.requestId", "authorizer.error",
        "error.message", "error.responseType",
    }  # fmt: skip
