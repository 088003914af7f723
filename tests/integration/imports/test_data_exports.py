"""Exports for a data team: choices and events that an import reads again, changes since a place, list and deletion."""

import csv
import gzip
import io
import itertools
import json
import urllib.request
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from pmp import database, export_files, export_text, exports, imports, leases, objects

from checks import stack as stacks
from checks.object_store import BUCKET, ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, event, generated, job_of, ndjson


def exported(store: ObjectStore, after: tuple[int, int] = (0, 0), **request: Any) -> tuple[dict[str, Any], bytes]:
    """Run an export to its end and return it with its text."""
    job = exports.create(database.connect(), request, "tester", after)["id"]
    while store.invocations:
        exports.run(database.connect(), json.loads(store.invocations.pop())["job"], Context())
    done = exports.get(database.connect(), job)
    assert done is not None
    assert (done["state"], done["error"]) == ("succeeded", None)
    content = gzip.decompress(read(done["download"])) if done["files"] is None else whole(store, done)
    assert done["lines"] == content.count(b"\n") - (done["format"] == "csv" and content != b"")
    return done, content


def read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        content: bytes = answer.read()
    return content


def whole(store: ObjectStore, done: dict[str, Any]) -> bytes:
    """Return the text of a complete folder as one file, and check its manifest."""
    folder = f"exports/{done['id']}/"
    assert done["location"] == f"s3://{BUCKET}/{folder}"
    keys = [key for key in store.versions if key.startswith(folder)]
    assert keys[-2:] == [f"{folder}_manifest.json", f"{folder}_SUCCESS"]
    manifest = json.loads(read(done["download"]))
    shown = [{name: one[name] for name in ("key", "date", "lines", "bytes")} for one in done["files"]]
    assert (manifest["files"], sorted(keys[:-2])) == (shown, sorted(one["key"] for one in shown))
    assert sum(one["bytes"] for one in shown) == done["bytes"] == manifest["bytes"]
    text = b""
    for number, one in enumerate(done["files"]):
        assert one["key"] == f"{folder}date={one['date']}/part-{number:05}.{done['format']}.gz"
        content = read(one["download"])
        assert len(content) == one["bytes"]
        lines = gzip.decompress(content)
        head = lines.partition(b"\n")[0] + b"\n" if done["format"] == "csv" else b""
        assert one["lines"] == lines.count(b"\n") - bool(head)
        text += lines.removeprefix(head) if text else lines
    return text


def imported(store: ObjectStore, key: str, body: bytes) -> None:
    imports.handle_notification(store.put(key, body), Context())


def choices(stack: Stack, domain: str, as_of: str | None = None) -> dict[str, Any]:
    """Return the choices in effect by address: consent, answer, version and the instant from which they count."""
    instant = f"'{as_of}'" if as_of else "NULL"
    return {
        row.partition("|[")[0]: row.partition("|[")[2]
        for row in stack.cluster.psql(
            "SELECT s.email, jsonb_agg(jsonb_build_array(k.id, c.enabled, v.version, c.counts_at) ORDER BY k.id)"
            f" FROM pmp.subject AS s CROSS JOIN LATERAL pmp.replay(s.subject_key, {instant}) AS c"
            " JOIN pmp.consent_version AS v USING (version_key) JOIN pmp.consent AS k ON k.consent_key = v.consent_key"
            f" WHERE s.email LIKE '%{domain}' GROUP BY s.email"
        ).splitlines()
    }


def add_versions(stack: Stack) -> None:
    """Add a consent with a second wording, made at the same instants in each record."""
    stack.cluster.psql(
        "WITH k AS (INSERT INTO pmp.consent (id, created_at) VALUES ('reworded', '2025-01-01') RETURNING consent_key)"
        " INSERT INTO pmp.consent_version (consent_key, version, description, channel, created_at, source_key)"
        " SELECT consent_key, n, 'Wording ' || n, 'other', date '2025-01-01' + (n - 1) * interval '90 days',"
        "  pmp.source_key('t') FROM k, generate_series(1, 2) AS n"
    )


@pytest.fixture(scope="module")
def other(stack: Stack) -> Iterator[Stack]:
    """Start a second record, with the same catalogue and nobody in it."""
    add_versions(stack)
    with stacks.stack() as running:
        add_versions(running)
        yield running


