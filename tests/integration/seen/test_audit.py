"""The audit record: each answer that holds users' data names them in the request's line; no other one does."""

import json
import uuid
from typing import Any

import pytest
from pmp import logging
from pmp.http import disclosures, router
from pmp.http.messages import Response, receive

from checks.gateway import Gateway
from tests.integration.seen.conftest import Seen

NOBODY = {
    # What is the same for everybody, or is the client's own.
    "listConsents", "getConsent", "putConsent", "retireConsent", "listConsentVersions", "listMappings", "getMapping",
    "putMapping", "listVendors", "getVendor", "getHealth", "getReadiness", "getOpenapi", "getDocs", "getDocsFile",
    "getPreferences", "getPreferencesFile", "listSubscriptions", "createSubscription", "getSubscription",
    "changeSubscription", "deleteSubscription", "rotateSubscription", "replaySubscription",
    # Counts and states of jobs.
    "listImports", "createImport", "getImport", "cancelImport", "createExport", "listExports", "deleteExport",
    # The id that the client sent, and that the user was erased.
    "eraseUser", "eraseMe",
    # A token, with which the user's data can be read: that reading is recorded.
    "createToken",
    # The wording of the consents that the link names.
    "getUnsubscription", "unsubscribe",
}  # fmt: skip


def test_every_operation_tells_whose_data_it_answers_or_has_none() -> None:
    kinds = (disclosures.IN_PATH, disclosures.IN_ANSWER.keys(), disclosures.IN_TOKEN, disclosures.IN_RESPONSE,
             disclosures.FILES.keys(), NOBODY)  # fmt: skip
    assert sorted(one for kind in kinds for one in kind) == sorted(router.OPERATIONS)


def tail(user: str) -> str:
    return user[-12:]


def registered(api: Gateway) -> str:
    answer = api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"})
    return str(answer.json["id"])


def test_line_names_the_user_the_client_and_the_operation(seen: Seen) -> None:
    api = Gateway(client="crm")
    user = registered(api)
    api.get(f"/v1/users/{user.upper()}")
    line = seen.last()
    assert (line["client"], line["operation"], line["discloses"]) == ("crm", "getUser", tail(user))


def test_every_user_of_a_page_is_named_once(seen: Seen) -> None:
    api = Gateway()
    users = [registered(api) for _ in range(3)]
    checks = [{"user": {"id": user}, "consent": "email_notifications"} for user in [*users, *users]]
    checks.append({"user": {"email": "nobody@example.com"}, "consent": "email_notifications"})
    answer = api.post("/v1/check", {"checks": checks})
    assert len(answer.json["results"]) == 7
    assert all("user" not in result for result in answer.json["results"])
    assert seen.last()["discloses"].split() == [tail(user) for user in users]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/users/00000000-0000-4000-8000-00000000a0d1", 404),
        ("GET", "/v1/users?email=nobody@example.com", 200),
        ("GET", "/v1/consents", 200),
    ],
)
def test_answer_without_a_user_names_nobody(seen: Seen, method: str, path: str, status: int) -> None:
    assert Gateway().request(method, path).status == status
    assert not {"discloses", "discloses_file"} & seen.last().keys()


def test_unchanged_answer_is_recorded_and_a_failed_condition_is_not(seen: Seen) -> None:
    api = Gateway()
    user = registered(api)
    tag = api.get(f"/v1/users/{user}").headers["ETag"]
    assert api.get(f"/v1/users/{user}", If_None_Match=tag).status == 304
    assert seen.last()["discloses"] == tail(user)
    assert api.get(f"/v1/users/{user}", If_Match='"other"').status == 412
    assert "discloses" not in seen.last()


def test_repeated_answer_names_its_user(seen: Seen) -> None:
    api, key = Gateway(), uuid.uuid4().hex
    body = {"email": f"{uuid.uuid4().hex}@example.com"}
    first = api.post("/v1/users", body, Idempotency_Key=key)
    again = api.post("/v1/users", body, Idempotency_Key=key)
    assert (again.headers["Idempotency-Replayed"], again.json) == ("true", first.json)
    assert seen.last()["discloses"] == tail(first.json["id"])


def test_a_user_costs_thirteen_bytes() -> None:
    request: Any = receive({"requestContext": {"http": {"method": "GET", "path": "/v1/users"}}}, "1")
    request.operation = "listUsers"
    users = [{"id": str(uuid.uuid4())} for _ in range(500)]
    disclosures.note(request, Response(200, {"items": users}))
    assert len(json.dumps(request.discloses)) < 500 * 13 + 20


def test_statements_carry_the_id_of_the_request(seen: Seen) -> None:
    Gateway().get("/v1/users?limit=1")
    identifier = seen.last()["request_id"]
    assert f"/*{identifier}*/" in seen.texts()["postgres.log"]


@pytest.mark.parametrize("identifier", ["*/ DROP", "a" * 65, "", "ada@example.com"])
def test_no_other_text_than_an_id_gets_into_a_statement(identifier: str) -> None:
    logging.bind(request_id=identifier)
    assert logging.comment() == ""
    logging.bind(request_id="AbC_1-2=")
    assert logging.comment() == " /*AbC_1-2=*/"
