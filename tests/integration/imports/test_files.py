"""Files in the forms that people have: they are imported exactly once, or fail as a whole with nothing accepted."""

import csv
import gzip
import io
import json
import zipfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pmp import database
from pmp.imports import mappings

from checks.object_store import ObjectStore
from checks.stack import Stack
from tests.integration.imports.conftest import Context, counts, event, generated, job_of, ndjson

Columns = ("id", "email", "occurred_at", "consent", "enabled")


def imported(stack: Stack, store: ObjectStore, key: str, body: bytes, context: Context | None = None) -> dict[str, Any]:
    """Import in one invocation, or in as many as a context without time left takes."""
    from pmp import imports

    imports.handle_notification(store.put(key, body), context or Context())
    while store.invocations:
        imports.run(json.loads(store.invocations.pop(0))["job"], context)
    return job_of(stack, key)


def table(events: list[dict[str, Any]], delimiter: str = ",", end: str = "\n", note: str = "") -> str:
    """CSV of the first choice of each event; a note in the header makes the file begin with several lines."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end)
    writer.writerow(Columns)
    for one in events:
        choice = one["consents"][0]
        cells = [one["id"], one["user"]["email"], one["occurred_at"], choice["id"], f" {choice['enabled']}{note}"]
        writer.writerow(cells)
    return text.getvalue()


def zipped(*bodies: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, body in enumerate(bodies):
            archive.writestr(f"export/{number}", body)
    return target.getvalue()


FORMS: dict[str, Any] = {
    "array": lambda events: json.dumps(events).encode(),
    "pretty": lambda events: json.dumps(events, indent=2).encode(),
    "array-zip": lambda events: zipped(json.dumps(events).encode()),
    "utf-16": lambda events: ndjson(events).decode().encode("utf-16"),
    "utf-16-zip": lambda events: zipped(ndjson(events).decode().encode("utf-16")),
    "gzip": lambda events: gzip.compress(ndjson(events)),
    "mac": lambda events: table(events, end="\r").encode(),
    "excel": lambda events: ("sep=;\r\n" + table(events, ";", "\r\n")).encode(),
    "unicode-text": lambda events: table(events, "\t", "\r\n").encode("utf-16"),
    "quoted": lambda events: table(events, ",", "\r\n", note="\r\n").encode(),
    "quoted-gzip": lambda events: gzip.compress(table(events, "|", "\n", note="\n\n").encode("utf-8-sig")),
}


@pytest.mark.parametrize("name", FORMS)
def test_file_is_imported_exactly_once_over_many_invocations(
    stack: Stack, store: ObjectStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The name says nothing of the form; each invocation resumes within a file that it cannot read from the middle."""
    monkeypatch.setattr("pmp.imports.worker.LARGEST_BATCH_LINES", 60)
    monkeypatch.setattr("pmp.imports.records._BLOCK_RECORDS", 50)
    monkeypatch.setattr("pmp.imports.records._LEAST_PIECE_BYTES", 5000)
    monkeypatch.setattr("pmp.objects.CHUNK_BYTES", 5000)
    events = generated(400, seed=list(FORMS).index(name) + 7000)
    key = f"imports/form-{name}"
    job = imported(stack, store, key, FORMS[name](events), Context(remaining_seconds=5))
    assert (job["state"], counts(job)) == ("succeeded", (400, 400, 0, 0)), job["error"]
    assert job["attempts"] > 2
    again = imported(stack, store, f"{key}-again", FORMS[name](events))
    assert counts(again) == (400, 0, 400, 0)


