"""The examples of docs/imports.md and docs/exports.md, run as they are written there."""

import gzip
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
import pytest

from checks.gateway import Gateway
from checks.object_store import BUCKET, ObjectStore
from checks.stack import Stack
from ops import http, import_file
from ops.api import Api
from tests.integration.imports.conftest import Context, counts, job_of

PAGE = Path("docs/imports.md").read_text()
BLOCK = re.compile(r"^```[a-z]+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXAMPLES: dict[str, str] = dict(BLOCK.findall(PAGE))
EXPORTS: dict[str, str] = dict(BLOCK.findall(Path("docs/exports.md").read_text()))


@pytest.fixture
def stack(own_stack: Stack) -> Stack:
    return own_stack


def imported(stack: Stack, store: ObjectStore, key: str, body: bytes) -> dict[str, Any]:
    from pmp import imports

    imports.handle_notification(store.put(key, body), Context())
    return job_of(stack, key)


def answer(email: str, consent: str = "email_notifications") -> Any:
    (found,) = Gateway().post("/v1/check", {"checks": [{"user": {"email": email}, "consent": consent}]}).json["results"]
    return found["allowed"]


@pytest.mark.parametrize(
    ("name", "lines", "answers"),
    [
        ("events.ndjson", 2, {"ada": True, "bob": False}),
        ("wide.csv", 2, {"eve": True, "joe": False}),
        ("long.csv", 2, {"sue": True}),
    ],
)
def test_example_in_the_own_form_is_imported(
    stack: Stack, store: ObjectStore, name: str, lines: int, answers: dict[str, bool]
) -> None:
    job = imported(stack, store, f"imports/{name}", EXAMPLES[name].encode())
    assert (job["state"], counts(job)) == ("succeeded", (lines, lines, 0, 0)), job["error"]
    assert {person: answer(f"{person}@example.com") for person in answers} == answers


def test_example_of_a_mapping_reads_the_objects_under_its_prefix(stack: Stack, store: ObjectStore) -> None:
    stored = Gateway().put("/v1/mappings/our_shop", json.loads(EXAMPLES["mapping"]))
    assert stored.status == 201, stored.content
    job = imported(stack, store, "imports/shop/may.csv", EXAMPLES["shop.csv"].encode())
    assert (job["state"], counts(job)) == ("succeeded", (2, 1, 0, 1)), job["error"]
    assert answer("kim@example.com") is False


def test_file_of_mailchimp_leads_to_an_answer(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports

    api = Gateway()
    made = api.post("/v1/imports", json.loads(EXAMPLES["request"]))
    assert made.status == 201, made.content
    key = unquote(urlsplit(made.json["upload"]["url"]).path).removeprefix(f"/{BUCKET}/")
    imports.handle_notification(store.put(key, EXAMPLES["mailchimp.csv"].encode()), Context())
    status, expected = api.get(made.headers["Location"]).json, json.loads(EXAMPLES["status"])
    assert {name: status[name] for name in expected} == expected, status["error"]
    (found,) = api.post("/v1/check", json.loads(EXAMPLES["check"])).json["results"]
    expected = json.loads(EXAMPLES["answer"])
    assert {name: found[name] for name in expected} == expected


def test_example_of_a_folder_is_one_import(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports

    request = json.loads(EXAMPLES["folder"])
    for number in range(2):
        body = EXAMPLES["mailchimp.csv"].replace("max@", f"folder{number}@").encode()
        imports.handle_notification(store.put(f"{request['prefix']}{number}.csv", body), Context())
    api = Gateway()
    made = api.post("/v1/imports", request)
    assert made.status == 201, made.content
    while store.invocations:
        imports.run(json.loads(store.invocations.pop(0))["job"], Context())
    done = api.get(made.headers["Location"]).json
    assert (done["state"], done["accepted"], done["parts"]["succeeded"]) == ("succeeded", 2, 2)
    assert [answer(f"folder{number}@example.com") for number in range(2)] == [False, False]


def test_hashed_opt_out_denies_for_a_user_who_comes_later(stack: Stack, store: ObjectStore) -> None:
    from pmp import imports

    request = {"mapping": "opt_out_hashes", "occurred_at": "2025-06-01T00:00:00Z"}
    key = f"imports/{Gateway().post('/v1/imports', request).json['id']}.ndjson"
    imports.handle_notification(store.put(key, EXAMPLES["hashes.csv"].encode()), Context())
    assert counts(job_of(stack, key)) == (1, 1, 0, 0)
    assert Gateway().post("/v1/users", {"email": "Zoe@example.com"}).status == 201
    assert answer("zoe@example.com") is False


class Platform(Api):
    """The API in this process, which imports an upload when it is asked about it."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__("http://127.0.0.1", "none")
        object.__setattr__(self, "store", store)

    def ask(self, method: str, path: str, document: object = None, *, anonymous: bool = False) -> http.Answer:  # noqa: ARG002
        from pmp import imports

        waiting = Gateway().get(path).json if path.count("/") == 3 else {}
        if waiting.get("state") == "waiting":
            store: ObjectStore = self.__dict__["store"]
            imports.handle_notification(store.put(waiting["key"], store.get(waiting["key"])), Context())
        answer = Gateway().request(method, path, document)
        return http.Answer(
            answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.content
        )


def test_terminal_shows_a_dry_run_and_an_import(
    stack: Stack,
    store: ObjectStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def settled(text: str) -> str:
        """The text without what differs from run to run, and without the logs of the function."""
        lines = [line.rstrip() for line in text.splitlines() if not line.startswith(("{", "$"))]
        text = re.sub(
            r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<=id )[0-9a-f]{8}|(?<=s-)[0-9a-f]{8}", "ID", "\n".join(lines)
        )
        return re.sub(r"[0-9,]+ lines/s", "SPEED", text).strip()

    monkeypatch.chdir(tmp_path)
    Path("unsubscribed.csv").write_text(EXAMPLES["unsubscribed.csv"])
    lea = {"user": {"email": "lea@example.com"}, "consents": [{"id": "email_notifications", "enabled": True}]}
    imported(stack, store, "imports/lea.ndjson", json.dumps(lea | {"occurred_at": "2025-01-01T00:00:00Z"}).encode())
    for name, dry_run in (("dry-run", True), ("import", False)):
        capsys.readouterr()
        options = import_file.Options(dry_run=dry_run, mapping="mailchimp")
        import_file.import_file(Platform(store), Path("unsubscribed.csv"), options)
        shown = capsys.readouterr().out
        assert settled(shown) == settled(EXAMPLES[name]), shown
        assert max(len(line) for line in shown.splitlines() if not line.startswith("{")) <= 80
    assert [answer("lea@example.com"), answer("kai@example.com")] == [False, False]


def test_recipe_turns_parquet_into_a_file_that_is_imported(
    stack: Stack, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    duckdb.sql("""
        COPY (
            SELECT 'pat' || n || '@example.com' AS email, n = 1 AS opted_in,
                TIMESTAMP '2025-01-31 12:00:00.5' AS changed_at FROM range(2) AS t(n)
        ) TO 'export.parquet'
    """)
    refused = imported(stack, store, "imports/export.parquet", Path("export.parquet").read_bytes())
    assert "a Parquet file: turn it into NDJSON, see docs/imports.md" in refused["error"]
    exec(EXAMPLES["parquet"], {})  # noqa: S102 - the page's own example
    job = imported(stack, store, "imports/converted", Path("events.ndjson.gz").read_bytes())
    assert (job["state"], counts(job)) == ("succeeded", (2, 2, 0, 0)), job["error"]
    assert [answer(f"pat{number}@example.com") for number in range(2)] == [False, True]


def exported(store: ObjectStore, body: str) -> dict[str, Any]:
    from pmp import database, exports

    api = Gateway()
    made = api.post("/v1/exports", json.loads(body))
    assert made.status == 201, made.content
    while store.invocations:
        exports.run(database.connect(), json.loads(store.invocations.pop())["job"], Context())
    done: dict[str, Any] = api.get(made.headers["Location"]).json
    assert done["state"] == "succeeded", done
    return done


def test_export_as_csv_has_the_columns_of_the_page(stack: Stack, store: ObjectStore) -> None:
    imported(stack, store, "imports/to-export.ndjson", EXAMPLES["events.ndjson"].encode())
    store.invocations.clear()
    done = exported(store, EXPORTS["csv"])
    text = gzip.decompress(store.get(f"exports/{done['id']}.csv.gz")).decode()
    assert text.partition("\r\n")[0] == EXPORTS["events.csv"].strip()
    assert ",bob@example.com,2025-02-01T07:30:00Z,email_notifications sms_notifications,false true,1 1," in text


def test_duckdb_reads_the_folder_of_an_export(
    stack: Stack, store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported(stack, store, "imports/to-export.ndjson", EXAMPLES["events.ndjson"].encode())
    store.invocations.clear()
    done = exported(store, EXPORTS["folder"])
    folder = f"exports/{done['id']}/"
    assert done["location"] == f"s3://{BUCKET}/{folder}"
    for key in store.versions:
        if key.startswith(folder):
            path = tmp_path / "export" / key.removeprefix(folder)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(store.get(key))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(EXPORTS["duckdb"], names)  # noqa: S102 - the page's own example
    found = {(str(day), consent): granted for day, consent, granted in names["consents"].fetchall()}
    wanted = {
        row.partition("|")[0]: row.partition("|")[2]
        for row in stack.cluster.psql(
            "SELECT received_at::date || ' ' || k.id, count(*) FILTER (WHERE c.enabled) FROM pmp.event AS e"
            " CROSS JOIN LATERAL unnest(e.versions, e.enabled) AS c (version_key, enabled)"
            " JOIN pmp.consent_version USING (version_key) JOIN pmp.consent AS k USING (consent_key)"
            " JOIN pmp.subject AS s USING (subject_key) WHERE s.erased_at IS NULL GROUP BY 1"
        ).splitlines()
    }
    assert {f"{day} {consent}": str(granted) for (day, consent), granted in found.items()} == wanted
    assert found
