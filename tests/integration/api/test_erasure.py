"""Erasure: what it removes, what it leaves and names, and that neither a crash nor a retry undoes it."""

import hmac
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pmp import addresses, database

from checks.gateway import Gateway
from checks.object_store import ERASURE_KEY
from checks.stack import Stack
from tests.integration.api.test_concurrency import workers
from tests.integration.api.test_contract import EMAIL, choose

__all__ = ["workers"]


def new_address() -> str:
    return f"{uuid.uuid4().hex}@example.com"


def registered(api: Gateway, address: str, **headers: str) -> str:
    user: str = api.post("/v1/users", {"email": address}, **headers).json["id"]
    return user


def journal(stack: Stack, user: str) -> list[dict[str, Any]]:
    """Return the versions of a user's entry, oldest first."""
    return [json.loads(body) for _, body, _ in stack.store.versions.get(f"erasures/{user}.json", [])]


def hash_of(address: str) -> str:
    return hmac.digest(ERASURE_KEY, addresses.fold(address).encode(), "sha256").hex()


@pytest.fixture
def no_journal(stack: Stack) -> Iterator[None]:
    """Let S3 refuse the journal."""
    stack.store.refused.add("erasures/")
    yield
    stack.store.refused.clear()


# -- the journal and the hash ------------------------------------------------------------------------------------------


def test_erasure_is_in_the_journal_without_the_address(api: Gateway, stack: Stack) -> None:
    address = new_address()
    user = registered(api, address.upper())
    answer = api.delete(f"/v1/users/{user.upper()}")
    assert answer.status == 200
    entry = {"user_ids": [user], "erased_at": answer.json["erased_at"], "address_hashes": [hash_of(address)]}
    assert journal(stack, user) == [entry]
    row = f"SELECT encode(address_hash, 'hex'), pmp.instant(erased_at) FROM pmp.erasure WHERE user_id = '{user}'"
    assert stack.cluster.psql(row) == f"{hash_of(address)}|{entry['erased_at']}"


@pytest.mark.usefixtures("no_journal")
def test_erasure_without_a_journal_returns_503_and_changes_nothing(api: Gateway, stack: Stack) -> None:
    address, key = new_address(), uuid.uuid4().hex
    user = registered(api, address, Idempotency_Key=key)
    choose(api, user, {EMAIL: True})
    before = api.get(f"/v1/users/{user}").json
    answer = api.delete(f"/v1/users/{user}")
    assert (answer.status, answer.json["type"]) == (503, "urn:pmp:problem:unavailable")
    assert "journal" in answer.json["detail"]
    assert answer.headers["Retry-After"]
    assert api.get(f"/v1/users/{user}").json == before
    assert registered(api, address, Idempotency_Key=key) == user
    assert stack.cluster.psql(f"SELECT count(*) FROM pmp.erasure WHERE user_id = '{user}'") == "0"
    stack.store.refused.clear()
    assert api.delete(f"/v1/users/{user}").status == 200


