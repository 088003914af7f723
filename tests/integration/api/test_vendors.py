"""The copy of the vendor list is fetched only when stale, survives every failure, and is served with its age."""

import gzip
import json
import time
from collections.abc import Iterator

import pytest
from pmp import vendors
from pmp.handler import handler

from checks.gateway import Answer, Context, Gateway
from checks.stack import Stack
from local.vendor_list import server
from local.vendor_list.generator import generate
from local.vendor_list.server import Server, State

LISTED = generate(version=100)["vendors"]


@pytest.fixture(autouse=True)
def empty(stack: Stack, third_party: Server) -> Iterator[None]:
    stack.cluster.psql("DELETE FROM pmp.upstream_cache; DELETE FROM pmp.vendor")
    third_party.state = State()
    yield
    third_party.state = State()


def due(stack: Stack) -> None:
    """Make the copy stale and allow the next attempt."""
    stack.cluster.psql(
        "UPDATE pmp.upstream_cache SET next_attempt_at = now(), fresh_until = now() - interval '1 second'"
    )


def cache(stack: Stack, column: str) -> str:
    return stack.cluster.psql(f"SELECT {column} FROM pmp.upstream_cache").strip()


def refresh() -> None:
    handler({"task": "refresh_vendors"}, Context())


def one(api: Gateway, **headers: str) -> Answer:
    return api.get(f"/v1/vendors/{min(map(int, LISTED))}", **headers)


def test_schedule_fetches_the_list_only_when_it_is_stale(api: Gateway, stack: Stack, third_party: Server) -> None:
    begun = time.monotonic()
    for _ in range(5):
        refresh()
    assert (third_party.state.requests, third_party.state.compressed) == (1, 1)
    answer = one(api)
    assert (answer.status, answer.json["list"]["version"], answer.json["list"]["stale"]) == (200, 100, False)
    assert int(answer.headers["Age"]) <= time.monotonic() - begun + 1
    stack.cluster.psql("UPDATE pmp.upstream_cache SET fetched_at = fetched_at - interval '1 hour'")
    aged = int(one(api).headers["Age"])
    assert 3600 <= aged <= 3600 + time.monotonic() - begun + 1
    stack.cluster.psql("UPDATE pmp.upstream_cache SET fetched_at = fetched_at + interval '1 hour'")
    assert cache(stack, "extract(epoch FROM fresh_until - fetched_at)::int") == "604800"
    due(stack)
    refresh()
    assert (third_party.state.requests, third_party.state.not_modified) == (2, 1)
    assert one(api).json["list"]["stale"] is False


def test_first_reader_fetches_a_missing_list(api: Gateway, third_party: Server) -> None:
    assert one(api).status == 200
    assert one(api).status == 200
    assert third_party.state.requests == 1


def test_reader_without_a_copy_gets_503_with_retry_after(api: Gateway, third_party: Server) -> None:
    third_party.state.mode = "down"
    for _ in range(3):
        answer = one(api)
        assert (answer.status, answer.json["type"]) == (503, "urn:pmp:problem:no-vendor-list")
        assert int(answer.headers["Retry-After"]) > 0
    assert third_party.state.requests == 2  # one attempt and one retry, however many readers ask


@pytest.mark.parametrize(
    ("mode", "requests", "reason"),
    [
        ("down", 2, "status 503"),
        ("forbidden", 1, "status 403"),
        ("malformed", 1, "not JSON"),
        ("misshapen", 1, "not the shape"),
        ("regressing", 1, "version 90 is older than the stored version 100"),
        ("swelling", 1, "more than 16777216 bytes when unpacked"),
        ("mislabelled", 1, "not gzip: Not a gzipped file"),
        ("cut", 1, "gzip is truncated"),
    ],
)
def test_failed_fetch_keeps_the_copy_and_backs_off(
    api: Gateway, stack: Stack, third_party: Server, *, mode: str, requests: int, reason: str
) -> None:
    refresh()
    third_party.state = State(mode=mode)
    shares = []
    for failure in range(1, 13):
        due(stack)
        before = float(cache(stack, "extract(epoch FROM now())"))
        refresh()
        after = float(cache(stack, "extract(epoch FROM now())"))
        assert cache(stack, "failures") == str(failure)
        assert reason in cache(stack, "last_error")
        again = float(cache(stack, "extract(epoch FROM next_attempt_at)"))
        longest = min(6 * 3600, 60 * 2 ** (failure - 1))
        # The wait began at some instant between the two.
        assert longest / 2 <= again - before
        assert again - after <= longest
        shares.append((again - after) / longest)
    assert third_party.state.requests == 12 * requests
    assert max(shares) - min(shares) > 0.1  # jitter: clients do not all retry at once
    answer = one(api)
    assert (answer.status, answer.json["list"]["version"], answer.json["list"]["stale"]) == (200, 100, True)
    third_party.state = State(version=101)
    due(stack)
    refresh()
    assert (one(api).json["list"]["version"], one(api).json["list"]["stale"]) == (101, False)
    assert (cache(stack, "failures"), cache(stack, "last_error")) == ("0", "")