def use(stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point the function at another record; the objects stay."""
    from pmp import configuration

    for name, value in (stack.environment | {"AWS_ENDPOINT_URL": store.url}).items():
        monkeypatch.setenv(name, value)
    configuration.configuration.cache_clear()
    database.tls.cache_clear()
    database.disconnect()


CONTEXT = {
    "url": "https://shop.example.com/?a=1,2;3",
    "form": '=cmd|"quoted"|',
    "user_agent": "Grüße, \\ and\nlines",
    "metadata": [{"name": "n", "value": "':{}[]"}],
}
ODD = ["=cmd", "+1", "-2", "'quote", "'=both", "''-two", "Upper", "grüße", "a&b", "`x`", "{y}", "%z", "=a|b"]


def people(stack: Stack, domain: str, seed: int) -> list[dict[str, Any]]:
    """Return lines of people with all that matters to an export."""
    lines = generated(90, seed=seed)
    for line in lines:
        line["user"]["email"] = line["user"]["email"].replace("@example.com", domain)
    soon = stack.cluster.psql("SELECT pmp.instant(now() + interval '2 min')")
    reworded = [{"id": "reworded", "enabled": True, "version": 1}, {"id": "sms_notifications", "enabled": False}]
    return [
        *lines,
        # A denial without a fraction counts at the end of its second, and one from the future at its receipt.
        event(f"edge{domain}", enabled=False, occurred_at="2025-05-05T10:00:00Z"),
        event(f"edge{domain}", enabled=True, occurred_at="2025-05-05T10:00:00.5Z"),
        event(f"future{domain}", occurred_at=soon),
        event(f"erased{domain}"),
        # Two wordings; the later event answers the earlier one.
        event(f"versions{domain}", consent="reworded", occurred_at="2025-04-20T10:00:00Z"),
        {**event(f"versions{domain}", occurred_at="2025-04-21T10:00:00.25Z"), "consents": reworded},
        *(event(f"{local}{domain}", occurred_at="2025-02-03T04:05:06Z", context=CONTEXT) for local in ODD),
        event(f"proof{domain}", context={"gpc": True, "ip": "192.0.2.1"}),
        event(f"idn@bücher.{domain[1:]}"),
    ]


def contexts(stack: Stack, domain: str) -> dict[str, Any]:
    """Return the contexts of events by the address of their user."""
    return {
        row.partition("|{")[0]: row.partition("|{")[2]
        for row in stack.cluster.psql(
            "SELECT s.email, c.context FROM pmp.event_context AS c JOIN pmp.subject AS s USING (subject_key)"
            f" WHERE s.email LIKE '%{domain}'"
        ).splitlines()
    }


CASES = list(
    itertools.product(("choices", "events"), ("ndjson", "csv"), (False, True), (None, "2025-05-05T10:00:00.7Z"))
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_was_exported_can_be_imported_into_an_empty_record(
    stack: Stack,
    other: Stack,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, str, bool, str | None],
) -> None:
    contents, form, partitioned, as_of = case
    monkeypatch.setattr(export_files, "FILE_BYTES", 1)  # a page fills a file
    monkeypatch.setattr(exports, "PAGE_USERS", 100)
    monkeypatch.setattr(exports, "FIRST_PAGE_USERS", 20)
    name = f"{contents}-{form}-{partitioned}-{as_of or 'now'}"
    seed = zlib.crc32(name.encode())
    domain = f"@rt{seed}.example.com"
    imported(store, f"imports/{name}-source.ndjson", ndjson(people(stack, domain, seed)))
    assert job_of(stack, f"imports/{name}-source.ndjson")["rejected"] == 0
    stack.cluster.psql(
        "SELECT pmp.erase_user(id, 'tester', ARRAY[sha256('x')], now()) FROM pmp.subject"
        f" WHERE email = 'erased{domain}';"
        " INSERT INTO pmp.subject (id, email, created_by)"
        f" VALUES (gen_random_uuid(), 'silent{domain}', pmp.source_key('t'))"
    )
    here = choices(stack, domain[1:], as_of)
    assert here.keys() >= {f"{local}{domain}" for local in ODD}
    assert len(here) > 30
    proofs = contexts(stack, domain[1:])
    if as_of:
        del proofs[f"proof{domain}"]
    assert len(proofs) >= len(ODD)
    limits: dict[str, Any] = {"as_of": as_of} if as_of else {}
    done, text = exported(store, contents=contents, format=form, partitioned=partitioned, **limits)
    assert (done["files"] is None) or len(done["files"]) > 1
    end = b"\r\n" if form == "csv" else b"\n"
    head = text.partition(end)[0] + end if form == "csv" else b""
    wanted = head + b"".join(line + end for line in text.split(end) if domain[1:].encode() in line)
    assert b"erased@" not in wanted

    use(other, store, monkeypatch)
    key = f"imports/{name}-again"
    imported(store, key, wanted)
    job = job_of(other, key)
    assert (job["state"], job["rejected"]) == ("succeeded", 0), job
    assert choices(other, domain[1:], as_of) == here
    assert contexts(other, domain[1:]) == (proofs if contents == "events" else {})
    # Who made no choice has no line, and no answer in either record.
    assert other.cluster.psql(f"SELECT count(*) FROM pmp.subject WHERE email = 'silent{domain}'") == "0"
    # A second time changes nothing, there or where the lines came from.
    imported(store, f"{key}-twice", wanted)
    assert job_of(other, f"{key}-twice")["accepted"] == 0
    if contents == "events":
        use(stack, store, monkeypatch)
        imported(store, f"{key}-at-home", wanted)
        job = job_of(stack, f"{key}-at-home")
        # Only the event from the future is told with another instant.
        assert (job["accepted"], job["reasons"]) == (0, {"event_conflict": 1} if as_of is None else {})


def test_cell_that_a_spreadsheet_takes_for_a_formula_begins_with_a_quote(stack: Stack, store: ObjectStore) -> None:
    addresses = [f"{local}@formula.example.com" for local in ODD]
    imported(store, "imports/formulas.ndjson", ndjson(event(address) for address in addresses))
    for contents in ("users", "choices", "events"):
        _, text = exported(store, contents=contents, format="csv")
        rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
        assert not [cell for row in rows for cell in row.values() if cell[:1] in tuple("=+-@\t\r\n")]
        written = {row["email"] for row in rows if row["email"].endswith("@formula.example.com")}
        assert written == {
            ("'" if one[0] in "=+-" or one[:2] == "'=" or one[:3] == "''-" else "") + one for one in addresses
        }
        assert {export_text.unescaped(one) for one in written} == set(addresses)


def test_csv_of_users_lists_their_answers(stack: Stack, store: ObjectStore) -> None:
    stack.cluster.psql(
        "WITH k AS (INSERT INTO pmp.consent (id) VALUES ('short_lived') RETURNING consent_key)"
        " INSERT INTO pmp.consent_version (consent_key, version, description, channel, expires_after_days, source_key)"
        " SELECT consent_key, 1, 'x', 'other', 1, pmp.source_key('t') FROM k"
    )
    said = [
        event("listed@users.example.com"),
        event("listed@users.example.com", consent="short_lived"),
        event("listed@users.example.com", consent="sms_notifications", enabled=False),
    ]
    imported(store, "imports/listed.ndjson", ndjson(said))
    _, text = exported(store, format="csv")
    assert text.split(b"\r\n")[0] == b"email,exported_user_id,consent,enabled,value"
    (row,) = [row for row in csv.DictReader(io.StringIO(text.decode())) if row["email"] == "listed@users.example.com"]
    answers = dict(zip(row["consent"].split(" "), row["enabled"].split(" "), strict=True))
    assert answers == {"email_notifications": "true", "sms_notifications": "false", "short_lived": "expired"}


def test_line_of_a_choice_says_version_instant_and_source(stack: Stack, store: ObjectStore) -> None:
    told = "2025-03-01T10:00:00Z"
    imported(store, "imports/said.ndjson", ndjson([event("said@example.com", occurred_at=told)]))
    _, text = exported(store, contents="choices")
    (line,) = [json.loads(one) for one in text.splitlines() if b'"said@example.com"' in one]
    person = stack.cluster.psql("SELECT id FROM pmp.subject WHERE email = 'said@example.com'")
    assert line.pop("received_at") > told
    assert line == {
        "user": {"email": "said@example.com"},
        "user_id": person,
        "consents": [{"id": "email_notifications", "enabled": True, "version": 1}],
        "occurred_at": told,
        "source": f"import:{job_of(stack, 'imports/said.ndjson')['id']}",
    }


def test_export_of_events_continues_where_the_last_one_ended(stack: Stack, store: ObjectStore) -> None:
    imported(store, "imports/first.ndjson", ndjson(generated(20, seed=82)))
    first, text = exported(store, contents="events")
    assert text.count(b".82@example.com") == 20
    imported(store, "imports/second.ndjson", ndjson(generated(5, seed=83)))
    second, text = exported(store, contents="events", after=tuple(first["resume"]))
    assert (second["lines"], text.count(b".83@example.com")) == (5, 5)
    third, text = exported(store, contents="events", after=tuple(second["resume"]))
    assert (third["lines"], third["resume"]) == (0, second["resume"])


def test_who_continues_an_export_of_events_misses_none(stack: Stack, store: ObjectStore) -> None:
    """Neither those received by a server whose clock ran ahead, nor those that a limit leaves out."""
    start, _ = exported(store, contents="events")
    address = "ahead@example.com"
    imported(store, "imports/ahead.ndjson", ndjson([event(address, occurred_at="2025-01-01T00:00:00.5Z")]))
    stack.cluster.psql(
        "INSERT INTO pmp.event"
        " (id, subject_key, occurred_at, received_at, source_key, has_instant, has_fraction, versions, enabled)"
        " SELECT gen_random_uuid(), subject_key, '2024-01-01', now() + interval '1 hour', created_by, true, true,"
        f" '{{1}}', '{{t}}' FROM pmp.subject WHERE email = '{address}'"
    )
    whole, text = exported(store, contents="events", after=tuple(start["resume"]))
    assert (whole["as_of"], whole["known_at"], text.count(address.encode())) == (None, None, 2)
    for limit in ("as_of", "known_at"):
        limited, _ = exported(store, contents="events", after=tuple(start["resume"]), **{limit: "2024-06-01T00:00:00Z"})
        assert (limited["resume"], limited[limit]) == (None, "2024-06-01T00:00:00.000000Z")


def test_export_of_events_as_of_two_instants(stack: Stack, store: ObjectStore) -> None:
    old, new = "2025-01-01T00:00:00.5Z", "2025-06-01T00:00:00.5Z"
    lines = [event("times@example.com", occurred_at=old), event("times@example.com", enabled=False, occurred_at=new)]
    before = stack.cluster.psql("SELECT pmp.instant(clock_timestamp())")
    imported(store, "imports/times.ndjson", ndjson(lines))
    after = {
        "2024-12-31T23:59:59Z": [],
        "2025-03-01T00:00:00Z": [("2025-01-01T00:00:00.500000Z", True)],
        "2025-07-01T00:00:00Z": [("2025-01-01T00:00:00.500000Z", True), ("2025-06-01T00:00:00.500000Z", False)],
    }
    for contents in ("events", "choices"):
        for as_of, said in after.items():
            _, text = exported(store, contents=contents, as_of=as_of)
            lines = [json.loads(line) for line in text.splitlines() if b'"times@example.com"' in line]
            found = [(line["occurred_at"], line["consents"][0]["enabled"]) for line in lines]
            # Of two choices, the later one is in effect.
            assert found == (said if contents == "events" else said[-1:]), (contents, as_of)
        _, text = exported(store, contents=contents, known_at=before)
        assert b"times@example.com" not in text


def test_deleted_export_has_no_file_and_stays_listed(stack: Stack, store: ObjectStore) -> None:
    done, _ = exported(store)
    key = f"exports/{done['id']}.ndjson.gz"
    assert key in store.versions
    after = exports.delete(database.connect(), done["id"], "tester")
    assert after is not None
    assert (after["state"], after["download"], after["kept_until"]) == ("succeeded", None, None)
    assert key not in store.versions
    listed, _ = exports.list_jobs(database.connect(), None, 100)
    assert done["id"] in [one["id"] for one in listed]
    assert all("download" not in one for one in listed)


def test_running_export_that_is_deleted_leaves_nothing(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not if it is deleted between the end of its upload and the end of the job."""
    job = exports.create(database.connect(), {}, "tester")["id"]
    store.invocations.clear()
    finish = objects.Upload.finish

    def finish_late(upload: objects.Upload, body: bytes) -> None:
        finish(upload, body)
        exports.delete(database.connect(), job, "tester")
        # As if the deletion had come just before the upload's end.
        finish(objects.Upload(upload.bucket, upload.key, "application/gzip"), body)

    monkeypatch.setattr(objects.Upload, "finish", finish_late)
    exports.run(database.connect(), job, Context())
    document = exports.get(database.connect(), job)
    assert document is not None
    assert (document["state"], document["download"]) == ("cancelled", None)
    assert f"exports/{job}.ndjson.gz" not in store.versions
    assert leases.claim(database.connect(), exports._KIND, job, "00000000-0000-4000-8000-000000000001") is None
