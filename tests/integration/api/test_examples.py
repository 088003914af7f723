"""Every operation's example in the OpenAPI document is sent, and answered as the document shows."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from pmp import tasks

from checks.gateway import Answer, Gateway, invoke
from checks.stack import Stack
from tests.support.answers import Comparison

DOCUMENT: dict[str, Any] = json.loads(Path("lambda/pmp/openapi.json").read_text())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
STORY = (
    "createUser", "putConsent", "getConsent", "listConsents", "listConsentVersions", "createEvent", "listUserConsents",
    "createEvents", "getEvent", "listEvents",
    "getUser", "listUsers", "listUserEvents", "exportUser", "checkConsents", "createToken", "getMe", "createMyEvent",
    "listMyEvents", "exportMe", "putMapping", "getMapping", "listMappings",
    "createImport", "getImport", "listImports", "getImportPreview", "getImportRejects", "cancelImport", "createExport",
    "getExport", "listExports", "deleteExport", "createSubscription", "getSubscription", "listSubscriptions",
    "replaySubscription", "listUserDeliveries", "rotateSubscription", "changeSubscription", "deleteSubscription",
    "listVendors", "getVendor", "getReadiness", "getHealth", "getOpenapi",
    "getDocs", "getDocsFile", "getPreferences", "getPreferencesFile",
    "changeUser", "recordSignal", "mergeUsers", "retireConsent", "confirmMyConsents", "getUnsubscription",
    "unsubscribe", "eraseUser", "lookupUser",
)  # fmt: skip
"""The operations in an order in which each finds what it needs."""
END = ("createUser", "eraseMe")
"""A second story."""
DIFFERENT = {"environment", "release", "code_sha256", "function_version", "secret"}
"""Members whose values are a deployment's own."""
USER = DOCUMENT["components"]["parameters"]["UserId"]["example"]
CONSENT = "sms_notifications"
CURSORS = {"next", "resume"}


class Story:
    """The operations sent so far."""

    def __init__(self) -> None:
        self.api = Gateway(client="preference-centre")
        self.comparison = Comparison(different=DIFFERENT)

    def send(self, name: str) -> Answer:
        """Send the operation's example and compare the answer with the document's."""
        method, path, operation = OPERATIONS[name]
        parameters = [self._resolve(parameter) for parameter in operation.get("parameters", ())]
        for parameter in parameters:
            if parameter["in"] == "path":
                # A token is made for the occasion.
                value = "{token}" if parameter["name"] == "token" else str(parameter["example"])
                path = path.replace(f"{{{parameter['name']}}}", value)
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        if "{token}" not in path:
            answer = self._sender(operation).request(
                method,
                self.comparison.translated(path),
                body and json.loads(self.comparison.translated(json.dumps(body))),
            )
        else:
            answer = self._follow(method, path, operation)
        wanted = min(status for status in operation["responses"] if status[0] in "23")
        wanted = "201" if "201" in operation["responses"] else wanted
        assert answer.status == int(wanted), (name, answer.content)
        media = self._resolve(operation["responses"][wanted]).get("content", {})
        if "application/json" in media:
            example, found = media["application/json"]["example"], answer.json
            if "next" in example:
                assert found.keys() == example.keys()
                for item in example["items"]:
                    assert any(not list(self.comparison.differences(item, other)) for other in self._items(answer)), (
                        item
                    )
                hidden: dict[str, Any] = {"items": [], **dict.fromkeys(CURSORS & example.keys())}
                example, found = ({**page, **hidden} for page in (example, found))
            if name == "getOpenapi":
                found = {member: found[member] for member in example}
            assert list(self.comparison.differences(example, found)) == [], name
            self.comparison.learn(example, found)
        return answer

    def _follow(self, method: str, path: str, operation: dict[str, Any]) -> Answer:
        """Use a link to unsubscribe, by a form if it is a POST."""
        asked = {"user": {"id": self.comparison.translated(USER)}, "purpose": "unsubscribe", "consents": [CONSENT]}
        path = path.replace("{token}", self.api.post("/v1/tokens", asked).json["token"])
        media, form = next(iter(operation.get("requestBody", {"content": {"": {}}})["content"].items()))
        return invoke(method, path, {"Content-Type": media}, urlencode(form.get("example", {})).encode())

    def _sender(self, operation: dict[str, Any]) -> Gateway:
        """The API client, or the user with a token of their own."""
        purposes = [purpose for entry in operation["security"] for purpose in entry.get("person", ())]
        if not purposes:
            return self.api
        asked: dict[str, Any] = {"user": {"id": self.comparison.translated(USER)}, "purpose": purposes[0]}
        if operation["operationId"] == "getMe":
            # The catalogue of this record has more consents than the example.
            shown = operation["responses"]["200"]["content"]["application/json"]["example"]["consents"]
            asked["consents"] = [consent["id"] for consent in shown]
        if purposes == ["confirm"]:
            asked["consents"] = [CONSENT]
        sender = Gateway()
        sender.headers = {"Authorization": f"Bearer {self.api.post('/v1/tokens', asked).json['token']}"}
        return sender

    def _resolve(self, node: dict[str, Any]) -> dict[str, Any]:
        if "$ref" not in node:
            return node
        target: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        return self._resolve(target)

    def _items(self, answer: Answer) -> Iterator[Any]:
        yield from answer.json["items"]
        while link := answer.headers.get("Link"):
            answer = self.api.get(link[1 : link.index(">")])
            yield from answer.json["items"]


@pytest.fixture
def ledger(stack: Stack) -> Iterator[Callable[[], object]]:
    """Return what acknowledges a message with all events; other tests do not find it."""
    last = "1::bigint << 62"
    yield lambda: stack.cluster.psql(
        f"INSERT INTO pmp.delivery SELECT subscription_key, lane, 2, {last}, 0, 0, 0, now()"
        " FROM pmp.delivery_lane JOIN pmp.subscription AS s USING (subscription_key) WHERE s.deleted_at IS NULL"
    )
    stack.cluster.psql(f"DELETE FROM pmp.delivery WHERE number = {last}")


def test_each_example_is_answered_as_the_document_shows(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, ledger: Callable[[], object]
) -> None:
    monkeypatch.setattr(tasks, "begin", lambda _task: None)
    assert {*STORY, *END} == OPERATIONS.keys()
    story = Story()
    for name in STORY:
        if name == "getImportRejects":
            # An import that has ended and rejected a line; S3 and the worker are not needed for the redirect.
            stack.cluster.psql("UPDATE pmp.import_job SET rejects_key = 'rejects/x.ndjson'")
        if name == "getImportPreview":
            example = OPERATIONS[name][2]["responses"]["200"]["content"]["application/json"]["example"]
            stack.cluster.psql(
                "UPDATE pmp.import_job SET dry_run = true; INSERT INTO pmp.import_preview (import_id, line, document)"
                " SELECT j.id, (p.value ->> 'line')::bigint, p.value FROM pmp.import_job AS j"
                f" CROSS JOIN jsonb_array_elements('{json.dumps(example['lines'])}') AS p"
            )
        terms = {"description": "Sale of personal data", "channel": "web", "model": "opt_out"}
        if name == "recordSignal":
            assert story.api.put("/v1/consents/data_sale", {**terms, "opt_out_signals": ["gpc"]}).status == 201
        if name == "listUserDeliveries":
            ledger()
        story.send(name)
        if name == "recordSignal":
            assert story.api.put("/v1/consents/data_sale", terms).status == 200
        if name == "getImportPreview":
            stack.cluster.psql("UPDATE pmp.import_job SET dry_run = false")
    story = Story()
    for name in END:
        story.send(name)
