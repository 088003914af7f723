"""An older dump is restored, and the journal of erasures replayed over it."""

import json
import uuid

import pytest

from checks.gateway import Gateway
from checks.object_store import ERASURES
from checks.stack import Stack
from ops.errors import UserError
from ops.replay import Entry, read_journal, script
from tests.integration.api.test_contract import EMAIL, choose


def entries(stack: Stack) -> list[Entry]:
    return [
        Entry.read(versions[-1][1]) for key, versions in stack.store.versions.items() if key.startswith("erasures/")
    ]


def test_journal_is_read_without_what_the_database_knows(api: Gateway, stack: Stack) -> None:
    first, second = (api.post("/v1/users", {"email": f"{uuid.uuid4().hex}@example.com"}).json["id"] for _ in range(2))
    api.delete(f"/v1/users/{first}")
    api.delete(f"/v1/users/{second}")
    found = {user for entry in read_journal(ERASURES) for user in entry.user_ids}
    assert {first, second} <= found
    assert found == {user for entry in entries(stack) for user in entry.user_ids}
    before = stack.store.reads
    unknown = [entry.user_ids for entry in read_journal(ERASURES, found - {second})]
    assert unknown == [(second,)]
    assert stack.store.reads == before + 1


def test_damaged_object_in_the_journal_is_named(stack: Stack) -> None:
    stack.store.put("erasures/odd.json", b"{}")
    try:
        with pytest.raises(UserError, match=f"s3://{ERASURES}/erasures/odd.json is not an entry of the journal"):
            list(read_journal(ERASURES))
    finally:
        del stack.store.versions["erasures/odd.json"]


def test_replay_over_an_older_dump_erases_again_and_touches_no_later_registration(api: Gateway, stack: Stack) -> None:
    kept, early, again, late = (f"{uuid.uuid4().hex}@example.com" for _ in range(4))
    ids = {one: api.post("/v1/users", {"email": one}).json["id"] for one in (kept, early, again)}
    choose(api, ids[early], {EMAIL: True})
    cluster = stack.cluster
    options = ["--host", str(cluster.home.directory), "--port", str(cluster.port), "--username", "postgres"]
    dump = cluster.home.run(["pg_dump", *options, "pmp"])
    api.delete(f"/v1/users/{ids[early]}")
    api.delete(f"/v1/users/{ids[again]}")
    missing = api.post("/v1/users", {"email": late}).json["id"]
    api.delete(f"/v1/users/{missing}")

    cluster.psql("CREATE DATABASE restored")
    cluster.home.run(["psql", *options, "--no-psqlrc", "--quiet", "restored"], stdin=dump)

    def ask(query: str) -> str:
        return str(cluster.psql(query, database="restored")).strip()

    # Somebody registered again before the replay: another user.
    later = ask(f"SELECT pmp.create_user('{late}', 't') ->> 'id'")
    find = "SELECT count(*) FROM pmp.subject WHERE email_key = '{}'"
    assert [ask(find.format(one)) for one in (kept, early, again, late)] == ["1"] * 4

    def replay() -> dict[str, int]:
        lines = ask(script(entries(stack))).splitlines()
        return {line.split("|")[0]: int(line.split("|")[1]) for line in lines}

    first = replay()
    assert first["erased"] == 2
    assert first["remembered"] >= 1
    assert [ask(find.format(one)) for one in (kept, early, again, late)] == ["1", "0", "0", "1"]
    assert ask(f"SELECT erased_at IS NULL FROM pmp.subject WHERE id = '{later}'") == "t"
    choices = "SELECT count(*) FROM pmp.current_choice JOIN pmp.subject USING (subject_key) WHERE id = '{}'"
    assert ask(choices.format(ids[early])) == "0"
    assert replay() == {"known": len(entries(stack))}
    same = (
        "SELECT string_agg(user_id || encode(address_hash, 'hex') || erased_at, ',' ORDER BY user_id) FROM pmp.erasure"
    )
    mine = " WHERE user_id IN ({})".format(",".join(f"'{one}'" for one in (ids[early], ids[again], missing)))
    assert ask(same + mine) == stack.cluster.psql(same + mine)
    cluster.psql("DROP DATABASE restored")


@pytest.mark.parametrize(
    "change",
    [
        {"user_ids": ["x'); DROP"]},
        {"user_ids": []},
        {"address_hashes": ["0" * 64, "00"]},
        {"address_hashes": []},
        {"address_hashes": None},
        {"erased_at": "yesterday"},
        {"erased_at": "2026-01-01T00:00:00"},
    ],
)
def test_damaged_entry_is_refused(change: dict[str, str]) -> None:
    entry = {"user_ids": [str(uuid.uuid4())], "address_hashes": ["0" * 64], "erased_at": "2026-01-01T00:00:00Z"}
    assert Entry.read(json.dumps(entry).encode())
    with pytest.raises(ValueError, match="not an entry"):
        Entry.read(json.dumps(entry | change).encode())
