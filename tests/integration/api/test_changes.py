"""PATCH /v1/users/{id}: an address is changed, and what depends on it follows."""

import hashlib
import json
import uuid
from typing import Any

import pytest

from checks.gateway import Gateway
from checks.stack import Stack
from tests.integration.api.test_concurrency import workers
from tests.integration.api.test_contract import EMAIL, choose
from tests.integration.api.test_erasure import hash_of, journal, new_address, registered

__all__ = ["workers"]


@pytest.mark.parametrize("media", ["application/merge-patch+json", "application/json"])
def test_change_of_the_address_keeps_id_and_choices(api: Gateway, media: str) -> None:
    former, address = new_address(), new_address()
    user = registered(api, former)
    choose(api, user, {EMAIL: True})
    before = api.get(f"/v1/users/{user}").json
    answer = api.patch(f"/v1/users/{user.upper()}", {"email": address}, Content_Type=media)
    assert (answer.status, answer.json) == (200, before | {"email": address})
    found = api.get(f"/v1/users/{user}")
    assert (found.json, found.headers["ETag"]) == (answer.json, answer.headers["ETag"])
    assert api.get(f"/v1/users?email={address}").json["items"] == [answer.json]
    assert api.get(f"/v1/users?email={former}").json["items"] == []
    # The former address is free.
    assert registered(api, former) != user


def test_empty_patch_and_another_case_keep_the_address_known(api: Gateway, stack: Stack) -> None:
    address = new_address()
    user = registered(api, address)
    before = api.get(f"/v1/users/{user}").json
    assert api.patch(f"/v1/users/{user}", {}).json == before
    assert api.patch(f"/v1/users/{user}", {"email": address.upper()}).json["email"] == address.upper().replace(
        "EXAMPLE.COM", "example.com"
    )
    kept = f"SELECT count(*) FROM pmp.former_identifier JOIN pmp.subject USING (subject_key) WHERE id = '{user}'"
    assert stack.cluster.psql(kept) == "0"


def test_refused_changes_name_the_member_and_change_nothing(api: Gateway) -> None:
    taken = new_address()
    other, user = registered(api, taken), registered(api, new_address())
    before = api.get(f"/v1/users/{user}").json

    def refusal(body: Any) -> tuple[int, str]:
        answer = api.patch(f"/v1/users/{user}", body)
        assert other not in answer.content.decode()
        return answer.status, answer.json["errors"][0]["pointer"]

    assert refusal({"email": taken.upper()}) == (422, "/email")
    assert refusal({"email": "nonsense"}) == (422, "/email")
    assert refusal({"email": None}) == (422, "/email")
    assert refusal({"id": user}) == (422, "/id")
    assert refusal([]) == (422, "")
    assert api.get(f"/v1/users/{user}").json == before
    assert api.patch(f"/v1/users/{uuid.uuid4()}", {}).status == 404
    assert api.patch(f"/v1/users/{user}", {}, Content_Type="text/plain").status == 415
    assert api.post("/v1/users", {"email": taken}, Content_Type="application/merge-patch+json").status == 415
    assert Gateway(scope="pmp/read pmp/admin").patch(f"/v1/users/{user}", {}).status == 403
    assert api.delete(f"/v1/users/{user}").status == 200
    assert api.patch(f"/v1/users/{user}", {}).status == 410


def test_conditions_hold(api: Gateway) -> None:
    user = registered(api, new_address())
    tag = api.get(f"/v1/users/{user}").headers["ETag"]
    assert api.patch(f"/v1/users/{user}", {"email": new_address()}, If_None_Match=tag).status == 412
    assert api.patch(f"/v1/users/{user}", {"email": new_address()}, If_Match=tag).status == 200
    assert api.patch(f"/v1/users/{user}", {"email": new_address()}, If_Match=tag).status == 412