ROW = event("late@example.com")
GOOD = ndjson(generated(300, seed=6999))
BROKEN: dict[str, tuple[bytes, str]] = {
    "parquet": (b"PAR1" + bytes(50), "a Parquet file"),
    "windows-1252": (GOOD + '{"user": {"email": "andré"}}'.encode("cp1252"), "line 301 has byte 0xE9"),
    "utf-16-without-mark": (table(generated(3)).encode("utf-16-le"), "without a byte order mark"),
    "cut-gzip": (gzip.compress(GOOD)[: -len(GOOD) // 40], "incomplete"),
    "cut-array": (json.dumps([ROW] * 500).encode()[:-5], "item 500 of the JSON array is not valid JSON"),
    "long-line": (b"email;email_notifications" * 80_000, "no header"),
    "nul-header": (b"email\0,email_notifications\na@example.com,true\n", "NUL"),
    "two-members": (zipped(GOOD, GOOD), "holds 2 files"),
    "unknown-column": (b"email,First name,email_notifications\na@example.com,A,true\n", r'column 2 ("first name")'),
    "twice": (b"Email,email_notifications, EMAIL\na@example.com,true,\n", "columns 1 and 3 have the same name"),
    "no-header": (b"ada@example.com,true\n", "add a header"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_nothing_of_a_broken_file_is_imported(stack: Stack, store: ObjectStore, name: str) -> None:
    body, reason = BROKEN[name]
    job = imported(stack, store, f"imports/broken-{name}", body)
    assert (job["state"], counts(job)) == ("failed", (0, 0, 0, 0))
    assert reason in job["error"]
    assert "andr" not in job["error"]
    assert "ada@" not in job["error"]


def test_cells_of_spreadsheets_are_read(stack: Stack, store: ObjectStore) -> None:
    body = (
        "Email ; EMAIL_Notifications;occurred_at;;\r\n"
        " sheet-1@example.com ; true;2025-01-01T00:00:00Z;;\r\n"
        '"sheet-2@example.com\r\n"; FALSE ;2025-01-01T00:00:00Z\r\n'
        "sheet-3@example.com;yes;2025-01-01T00:00:00Z;;\r\n"
        "sheet-4@example.com;true;2025-01-01T00:00:00Z;;x\r\n"
        'sheet-5@example.com;"true;2025-01-01T00:00:00Z;;\r\n'
        "sheet-6@example.com;;2025-01-01T00:00:00Z;;\r\n"
    )
    job = imported(stack, store, "imports/sheet.csv", body.encode("utf-8-sig"))
    assert (job["state"], counts(job)) == ("succeeded", (6, 2, 0, 4))
    header, *found = store.get(f"rejects/{job['id']}.csv").decode().splitlines()
    assert header == "rejected;Email ; EMAIL_Notifications;occurred_at;;"
    assert [line.partition('";')[0].split(":")[:2] for line in found] == [
        ['"line 5, column email_notifications', " invalid_type"],
        ['"line 6', " wrong_columns"],
        ['"line 7', " invalid_csv"],
        ['"line 8', " invalid_choices"],
    ]
    assert 'is ""yes""; must be true or false; a mapping can say which words mean which' in found[0]


def test_garbage_after_gzip_is_recorded(stack: Stack, store: ObjectStore) -> None:
    job = imported(stack, store, "imports/tail.gz", gzip.compress(ndjson(generated(3, seed=6998))) + b"garbage")
    assert (job["state"], counts(job)) == ("succeeded", (3, 3, 0, 0))
    assert job["form"]["warnings"] == ["ignored 7 bytes after the end of the gzip file"]


MUTATIONS = st.tuples(
    st.sampled_from(list(FORMS)),
    st.sampled_from(["cut", "flip", "insert", "repeat"]),
    st.floats(0, 1),
    st.binary(max_size=4),
)


def mutated(body: bytes, kind: str, where: float, what: bytes) -> bytes:
    place = int(where * len(body))
    if kind == "cut":
        return body[:place]
    if kind == "repeat":
        return body[:place] + body[place // 2 :]
    return body[:place] + what + body[place + (len(what) if kind == "flip" else 0) :]


def check_mutation(store: ObjectStore, mutation: tuple[str, str, float, bytes]) -> None:
    from pmp import imports

    name, kind, where, what = mutation
    check_mutation.count = number = getattr(check_mutation, "count", 0) + 1  # type: ignore[attr-defined]
    body, key = mutated(FORMS[name](generated(12, seed=6997)), kind, where, what), f"imports/mutated-{number}"
    imports.handle_notification(store.put(key, body), Context())
    # Not by psql: a new process for each of 2,000 files takes longer than the import.
    ((state, error, *found),) = database.connect().run(
        "SELECT state, error, lines, accepted, skipped, rejected FROM pmp.import_job WHERE object_key = :key", key=key
    )
    assert found[0] == sum(found[1:])
    assert state == "succeeded" or (state == "failed" and found[1:3] == [0, 0] and error)


ROUNDS = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@settings(ROUNDS, max_examples=20)
@given(MUTATIONS)
def test_mutated_file_ends_with_counts_or_a_reason(
    stack: Stack, store: ObjectStore, mutation: tuple[str, str, float, bytes]
) -> None:
    check_mutation(store, mutation)


@pytest.mark.nightly
@settings(ROUNDS, max_examples=2000)
@given(MUTATIONS)
def test_each_of_2000_mutated_files_ends_with_counts_or_a_reason(
    stack: Stack, store: ObjectStore, mutation: tuple[str, str, float, bytes]
) -> None:
    check_mutation(store, mutation)


MAILCHIMP = (
    '"Email Address","First Name","MEMBER_RATING","OPTIN_TIME","CONFIRM_TIME","UNSUB_TIME","UNSUB_REASON","TAGS"\r\n'
    '"map-1.{0}@example.com","Ada","2","","2021-03-01 10:11:12","2023-05-01 08:00:00","NORMAL","""VIP"",""News"""\r\n'
    '"map-2.{0}@example.com","Bob","2","","2021-03-01 10:11:12","","",""\r\n'
)


def test_mapping_is_chosen_by_the_request_the_prefix_or_the_folder(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports

    connection = database.connect()
    body, mailchimp = MAILCHIMP.format("folder").encode(), imports.mapping_named(connection, "mailchimp")
    assert mailchimp is not None
    stored = {name: mailchimp[name] for name in ("user", "occurred_at", "consents", "ignored")}
    mappings.put(connection, "crm", {**stored, "prefix": "imports/partner/crm/"}, "test")
    mappings.put(connection, "partner", {**stored, "prefix": "imports/partner/"}, "test")
    for key, mapping in (
        ("imports/mailchimp/list.csv", "mailchimp"),
        ("imports/partner/crm/list.csv", "crm"),
        ("imports/partner/list.csv", "partner"),
        ("imports/crm/list.csv", "crm"),
    ):
        job = imported(stack, store, key, body)
        assert (job["state"], job["mapping"]["id"]) == ("succeeded", mapping), job["error"]
    assert imported(stack, store, "imports/list.csv", body)["state"] == "failed"
    body = MAILCHIMP.format("request").encode()
    created = imports.create(connection, {}, "test", mailchimp)
    key = stack.cluster.psql(f"SELECT object_key FROM pmp.import_job WHERE id = '{created['id']}'")
    # A change of the mapping does not change an import that exists.
    mappings.put(connection, "mailchimp", {**stored, "user": {"email": "TAGS"}}, "test")
    assert counts(imported(stack, store, key, body)) == (2, 2, 0, 0)
    found = stack.cluster.psql(
        "SELECT string_agg(s.email || ' ' || c.enabled, ', ' ORDER BY s.email) FROM pmp.subject AS s"
        " JOIN pmp.current_choice AS c USING (subject_key) WHERE s.email LIKE 'map-_.request@example.com'"
    )
    assert found == "map-1.request@example.com false, map-2.request@example.com true"