def test_an_odd_vendor_keeps_its_entry_and_does_not_hold_back_the_others(
    api: Gateway, stack: Stack, third_party: Server
) -> None:
    refresh()
    before = api.get("/v1/vendors?limit=3").json["items"]
    third_party.state = State(mode="odd", version=101)
    due(stack)
    refresh()
    after = api.get("/v1/vendors?limit=3").json
    assert (after["list"]["version"], after["list"]["stale"], cache(stack, "failures")) == (101, False, "0")
    assert after["items"][:2] == before[:2]
    assert after["items"][2]["name"] == "Renamed"


def test_fetch_from_a_slow_server_times_out(stack: Stack, third_party: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vendors, "TOTAL_SECONDS", 0.3)
    third_party.state = State(mode="slow", delay_seconds=60)
    started = time.monotonic()
    refresh()
    assert time.monotonic() - started < 20
    assert "Timeout" in cache(stack, "last_error")


def test_fetch_from_a_trickling_server_times_out(
    stack: Stack, third_party: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No single piece is late, not even on a busy machine, but all of them together take far too long."""
    monkeypatch.setattr(vendors, "TOTAL_SECONDS", 1.0)
    monkeypatch.setattr(server, "_PIECE_BYTES", 64)
    third_party.state = State(mode="trickling", delay_seconds=0.05)
    _, compressed, _ = server._list(third_party.state.version)
    whole = len(compressed) / 64 * 0.05
    started = time.monotonic()
    refresh()
    assert time.monotonic() - started < whole / 2
    assert "not read completely within 1.0 s" in cache(stack, "last_error")


def test_write_succeeds_while_the_vendor_server_hangs(api: Gateway, stack: Stack, third_party: Server) -> None:
    third_party.state = State(mode="slow", delay_seconds=60)
    started = time.monotonic()
    assert api.post("/v1/users", {"email": "written.while.down@example.com"}).status == 201
    assert time.monotonic() - started < 20
    assert third_party.state.requests == 0


def test_vendor_removed_from_the_list_is_deleted(api: Gateway, stack: Stack, third_party: Server) -> None:
    refresh()
    stack.cluster.psql(
        "INSERT INTO pmp.vendor (id, name, purposes, document) VALUES (5000, 'Left', '{}', '{\"id\": 5000}');"
        "UPDATE pmp.upstream_cache SET etag = 'older'"
    )
    due(stack)
    refresh()
    assert api.get("/v1/vendors/5000").status == 404
    assert stack.cluster.psql("SELECT count(*) FROM pmp.vendor").strip() == "700"


def test_pages_hold_all_vendors_in_order(api: Gateway) -> None:
    found, path = [], "/v1/vendors?limit=300"
    while path:
        answer = api.get(path)
        found += answer.json["items"]
        path = answer.headers.get("Link", "<>")[1:].split(">")[0]
    assert [str(vendor["id"]) for vendor in found] == sorted(LISTED, key=int)


@pytest.mark.parametrize("purpose", [1, 2, 11, 64])
def test_vendors_are_filtered_by_purpose(api: Gateway, purpose: int) -> None:
    found = [vendor["id"] for vendor in api.get(f"/v1/vendors?limit=500&purpose={purpose}").json["items"]]
    expected = sorted(v["id"] for v in LISTED.values() if purpose in v["purposes"] + v["legIntPurposes"])
    assert found == expected[:500]


def test_vendor_is_shown_with_its_listed_details(api: Gateway) -> None:
    theirs = LISTED[min(LISTED, key=int)]
    ours = one(api).json
    assert (ours["name"], ours["urls"], ours["data_retention"]) == (
        theirs["name"],
        theirs["urls"],
        theirs["dataRetention"],
    )
    assert ours["legitimate_interest_purposes"] == theirs["legIntPurposes"]
    assert api.get("/v1/vendors/999999").status == 404


def test_vendor_list_is_compressed_and_current_copy_returns_304(api: Gateway) -> None:
    first = api.get("/v1/vendors?limit=500", Accept_Encoding="gzip")
    assert first.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(first.content))["items"]) == 500
    again = api.get("/v1/vendors?limit=500", If_None_Match=first.headers["ETag"])
    assert (again.status, again.content) == (304, b"")
    assert "Age" in again.headers