def test_erasure_without_the_key_returns_503_and_changes_nothing(api: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    from pmp import erasures
    from pmp.configuration import configuration

    user = registered(api, new_address())
    monkeypatch.setenv("PMP_ERASURE_KEY_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:000000000000:secret:other")
    configuration.cache_clear()
    erasures.key.cache_clear()
    assert api.delete(f"/v1/users/{user}").status == 503
    assert api.post("/v1/users/lookup", {"email": "x@example.com"}).status == 503
    assert api.get(f"/v1/users/{user}").status == 200


def test_crash_between_journal_and_commit_leaves_the_user_and_a_retry_erases(
    api: Gateway, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = registered(api, new_address())
    real = database.Connection._commit

    def die(connection: database.Connection) -> None:
        if journal(stack, user):
            raise database.LostCommitError("killed")
        real(connection)

    monkeypatch.setattr(database.Connection, "_commit", die)
    assert api.delete(f"/v1/users/{user}").status == 503
    monkeypatch.undo()
    assert len(journal(stack, user)) == 1
    assert api.get(f"/v1/users/{user}").status == 200
    again = api.delete(f"/v1/users/{user}")
    assert again.status == 200
    # The same object, in a newer version with the instant that counts.
    assert [entry["erased_at"] for entry in journal(stack, user)][-1] == again.json["erased_at"]
    assert len(journal(stack, user)) == 2


def test_two_erasures_at_once_write_one_entry(workers: Any, api: Gateway, stack: Stack) -> None:
    from tests.integration.api.test_concurrency import _call

    user = registered(api, new_address())
    calls: list[tuple[str, str, Any, dict[str, str]]] = [("DELETE", f"/v1/users/{user}", None, {})] * 4
    assert sorted(status for status, _ in workers.map(_call, calls)) == [200, 410, 410, 410]
    assert len(journal(stack, user)) == 1


# -- kept answers ------------------------------------------------------------------------------------------------------


def test_retry_of_a_registration_after_erasure_does_not_register_again(api: Gateway) -> None:
    address, key = new_address(), uuid.uuid4().hex
    user = registered(api, address, Idempotency_Key=key)
    api.delete(f"/v1/users/{user}")
    answer = api.post("/v1/users", {"email": address}, Idempotency_Key=key)
    assert (answer.status, answer.json["type"]) == (410, "urn:pmp:problem:user-erased")
    assert address not in answer.content.decode()
    assert api.get(f"/v1/users?email={address}").json["items"] == []
    # Another request with the key is still refused, and a new key registers a new user.
    assert api.post("/v1/users", {"email": new_address()}, Idempotency_Key=key).status == 422
    assert registered(api, address, Idempotency_Key=uuid.uuid4().hex) != user


def test_erased_user_has_no_choice_and_is_in_no_list(api: Gateway, stack: Stack) -> None:
    consent = f"e{uuid.uuid4().hex}"
    api.put(f"/v1/consents/{consent}", {"description": "Erasure", "channel": "web"})
    erased, kept = registered(api, new_address()), registered(api, new_address())
    for user in (erased, kept):
        choose(api, user, {consent: True})
    api.delete(f"/v1/users/{erased}")
    listed = api.get(f"/v1/users?consent={consent}&enabled=true").json["items"]
    assert [user["id"] for user in listed] == [kept]
    choices = "SELECT count(*) FROM pmp.current_choice AS c JOIN pmp.subject AS s USING (subject_key) WHERE s.id = '{}'"
    assert [stack.cluster.psql(choices.format(user)) for user in (erased, kept)] == ["0", "1"]


def test_retry_of_an_event_after_erasure_returns_410(api: Gateway) -> None:
    user, key = registered(api, new_address()), uuid.uuid4().hex
    body = {"user": {"id": user}, "consents": [{"id": EMAIL, "enabled": True}]}
    assert api.post("/v1/events", body, Idempotency_Key=key).status == 201
    api.delete(f"/v1/users/{user}")
    assert api.post("/v1/events", body, Idempotency_Key=key).status == 410


def test_erasure_keeps_the_answers_of_others_whose_address_contains_this_one(api: Gateway, stack: Stack) -> None:
    address, key = new_address(), uuid.uuid4().hex
    body = {"email": f"b{address}"}
    first = api.post("/v1/users", body, Idempotency_Key=key)
    user = registered(api, address, Idempotency_Key=uuid.uuid4().hex)
    api.delete(f"/v1/users/{user}")
    again = api.post("/v1/users", body, Idempotency_Key=key)
    assert (again.status, again.content) == (201, first.content)
    kept = f"SELECT count(*) FROM pmp.idempotency_key WHERE body LIKE '%\"{address}%' OR body LIKE '%{user}%'"
    assert stack.cluster.psql(kept) == "0"


def test_erasure_reads_no_more_blocks_with_many_kept_answers(api: Gateway, stack: Stack) -> None:
    """The cost is a count of blocks: times differ from run to run."""

    def blocks() -> int:
        user = registered(api, new_address(), Idempotency_Key=uuid.uuid4().hex)
        choose(api, user, {EMAIL: True})
        plan = stack.cluster.psql(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON)"
            f" SELECT pmp.erase_user('{user}', 'test', ARRAY[sha256('{user}')], clock_timestamp())"
        )
        counts = json.loads(plan)[0]["Plan"]
        return int(counts["Shared Hit Blocks"]) + int(counts["Shared Read Blocks"])

    few = min(blocks() for _ in range(3))
    stack.cluster.psql(
        "INSERT INTO pmp.idempotency_key (client, key, fingerprint, status, headers, body, subject_key)"
        " SELECT 'many', n::text, '', 201, '{}', repeat('x', 300), n % 50000 + 1000000"
        " FROM generate_series(1, 100000) AS n"
    )
    stack.cluster.psql("ANALYZE pmp.idempotency_key")
    many = min(blocks() for _ in range(3))
    stack.cluster.psql("DELETE FROM pmp.idempotency_key WHERE client = 'many'")
    # The index has a level more.
    assert many < few * 1.5, (few, many)


# -- what the answer names ---------------------------------------------------------------------------------------------


def test_answer_names_what_still_holds_the_address(api: Gateway, stack: Stack) -> None:
    stack.cluster.psql("UPDATE pmp.import_job SET removed_at = now(); UPDATE pmp.export_job SET removed_at = now()")
    job = (
        "INSERT INTO pmp.import_job (id, format, compression, client, bucket, object_key, object_version, state, error,"
        " finished_at) VALUES (gen_random_uuid(), 'csv', 'none', 't', 'b', gen_random_uuid()::text, 'v', {}, now())"
    )

    def left() -> dict[str, str]:
        answer = api.delete(f"/v1/users/{registered(api, new_address())}").json
        found = {}
        for one in answer["remains"]:
            assert one["detail"]
            found[one["place"]] = stack.cluster.psql(
                f"SELECT timestamptz '{one['until']}' - timestamptz '{answer['erased_at']}'"
            ).partition(" day")[0]
        return found

    assert left() == {"backups": "7"}
    stack.cluster.psql(job.format("'failed', 'x'"))
    assert left() == {"backups": "7", "uploads": "6"}
    stack.cluster.psql(
        "INSERT INTO pmp.export_job (id, as_of, known_at, client, bucket, object_key, started_at) VALUES"
        " (gen_random_uuid(), now(), now(), 't', 'b', 'k', now())"
    )
    assert left() == {"backups": "7", "uploads": "6", "exports": "31"}
    stack.cluster.psql("UPDATE pmp.import_job SET removed_at = now(); UPDATE pmp.export_job SET removed_at = now()")


def test_erasure_deletes_the_exports_of_the_user(api: Gateway, stack: Stack) -> None:
    user, other = (registered(api, new_address()) for _ in range(2))
    for person in (user, user, other):
        stack.store.put(f"exports/users/{person}/x.json", b"{}")
    assert [one["place"] for one in api.delete(f"/v1/users/{user}").json["remains"]] == ["backups"]
    assert [key for key in stack.store.versions if key.startswith("exports/users/")] == [
        f"exports/users/{other}/x.json"
    ]
    stack.store.refused.add("exports/")
    assert "exports" in [one["place"] for one in api.delete(f"/v1/users/{other}").json["remains"]]
    stack.store.refused.clear()
    stack.store.versions.pop(f"exports/users/{other}/x.json")


# -- the proof ---------------------------------------------------------------------------------------------------------


def test_lookup_finds_the_user_and_the_proof_of_erased_ones(api: Gateway) -> None:
    address = new_address()

    def found(**more: Any) -> Any:
        answer = api.post("/v1/users/lookup", {"email": address.upper(), **more})
        assert answer.status == 200, answer.content
        return answer.json

    assert found() == {"user": None, "erased": [], "items": [], "next": None}
    people, events = [], []
    for _ in range(2):
        user = registered(api, address)
        assert found()["user"]["id"] == user
        events += [choose(api, user, {EMAIL: enabled}).json for enabled in (True, False)]
        people.append({"id": user, "erased_at": api.delete(f"/v1/users/{user}").json["erased_at"]})
    user = registered(api, address)
    choose(api, user, {EMAIL: True})
    assert found() == {"user": api.get(f"/v1/users/{user}").json, "erased": people, "items": events, "next": None}
    pages: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = found(limit=1, **cursor)
        pages += page["items"]
        if page["next"] is None:
            break
        cursor = {"cursor": page["next"]}
    assert pages == events
    assert api.post("/v1/users/lookup", {"email": address, "cursor": "WzFd"}).status == 422


def test_only_an_administrator_erases_and_looks_up(api: Gateway, new_user: Callable[[], str]) -> None:
    user = new_user()
    weak = Gateway(scope="pmp/read pmp/write")
    assert weak.delete(f"/v1/users/{user}").status == 403
    assert weak.post("/v1/users/lookup", {"email": "x@example.com"}).status == 403
    strong = Gateway(scope="pmp/admin")
    assert strong.post("/v1/users/lookup", {"email": "x@example.com"}).status == 200
    assert strong.delete(f"/v1/users/{user}").status == 200


# -- no address in a log -----------------------------------------------------------------------------------------------


def test_no_log_holds_an_address(api: Gateway, stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the function, and of PostgreSQL: a taken address, an address in the path, a row that a constraint refuses."""
    mark = uuid.uuid4().hex
    address = f"{mark}@example.com"
    user = registered(api, address)
    assert api.post("/v1/users", {"email": address}).status == 422
    assert api.get(f"/v1/users/{address}").status == 404
    api.post("/v1/users/lookup", {"email": address})
    with pytest.raises(database.DatabaseError) as raised:
        database.connect().run("SELECT pmp.create_user(:text, 'x')", text="@" * 400 + mark)
    assert mark not in str(raised.value)
    api.delete(f"/v1/users/{user}")
    assert mark not in capsys.readouterr().out
    log = (stack.cluster.directory / "postgres.log").read_text()
    assert "subject_email_check" in log
    assert [line for line in log.splitlines() if mark in line or "DETAIL" in line] == []


@pytest.mark.parametrize("statement", ["SELECT CAST(:text AS uuid)", "SELECT CAST(:text AS text[])"])
def test_data_error_does_not_quote_the_value(stack: Stack, statement: str) -> None:
    assert stack
    with pytest.raises(database.DatabaseError) as raised:
        database.connect().run(statement, text="{quoted@example.com")
    assert "quoted" not in str(raised.value)
    assert database.error_code(raised.value).startswith("22")


# -- addresses ---------------------------------------------------------------------------------------------------------


def test_function_and_database_fold_addresses_alike(stack: Stack) -> None:
    """A hash that was made of another form would not be found. Every letter that an address may hold is compared."""
    codes = [code for code in range(0x80, 0x30000) if not 0xD800 <= code < 0xE000 and chr(code) != chr(code).lower()]
    rows = stack.cluster.psql(
        "SELECT string_agg(pmp.fold_email('a' || chr(code) || 'b@x'), E'\\n' ORDER BY code)"
        f" FROM unnest(ARRAY{codes}) AS code"
    ).splitlines()
    different = [
        (hex(code), row) for code, row in zip(codes, rows, strict=True) if addresses.fold(f"a{chr(code)}b@x") != row
    ]
    assert not different
