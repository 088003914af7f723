"""Phone numbers and external ids: unique, searchable, movable, and erased with the person."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_concurrency import _call, workers
from tests.integration.api.test_contract import EMAIL, SMS, choose
from tests.integration.api.test_erasure import new_address

__all__ = ["workers"]


def new_phone() -> str:
    return f"+41{uuid.uuid4().int % 10**11:011}"


def crm(identifier: str) -> dict[str, Any]:
    return {"external_id": {"namespace": "crm", "id": identifier}}


def created(api: Gateway, **more: Any) -> dict[str, Any]:
    answer = api.post("/v1/users", {"email": new_address(), **more})
    assert answer.status == 201, answer.content
    user: dict[str, Any] = answer.json
    return user


def event(user: dict[str, Any], *, enabled: bool = True, **more: Any) -> dict[str, Any]:
    return {"user": user, "consents": [{"id": EMAIL, "enabled": enabled}], **more}


def errors(answer: Any) -> list[str]:
    assert answer.status == 422, answer.content
    return [error["pointer"] for error in answer.json["errors"]]


def test_user_has_the_identifiers_wherever_it_is_read(api: Gateway) -> None:
    phone, identifier = new_phone(), uuid.uuid4().hex
    user = created(
        api, phone=f"{phone[:3]} (0){phone[3:6]}-{phone[6:]}".replace("(0)", ""), external_ids={"crm": identifier}
    )
    assert user == {
        "id": user["id"], "email": user["email"], "phone": phone, "external_ids": {"crm": identifier}, "consents": [],
    }  # fmt: skip
    path = f"/v1/users/{user['id']}"
    assert api.get(path).json == user
    assert api.get(f"{path}/export").json["user"] == user
    assert api.get(f"/v1/users?email={user['email']}").json["items"] == [user]
    now = api.get("/v1/users/" + user["id"]).headers["ETag"]
    assert api.get(path, If_None_Match=now).status == 304
    for name in ({"email": user["email"]}, {"phone": f"{phone[:5]} {phone[5:]}"}, crm(identifier)):
        assert api.post("/v1/users/lookup", name).json["user"] == user
    assert api.post("/v1/users/lookup", crm(identifier.upper())).json["user"] is None


def test_merge_patch_adds_changes_and_removes(api: Gateway) -> None:
    user = created(api)
    path, first, second = f"/v1/users/{user['id']}", new_phone(), new_phone()
    one, two, three = (uuid.uuid4().hex for _ in range(3))

    def patched(body: Any) -> Any:
        answer = api.patch(path, body)
        assert answer.status == 200, answer.content
        assert answer.json == api.get(path).json
        return {name: value for name, value in answer.json.items() if name in {"phone", "external_ids"}}

    assert patched({"phone": first, "external_ids": {"crm": one, "shop": two}}) == {
        "phone": first,
        "external_ids": {"crm": one, "shop": two},
    }
    assert patched({"phone": second, "external_ids": {"crm": three}}) == {
        "phone": second,
        "external_ids": {"crm": three, "shop": two},
    }
    assert patched({"external_ids": {"shop": None, "never": None}}) == {"phone": second, "external_ids": {"crm": three}}
    assert patched({"external_ids": {}}) == {"phone": second, "external_ids": {"crm": three}}
    assert patched({"phone": None}) == {"external_ids": {"crm": three}}
    assert patched({"external_ids": None}) == {}
    # What was removed is free, and may come back.
    assert created(api, phone=first, external_ids={"crm": one})["phone"] == first
    assert patched({"external_ids": {"shop": two}}) == {"external_ids": {"shop": two}}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"phone": "079 123 45 67"}, "/phone"),
        ({"phone": "+123456"}, "/phone"),
        ({"phone": "+1234567890123456"}, "/phone"),
        ({"phone": "+0123456789"}, "/phone"),
        ({"phone": "+4179\uff11\uff12\uff134567"}, "/phone"),
        ({"phone": ""}, "/phone"),
        ({"phone": 41791234567}, "/phone"),
        ({"external_ids": {"CRM": "1"}}, "/external_ids/CRM"),
        ({"external_ids": {"a/b": "1"}}, "/external_ids/a~1b"),
        ({"external_ids": {"a" * 33: "1"}}, f"/external_ids/{'a' * 33}"),
        ({"external_ids": {"crm": ""}}, "/external_ids/crm"),
        ({"external_ids": {"crm": " x"}}, "/external_ids/crm"),
        ({"external_ids": {"crm": "x" * 201}}, "/external_ids/crm"),
        ({"external_ids": {"crm": "a\nb"}}, "/external_ids/crm"),
        ({"external_ids": {"crm": 1}}, "/external_ids/crm"),
        ({"external_ids": []}, "/external_ids"),
        ({"external_ids": {f"n{number}": "1" for number in range(21)}}, "/external_ids"),
    ],
)
def test_invalid_identifiers_are_refused(api: Gateway, body: Any, pointer: str) -> None:
    assert errors(api.post("/v1/users", {"email": new_address(), **body})) == [pointer]
    user = created(api)
    assert errors(api.patch(f"/v1/users/{user['id']}", body)) == [pointer]
    assert errors(api.post("/v1/events", event({"email": new_address(), **body}, upsert=True))) == [f"/user{pointer}"]
    assert api.get(f"/v1/users/{user['id']}").json == user


def test_twenty_external_ids_are_the_most(api: Gateway) -> None:
    user = created(api, external_ids={f"n{number}": uuid.uuid4().hex for number in range(20)})
    path = f"/v1/users/{user['id']}"
    assert errors(api.patch(path, {"external_ids": {"more": "1"}})) == ["/external_ids"]
    assert api.patch(path, {"external_ids": {"more": uuid.uuid4().hex, "n0": None}}).status == 200


def test_taken_identifier_names_the_member_and_not_the_other(api: Gateway) -> None:
    phone, identifier = new_phone(), uuid.uuid4().hex
    other, user = created(api, phone=phone, external_ids={"crm": identifier}), created(api)
    address = new_address()
    for body, pointer in (
        ({"phone": phone}, "/phone"),
        ({"external_ids": {"crm": identifier}}, "/external_ids/crm"),
        # All or nothing.
        ({"email": new_address(), "external_ids": {"a": "1" + identifier, "crm": identifier}}, "/external_ids/crm"),
    ):
        refused = api.patch(f"/v1/users/{user['id']}", body)
        assert errors(refused) == [pointer]
        assert other["id"] not in refused.content.decode()
        assert other["email"] not in refused.content.decode()
        assert errors(api.post("/v1/users", {"email": address, **body} | {"email": address})) == [pointer]
        refused = api.post("/v1/events", event({"email": address, **body} | {"email": address}, upsert=True))
        assert errors(refused) == [f"/user{pointer}"]
        assert api.get(f"/v1/users?email={address}").json["items"] == []
    assert api.get(f"/v1/users/{user['id']}").json == user
    # The same id in another namespace is another id.
    assert api.patch(f"/v1/users/{user['id']}", {"external_ids": {"shop": identifier}}).status == 200


def test_events_and_checks_take_any_identifier(api: Gateway) -> None:
    phone, identifier = new_phone(), uuid.uuid4().hex
    user = created(api, phone=phone, external_ids={"crm": identifier})
    names: list[dict[str, Any]] = [{"id": user["id"]}, {"email": user["email"]}, {"phone": phone}, crm(identifier)]
    for name in names:
        answer = api.post("/v1/events", event(name))
        assert (answer.status, answer.json["user"]) == (201, {"id": user["id"]})
    key = str(uuid.uuid4())
    batch = api.post("/v1/events:batch", {"events": [event(name, enabled=False, id=key) for name in names]}).json
    assert [result["status"] for result in batch["results"]] == [201, 200, 200, 200]
    asked = [*names, {"phone": new_phone()}, {"phone": "x"}, crm(phone)]
    results = api.post("/v1/check", {"checks": [{"user": name, "consent": EMAIL} for name in asked]}).json["results"]
    assert [result["reason"] for result in results] == ["denied"] * 4 + ["unknown_user"] * 3
    assert errors(api.post("/v1/events", event({"phone": new_phone()}))) == ["/user/phone"]
    assert errors(api.post("/v1/events", event(crm(phone)))) == ["/user/external_id"]
    assert errors(api.post("/v1/events", event({"phone": phone}, upsert=True))) == ["/upsert"]
    assert errors(api.post("/v1/events", event({"email": user["email"], "phone": phone}))) == ["/user/phone"]


def test_upsert_stores_the_identifiers_of_a_new_user_only(api: Gateway) -> None:
    phone, identifier = new_phone(), uuid.uuid4().hex
    user = {"email": new_address(), "phone": phone, "external_ids": {"crm": identifier}}
    assert api.post("/v1/events", event(user, upsert=True)).status == 201
    found = api.post("/v1/users/lookup", {"phone": phone}).json["user"]
    assert found["external_ids"] == {"crm": identifier}
    # The user stays as they are.
    again = event({**user, "phone": new_phone()}, upsert=True)
    (result,) = api.post("/v1/events:batch", {"events": [again]}).json["results"]
    assert (result["status"], result["user"]) == (201, {"id": found["id"]})
    assert api.get(f"/v1/users/{found['id']}").json == found


def test_of_claims_to_one_identifier_exactly_one_succeeds(workers: Any, api: Gateway) -> None:
    phone, identifier = new_phone(), uuid.uuid4().hex
    for claim in ({"phone": phone}, {"external_ids": {"crm": identifier}}):
        calls: list[tuple[str, str, Any, dict[str, str]]] = [
            ("PATCH", f"/v1/users/{created(api)['id']}", claim, {}) for _ in range(4)
        ]
        calls.append(("POST", "/v1/users", {"email": new_address(), **claim}, {}))
        calls.append(("POST", "/v1/events", event({"email": new_address(), **claim}, upsert=True), {}))
        statuses = sorted(status for status, _ in workers.map(_call, calls))
        assert statuses in ([200, *[422] * 5], [201, *[422] * 5])


def test_users_who_exchange_identifiers_at_once_get_an_answer(workers: Any, api: Gateway) -> None:
    first, second = new_phone(), new_phone()
    one, two = created(api, phone=first)["id"], created(api, phone=second)["id"]
    for _ in range(5):
        calls: list[tuple[str, str, Any, dict[str, str]]] = [
            ("PATCH", f"/v1/users/{one}", {"phone": second}, {}),
            ("PATCH", f"/v1/users/{two}", {"phone": first}, {}),
        ]
        assert {status for status, _ in workers.map(_call, calls)} <= {422, 503}
        assert [api.get(f"/v1/users/{user}").json["phone"] for user in (one, two)] == [first, second]


def test_erasure_covers_all_identifiers_present_and_former(api: Gateway, stack: Stack) -> None:
    phones, ids = [new_phone(), new_phone()], [uuid.uuid4().hex, uuid.uuid4().hex]
    user = created(api, phone=phones[0], external_ids={"crm": ids[0]})
    path = f"/v1/users/{user['id']}"
    choose(api, user["id"], {SMS: True})
    assert api.patch(path, {"phone": phones[1], "external_ids": {"crm": ids[1]}}).status == 200
    assert api.delete(path).status == 200
    names = [{"phone": phone} for phone in phones] + [crm(identifier) for identifier in ids]
    for name in names:
        found = api.post("/v1/users/lookup", name).json
        assert found["user"] is None
        assert [one["id"] for one in found["erased"]] == [user["id"]]
        assert len(found["items"]) == 1
    assert (
        stack.cluster.psql(
            "SELECT count(*) FROM pmp.identifier JOIN pmp.subject USING (subject_key) WHERE erased_at IS NOT NULL"
        ).strip()
        == "0"
    )
    # Who has the identifier now is another person, and their older choices may have been the erased one's.
    other = created(api, phone=phones[1])
    late = api.post("/v1/events", event({"phone": phones[1]}, occurred_at="2026-01-01T00:00:00Z"))
    assert errors(late) == ["/occurred_at"]
    assert api.post("/v1/events", event({"phone": phones[1]})).json["user"] == {"id": other["id"]}


def test_retry_by_a_former_identifier_after_erasure_returns_410(api: Gateway) -> None:
    phone = new_phone()
    user = created(api, phone=phone)
    sent = event({"phone": phone}, id=str(uuid.uuid4()))
    assert api.post("/v1/events", sent).status == 201
    assert api.delete(f"/v1/users/{user['id']}").status == 200
    assert api.post("/v1/events", sent).status == 410


def test_no_log_holds_an_identifier(
    api: Gateway, stack: Stack, capsys: pytest.CaptureFixture[str], new_user: Callable[[], str]
) -> None:
    phone, identifier = new_phone(), uuid.uuid4().hex
    user = created(api, phone=phone, external_ids={"crm": identifier})
    api.patch(f"/v1/users/{new_user()}", {"phone": phone, "external_ids": {"crm": identifier}})
    api.post("/v1/events", event({"phone": phone}))
    api.post("/v1/users/lookup", crm(identifier))
    api.delete(f"/v1/users/{user['id']}")
    for text in (capsys.readouterr().out, (stack.cluster.directory / "postgres.log").read_text()):
        assert phone not in text
        assert identifier not in text