def test_of_changes_to_one_address_exactly_one_succeeds(workers: Any, api: Gateway) -> None:
    from tests.integration.api.test_concurrency import _call

    address = new_address()
    users = [registered(api, new_address()) for _ in range(4)]
    calls: list[tuple[str, str, Any, dict[str, str]]] = [
        ("PATCH", f"/v1/users/{user}", {"email": address}, {}) for user in users
    ]
    calls.append(("POST", "/v1/users", {"email": address.upper()}, {}))
    assert sorted(status for status, _ in workers.map(_call, calls)) in ([200, *[422] * 4], [201, *[422] * 4])


def test_erasure_covers_the_former_addresses(api: Gateway, stack: Stack) -> None:
    first, second, third = (new_address() for _ in range(3))
    user = registered(api, first)
    event = choose(api, user, {EMAIL: True}).json
    for address in (second, first, third):
        assert api.patch(f"/v1/users/{user}", {"email": address}).status == 200
    # Nothing in the database holds a former address in the clear.
    dump = stack.cluster.psql(f"SELECT count(*) FROM pmp.subject WHERE email_key IN ('{first}', '{second}')")
    assert dump == "0"
    erased = api.delete(f"/v1/users/{user}").json
    ((entry),) = journal(stack, user)
    assert entry["erased_at"] == erased["erased_at"]
    assert sorted(entry["address_hashes"]) == sorted(map(hash_of, (first, second, third)))
    for address in (first, second, third):
        found = api.post("/v1/users/lookup", {"email": address}).json
        assert [one["id"] for one in found["erased"]] == [user]
        assert found["items"] == [event]
        late = {
            "user": {"email": address},
            "upsert": True,
            "consents": [{"id": EMAIL, "enabled": True}],
            "occurred_at": "2026-01-01T00:00:00Z",
        }
        refused = api.post("/v1/events", late)
        assert (refused.status, refused.json["errors"][0]["pointer"]) == (422, "/occurred_at")
    assert (
        stack.cluster.psql(
            f"SELECT count(*) FROM pmp.former_identifier JOIN pmp.subject USING (subject_key) WHERE id = '{user}'"
        )
        == "0"
    )


def test_kept_denial_of_a_hash_counts_for_who_takes_the_address(api: Gateway, stack: Stack) -> None:
    address = new_address()
    user = registered(api, new_address())
    choose(api, user, {EMAIL: True})
    digest = hashlib.sha256(address.encode()).hexdigest()
    keep = (
        "INSERT INTO pmp.suppression SELECT gen_random_uuid(), '\\x{}', {}, now(), pmp.source_key('t'), true, true,"
        " ARRAY[version_key], ARRAY[false] FROM pmp.consent_version JOIN pmp.consent USING (consent_key)"
        f" WHERE id = '{EMAIL}' AND version = 1"
    )
    stack.cluster.psql(keep.format(digest, "now()"))
    # Another denial is older than the user's own choice, and changes nothing.
    older = new_address()
    stack.cluster.psql(keep.format(hashlib.sha256(older.encode()).hexdigest(), "timestamptz '2026-01-01Z'"))
    assert api.patch(f"/v1/users/{user}", {"email": older}).json["consents"] == [{"id": EMAIL, "enabled": True}]
    assert api.patch(f"/v1/users/{user}", {"email": address}).json["consents"] == [{"id": EMAIL, "enabled": False}]
    assert len(api.get(f"/v1/users/{user}/events").json["items"]) == 3


def test_no_log_holds_an_address(api: Gateway, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    mark = uuid.uuid4().hex
    user, other = (registered(api, f"{name}{mark}@example.com") for name in "ab")
    api.patch(f"/v1/users/{user}", {"email": f"b{mark}@example.com"})
    api.patch(f"/v1/users/{other}", {"email": f"c{mark}@example.com"})
    assert mark not in capsys.readouterr().out
    assert mark not in (stack.cluster.directory / "postgres.log").read_text()


def test_patch_is_a_merge_patch_of_json(api: Gateway) -> None:
    user = registered(api, new_address())
    answer = api.request("PATCH", f"/v1/users/{user}", json.dumps({"email": 1}).encode())
    assert (answer.status, answer.json["errors"][0]["detail"]) == (422, "must be a string")
